"""The memory of the receiving side does not grow with what is sent. The long forms are those of the requirement."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from tests.builders import Exam
from tests.serving.receiver_process import Process, running
from tests.serving.receiving import encoded

ALLOWED_MB = 150
BOUNDARY = "b" * 20
PIECE = 1 << 20


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A receiving side that has worked before: what is loaded at first use is no part of the growth."""
    with running(tmp_path / "home") as made:
        post(made, parts([encoded(Exam("first").short_axis(1, 1)[0])]))
        yield made


def multi_frame(megabytes: int) -> tuple[bytes, int]:
    """Return all of a multi-frame object before its pixels, and how many bytes of pixels belong to it."""
    made: FileDataset = Exam("large").enhanced(1, 1)
    made.Rows = made.Columns = 512
    made.NumberOfFrames = megabytes * 2
    made.PixelData = b"\x01\x02\x03\x04"
    whole = encoded(made)
    size = megabytes * 2 * 512 * 512 * 2
    return whole[:-8] + size.to_bytes(4, "little"), size


def large(megabytes: int) -> Iterator[bytes]:
    head, size = multi_frame(megabytes)
    yield head
    for _ in range(size // PIECE):
        yield os.urandom(4096) * (PIECE // 4096)


def parts(objects: "Iterator[bytes] | list[bytes]") -> Iterator[bytes]:
    for content in objects:
        yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def one_part(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    yield from pieces
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def post(process: Process, body: Iterator[bytes]) -> int:
    """Send a request and return how many objects were stored."""
    answer = httpx.post(
        f"http://127.0.0.1:{process.http}/dicom-web/studies",
        content=body,
        headers={"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'},
        timeout=600,
    )
    assert answer.status_code == 200
    return len(answer.json()["00081199"]["Value"])


def growth(process: Process, work: Callable[[], object]) -> float:
    """Return by how much the peak exceeds the idle level, in MB, while the work is done."""
    idle = process.memory_mb
    process.forget_peak()
    work()
    print(f"idle {idle:.0f} MB, peak {process.peak_mb:.0f} MB")
    return process.peak_mb - idle


def check_one_instance(process: Process, megabytes: int) -> None:
    assert growth(process, lambda: post(process, one_part(large(megabytes)))) < ALLOWED_MB


def check_many_instances(process: Process, count: int) -> None:
    template = Exam("many").short_axis(1, 1, rows=362, columns=362)[0]
    content = encoded(template)
    own = template.SOPInstanceUID.encode()
    assert 255_000 < len(content) < 270_000

    def objects() -> Iterator[bytes]:
        for number in range(count):
            uid = generate_uid(prefix="2.25.", entropy_srcs=[str(number)]).encode()[: len(own)].ljust(len(own), b"1")
            yield content.replace(own, uid)

    def send() -> None:
        assert post(process, parts(objects())) == count

    assert growth(process, send) < ALLOWED_MB


def check_store(process: Process, megabytes: int, folder: Path, storescu: str) -> None:
    with (folder / "large.dcm").open("wb") as file:
        file.writelines(large(megabytes))

    def send() -> None:
        command = [storescu, "-xf", str(profile(folder)), "Default", "127.0.0.1", str(process.dicom)]
        command += [str(folder / "large.dcm")]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "TCP_NODELAY": "1"}, check=False
        )
        assert done.returncode == 0, done.stderr

    for _ in range(2):
        assert growth(process, send) < ALLOWED_MB
    # By the other way its bytes differ, so that both copies must be compared by what they say.
    with (folder / "large.dcm").open("rb") as file:
        again = one_part(iter(lambda: file.read(PIECE), b""))
        assert growth(process, lambda: post(process, again)) < ALLOWED_MB


def profile(folder: Path) -> Path:
    """An association profile of DCMTK for the one class that is sent."""
    path = folder / "profile.cfg"
    path.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Images]\nPresentationContext1 = EnhancedMRImageStorage\\Plain\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Images\n"
    )
    return path


def test_one_large_instance_by_stow(process: Process) -> None:
    check_one_instance(process, 200)


def test_many_instances_in_one_request(process: Process) -> None:
    check_many_instances(process, 300)


def test_a_large_instance_by_c_store(process: Process, tmp_path: Path, program: Callable[[str], str]) -> None:
    check_store(process, 100, tmp_path, program("storescu"))


@pytest.mark.prove
def test_one_instance_of_a_gigabyte_by_stow(process: Process) -> None:
    check_one_instance(process, 1000)


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_four_thousand_instances_in_one_request(process: Process) -> None:
    check_many_instances(process, 4000)


@pytest.mark.prove
def test_a_multi_frame_of_300_megabytes_by_c_store(
    process: Process, tmp_path: Path, program: Callable[[str], str]
) -> None:
    check_store(process, 300, tmp_path, program("storescu"))
