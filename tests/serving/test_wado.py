"""WADO-RS: what was stored comes back, whole, as a header, as frames or as a picture."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from serving.dicomweb import frames
from serving.dicomweb.accept import ranges
from tests.builders import Exam, compress, heart
from tests.serving.receiving import Receiving, encoded, receiving, served

EXPLICIT = "1.2.840.10008.1.2.1"
SYNTAXES = [JPEGLSLossless, JPEG2000Lossless, RLELossless, JPEGLosslessSV1]
OCTETS, DICOM = "application/octet-stream", "application/dicom"


def segmentation(exam: Exam) -> FileDataset:
    """A binary SEG of three frames whose 7 x 5 pixels are no whole bytes."""
    made = exam.segmentation()
    made.Rows, made.Columns, made.NumberOfFrames = 7, 5, 3
    bits = np.arange(105) % 3 == 0
    made.PixelData = np.packbits(bits, bitorder="little").tobytes()
    return made


def sources(exam: Exam, folder: Path) -> dict[str, bytes]:
    """One object of each kind, as its sender sends it."""
    made: dict[str, bytes] = {}
    for syntax in SYNTAXES:
        image = exam.short_axis(1, 1, rows=64, columns=64)[0]
        image.PixelData = heart(64, 64, len(made), 0, 1).tobytes()
        made[syntax] = compress(image, syntax, folder).read_bytes()
    made["plain"] = encoded(exam.short_axis(1, 1, PixelRepresentation=1)[0])
    made["implicit"] = encoded(exam.short_axis(1, 1)[0], ImplicitVRLittleEndian)
    made["enhanced"] = encoded(exam.enhanced(2, 3))
    made["segmentation"] = encoded(segmentation(exam))
    made["report"] = encoded(exam.report())
    colour = exam.screenshot()
    colour.PixelData = np.arange(16 * 16 * 3, dtype=np.uint8).tobytes()
    made["colour"] = encoded(colour)
    packed = exam.screenshot()
    packed.PixelData = colour.PixelData
    made["packed colour"] = compress(packed, RLELossless, folder).read_bytes()
    planar = exam.screenshot()
    planar.PlanarConfiguration, planar.PixelData = 1, colour.PixelData
    made["planar"] = encoded(planar)
    return made


class Held:
    """What the module's gateway holds, and the ways to ask for it."""

    def __init__(self, side: Receiving, address: str, content: dict[str, bytes]) -> None:
        self.side, self.root, self.content = side, f"{address}/dicom-web", content
        self.client = DICOMwebClient(self.root)
        self.read = {name: dcmread(BytesIO(content)) for name, content in content.items()}

    def uids(self, name: str) -> tuple[str, str, str]:
        one = self.read[name]
        return one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID

    def get(self, name: str, path: str = "", accept: str | None = None) -> httpx.Response:
        study, series, instance = self.uids(name)
        headers = {"Accept": accept} if accept else {}
        place = f"{self.root}/studies/{study}/series/{series}/instances/{instance}{path}"
        return httpx.get(place, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    folder = tmp_path_factory.mktemp("wado")
    with receiving(folder / "home") as side, served(side.app()) as address:
        content = sources(Exam(), folder)
        for one in content.values():
            side.take(one)
        yield Held(side, address, content)


def same(first: Dataset, second: Dataset) -> bool:
    """Whether two data sets say the same, leaving pixels and what describes their encoding aside."""
    skipped = {0x7FE00010, 0x00280004, 0x00280006}
    return {e.tag: e for e in first if e.tag not in skipped} == {e.tag: e for e in second if e.tag not in skipped}


@pytest.mark.parametrize("name", [*SYNTAXES, "plain", "implicit", "enhanced", "segmentation", "report", "colour"])
def test_an_instance_comes_back_uncompressed_by_default(held: Held, name: str) -> None:
    back, sent = held.client.retrieve_instance(*held.uids(name), media_types=(DICOM,)), held.read[name]
    assert back.file_meta.TransferSyntaxUID in (EXPLICIT, ImplicitVRLittleEndian)
    assert same(back, sent)
    if "PixelData" in sent:
        assert np.array_equal(back.pixel_array, sent.pixel_array)


@pytest.mark.parametrize("name", [*SYNTAXES, "plain", "implicit", "packed colour", "report"])
def test_with_any_transfer_syntax_the_very_bytes_come_back(held: Held, name: str) -> None:
    answer = held.get(name, accept=f'multipart/related; type="{DICOM}"; transfer-syntax=*')
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    syntax = held.read[name].file_meta.TransferSyntaxUID
    assert f"transfer-syntax={syntax}".encode() in head
    assert rest == held.content[name] + f"\r\n--{boundary}--\r\n".encode()
    assert held.client.retrieve_instance(*held.uids(name)).file_meta.TransferSyntaxUID == syntax


def test_implicit_becomes_explicit_where_that_is_asked_for(held: Held) -> None:
    back = held.client.retrieve_instance(*held.uids("implicit"), media_types=((DICOM, EXPLICIT),))
    assert back.file_meta.TransferSyntaxUID == EXPLICIT
    assert same(back, held.read["implicit"])
    assert back.PixelData == held.read["implicit"].PixelData


def test_one_instance_may_come_without_parts(held: Held) -> None:
    answer = held.get("plain", accept=DICOM)
    assert answer.headers["content-type"] == DICOM
    assert answer.content == held.content["plain"]


def test_whole_series_and_studies(held: Held) -> None:
    study, series, _ = held.uids("report")
    assert [one.SOPInstanceUID for one in held.client.retrieve_series(study, series)] == [held.uids("report")[2]]
    back = held.client.retrieve_study(study)
    assert [one.SOPInstanceUID for one in back] == [one.SOPInstanceUID for one in held.read.values()]


@pytest.mark.parametrize("name", ["plain", *SYNTAXES, "enhanced", "colour", "packed colour", "segmentation", "report"])
def test_metadata_say_what_the_header_says(held: Held, name: str) -> None:
    study, series, instance = held.uids(name)
    found = held.client.retrieve_instance_metadata(study, series, instance)
    back = Dataset.from_json({tag: value for tag, value in found.items() if "BulkDataURI" not in value})
    sent = held.read[name]
    assert same(back, Dataset({tag: sent[tag] for tag in sent.keys() if tag != 0x7FE00010}))  # noqa: SIM118
    if "PixelData" in sent:
        assert found["7FE00010"]["BulkDataURI"].startswith(f"{held.root}/studies/{study}/series/{series}/instances/")
    assert found in held.client.retrieve_series_metadata(study, series)
    assert found in held.client.retrieve_study_metadata(study)


@pytest.mark.parametrize("name", ["plain", "implicit", *SYNTAXES, "colour", "packed colour", "planar"])
def test_frames_come_decoded_by_default(held: Held, name: str) -> None:
    (frame,) = held.client.retrieve_instance_frames(*held.uids(name), frame_numbers=[1])
    expected = held.read[name].pixel_array
    if name == "planar":
        expected = np.moveaxis(expected, -1, 0)
    assert frame == np.ascontiguousarray(expected).tobytes()
    again = held.client.retrieve_instance_frames(*held.uids(name), [1], media_types=((OCTETS, EXPLICIT),))
    assert again == [frame]
    assert held.get(name, "/frames/1", accept=OCTETS).content == frame


def test_chosen_frames_in_the_order_asked_for(held: Held) -> None:
    pixels = held.read["enhanced"].pixel_array
    chosen = [5, 1, 6]
    found = held.client.retrieve_instance_frames(*held.uids("enhanced"), frame_numbers=chosen)
    assert found == [pixels[number - 1].tobytes() for number in chosen]


def test_frames_of_single_bits_are_packed_each_for_itself(held: Held) -> None:
    pixels = held.read["segmentation"].pixel_array
    found = held.client.retrieve_instance_frames(*held.uids("segmentation"), frame_numbers=[1, 2, 3])
    for frame, expected in zip(found, pixels, strict=True):
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:35]
        assert np.array_equal(bits.reshape(7, 5), expected)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_compressed_frames_come_as_stored_where_that_is_asked_for(held: Held, syntax: str) -> None:
    expected = held.read[syntax].PixelData
    kind = frames.PART_TYPES[syntax]
    asked = [f'multipart/related; type="{kind}"', f'multipart/related; type="*/*"; transfer-syntax={syntax}']
    asked += [
        f'multipart/related; type="{kind}"; transfer-syntax={syntax}',
        'multipart/related; type="*/*"; transfer-syntax=*',
    ]
    for accept in asked:
        answer = held.get(syntax, "/frames/1", accept)
        head, _, rest = answer.content.partition(b"\r\n\r\n")
        assert f"Content-Type: {kind}; transfer-syntax={syntax}".encode() in head
        assert rest[: rest.rindex(b"\r\n--", 0, -4)] in expected


