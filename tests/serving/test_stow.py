"""STOW-RS: the same outcome however the body is cut, and everything received whole is kept."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from python_multipart.exceptions import FormParserError

from contracts.errors import NotYet
from serving.receive import stow
from serving.receive.stow import Body, Failure
from tests.builders import Exam
from tests.serving.receiving import Receiving, encoded, receiving, served

BOUNDARY = "a boundary"
TYPE = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
IMAGES = Exam().short_axis(3, 1)
FILES = [encoded(made) for made in IMAGES]
STUDY = str(IMAGES[0].StudyInstanceUID)


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Receiving]:
    with receiving(tmp_path / "home") as made:
        yield made


@pytest.fixture
def web(side: Receiving) -> Iterator[httpx.Client]:
    with served(side.app()) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


def multipart(*parts: bytes, head: bytes = b"", end: bytes = b"--\r\n", kind: bytes = b"application/dicom") -> bytes:
    body = head
    for part in parts:
        body += b"--" + BOUNDARY.encode() + b"\r\nContent-Type: " + kind + b"\r\n\r\n" + part + b"\r\n"
    return body + b"--" + BOUNDARY.encode() + end


def post(web: httpx.Client, body: bytes, study: str = "", kind: str = TYPE) -> httpx.Response:
    address = "/dicom-web/studies" + (f"/{study}" if study else "")
    return web.post(address, content=body, headers={"Content-Type": kind, "Accept": "application/dicom+json"})


def stored(answer: httpx.Response) -> list[str]:
    return [one["00081155"]["Value"][0] for one in answer.json().get("00081199", {"Value": []})["Value"]]


def failures(answer: httpx.Response) -> list[int]:
    return [one["00081197"]["Value"][0] for one in answer.json().get("00081198", {"Value": []})["Value"]]


def test_all_stored(side: Receiving, web: httpx.Client) -> None:
    answer = post(web, multipart(*FILES))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert stored(answer) == [made.SOPInstanceUID for made in IMAGES]
    assert "00081198" not in answer.json()
    first = answer.json()["00081199"]["Value"][0]
    assert first["00081150"] == {"vr": "UI", "Value": [IMAGES[0].SOPClassUID]}
    address = first["00081190"]["Value"][0]
    assert web.get(address).status_code == 200
    assert answer.json()["00081190"]["Value"] == [str(web.base_url).rstrip("/") + f"/dicom-web/studies/{STUDY}"]
    assert side.senders() == {"local"}
    assert [side.archive.path(row.key).read_bytes() for row in side.rows()] == FILES


def test_again_is_success_and_nothing_new(side: Receiving, web: httpx.Client) -> None:
    post(web, multipart(*FILES))
    answer = post(web, multipart(*FILES, FILES[0]))
    assert answer.status_code == 200
    assert len(stored(answer)) == 4
    assert side.kinds() == ["source"] * 3


def test_some_fail(side: Receiving, web: httpx.Client) -> None:
    other = Exam().short_axis(1, 1)[0]
    other.PixelData = bytes(len(other.PixelData))
    answer = post(web, multipart(FILES[0], b"no DICOM", FILES[1][:-50], encoded(other)))
    assert answer.status_code == 202
    assert stored(answer) == [IMAGES[0].SOPInstanceUID]
    assert sorted(failures(answer)) == [0x0111, 0xC000, 0xC000]
    (named,) = (one for one in answer.json()["00081198"]["Value"] if "00081155" in one)
    assert named["00081155"]["Value"] == [other.SOPInstanceUID]
    assert named["00081150"]["Value"] == [other.SOPClassUID]
    assert len(side.quarantined()) == 2
    assert side.kinds() == ["aside", "source"]


def test_all_fail(web: httpx.Client) -> None:
    answer = post(web, multipart(b"no DICOM", b""))
    assert answer.status_code == 409
    assert failures(answer) == [0xC000, 0xC000]


def test_the_reasons_are_said_in_words_once_each(side: Receiving, web: httpx.Client) -> None:
    answer = post(web, multipart(b"junk", FILES[0], b"other junk"))
    words = answer.headers["warning"]
    assert words.startswith('299 segloop "')
    assert words.count("no DICOM file") == 1
    assert "warning" not in post(web, multipart(*FILES)).headers


def test_the_study_of_the_address_is_the_only_one_taken(web: httpx.Client) -> None:
    assert post(web, multipart(*FILES), STUDY).status_code == 200
    answer = post(web, multipart(*FILES), "1.2.3")
    assert answer.status_code == 409
    assert failures(answer) == [0xC409] * 3
    mixed = post(web, multipart(FILES[0], encoded(Exam("other").report())), STUDY)
    assert (mixed.status_code, failures(mixed)) == (202, [0xC409])
    assert post(web, multipart(*FILES), "1.2x").status_code == 400


@pytest.mark.parametrize(
    "kind",
    [
        "application/dicom",
        "multipart/form-data; boundary=x",
        "multipart/related; type=application/dicom",
        'multipart/related; type="application/dicom+json"; boundary=x',
        'multipart/related; type="application/dicom+xml"; boundary=x',
        "",
    ],
)
def test_other_media_types_are_not_supported(side: Receiving, web: httpx.Client, kind: str) -> None:
    assert post(web, multipart(*FILES), kind=kind).status_code == 415
    assert side.files() == []


@pytest.mark.parametrize(
    "kind",
    [
        f'multipart/related; boundary="{BOUNDARY}"',
        f'multipart/related; type=application/dicom; boundary="{BOUNDARY}"',
        f'Multipart/Related; Boundary="{BOUNDARY}"; Type="application/dicom"; start="<1>"',
    ],
)
def test_ways_to_say_the_same_media_type(web: httpx.Client, kind: str) -> None:
    assert post(web, multipart(*FILES), kind=kind).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        multipart(*FILES, head=b"\r\n"),
        multipart(*FILES, head=b"This is a multi-part message.\r\n"),
        multipart(*FILES) + b"an epilogue",
        multipart(*FILES, kind=b"application/dicom; transfer-syntax=1.2.840.10008.1.2"),
    ],
)
def test_odd_but_legal_bodies(web: httpx.Client, body: bytes) -> None:
    assert len(stored(post(web, body))) == 3


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", 0),
        (b"no multipart at all", 0),
        (multipart(*FILES).replace(b"\r\n", b"\n"), 0),
        (multipart(*FILES)[: len(multipart(FILES[0])) + 500], 1),
        (multipart(*FILES, end=b""), 2),
        (multipart(*FILES)[:200], 0),
    ],
)
def test_broken_bodies_are_400_and_name_what_is_kept(
    side: Receiving, web: httpx.Client, body: bytes, kept: int
) -> None:
    answer = post(web, body)
    assert answer.status_code == 400
    assert stored(answer) == [made.SOPInstanceUID for made in IMAGES[:kept]]
    assert len(side.rows()) == kept
    assert side.unfinished() == []


def test_a_client_that_goes_away_leaves_what_was_whole(side: Receiving, web: httpx.Client) -> None:
    body = multipart(*FILES)[: len(multipart(FILES[0])) + 700]
    at = urlsplit(str(web.base_url))
    with socket.create_connection((at.hostname, at.port)) as connection:
        lines = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: {TYPE}\r\nContent-Length: 999999"
        )
        connection.sendall(lines.encode() + b"\r\n\r\n" + body)
        assert wait_for(lambda: len(side.files()) == len(side.unfinished()) == 1)
        assert side.activity.open_studies() == {STUDY}
    assert wait_for(lambda: side.unfinished() == [] and side.activity.open_studies() == set())
    assert [row.sop_uid for row in side.rows()] == [IMAGES[0].SOPInstanceUID]


def test_a_client_that_falls_silent_is_not_awaited_for_ever(
    side: Receiving, web: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow, "STALL_S", 0.3)
    at = urlsplit(str(web.base_url))
    body = multipart(*FILES)[: len(multipart(FILES[0])) + 700]
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        lines = f"POST /dicom-web/studies HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: {TYPE}\r\n"
        connection.sendall(lines.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n" % len(body) + body + b"\r\n")
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (side.unfinished(), side.activity.open_studies()) == ([], set())
    assert [row.sop_uid for row in side.rows()] == [IMAGES[0].SOPInstanceUID]


def wait_for(condition: Callable[[], bool]) -> bool:
    """Wait up to ten seconds for a condition."""
    waiting = threading.Event()
    return any(condition() or waiting.wait(0.02) for _ in range(500))


def test_without_disk_space_the_service_is_unavailable(side: Receiving, web: httpx.Client) -> None:
    side.intake.settings = side.settings.model_copy(update={"min_free_gb": 1e9})
    answer = post(web, multipart(*FILES))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"
    assert answer.json()["code"] == "disk_low"
    assert side.files() == side.unfinished() == []


def test_a_part_that_is_too_large_fails_alone(side: Receiving, web: httpx.Client) -> None:
    side.intake.settings = side.settings.model_copy(update={"max_instance_gb": max(map(len, FILES)) / 1e9})
    answer = post(web, multipart(FILES[0], FILES[1] + bytes(100), FILES[2]))
    assert (answer.status_code, failures(answer)) == (202, [0xA700])
    assert len(side.rows()) == 2
    assert side.unfinished() == []


def test_too_many_parts_end_the_request(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow, "MOST_PARTS", 2)
    answer = post(web, multipart(*FILES))
    assert (answer.status_code, len(stored(answer))) == (400, 2)


def test_tokens_name_the_sender_and_others_are_turned_away(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("mr1 sender " + "s" * 24 + "\nreader reader " + "r" * 24 + "\n")
    tokens.chmod(0o600)
    options: dict[str, Any] = {"tokens": tokens, "tls_terminated_by_proxy": True, "allowed_ae_titles": "A"}
    with receiving(tmp_path / "home", **options) as side, served(side.app()) as address:
        for token, status in ((None, 401), ("x" * 24, 401), ("r" * 24, 403), ("s" * 24, 200)):
            headers = {"Content-Type": TYPE} | ({"Authorization": f"Bearer {token}"} if token else {})
            answer = httpx.post(f"{address}/dicom-web/studies", content=multipart(*FILES), headers=headers)
            assert answer.status_code == status
        assert side.senders() == {"token:mr1"}


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 20000), max_size=12), head=st.sampled_from([b"", b"\r\n", b"text\r\n"]))
def test_the_outcome_does_not_depend_on_the_pieces(side: Receiving, cuts: list[int], head: bytes) -> None:
    whole = multipart(*FILES, b"no DICOM", head=head)
    with side.activity.carrying() as carrier:
        body = Body(BOUNDARY.encode(), side.intake, "local", None, carrier)
        edges = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
        for start, end in itertools.pairwise(edges):
            body.write(whole[start:end])
        body.finish()
    assert body.complete
    assert [one.sop_uid for one in body.stored] == [made.SOPInstanceUID for made in IMAGES]
    assert body.failed == [Failure(0xC000)]


def test_byte_by_byte(side: Receiving) -> None:
    with side.activity.carrying() as carrier:
        body = Body(BOUNDARY.encode(), side.intake, "local", None, carrier)
        for byte in multipart(FILES[0]):
            body.write(bytes([byte]))
        body.finish()
    assert len(body.stored) == 1


def test_a_preamble_has_a_limit_and_the_disk_is_asked_for_each_part(side: Receiving) -> None:
    with side.activity.carrying() as carrier:
        with pytest.raises(FormParserError):
            Body(b"x", side.intake, "local", None, carrier).write(bytes(stow.MOST_PREAMBLE + 1))
        side.intake.settings = side.settings.model_copy(update={"min_free_gb": 1e9})
        with pytest.raises(NotYet):
            Body(BOUNDARY.encode(), side.intake, "local", None, carrier).write(multipart(*FILES))
