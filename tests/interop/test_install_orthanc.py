"""The Orthanc of the example folder: sends what it gets to the gateway, gets the results, and goes in no circles."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.samples.cardiac import Sample, write_cardiac
from tests.conftest import ROOT
from tests.interop.composed import PASSWORD, TOKENS, Composed
from tests.journeys.running import storescu, until

pytestmark = pytest.mark.usefixtures("private_network")
STABLE_AGE_S = 2
"""In place of the example's, to spare the tests the time: the only thing that differs from it."""


@pytest.fixture
def composed(tmp_path: Path, program: Callable[[str], str]) -> Iterator[Composed]:
    program("Orthanc")
    program("storescu")
    found = Composed(tmp_path / "segloop", program, QUIET_PERIOD_S="1")
    configuration = found.folder / "orthanc.json"
    text, count = re.subn(r'"StableAge": \d+', f'"StableAge": {STABLE_AGE_S}', configuration.read_text())
    assert count == 1
    configuration.write_text(text)
    yield found
    found.stop()


def orthanc(path: str, **more: Any) -> httpx.Response:
    with httpx.Client(auth=("orthanc", PASSWORD), timeout=30, trust_env=False) as client:
        return client.request("POST" if more else "GET", f"http://127.0.0.1:8042{path}", **more)


def start_orthanc(composed: Composed, **changed: str) -> None:
    composed.answers(composed.start("orthanc", **changed), lambda: orthanc("/system"))
    assert httpx.get("http://127.0.0.1:8042/system", trust_env=False).status_code == 401


def start_gateway(composed: Composed) -> None:
    composed.answers(composed.start("gateway"), lambda: composed.ask("/readyz"))


def jobs() -> list[str]:
    found = [
        job for job in orthanc("/jobs?expand").json() if job["Type"] in ("DicomModalityStore", "DicomWebStowClient")
    ]
    return sorted(job["State"] for job in found)


def results(sample: Sample) -> set[str]:
    """UIDs of what Orthanc holds of a study beyond its images."""
    query = {
        "Level": "Instance",
        "Expand": True,
        "Query": {"StudyInstanceUID": sample.study_uid, "Modality": "SEG\\SR"},
    }
    return {found["MainDicomTags"]["SOPInstanceUID"] for found in orthanc("/tools/find", json=query).json()}


def answered(composed: Composed, sample: Sample) -> set[str]:
    """Wait until a study is done, and return the UIDs of the results that were delivered."""

    def done() -> set[str]:
        study = composed.ask(f"/api/studies/{sample.study_uid}").json()
        stacks = [stack for stack in study.get("stacks", ()) if stack["state"] == "done"]
        return {one["sop_uid"] for stack in stacks for one in stack["deliveries"] if one["state"] == "delivered"}

    return until(done, 120, what="the study was not answered")


def sample_of(folder: Path, seed: int) -> Sample:
    return write_cardiac(folder, slices=8, phases=4, seed=seed)


def test_orthanc_sends_its_studies_and_gets_their_results_also_after_an_outage(
    composed: Composed, tmp_path: Path
) -> None:
    first, second = sample_of(tmp_path / "first", 3), sample_of(tmp_path / "second", 4)
    start_orthanc(composed)
    assert storescu(4242, first.paths, calling="SCANNER1", called="ORTHANC")
    until(lambda: jobs() == ["Failure"], 60, what="nothing was sent, or to somebody")
    start_gateway(composed)
    assert storescu(4242, second.paths, calling="SCANNER1", called="ORTHANC")
    for sample in (first, second):
        sent = answered(composed, sample)
        assert len(sent) >= 2
        assert results(sample) == sent
    assert jobs() == ["Failure", "Success", "Success"]
    time.sleep(2 * STABLE_AGE_S + 1)  # the results made both studies stable once more
    assert jobs() == ["Failure", "Success", "Success"]
    assert composed.ask(f"/api/studies/{first.study_uid}").json()["received"] == len(first.paths)


def test_orthanc_sends_by_dicomweb_with_a_token_where_it_is_told_to(composed: Composed, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operator" / "orthanc.md").read_text()
    section = page[page.index("## By DICOMweb") :]
    more = json.loads("{" + re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0].rstrip().rstrip(",") + "}")
    line, source = (
        re.findall(r"```lua\n(.*?)```", section, re.DOTALL)[0],
        re.findall(r"`sources = (\[.*?\])`", section)[0],
    )
    configuration = composed.folder / "orthanc.json"
    configuration.write_text(json.dumps(json.loads(configuration.read_text()) | more))
    replace_line(composed.folder / "forward.lua", "local STORE", line)
    replace_line(composed.folder / "destinations.toml", "sources", f"sources = {source}")
    (composed.folder / "gateway.pem").write_text((composed.folder / "secrets" / "certificate.pem").read_text())
    composed.services["orthanc"]["volumes"].append(f"{composed.folder}/gateway.pem:/etc/orthanc/gateway.pem:ro")
    (name,) = re.findall("token:([a-z]+)", source)
    tokens = composed.folder / "secrets" / "tokens"
    tokens.chmod(0o600)
    tokens.write_text(tokens.read_text() + f"{name} sender {TOKENS['sender'][::-1]}\n")
    start_gateway(composed)
    start_orthanc(composed, SEGLOOP_TOKEN=TOKENS["sender"][::-1])
    sample = sample_of(tmp_path / "sample", 5)
    assert storescu(4242, sample.paths, calling="SCANNER1", called="ORTHANC")
    sent = answered(composed, sample)
    assert results(sample) == sent
    assert composed.ask(f"/api/studies/{sample.study_uid}").json()["sources"] == [f"token:{name}"]
    assert jobs() == ["Success"]


def replace_line(path: Path, begin: str, line: str) -> None:
    text, count = re.subn(rf"^{begin}.*$", lambda _: line.strip(), path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)