@pytest.mark.parametrize(
    ("numbers", "status"), [("0", 404), ("2", 404), ("1,9", 404), ("x", 400), ("1,", 400), ("-1", 400), ("1" * 9, 400)]
)
def test_frames_that_are_not_there(held: Held, numbers: str, status: int) -> None:
    assert held.get("plain", f"/frames/{numbers}").status_code == status


def test_objects_without_pixels_have_no_frames(held: Held) -> None:
    for path in ("/frames/1", "/rendered"):
        assert held.get("report", path).status_code == 404


@pytest.mark.parametrize("name", ["plain", "enhanced", "colour", "segmentation", JPEGLSLossless])
def test_bulk_data_are_the_pixels_uncompressed(held: Held, name: str) -> None:
    study, series, instance = held.uids(name)
    place = held.client.retrieve_instance_metadata(study, series, instance)["7FE00010"]["BulkDataURI"]
    (content,) = held.client.retrieve_bulkdata(place)
    plain = held.client.retrieve_instance(study, series, instance, media_types=(DICOM,))
    assert content == plain.PixelData
    assert httpx.get(place, headers={"Accept": OCTETS}).content == content


@pytest.mark.parametrize("tag", ["00100010", "7FE00011", "x", "7FE0001"])
def test_other_bulk_data_are_not_there(held: Held, tag: str) -> None:
    assert held.get("plain", f"/bulkdata/{tag}").status_code == 404


