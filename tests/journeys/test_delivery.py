"""Results go back to a real Orthanc: once each, through outages and kills, and to nobody else's."""

import httpx
import pytest

from client.samples.cardiac import write_cardiac
from tests.journeys.orthanc import Orthanc
from tests.journeys.running import storescu, until

pytestmark = pytest.mark.usefixtures("private_network")


@pytest.fixture
def orthanc(tmp_path, program):
    program("Orthanc")
    made = []

    def make(title: str) -> Orthanc:
        made.append(Orthanc(tmp_path / title.lower(), title))
        return made[-1]

    yield make
    for peer in made:
        peer.stop()


def destinations(path, *entries: str):
    """Write a destinations file."""
    path.write_text("\n".join(f"[[destination]]\n{entry}\n" for entry in entries))
    return path


def by_dimse(peer: Orthanc, name: str, source: str, more: str = "") -> str:
    return (
        f'name = "{name}"\nprotocol = "dimse"\nae_title = "{peer.title}"\nhost = "127.0.0.1"\n'
        f'port = {peer.dicom_port}\nsources = ["{source}"]\n{more}'
    )


def by_stow(peer: Orthanc, name: str, source: str, more: str = "") -> str:
    return f'name = "{name}"\nprotocol = "stow"\nurl = "{peer.url}/dicom-web"\nsources = ["{source}"]\n{more}'


@pytest.mark.parametrize(
    "fault",
    [
        "deliver:sent",
        pytest.param("deliver:claimed", marks=pytest.mark.prove),
        pytest.param("deliver:booked", marks=pytest.mark.prove),
    ],
)
def test_orthanc_down_and_the_gateway_killed_while_sending_still_store_each_result_once(
    gateway, sample, orthanc, tmp_path, fault
):
    peer = orthanc("PACS")
    listed = destinations(tmp_path / "destinations.toml", by_dimse(peer, "pacs", "ae:SCANNER", 'phases = "all"'))
    running = gateway(destinations=listed, fault="").start()
    assert storescu(running.dicom_port, sample.paths, calling="SCANNER")
    study = running.settled(sample.study_uid, states=["delivering"])
    assert len(study["stacks"][0]["results"]) == 5
    running.stop()
    running.start(fault=fault)
    peer.start()
    httpx.post(f"{running.url}/api/studies/{sample.study_uid}/retry", timeout=30)
    running.died()
    running.start()
    httpx.post(f"{running.url}/api/studies/{sample.study_uid}/retry", timeout=30)
    done = running.settled(sample.study_uid, states=["done"])
    stored = [found["SOPInstanceUID"] for found in peer.instances()]
    assert sorted(stored) == sorted(result["sop_uid"] for result in done["stacks"][0]["results"])


def test_two_sources_and_two_destinations_never_see_each_other(gateway, sample, orthanc, tmp_path):
    other = write_cardiac(tmp_path / "other", slices=8, phases=4, seed=7)
    first, second = orthanc("FIRST").start(), orthanc("SECOND").start()
    listed = destinations(
        tmp_path / "destinations.toml",
        by_dimse(first, "first", "ae:SCANNER1"),
        by_stow(second, "second", "ae:SCANNER2"),
    )
    running = gateway(destinations=listed).start()
    assert storescu(running.dicom_port, sample.paths, calling="SCANNER1")
    assert storescu(running.dicom_port, other.paths, calling="SCANNER2")
    for study_uid, peer in ((sample.study_uid, first), (other.study_uid, second)):
        study = running.settled(study_uid, states=["done"])
        measured = study["stacks"][0]["measurements"]
        wanted = {
            result["sop_uid"]
            for result in study["stacks"][0]["results"]
            if result["kind"] == "sr" or result["phase"] in (measured["ed_phase"], measured["es_phase"])
        }
        assert {found["SOPInstanceUID"] for found in peer.instances()} == wanted


def test_a_stack_from_two_senders_goes_to_each_ones_destination_once(gateway, sample, orthanc, tmp_path):
    first, second = orthanc("FIRST").start(), orthanc("SECOND").start()
    listed = destinations(
        tmp_path / "destinations.toml", by_dimse(first, "first", "ae:ONE"), by_dimse(second, "second", "ae:TWO")
    )
    running = gateway(destinations=listed).start()
    assert storescu(running.dicom_port, sample.paths, calling="ONE")
    study = running.settled(sample.study_uid, states=["done"])
    assert (len(first.instances()), len(second.instances())) == (3, 0)
    for _ in range(2):
        assert storescu(running.dicom_port, sample.paths, calling="TWO")
    until(lambda: len(second.instances()) == 3, 60, what="the second sender's destination got nothing")
    again = running.settled(sample.study_uid, states=["done"])
    assert [result["sop_uid"] for result in again["stacks"][0]["results"]] == [
        result["sop_uid"] for result in study["stacks"][0]["results"]
    ]
    assert {delivery["attempts"] for delivery in again["stacks"][0]["deliveries"]} == {1}
    assert len(first.instances()) == 3
