"""C-STORE and C-ECHO SCP (DICOM PS3.4 annexes A and B), on the shortest way from the socket to the disk.

pynetdicom negotiates associations; then their requests are served here, one thread an association. Data sets are never
parsed on the way: the bytes go to the file as they come, behind a group 0002 of our own, and the intake reads the
header from there. Every storage class is taken, private and unknown ones and every transfer syntax too, since what is
kept can be processed later and what is turned away cannot.
"""

import ssl
import struct
from contextlib import suppress
from errno import EMSGSIZE
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_NODELAY
from typing import Any

import structlog
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from contracts.errors import Missing, NotYet, Refused, SegloopError
from contracts.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from serving.archive import Incoming
from serving.guard import Guard
from serving.receive.activity import Activity, Carrier
from serving.receive.ingest import Intake, statuses
from serving.receive.messages import (
    C_CANCEL,
    C_ECHO,
    C_STORE,
    LONGEST_COMMAND,
    LONGEST_PDU,
    Command,
    Ended,
    Line,
    Piece,
    Violated,
    read_command,
)
from serving.settings import Settings

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
UNRECOGNISED = 0x0211
FAILED = 0xC001
MAX_ASSOCIATIONS = 32
MAX_PDU = 131072
"""What we ask for: DCMTK's storescu sends no longer ones."""

SLACK = 1 << 26
"""Objects that exceed MAX_INSTANCE_GB by less are taken off the line and refused; larger ones end their association."""

NETWORK_TIMEOUT_S = 300
"""A scanner may keep its association open between two series. One that is switched off while it sends says no goodbye
either: after this time of silence its association ends, so that its study is not awaited for ever."""


class DicomServer:
    """The listener and its associations. ``port`` is the one it listens on."""

    def __init__(self, settings: Settings, intake: Intake, activity: Activity, guard: Guard) -> None:
        self._intake, self._activity, self._guard = intake, activity, guard
        self._open: set[Any] = set()
        _config.LOG_HANDLER_LEVEL = "none"
        _config.UNRESTRICTED_STORAGE_SERVICE = True
        entity = ApplicationEntity(ae_title=settings.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = MAX_PDU
        entity.maximum_associations = MAX_ASSOCIATIONS
        entity.network_timeout = NETWORK_TIMEOUT_S
        entity.add_supported_context(Verification)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, _set_up),
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_PDU_SENT, _hand_over),
            (evt.EVT_ESTABLISHED, self._serve),
        ]
        address = (settings.dicom_host, settings.dicom_port)
        try:
            server = entity.start_server(address, block=False, evt_handlers=handlers, ssl_context=_tls(settings))
        except OSError as error:
            raise Missing("dicom_port", f"The DICOM port {address[1]} cannot be opened: {error.strerror}.") from error
        assert server is not None
        self._server = server
        self.port = int(server.server_address[1])

    def stop(self) -> None:
        """Close the port and abort what is open; what was acknowledged is kept."""
        self._server.shutdown()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def _admit(self, event: evt.Event) -> None:
        asked: Any = event.assoc.requestor.primitive
        title = str(asked.calling_ae_title).strip()
        if not self._guard.ae_allowed(title):
            log.warning("association_rejected", reason="calling AE title not allowed")
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            evt.trigger(event.assoc, evt.EVT_REJECTED, {})
            event.assoc.kill()

    def _serve(self, event: evt.Event) -> None:
        """Serve an association to its end, in the thread that pynetdicom has for it."""
        assoc: Any = event.assoc
        assoc.dul.join()  # until the acceptance is out; from then on nobody else reads the socket
        connection = assoc.dul.socket.socket
        syntaxes = {context.context_id: str(context.transfer_syntax[0]) for context in assoc.accepted_contexts}
        source = f"ae:{assoc.requestor.ae_title.strip()}"
        line = Line(connection)
        self._open.add(connection)
        try:
            with self._activity.carrying() as carrier:
                _Requests(line, syntaxes, self._intake, source, carrier).serve()
        except Ended as end:
            if end.args:
                log.warning("association_ended", reason=str(end))
            if isinstance(end, Violated):
                line.abort()
        except OSError as error:
            log.warning("association_ended", reason=type(error).__name__)
            line.abort()
        finally:
            self._open.discard(connection)
            connection.close()


class _Requests:
    """What comes over one association: each request is answered before the next one is read."""

    def __init__(self, line: Line, syntaxes: dict[int, str], intake: Intake, source: str, carrier: Carrier) -> None:
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


def start(settings: Settings, intake: Intake, activity: Activity, guard: Guard) -> DicomServer:
    """Open the DICOM port. Raises ``Missing("dicom_port")`` where it is taken."""
    return DicomServer(settings, intake, activity, guard)


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


def _set_up(event: evt.Event) -> None:
    """Answer at once, and bound each wait for bytes: pynetdicom's own timeout does not run within a PDU.

    Bound what is held too: it takes a PDU of whatever length it announces, even before anybody has said who calls.
    """
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    connection.socket.settimeout(NETWORK_TIMEOUT_S)
    receive = connection.recv

    def bounded(count: int) -> bytearray:
        if count > LONGEST_PDU:
            log.warning("connection_ended", reason="a PDU longer than any may be")
            connection.socket.close()  # pynetdicom leaves that to the garbage collector
            raise OSError(EMSGSIZE, "too many bytes")
        received: bytearray = receive(count)
        return received

    connection.recv = bounded


def _hand_over(event: evt.Event) -> None:
    """Once an association is accepted, end the thread in which pynetdicom reads the socket: we do from here on.

    This runs in that thread, before it reads again.
    """
    if isinstance(event.pdu, A_ASSOCIATE_AC):
        event.assoc.dul.kill_dul()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.dicom_tls:
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise Missing("dicom_tls", "DICOM_TLS needs TLS_CERTIFICATE and TLS_KEY.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context
