"""The example compose file as ``docker-compose config`` resolves it, and its services started without Docker."""

import json
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.conftest import ROOT, SYSTEM_PATH
from tests.interop.contained import Contained
from tests.journeys.orthanc import PLUGIN
from tests.journeys.running import until

EXAMPLES = ROOT / "docs" / "operator" / "examples"
DOCKERFILE = ROOT / "Dockerfile"
ROLES = ("sender", "reader", "reviewer", "operator")
TOKENS = {role: f"{role}-0123456789-0123456789" for role in ROLES}
PASSWORD = "a password of Orthanc"
IMAGE = {"Plugins": [PLUGIN], "StorageDirectory": "/var/lib/orthanc/db", "IndexDirectory": "/var/lib/orthanc/db"}
"""What Orthanc's image sets by itself."""


def image_environment() -> dict[str, str]:
    """Return the settings that the gateway's Dockerfile bakes in."""
    return dict(re.findall(r"\b(SEGLOOP_\w+)=(\S+)", DOCKERFILE.read_text()))


def certificate(folder: Path, *names: str) -> None:
    """Write ``certificate.pem`` and ``key.pem`` for these names, by the command of docs/operator/containers.md."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "825", "-subj", f"/CN={names[0]}"),
            *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
        env={"PATH": SYSTEM_PATH},
    )


class Composed:
    """A filled-in copy of the example folder; ``services`` is what the compose program made of it."""

    def __init__(self, folder: Path, program: Callable[[str], str], **filled: str) -> None:
        """Copy the examples, fill in ``.env`` and ``secrets/`` as the documentation says, resolve the file."""
        self.folder = folder
        shutil.copytree(EXAMPLES, folder)
        values = {"ORTHANC_PASSWORD": PASSWORD, **filled}
        text = (folder / "example.env").read_text()
        for name, value in values.items():
            text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert count == 1, name
        (folder / ".env").write_text(text)
        (folder / "secrets").mkdir()
        certificate(folder / "secrets", "gateway", "localhost")
        tokens = folder / "secrets" / "tokens"
        tokens.write_text("".join(f"{role} {role} {token}\n" for role, token in TOKENS.items()))
        tokens.chmod(0o400)
        self.document = resolve(folder, program)
        self.services: dict[str, Any] = self.document["services"]
        self.started: list[Contained] = []

    def start(self, service: str, **changed: str) -> Contained:
        """Start a service with the environment and files of the compose file; ``changed`` variables differ."""
        found = self.contained(service, **changed).start()
        self.started.append(found)
        return found

    def stop(self) -> None:
        """End everything that was started."""
        for program in self.started:
            program.stop()

    def contained(self, service: str, *, without: str = "", **changed: str) -> Contained:
        """Return a service, not yet started; ``without`` a variable of it."""
        environment = {name: str(value) for name, value in self.services[service]["environment"].items()} | changed
        environment.pop(without, None)
        command = ["/usr/sbin/Orthanc", "/etc/orthanc"]
        mounts = self.mounts(service)
        if service == "gateway":
            command = [sys.executable, "-m", "serving"]
            environment = image_environment() | environment
        else:
            (self.folder / "image.json").write_text(json.dumps(IMAGE))
            mounts.append((self.folder / "image.json", "/etc/orthanc/image.json", "ro"))
        return Contained(self.folder / f"{service}.run", list(self.services), command, mounts, environment, ROOT)

    def mounts(self, service: str) -> list[tuple[Path, str, str]]:
        """Return where the service's files stand here and where it sees them; a named volume is an empty folder."""
        found = []
        for text in self.services[service].get("volumes", ()):
            source, target, mode = text.split(":")
            if not source.startswith("/"):
                assert source in self.document["volumes"]
                source = str(self.folder / f"volume-{source}")
                Path(source).mkdir(exist_ok=True)
            found.append((Path(source), target, mode))
        for secret in self.services[service].get("secrets", ()):
            file = self.document["secrets"][secret["source"]]["file"]
            found.append((Path(file), f"/run/secrets/{secret['source']}", "ro"))
        return found

    def published(self) -> dict[str, list[str]]:
        """Return, for each service, the addresses it is reached at from outside: ``[address:]port->port``."""
        return {name: [_port(entry) for entry in service.get("ports", ())] for name, service in self.services.items()}

    def ask(self, path: str, role: str = "reader", **more: Any) -> httpx.Response:
        """Ask the gateway over TLS with the token of a role; its certificate is checked."""
        trusted = ssl.create_default_context(cafile=self.folder / "secrets" / "certificate.pem")
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        with httpx.Client(verify=trusted, headers=headers, timeout=30, trust_env=False) as client:
            return client.get(f"https://localhost:8080{path}", **more)

    def answers(self, program: Contained, ask: Callable[[], httpx.Response]) -> None:
        """Wait until a program answers with 200; one that ended is an error at once."""

        def there() -> bool:
            assert program.process is not None
            assert program.process.poll() is None, program.log.read_text()[-2000:]
            try:
                return ask().status_code == 200
            except httpx.TransportError:
                return False

        until(there, 60, what=f"it did not answer; see {program.log}")


def resolve(folder: Path, program: Callable[[str], str], *options: str) -> dict[str, Any]:
    """Return the compose file as the program of Debian understands it. Raises ``AssertionError`` where it does not."""
    done = subprocess.run(
        [program("docker-compose"), "-f", str(folder / "compose.yaml"), *options, "config"],
        cwd=folder,
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


def _port(entry: str | Mapping[str, Any]) -> str:
    if isinstance(entry, str):  # 127.0.0.1:8042:8042/tcp
        address, published, target = entry.removesuffix("/tcp").split(":")
        return f"{address}:{published}->{target}"
    return f"{entry['published']}->{entry['target']}"
