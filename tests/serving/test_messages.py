"""P-DATA and command sets, beside pynetdicom's own encoder and decoder."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF

from serving.receive.messages import (
    C_STORE,
    LONGEST_PDU,
    NO_DATA_SET,
    Command,
    Ended,
    Line,
    Violated,
    read_command,
)

SOP_CLASS, SOP_UID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
REQUEST = Command(C_STORE, 7, SOP_CLASS, SOP_UID, has_data=True)


def command(**changes: object) -> bytes:
    """Return a C-STORE request as pynetdicom encodes it."""
    made = Dataset()
    made.CommandGroupLength = 0
    made.AffectedSOPClassUID, made.AffectedSOPInstanceUID = SOP_CLASS, SOP_UID
    made.CommandField, made.MessageID, made.Priority, made.CommandDataSetType = C_STORE, 7, 0, 1
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    encoded = encode(made, True, True)
    assert encoded is not None
    return encoded


def value(control: int, data: bytes, context: int = 1) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context, control) + data


def pdu(*values: bytes, kind: int = 4) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxL", kind, len(body)) + body


@contextmanager
def line(sent: bytes, piece: int = 1 << 20) -> Iterator[tuple[Line, socket.socket]]:
    """Give a line on which ``sent`` arrives in pieces of that size, and the peer's end of it."""
    ours, peer = socket.socketpair()

    def send() -> None:
        with suppress(OSError):
            for start in range(0, len(sent), piece):
                peer.sendall(sent[start : start + piece])

    thread = threading.Thread(target=send)
    thread.start()
    ours.settimeout(10)
    try:
        yield Line(ours), peer
    finally:
        ours.close()
        thread.join()
        peer.close()


def received(sent: bytes, piece: int = 1 << 20) -> list[tuple[int, bool, bool, bytes]]:
    """Return (context, of a command, last, data) of all pieces until the peer's release."""
    found = []
    with line(sent + pdu(b"\0" * 4, kind=5), piece) as (made, peer):
        with pytest.raises(Ended) as end:
            found.extend((p.context, p.of_command, p.last, bytes(p.data)) for p in made.pieces())
        assert not end.value.args
        assert peer.recv(100) == b"\x06\0\0\0\0\4\0\0\0\0"
    return found


def test_a_command_reads_as_it_was_written() -> None:
    assert read_command(command()) == REQUEST
    assert not read_command(command(CommandDataSetType=NO_DATA_SET)).has_data


def test_uids_are_cut_to_what_a_uid_may_be() -> None:
    long = b"1." * 40
    encoded = command() + struct.pack("<HHL", 0, 0x1000, len(long)) + long
    assert read_command(encoded).sop_uid == long.decode()[:64]


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        command()[:-1],
        command() + b"\0",
        command() + struct.pack("<HHL", 0, 0x0900, 1 << 31),
        command() + struct.pack("<HHL", 8, 0x0016, 0),
        command(CommandField=None),
        command(CommandDataSetType=None),
        command(MessageID=None),
    ],
)
def test_what_is_no_command_is_a_violation(encoded: bytes) -> None:
    with pytest.raises(Violated):
        read_command(encoded)


@pytest.mark.parametrize("uid", [SOP_UID, "1.2.34", ""])
def test_answers_read_as_others_read_them(uid: str) -> None:
    request = Command(C_STORE, 513, SOP_CLASS, uid, has_data=True)
    with line(b"") as (made, peer):
        made.answer(5, request, 0xA700)
        found = P_DATA_TF()
        found.decode(peer.recv(1000))
    ((context, data),) = found.to_primitive().presentation_data_value_list
    assert (context, data[0]) == (5, 3)
    answer = decode(BytesIO(data[1:]), True, True)
    assert answer.CommandGroupLength == len(data) - 1 - 12
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo) == (0x8001, 513)
    assert (answer.Status, answer.CommandDataSetType) == (0xA700, NO_DATA_SET)
    assert answer.AffectedSOPClassUID == SOP_CLASS
    assert answer.get("AffectedSOPInstanceUID", "") == uid


@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    together=st.integers(1, 4),
    piece=st.integers(1, 500),
)
def test_however_a_message_is_cut_it_arrives_whole(data: bytes, cuts: list[int], together: int, piece: int) -> None:
    """Into fragments, into PDUs that hold several, and into what the network makes of them."""
    at = sorted({0, *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:end] for start, end in zip(at, [*at[1:], len(data)], strict=True)]
    values = [value(3, command())] + [value(2 * (n == len(parts) - 1), part) for n, part in enumerate(parts)]
    sent = b"".join(pdu(*values[start : start + together]) for start in range(0, len(values), together))
    found = received(sent, piece)
    assert [(context, of_command, last) for context, of_command, last, _ in found] == [
        (1, True, True),
        *((1, False, n == len(parts) - 1) for n in range(len(parts))),
    ]
    assert found[0][3] == command()
    assert b"".join(piece for *_, piece in found[1:]) == data


@pytest.mark.parametrize(
    "sent",
    [
        pdu(b"", kind=1),
        pdu(b"", kind=99),
        struct.pack(">BxL", 4, LONGEST_PDU + 1),
        pdu(b"\0\0\0"),
        pdu(struct.pack(">LBB", 1, 1, 3)),
        pdu(struct.pack(">LBB", 100, 1, 3) + b"short"),
        pdu(value(3, b"whole"), b"\0"),
    ],
)
def test_what_no_peer_may_send_is_a_violation(sent: bytes) -> None:
    with line(sent) as (made, peer):
        with pytest.raises(Violated):
            list(made.pieces())
        made.abort()
        assert peer.recv(100)[:1] == b"\x07"


def test_a_peer_that_aborts_or_goes_is_no_violation() -> None:
    for sent in (pdu(b"\0" * 4, kind=7), b"", pdu(value(0, b"half"))[:-2]):
        with line(sent) as (made, peer):
            peer.shutdown(socket.SHUT_WR) if not sent else None
            threading.Timer(0.2, peer.close).start()
            with pytest.raises(Ended) as end:
                list(made.pieces())
            assert not isinstance(end.value, Violated)
            assert end.value.args