def test_large_values_are_given_by_address(held: Held) -> None:
    made = Exam("large").report()
    made.EncapsulatedDocument = bytes(range(256)) * 300
    made.ICCProfile = b"small"
    held.side.take(made)
    uids = made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID
    found = held.client.retrieve_instance_metadata(*uids)
    assert "InlineBinary" in found["00282000"]
    assert held.client.retrieve_bulkdata(found["00420011"]["BulkDataURI"]) == [made.EncapsulatedDocument]


@pytest.mark.parametrize("name", ["plain", "colour", "segmentation", "enhanced", *SYNTAXES])
@pytest.mark.parametrize("kind", ["image/jpeg", "image/png"])
def test_pictures_show_the_frame_and_what_it_is_for(held: Held, name: str, kind: str) -> None:
    answer = held.get(name, "/rendered", kind)
    assert answer.headers["content-type"] == kind
    picture = np.asarray(Image.open(BytesIO(answer.content)).convert("L"))
    sent = held.read[name]
    assert picture.shape == (sent.Rows + 14, max(sent.Columns, 110))
    assert picture[sent.Rows :].max() > 100
    shown = picture[: sent.Rows, : sent.Columns].astype(float)
    frame = sent.pixel_array if sent.get("NumberOfFrames") is None else sent.pixel_array[0]
    if kind == "image/png" and name != "colour":
        assert np.corrcoef(shown.ravel(), frame.ravel())[0, 1] > 0.99


