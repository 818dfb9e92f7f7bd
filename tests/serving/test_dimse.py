"""C-STORE and C-ECHO, with DCMTK's programs and with odd peers."""

import os
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import JPEGLSLossless, RLELossless
from pynetdicom import AE, Association, _config, build_context
from pynetdicom.sop_class import Verification

from contracts.errors import Missing
from serving.receive import dimse
from serving.receive import store as store_module
from serving.receive.dimse import DicomServer
from tests.builders import Exam, compress, write
from tests.serving.receiver_process import running
from tests.serving.receiving import Receiving, encoded, receiving
from tests.serving.test_messages import command, pdu, value

Program = Callable[[str], str]
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Receiving]:
    with receiving(tmp_path / "home") as made:
        yield made


@pytest.fixture
def server(side: Receiving) -> Iterator[DicomServer]:
    with listening(side) as made:
        yield made


@contextmanager
def listening(side: Receiving) -> Iterator[DicomServer]:
    server = dimse.start(side.settings, side.intake, side.activity, side.guard)
    try:
        yield server
    finally:
        server.stop()


def run(program: str, port: int, *arguments: str | Path, title: str = "PACS") -> "subprocess.CompletedProcess[str]":
    """Run a program of DCMTK; without TCP_NODELAY it would wait for our acknowledgements."""
    command = [program, "-aet", title, "-aec", "SEGLOOP", "127.0.0.1", str(port), *map(str, arguments)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def associated(port: int, *contexts: tuple[str, str], title: str = "PACS") -> Iterator[Association]:
    """Give an association of pynetdicom with these (SOP class, transfer syntax)."""
    entity = AE(ae_title=title)
    entity.requested_contexts = [build_context(*context) for context in contexts]
    association = entity.associate("127.0.0.1", port, ae_title="SEGLOOP")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store(port: int, made: FileDataset, **changes: object) -> int:
    """Send one object and return the status of the answer."""
    with associated(port, (made.SOPClassUID, made.file_meta.TransferSyntaxUID)) as association:
        assert association.is_established
        for keyword, value in changes.items():
            setattr(made, keyword, value)
        return int(association.send_c_store(made).Status)


def test_echo(server: DicomServer, program: Program) -> None:
    assert run(program("echoscu"), server.port).returncode == 0


def test_what_storescu_sends_is_kept(side: Receiving, server: DicomServer, program: Program, tmp_path: Path) -> None:
    images = Exam().short_axis(2, 2)
    (tmp_path / "sent").mkdir()
    files = write(images, tmp_path / "sent")
    done = run(program("storescu"), server.port, *files.values())
    assert done.returncode == 0, done.stderr
    assert side.senders() == {"ae:PACS"}
    assert [row.sop_uid for row in side.rows()] == [made.SOPInstanceUID for made in images]
    for row, made in zip(side.rows(), images, strict=True):
        kept = dcmread(side.archive.path(row.key))
        assert kept.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
        assert kept.file_meta.MediaStorageSOPClassUID == made.SOPClassUID
        assert kept.file_meta.TransferSyntaxUID == row.transfer_syntax_uid
        assert kept.file_meta.FileMetaInformationGroupLength > 0
        assert kept.PixelData == made.PixelData
    assert all(side.take(made, "local").outcome == "repeated" for made in images)


def test_real_files_are_the_same_by_either_way(
    side: Receiving, server: DicomServer, program: Program, data: Callable[[str], Path], tmp_path: Path
) -> None:
    """They have leading-zero UIDs, impossible dates and retired elements, and storescu re-encodes them."""
    with ZipFile(data("sunnybrook") / "SCD0000201.zip") as packed:
        files = [Path(packed.extract(f"SCD0000201/{number}.dcm", tmp_path)) for number in range(10, 20)]
    assert run(program("storescu"), server.port, *files).returncode == 0
    assert {side.take(path.read_bytes(), "local").outcome for path in files} == {"repeated"}
    assert len(side.rows()) == len(files) == 10
    assert any(part.startswith("0") for row in side.rows() for part in row.sop_uid.split(".") if len(part) > 1)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_compressed_objects_are_kept_as_they_are(
    side: Receiving, server: DicomServer, tmp_path: Path, syntax: str
) -> None:
    path = compress(Exam().short_axis(1, 1)[0], syntax, tmp_path)
    assert store(server.port, dcmread(path)) == 0
    assert side.rows()[0].transfer_syntax_uid == syntax
    assert dcmread(side.archive.path(side.rows()[0].key)).PixelData == dcmread(path).PixelData


@pytest.mark.parametrize("sop_class", [LABELMAP, "1.2.826.0.1.3680043.8.498.1", "1.2.840.10008.5.1.4.1.1.99999"])
def test_every_class_of_objects_is_kept(side: Receiving, server: DicomServer, sop_class: str) -> None:
    made = Exam().short_axis(1, 1)[0]
    made.SOPClassUID = sop_class
    assert store(server.port, made) == 0
    assert side.rows()[0].sop_class_uid == sop_class


def test_an_unknown_calling_title_is_turned_away(tmp_path: Path, program: Program) -> None:
    with receiving(tmp_path / "home", allowed_ae_titles="PACS, MR1") as side, listening(side) as server:
        assert run(program("echoscu"), server.port, title="STRANGER").returncode != 0
        with associated(server.port, (Verification, "1.2.840.10008.1.2"), title="STRANGER") as association:
            assert association.is_rejected
            assert not association.is_established
        assert run(program("echoscu"), server.port, title="MR1").returncode == 0


def test_a_study_is_open_as_long_as_its_association(side: Receiving, server: DicomServer) -> None:
    made = Exam().short_axis(1, 1)[0]
    with associated(server.port, (made.SOPClassUID, made.file_meta.TransferSyntaxUID)) as association:
        assert side.activity.open_studies() == set()
        assert association.send_c_store(made).Status == 0
        assert side.activity.open_studies() == {made.StudyInstanceUID}
    assert gone(lambda: side.activity.open_studies() == set())


def test_a_peer_that_vanishes_leaves_no_study_open(side: Receiving, server: DicomServer) -> None:
    made = Exam().short_axis(1, 1)[0]
    with associated(server.port, (made.SOPClassUID, made.file_meta.TransferSyntaxUID)) as association:
        association.send_c_store(made)
        association.abort()
    assert gone(lambda: side.activity.open_studies() == set())
    assert len(side.rows()) == 1


@pytest.mark.parametrize("piece", [b"\4\0", b"\4\0\0\1\0\0" + bytes(500)], ids=["header", "object"])
def test_a_peer_that_falls_silent_within_a_pdu_leaves_no_study_open(
    side: Receiving, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    """A scanner that is switched off while it sends says no goodbye."""
    monkeypatch.setattr(dimse, "NETWORK_TIMEOUT_S", 1)
    made = Exam().short_axis(1, 1)[0]
    context = (made.SOPClassUID, made.file_meta.TransferSyntaxUID)
    with listening(side) as server, associated(server.port, context) as association:
        association.send_c_store(made)
        connection: Any = association.dul.socket
        connection.socket.sendall(piece)
        assert gone(lambda: side.activity.open_studies() == set())
    assert len(side.rows()) == 1


@pytest.mark.parametrize("kind", [1, 4])
def test_a_pdu_that_announces_gigabytes_ends_its_connection(server: DicomServer, kind: int) -> None:
    """Also before an association: nobody has said yet who calls."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFFF))
        assert line.recv(1) in (b"", b"\x07")  # closed, or an abort


def test_a_message_without_end_ends_its_association(side: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SLACK", 50_000)
    side.intake.settings = side.settings.model_copy(update={"max_instance_gb": 1e-7})
    small, large = Exam().short_axis(2, 1)
    large.PixelData, large.Rows, large.Columns = bytes(2 * 400 * 400), 400, 400
    context = (small.SOPClassUID, small.file_meta.TransferSyntaxUID)
    with listening(side) as server, associated(server.port, context) as association:
        assert all(association.send_c_store(small).Status == 0xA700 for _ in range(60))  # each one counts by itself
        line: Any = association.dul.socket.socket  # type: ignore[union-attr]
        assert "Status" not in association.send_c_store(large)
        assert gone(lambda: not association.is_established)
        line.close()  # pynetdicom leaves that to the garbage collector
    assert side.files() == side.unfinished() == []


@pytest.mark.parametrize(
    "sent",
    [
        pdu(value(2, b"data")),
        pdu(value(3, command(), context=3)),
        pdu(value(3, command()), value(0, b"half"), value(3, command())),
        pdu(value(1, bytes(1 << 15)), value(1, bytes(1 << 15)), value(1, b"\0")),
        pdu(value(3, command()), value(0, b"half"), b"\0"),
    ],
    ids=["data without command", "context not agreed", "command out of turn", "command too long", "broken value"],
)
def test_who_breaks_the_rules_loses_the_association_and_leaves_nothing(
    side: Receiving, server: DicomServer, sent: bytes
) -> None:
    made = Exam().short_axis(1, 1)[0]
    with associated(server.port, (made.SOPClassUID, made.file_meta.TransferSyntaxUID)) as association:
        assert association.send_c_store(made).Status == 0
        connection: Any = association.dul.socket
        connection.socket.sendall(sent)
        assert gone(lambda: association.is_aborted)
    assert gone(lambda: side.activity.open_studies() == set())
    assert side.unfinished() == []
    assert len(side.rows()) == 1


def test_other_requests_are_answered_and_cost_nothing(side: Receiving, server: DicomServer) -> None:
    made = Exam().short_axis(1, 1)[0]
    with associated(server.port, (made.SOPClassUID, made.file_meta.TransferSyntaxUID)) as association:
        ((status, _),) = association.send_c_find(made, made.SOPClassUID)
        assert status.Status == store_module.UNRECOGNISED
        assert association.send_c_store(made).Status == 0
    assert len(side.rows()) == 1


def test_a_request_without_an_object_is_refused(side: Receiving, server: DicomServer) -> None:
    with associated(server.port, ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2")) as association:
        connection: Any = association.dul.socket
        association._reactor_checkpoint.clear()  # or its own thread would read the answer
        connection.socket.sendall(pdu(value(3, command(CommandDataSetType=0x0101))))
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert answer is not None
        assert answer.Status == 0xC000
    assert side.rows() == []


def test_stopping_ends_what_is_open(side: Receiving) -> None:
    made = Exam().short_axis(1, 1)[0]
    with listening(side) as server:
        entity = AE(ae_title="PACS")
        entity.requested_contexts = [build_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)]
        association = entity.associate("127.0.0.1", server.port, ae_title="SEGLOOP")
        assert association.send_c_store(made).Status == 0
    assert gone(lambda: not association.is_established)
    assert gone(lambda: side.activity.open_studies() == set())


def gone(condition: Callable[[], bool]) -> bool:
    """Wait up to ten seconds for a condition."""
    waiting = threading.Event()
    return any(condition() or waiting.wait(0.02) for _ in range(500))


def test_without_disk_space_the_answer_is_out_of_resources(side: Receiving, server: DicomServer) -> None:
    side.intake.settings = side.settings.model_copy(update={"min_free_gb": 1e9})
    assert store(server.port, Exam().short_axis(1, 1)[0]) == 0xA700
    assert side.unfinished() == side.files() == []
    side.intake.settings = side.settings
    assert store(server.port, Exam().short_axis(1, 1)[0]) == 0


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    side: Receiving, server: DicomServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.archive.os.writev", full)
    assert store(server.port, Exam().short_axis(1, 1)[0]) == 0xA700
    assert side.unfinished() == side.files() == []


def test_refusals_have_their_statuses(side: Receiving, server: DicomServer) -> None:
    assert store(server.port, Exam().short_axis(1, 1)[0]) == 0
    other = Exam().short_axis(1, 1)[0]
    other.PixelData = bytes(len(other.PixelData))
    assert store(server.port, other) == 0x0111
    assert side.kinds() == ["aside", "source"]
    assert store(server.port, Exam("two").short_axis(1, 1)[0], StudyInstanceUID="1.2/../3") == 0xC000
    assert store(server.port, Exam("two").short_axis(1, 1)[0], SOPInstanceUID="../../x") == 0xC000
    assert len(side.quarantined()) == 2
    side.intake.settings = side.settings.model_copy(update={"max_instance_gb": 1e-7})
    assert store(server.port, Exam("two").short_axis(1, 1)[0]) == 0xA700


def test_a_uid_that_is_too_long_is_refused_without_losing_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender is made to break the rule, so the receiver is another process."""
    monkeypatch.setattr("pynetdicom.dimse_primitives.set_uid", lambda value, *_, **__: value)
    good, bad = Exam().short_axis(2, 1)
    bad.SOPInstanceUID = "1." * 40 + "1"
    with running(tmp_path / "home") as process:
        with associated(process.dicom, (good.SOPClassUID, good.file_meta.TransferSyntaxUID)) as association:
            assert association.send_c_store(bad).Status == 0xC000
            assert association.send_c_store(good).Status == 0
        assert len(list((tmp_path / "home" / "quarantine").iterdir())) == 1


def test_a_command_must_name_the_object_it_carries(
    side: Receiving, server: DicomServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending a file in pieces, pynetdicom names what its file meta says, and that may be something else."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    made = Exam().short_axis(1, 1)[0]
    own = made.SOPInstanceUID.encode()
    (tmp_path / "odd.dcm").write_bytes(encoded(made).replace(own, own[:-1] + b"0", 1))
    with associated(server.port, (made.SOPClassUID, made.file_meta.TransferSyntaxUID)) as association:
        assert association.send_c_store(tmp_path / "odd.dcm").Status == 0xA900
    assert len(side.quarantined()) == 1
    assert side.rows() == []


def test_several_associations_at_once_lose_nothing(
    side: Receiving, server: DicomServer, program: Program, tmp_path: Path
) -> None:
    exams = [Exam(name).short_axis(5, 2) for name in "abcd"]
    results = []

    def send(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        files = write(exams[number], folder)
        results.append(run(program("storescu"), server.port, *files.values(), title=f"S{number}").returncode)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 4
    assert {row.sop_uid for row in side.rows()} == {made.SOPInstanceUID for exam in exams for made in exam}
    assert side.senders() == {f"ae:S{number}" for number in range(4)}


def test_tls(tmp_path: Path, program: Program) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    options = {"dicom_tls": True, "tls_certificate": certificate, "tls_key": key}
    with receiving(tmp_path / "home", **options) as side, listening(side) as server:
        entity = AE(ae_title="PACS")
        entity.add_requested_context(Verification)
        context = ssl.create_default_context(cafile=certificate)
        safe = entity.associate("127.0.0.1", server.port, tls_args=(context, "localhost"))
        assert safe.send_c_echo().Status == 0
        safe.release()
        assert run(program("echoscu"), server.port, "-ta", "2").returncode != 0


def test_a_port_in_use_is_said_by_name(side: Receiving, server: DicomServer) -> None:
    taken = side.settings.model_copy(update={"dicom_port": server.port})
    with pytest.raises(Missing) as caught:
        dimse.start(taken, side.intake, side.activity, side.guard)
    assert caught.value.code == "dicom_port"


def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path, program: Program) -> None:
    sent, home = tmp_path / "sent", tmp_path / "home"
    sent.mkdir()
    files = write(Exam().short_axis(40, 5), sent)
    with running(home) as process:
        command = [program("storescu"), "-v", "127.0.0.1", str(process.dicom), *map(str, files.values())]
        sender = subprocess.Popen(
            command, env={**os.environ, "TCP_NODELAY": "1"}, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
        )
        assert sender.stdout is not None
        lines: list[str] = []
        for line in sender.stdout:
            lines.append(line)
            if sum("Received Store Response (Success)" in each for each in lines) == 25:
                process.kill()
        sender.wait()
        sender.stdout.close()
    acknowledged = sum("Received Store Response (Success)" in line for line in lines)
    assert 25 <= acknowledged < len(files)
    with receiving(home) as side:
        side.intake.sweep()
        rows = side.rows()
        assert acknowledged <= len(rows) <= acknowledged + 1
        assert {path.stem for path in side.files()} == {row.key for row in rows}
        assert [row.sop_uid for row in rows] == list(files)[: len(rows)]
        assert side.unfinished() == []
