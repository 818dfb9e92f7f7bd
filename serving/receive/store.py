"""What comes over one association (DICOM PS3.4 annexes A and B): objects to keep, echoes, and what is not for us.

Data sets are never parsed on the way: the bytes go to the file as they come, behind a group 0002 of our own, and the
intake reads the header from there.
"""

import struct

import structlog

from contracts.errors import NotYet, Refused, SegloopError
from contracts.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from serving.archive import Incoming
from serving.receive.activity import Carrier
from serving.receive.ingest import Intake, statuses
from serving.receive.messages import (
    C_CANCEL,
    C_ECHO,
    C_STORE,
    LONGEST_COMMAND,
    Command,
    Line,
    Piece,
    Violated,
    read_command,
)

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
UNRECOGNISED = 0x0211
FAILED = 0xC001
SLACK = 1 << 26
"""Objects that exceed MAX_INSTANCE_GB by less are taken off the line and refused; larger ones end their association."""


class Requests:
    """What comes over one association: each request is answered before the next one is read."""

    def __init__(self, line: Line, syntaxes: dict[int, str], intake: Intake, source: str, carrier: Carrier) -> None:
        """``syntaxes``: transfer syntax by presentation context; ``source`` as for :meth:`Intake.begin`."""
        self._line, self._syntaxes, self._intake = line, syntaxes, intake
        self._source, self._carrier = source, carrier
        self._command = bytearray()
        self._request: Command | None = None
        self._object: _Object | None = None

    def serve(self) -> None:
        """Serve until the end, which is an ``Ended`` or an ``OSError``; nothing half received remains."""
        try:
            for piece in self._line.pieces():
                if piece.context not in self._syntaxes:
                    raise Violated("a presentation context that was not agreed")
                if piece.of_command:
                    self._take_command(piece)
                else:
                    self._take_data(piece)
        finally:
            if self._object is not None:
                self._object.discard()

    def _take_command(self, piece: Piece) -> None:
        self._command += piece.data
        if len(self._command) > LONGEST_COMMAND or self._request is not None:
            raise Violated("a command set that is too long, or out of turn")
        if not piece.last:
            return
        request, self._command = read_command(bytes(self._command)), bytearray()
        if request.has_data:
            self._request = request
            if request.field == C_STORE:
                self._object = _Object(self._intake, request, self._syntaxes[piece.context])
        elif request.field == C_STORE:
            log.warning("store_refused", code="not_dicom")
            self._line.answer(piece.context, request, statuses(Refused("not_dicom", ""))[0])
        elif request.field != C_CANCEL:
            self._line.answer(piece.context, request, SUCCESS if request.field == C_ECHO else UNRECOGNISED)

    def _take_data(self, piece: Piece) -> None:
        if self._request is None:
            raise Violated("a data set without a command")
        if self._object is not None:
            self._object.write(piece.data)
        if piece.last:
            status = UNRECOGNISED if self._object is None else self._object.keep(self._source, self._carrier)
            request, self._request, self._object = self._request, None, None
            self._line.answer(piece.context, request, status)


class _Object:
    """An object that is arriving. One that is turned away is read to its end all the same, and answered then."""

    def __init__(self, intake: Intake, request: Command, transfer_syntax_uid: str) -> None:
        self._intake, self._named = intake, (request.sop_class_uid, request.sop_uid)
        self._most = intake.settings.max_instance_gb * 1e9
        self._size = 0
        self._head = file_meta(*self._named, transfer_syntax_uid)
        self._incoming: Incoming | None = None
        self._error: Exception | None = None
        try:
            intake.check_space()
            self._incoming = intake.archive.incoming()
        except (SegloopError, OSError) as error:
            self._error = error

    def write(self, data: memoryview) -> None:
        """Append data. Raises ``Violated`` where the object exceeds any measure."""
        self._size += len(data)
        if self._size > self._most + SLACK:
            raise Violated("an object larger than MAX_INSTANCE_GB allows")
        if self._size > self._most:
            self._fail(Refused("too_large", "The object is larger than MAX_INSTANCE_GB allows."))
        if self._incoming is not None:
            try:
                self._incoming.write(self._head, data)
                self._head = b""
            except NotYet as error:
                self._fail(error)

    def keep(self, source: str, carrier: Carrier) -> int:
        """All of it is there: return the status of the answer."""
        try:
            if self._error is not None:
                raise self._error
            assert self._incoming is not None
            incoming, self._incoming = self._incoming, None
            self._intake.accept(incoming, source, carrier=carrier, expect_instance=self._named)
            return SUCCESS
        except SegloopError as error:
            log.warning("store_refused", code=error.code, reason=error.sentence)
            return statuses(error)[0]
        except Exception as error:
            log.exception("store_failed", kind=type(error).__name__)
            return FAILED

    def discard(self) -> None:
        """Forget it: nothing half received remains."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _fail(self, error: SegloopError) -> None:
        self._error = self._error or error
        self.discard()


def file_meta(sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and group 0002 (PS3.10 section 7.1) for a data set in that transfer syntax."""
    elements = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
    elements += _element(0x0002, b"UI", sop_class_uid) + _element(0x0003, b"UI", sop_uid)
    elements += _element(0x0010, b"UI", transfer_syntax_uid)
    elements += _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
    elements += _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(elements))
    return b"\0" * 128 + b"DICM" + length + elements


def _element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value