def test_pictures_of_a_chosen_frame(held: Held) -> None:
    one = held.client.retrieve_instance_frames_rendered(*held.uids("enhanced"), [4], media_types=("image/png",))
    assert one == held.get("enhanced", "/frames/4/rendered", "image/png").content
    assert one != held.get("enhanced", "/rendered", "image/png").content
    assert held.client.retrieve_instance_rendered(*held.uids("plain"))[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", "text/html"),
        ("", f'multipart/related; type="{DICOM}"; transfer-syntax=1.2.840.10008.1.2.4.50'),
        ("/metadata", "application/dicom+xml"),
        ("/frames/1", 'multipart/related; type="image/jpeg"'),
        ("/rendered", "image/gif"),
        ("/bulkdata/7FE00010", "image/png"),
    ],
)
def test_what_cannot_be_had_is_not_acceptable(held: Held, path: str, accept: str) -> None:
    assert held.get("plain", path, accept).status_code == 406


def test_pixels_that_nothing_decodes(held: Held) -> None:
    """They are given as they are stored; asked for decoded, the answer says why not."""
    made = Exam("broken").short_axis(1, 1)[0]
    made.PixelData = made.PixelData[:100]
    held.side.take(made)
    place = (
        f"{held.root}/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
    )
    for path in ("/frames/1", "/rendered"):
        answer = httpx.get(place + path)
        assert answer.status_code == 406
        assert "cannot be decoded" in answer.json()["reason"]
    assert httpx.get(place, headers={"Accept": DICOM}).content == encoded(made)


@pytest.mark.parametrize("path", ["", "/metadata"])
@pytest.mark.parametrize("place", ["studies/1.2", "studies/{0}/series/1.2", "studies/{0}/series/{1}/instances/1.2"])
def test_what_is_not_stored_is_not_found(held: Held, place: str, path: str) -> None:
    answer = httpx.get(f"{held.root}/" + place.format(*held.uids("plain")) + path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_object")


def test_the_accept_parameter_of_the_address_counts_first(held: Held) -> None:
    answer = held.get("plain", "/rendered?accept=image/png", "image/jpeg")
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("*/*", [("*/*", "*/*", "")]),
        ("a/b;q=0.1, c/d", [("c/d", "c/d", ""), ("a/b", "a/b", "")]),
        ("a/b;q=0", []),
        ("a/b;q=x", [("a/b", "a/b", "")]),
        (
            'multipart/related; type="application/dicom"; transfer-syntax=*, image/png',
            [("multipart/related", "application/dicom", "*"), ("image/png", "image/png", "")],
        ),
        ('multipart/related; type="a/b, c"', [("multipart/related", "a/b, c", "")]),
        ("multipart/related", [("multipart/related", "*/*", "")]),
    ],
)
def test_accept_headers(header: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(one.kind, one.content, one.syntax) for one in ranges(header)] == expected


@pytest.mark.parametrize(
    ("kind", "admits"), [("image/*", True), ("image/png", True), ("*/*", True), ("image/jpeg", False)]
)
def test_what_a_range_admits(kind: str, admits: bool) -> None:
    assert ranges(kind)[0].admits("image/png") is admits


def test_addresses_have_the_port_that_the_client_left_out(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """dicomweb-client sends a Host header without it; behind a proxy the Host header is right as it is."""
    study = held.uids("plain")[0]
    port = held.root.split(":")[2].split("/")[0]
    for host, expected in (
        ("127.0.0.1", f"127.0.0.1:{port}"),
        ("localhost", f"localhost:{port}"),
        (f"127.0.0.1:{port}", f"127.0.0.1:{port}"),
    ):
        found: Any = httpx.get(f"{held.root}/studies", headers={"Host": host}, params={"StudyInstanceUID": study})
        assert found.json()[0]["00081190"]["Value"][0] == f"http://{expected}/dicom-web/studies/{study}"
