"""A real Orthanc on the private loopback of this test process."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import SYSTEM_PATH, find_free_port
from tests.journeys.running import until

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


class Orthanc:
    """One Orthanc with its DICOMweb plug-in; it never overwrites and syncs what it stores."""

    def __init__(self, folder: Path, title: str) -> None:
        """Nothing starts before ``start``."""
        self.folder, self.title = folder, title
        self.http_port, self.dicom_port = find_free_port(), find_free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "orthanc.json").write_text(json.dumps(self._configuration()))

    @property
    def url(self) -> str:
        """Address of its REST API."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> "Orthanc":
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/Orthanc", str(self.folder / "orthanc.json")],
                env={"PATH": SYSTEM_PATH, "TCP_NODELAY": "1", "LANG": "C.UTF-8"},
                stdout=log,
                stderr=log,
                preexec_fn=os.setsid,
            )
        until(self._answers, 60, what=f"Orthanc did not start; see {self.folder / 'log'}")
        return self

    def stop(self) -> None:
        """Stop it; what it stored stays."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)

    def instances(self, modality: str = "") -> list[dict[str, Any]]:
        """The main tags of every instance it holds, of one modality if given."""
        query = {"Level": "Instance", "Expand": True, "Query": {"Modality": modality} if modality else {}}
        answer = httpx.post(f"{self.url}/tools/find", json=query, timeout=60)
        answer.raise_for_status()
        return [found["MainDicomTags"] | {"ID": found["ID"]} for found in answer.json()]

    def file(self, identifier: str) -> bytes:
        """The DICOM file of an instance."""
        return httpx.get(f"{self.url}/instances/{identifier}/file", timeout=60).content

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/system", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": self.title,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.title,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "OverwriteInstances": False,
            "SyncStorageArea": True,
            "Plugins": [PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
