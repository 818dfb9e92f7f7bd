"""Bad and awkward input at a running gateway: answered right or refused with a reason, and nothing blocks another.

One gateway gets all studies at once, each in one way awkward, so that every refusal stands beside answers.
"""

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.tag import BaseTag

from client.samples.cardiac import Sample, write_cardiac
from contracts.dicom import read_header
from contracts.stacks import describe, stacks_of
from contracts.volumes import Grid, arrange
from tests.builders import compress, write
from tests.conftest import SYSTEM_PATH
from tests.journeys import altered
from tests.journeys.altered import ALIKE, CODECS, REFUSED, WARNED, Alteration, study_uid
from tests.journeys.masks import masks_of
from tests.journeys.running import RunningGateway, retrieve, storescu, until

VERBATIM = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyDescription"),
    *("StudyInstanceUID", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
FAILURES = "00081198"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The cine that all cases are made of."""
    folder = tmp_path_factory.mktemp("base")
    return write_cardiac(folder, slices=altered.SLICES, phases=altered.PHASES, rows=160, columns=144, spacing=1.9)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The one gateway of this module."""
    made = RunningGateway(tmp_path_factory.mktemp("bad") / "home", max_instance_gb=0.05)
    yield made.start()
    made.stop()


@pytest.fixture(scope="module")
def folders(base: Sample, running: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the files of each case, all of them sent."""
    alterations: dict[str, Alteration] = {**ALIKE, **WARNED, **{case: row[0] for case, row in REFUSED.items()}}
    made = {case: written(base, case, change, tmp_path_factory) for case, change in alterations.items()}
    for path in made[altered.AWKWARD_IN_THE_EAST].iterdir():
        with_group_lengths(path)
    assert storescu(running.dicom_port, list(made.values()))
    for codec, (syntax, option) in CODECS.items():
        made[codec] = tmp_path_factory.mktemp("case")
        for image in altered.renamed(base.paths, codec):
            compress(image, syntax, made[codec])
        assert storescu(running.dicom_port, [made[codec]], option)
    return made


def written(base: Sample, case: str, change: Alteration, temporary: pytest.TempPathFactory) -> Path:
    """Write a case into a folder of its own."""
    folder = temporary.mktemp("case")
    write(change(altered.renamed(base.paths, case)), folder)
    return folder


def with_group_lengths(path: Path) -> None:
    """Write a file again with a group length in every group."""
    environment = {"PATH": SYSTEM_PATH, "DCMDICTPATH": "/usr/share/libdcmtk17/dicom.dic"}
    subprocess.run(["/usr/bin/dcmconv", "+g", path, path], check=True, env=environment)


def cine_grid(folder: Path) -> Grid:
    """The grid of the largest stack in a folder."""
    stacks = stacks_of([describe(read_header(path)) for path in sorted(folder.iterdir())])
    return arrange(max(stacks, key=lambda stack: len(stack.planes)), accept_per_instance_frame_of_reference=False)


@pytest.fixture(scope="module")
def answer(running: RunningGateway, folders: dict[str, Path]) -> Callable[[str], tuple[dict[str, Any], np.ndarray]]:
    """Return a function that gives the answered stack of a case and its labels [phase, slice, row, column]."""

    def answered(case: str) -> tuple[dict[str, Any], np.ndarray]:
        study = running.settled(study_uid(case))
        (stack,) = [stack for stack in study["stacks"] if stack["task"] == "cardiac"]
        assert stack["state"] == "done", (stack["code"], stack["reason"])
        report = stack["results"][-1]
        (running.home.parent / f"{report['sop_uid']}.dcm").write_bytes(retrieve(running, study["study_uid"], report))
        return stack, masks_of(running, study, stack, cine_grid(folders[case]))

    return answered


@pytest.fixture(scope="module")
def plain(answer: Callable[[str], tuple[dict[str, Any], np.ndarray]]) -> tuple[dict[str, Any], np.ndarray]:
    """The answer to the cine as it is."""
    return answer("plain")


@pytest.mark.parametrize("case", [*ALIKE, *CODECS])
def test_the_answer_to_the_same_images_is_the_same(case, answer, plain, base):
    stack, labels = answer(case)
    assert np.array_equal(labels, plain[1])
    assert [result["kind"] for result in stack["results"]] == ["seg"] * altered.PHASES + ["sr"]
    assert stack["warnings"] == []
    assert stack["measurements"] == plain[0]["measurements"]
    overlap = (labels > 0) & (base.truth > 0)
    assert 2 * overlap.sum() / ((labels > 0).sum() + (base.truth > 0).sum()) >= 0.8


@pytest.mark.parametrize("case", [case for case in ALIKE if case != "enhanced"])
def test_what_names_patient_and_study_is_copied_byte_by_byte(case, answer, folders, running):
    stack, _ = answer(case)
    source = pydicom.dcmread(next(folders[case].iterdir()), stop_before_pixels=True)
    for result in stack["results"]:
        made = pydicom.dcmread(running.home.parent / f"{result['sop_uid']}.dcm", stop_before_pixels=True)
        assert made.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")
        for keyword in VERBATIM:
            assert raw(made, keyword) == raw(source, keyword), keyword


def raw(dataset: pydicom.Dataset, keyword: str) -> bytes | None:
    """The bytes of an element as they stand in the file, without padding."""
    element = dataset.get_item(BaseTag(pydicom.datadict.tag_for_keyword(keyword) or 0))
    return None if element is None else (element.value or b"").rstrip(b" \0")


def test_the_answer_to_an_enhanced_cine_points_at_its_frames(answer, folders, running):
    stack, _ = answer("enhanced")
    source = pydicom.dcmread(next(folders["enhanced"].iterdir()), stop_before_pixels=True)
    seen = set()
    for result in stack["results"][:-1]:
        seg = pydicom.dcmread(running.home.parent / f"{result['sop_uid']}.dcm", stop_before_pixels=True)
        for frame in seg.PerFrameFunctionalGroupsSequence:
            image = frame.DerivationImageSequence[0].SourceImageSequence[0]
            assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
            place = source.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1].PlanePositionSequence[0]
            there = frame.PlanePositionSequence[0].ImagePositionPatient
            assert np.allclose(np.array(there, float), np.array(place.ImagePositionPatient, float), atol=1e-3)
            seen.add((result["phase"], image.ReferencedFrameNumber))
    assert {(frame - 1) // altered.SLICES + 1 == phase for phase, frame in seen} == {True}


@pytest.mark.parametrize(
    ("case", "words"), [("a missing slice", "slices seem to be missing"), ("irregular gaps", "slice distances differ")]
)
def test_gaps_are_warned_of_and_no_volumes_are_given(case, words, answer, base):
    stack, labels = answer(case)
    assert words in " ".join(stack["warnings"])
    assert "edv_voxels" in stack["measurements"]
    assert not [name for name in stack["measurements"] if name.endswith(("_ml", "_g"))]
    truth = np.delete(base.truth, 3, axis=1) if case == "a missing slice" else base.truth
    assert 2 * ((labels > 0) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum()) >= 0.8


def test_the_slices_of_one_matrix_are_answered_without_those_of_another(answer, running):
    stack, labels = answer("other matrices")
    assert labels.shape[1] == altered.SLICES - 2
    other = [one for one in running.study(study_uid("other matrices"))["stacks"] if one["id"] != stack["id"]]
    assert [(one["state"], one["code"]) for one in other] == [("not_processed", "no_rule")]
    assert "2 slice positions" in other[0]["reason"]


def test_a_localizer_in_the_series_is_not_processed_and_says_why(answer, running):
    stack, _ = answer("a localizer in the series")
    study = running.study(study_uid("a localizer in the series"))
    others = [one for one in study["stacks"] if one["id"] != stack["id"]]
    assert {one["state"] for one in others} == {"not_processed"}
    assert sum(one["instances"] for one in others) == 3


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_with_a_reason(case, running, folders):
    _, code, words = REFUSED[case]
    study = running.settled(study_uid(case), states={"refused"})
    (stack,) = study["stacks"]
    assert (stack["state"], stack["code"], stack["results"]) == ("refused", code, [])
    assert words in stack["reason"]
    assert study["received"] == len(list(folders[case].iterdir()))


def test_every_object_that_was_sent_is_kept(running, folders):
    """What WADO-RS gives back of each study is what was sent, data set by data set."""
    sent = [path for folder in folders.values() for path in folder.iterdir()]
    kept = {data_set(path.read_bytes()) for path in (running.home / "archive").glob("??/*.dcm")}
    assert {data_set(path.read_bytes()) for path in sent} <= kept


def data_set(content: bytes) -> str:
    """Digest of a file without its group 0002, which every receiver writes by itself."""
    return hashlib.sha256(content[144 + int.from_bytes(content[140:144], "little") :]).hexdigest()


def test_a_header_that_claims_a_huge_image_allocates_nothing(running, folders):
    running.settled(study_uid("60 000 x 60 000"), states={"refused"})
    running.settled(study_uid("plain"))
    assert running.process is not None
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    peak_kb = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kb < 1_500_000  # 60000 x 60000 pixels of 16 bits are 7.2 GB


def store(running: RunningGateway, *parts: bytes, study: str = "") -> httpx.Response:
    """Send byte strings by STOW-RS."""
    body = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    return httpx.post(
        f"{running.url}/dicom-web/studies{study}",
        content=body,
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'},
        timeout=60,
    )


def quarantined(running: RunningGateway) -> dict[bytes, str]:
    """Content of each file of the quarantine, and its name."""
    return {path.read_bytes(): path.name for path in (running.home / "quarantine").iterdir()}


def reasons(response: httpx.Response) -> list[int]:
    """Failure reasons of a STOW-RS response."""
    return [item["00081197"]["Value"][0] for item in response.json().get(FAILURES, {}).get("Value", [])]


def test_what_is_no_dicom_is_put_aside_and_its_sender_told(running):
    text = b"This is a letter, not an image. " * 20
    response = store(running, text)
    assert (response.status_code, reasons(response)) == (409, [0xC000])
    assert "no DICOM file" in response.headers["warning"]
    assert "not_dicom" in quarantined(running)[text]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.999])
def test_a_cut_file_is_put_aside_and_the_rest_of_the_request_stored(share, running, base):
    whole, other = (path.read_bytes() for path in base.paths[:2])
    cut = whole[: int(share * len(whole))]
    response = store(running, cut, other)
    assert (response.status_code, reasons(response)) == (202, [0xC000])
    assert cut in quarantined(running)
    stored = response.json()["00081199"]["Value"]
    assert [item["00081155"]["Value"][0] for item in stored] == [pydicom.dcmread(base.paths[1]).SOPInstanceUID]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_path_characters_in_a_uid_are_refused_and_reach_no_path(keyword, running, base, tmp_path):
    with altered.quiet():
        (image,) = altered.renamed(base.paths[:1], f"path in {keyword}")
        setattr(image, keyword, "../../../../tmp/segloop")
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(tmp_path / "evil.dcm")
    beside = sorted(path.name for path in running.home.parent.iterdir() if path.suffix != ".dcm")
    content = (tmp_path / "evil.dcm").read_bytes()
    response = store(running, content)
    assert (response.status_code, reasons(response)) == (409, [0xC000])
    assert keyword in response.headers["warning"]
    assert "bad_identity" in quarantined(running)[content]
    assert not storescu(running.dicom_port, [tmp_path / "evil.dcm"])
    assert beside == sorted(path.name for path in running.home.parent.iterdir() if path.suffix != ".dcm")
    assert not Path("/tmp/segloop").exists()


def test_a_study_of_another_address_is_turned_away(running, base):
    content = base.paths[2].read_bytes()
    response = store(running, content, study="/1.2.3")
    assert (response.status_code, reasons(response)) == (409, [0xC409])
    assert content in quarantined(running)


def test_pages_and_searches_bear_all_of_it(running, folders):
    for case in folders:
        uid = study_uid(case)
        running.settled(uid, states={"done", "refused", "not_processed"})
        assert httpx.get(f"{running.url}/studies/{uid}", timeout=60).status_code == 200, case
    for address in ("/", "/api/studies?limit=1000", "/dicom-web/studies", "/dicom-web/instances", "/readyz"):
        assert httpx.get(running.url + address, timeout=60).status_code == 200, address
    for case in (altered.AWKWARD_IN_THE_WEST, altered.AWKWARD_IN_THE_EAST, "colour pixels"):
        address = f"{running.url}/dicom-web/studies/{study_uid(case)}/metadata"
        assert httpx.get(address, timeout=60).status_code == 200, case
    found = httpx.get(f"{running.url}/dicom-web/studies?PatientName=Grün*", timeout=60).json()
    assert [study["0020000D"]["Value"] for study in found] == [[study_uid(altered.AWKWARD_IN_THE_WEST)]]


@pytest.mark.prove
def test_four_senders_of_one_study_at_once_get_one_answer(running, base, plain, tmp_path):
    write(altered.renamed(base.paths, "four senders"), tmp_path)
    uid = study_uid("four senders")
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(storescu, running.dicom_port, [tmp_path], calling=f"SENDER{i}") for i in range(4)]
        until(lambda: running.study(uid), 30, what="nothing arrived")
        running.complete(uid)
        assert all(one.result() for one in sent)
    study = running.settled(uid)
    (stack,) = study["stacks"]
    assert (study["received"], stack["instances"], len(stack["results"])) == (16, 16, altered.PHASES + 1)
    assert len({result["sop_uid"] for result in stack["results"]}) == altered.PHASES + 1
    assert np.array_equal(masks_of(running, study, stack, cine_grid(tmp_path)), plain[1])


@pytest.mark.prove
def test_the_same_instances_in_two_studies_are_answered_in_each(running, base, plain, tmp_path):
    answers = []
    for case in ("first study", "second study"):
        images = altered.renamed(base.paths, "first study")
        for image in images:
            image.StudyInstanceUID = study_uid(case)
        folder = tmp_path / case
        folder.mkdir()
        write(images, folder)
        assert storescu(running.dicom_port, [folder])
        study = running.settled(study_uid(case))
        (stack,) = study["stacks"]
        answers.append({result["sop_uid"] for result in stack["results"]})
        labels = masks_of(running, study, stack, cine_grid(folder))
        assert np.array_equal(labels, plain[1])
    assert answers[0].isdisjoint(answers[1])


@pytest.mark.prove
@pytest.mark.parametrize("codec", altered.MORE_CODECS)
def test_the_answer_to_other_encodings_is_the_same(codec, running, base, plain, tmp_path):
    files = [encoded(image, codec, tmp_path) for image in altered.renamed(base.paths, codec)]
    assert store(running, *(path.read_bytes() for path in files)).status_code == 200
    study = running.settled(study_uid(codec))
    (stack,) = study["stacks"]
    labels = masks_of(running, study, stack, cine_grid(tmp_path))
    if codec in ("JPEG-LS, near-lossless", "JPEG 2000, irreversible"):
        assert (labels == plain[1])[(labels > 0) | (plain[1] > 0)].mean() >= 0.97
    else:
        assert np.array_equal(labels, plain[1])


def encoded(image: pydicom.FileDataset, codec: str, folder: Path) -> Path:
    """Write an image in another transfer syntax."""
    syntax = altered.MORE_CODECS[codec]
    if codec == "big endian":
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = syntax
        path = folder / f"{len(list(folder.iterdir())):05d}.dcm"
        pydicom.dcmwrite(path, image, enforce_file_format=True, little_endian=False, implicit_vr=False)
        return path
    if codec.startswith("JPEG 2000"):
        image.compress(syntax, j2k_cr=[1], generate_instance_uid=False)
        return next(iter(write([image], folder).values()))
    return compress(image, syntax, folder)
