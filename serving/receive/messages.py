"""Requests over an association: P-DATA PDUs (DICOM PS3.8 section 9.3.5) and command sets (PS3.7 section 6.3).

pynetdicom negotiates the association. Its own way of a message from the socket to a handler and back costs 1.5 ms of
processor and up to three waits of a millisecond an object, most of what an object costs at all; here it is one loop.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

P_DATA, RELEASE_REQUEST, ABORT = 4, 5, 7
LONGEST_PDU = 1 << 22
"""Longer ones nobody sends who keeps to the length that was agreed."""

LONGEST_COMMAND = 1 << 16
LONGEST_UID = 64
C_STORE, C_ECHO, C_CANCEL = 0x0001, 0x0030, 0x0FFF
NO_DATA_SET = 0x0101

_RELEASED = b"\x06\0\0\0\0\4\0\0\0\0"
_ABORTED = b"\x07\0\0\0\0\4\0\0\2\0"
_FIELD, _MESSAGE_ID, _KIND, _CLASS, _INSTANCE = 0x0100, 0x0110, 0x0800, 0x0002, 0x1000


class Ended(Exception):
    """The association is over; without words where the peer released it."""


class Violated(Ended):
    """The peer sent what it may not: the association is to be aborted."""


@dataclass(frozen=True)
class Command:
    """A command set, as far as a storage SCP looks at it; UIDs are cut to what a UID may be."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_uid: str
    has_data: bool


@dataclass(frozen=True)
class Piece:
    """A fragment of a message (PS3.8 annex E.2): of its command or of its data set. ``data`` is valid until the next
    one is asked for."""

    context: int
    of_command: bool
    last: bool
    data: memoryview


class Line:
    """An established association as a stream of pieces. Memory is that of one PDU."""

    def __init__(self, connection: socket.socket) -> None:
        """Blocking calls end after the timeout that the socket has."""
        self._connection = connection
        self._buffer = memoryview(bytearray(1 << 17))

    def pieces(self) -> Iterator[Piece]:
        """Give pieces as they come.

        Raises ``Ended`` at the end, ``Violated`` for what no peer may send, ``OSError`` where the connection breaks or
        is silent for too long.
        """
        while True:
            kind, length = struct.unpack(">BxL", self._read(6))
            if length > LONGEST_PDU:
                raise Violated("a PDU longer than any may be")
            body = self._read(length)
            if kind == RELEASE_REQUEST:
                self._connection.sendall(_RELEASED)
                raise Ended
            if kind == ABORT:
                raise Ended("aborted by the peer")
            if kind != P_DATA:
                raise Violated(f"a PDU of type {kind} in an established association")
            yield from _split(body)

    def answer(self, context: int, command: Command, status: int) -> None:
        """Send the response to a request (PS3.7 sections 9.3.1.2 and 9.3.5.2)."""
        elements = b"".join(
            (
                _element(_CLASS, _padded(command.sop_class_uid)),
                _element(_FIELD, struct.pack("<H", command.field | 0x8000)),
                _element(0x0120, struct.pack("<H", command.message_id)),
                _element(_KIND, struct.pack("<H", NO_DATA_SET)),
                _element(0x0900, struct.pack("<H", status)),
                _element(_INSTANCE, _padded(command.sop_uid)) if command.sop_uid else b"",
            )
        )
        message = _element(0x0000, struct.pack("<L", len(elements))) + elements
        head = struct.pack(">BxLLBB", P_DATA, len(message) + 6, len(message) + 2, context, 3)
        self._connection.sendall(head + message)

    def abort(self) -> None:
        """Tell the peer, if it still listens, that the association is over."""
        try:
            self._connection.sendall(_ABORTED)
        except OSError:
            return

    def _read(self, count: int) -> memoryview:
        if count > len(self._buffer):
            self._buffer = memoryview(bytearray(count))
        view, done = self._buffer[:count], 0
        while done < count:
            got = self._connection.recv_into(view[done:])
            if not got:
                raise Ended("the peer closed the connection")
            done += got
        return view


def read_command(encoded: bytes) -> Command:
    """Read a command set, Implicit VR Little Endian (PS3.7 section 6.3.1). Raises ``Violated`` for what is none."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(encoded):
        group, number, length = struct.unpack_from("<HHL", encoded, at)
        if group:
            raise Violated("a command set that is none")
        found[number] = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    if at != len(encoded):
        raise Violated("a command set that ends too early")
    return Command(
        field=_number(found, _FIELD),
        message_id=_number(found, _MESSAGE_ID),
        sop_class_uid=_uid(found, _CLASS),
        sop_uid=_uid(found, _INSTANCE),
        has_data=_number(found, _KIND) != NO_DATA_SET,
    )


def _split(body: memoryview) -> Iterator[Piece]:
    at = 0
    while at < len(body):
        if at + 6 > len(body):
            raise Violated("a presentation data value that ends too early")
        length, context, control = struct.unpack_from(">LBB", body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise Violated("a presentation data value that ends too early")
        yield Piece(context, bool(control & 1), bool(control & 2), body[at + 6 : end])
        at = end


def _number(found: dict[int, bytes], number: int) -> int:
    value = found.get(number, b"")
    if len(value) != 2:
        raise Violated("a command set without what every one has")
    return int.from_bytes(value, "little")


def _uid(found: dict[int, bytes], number: int) -> str:
    return found.get(number, b"").decode("ascii", "replace").strip("\0 ")[:LONGEST_UID]


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def _padded(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return value + b"\0" * (len(value) % 2)
