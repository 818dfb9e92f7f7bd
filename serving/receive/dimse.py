"""C-STORE and C-ECHO SCP (DICOM PS3.4 annexes A and B), on the shortest way from the socket to the disk.

Data sets are never parsed by pynetdicom: the bytes as they came go to the file behind a group 0002 of our own, and the
intake reads the header from there. Every storage class is taken, private and unknown ones and every transfer syntax
too, since what is kept can be processed later and what is turned away cannot.
"""

import ssl
import struct
from errno import EMSGSIZE
from io import BytesIO
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from contracts.errors import Missing, NotYet, Refused, SegloopError
from contracts.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from serving.guard import Guard
from serving.receive.activity import Activity, Carrier
from serving.receive.ingest import Intake, statuses
from serving.settings import Settings

log = structlog.get_logger(__name__)

SUCCESS = 0x0000
FAILED = 0xC001
LONGEST_UID = 64
MAX_ASSOCIATIONS = 32
MAX_PDU = 131072
"""Bounds what one PDU costs in memory: pynetdicom copies each several times. DCMTK's storescu sends no larger ones."""

LONGEST_PDU = 1 << 22
"""Longer ones nobody sends who keeps to MAX_PDU; requests of an association are below 1 MB."""

SLACK = 1 << 26
"""Objects that exceed MAX_INSTANCE_GB by less are taken off the line and refused; larger ones end their association."""

NETWORK_TIMEOUT_S = 300
"""A scanner may keep its association open between two series. One that is switched off while it sends says no goodbye
either: after this time of silence its association ends, so that its study is not awaited for ever."""


class DicomServer:
    """The listener and its associations. ``port`` is the one it listens on."""

    def __init__(self, settings: Settings, intake: Intake, activity: Activity, guard: Guard) -> None:
        self._intake, self._activity, self._guard = intake, activity, guard
        self._carriers: WeakKeyDictionary[Association, Carrier] = WeakKeyDictionary()
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
            (evt.EVT_CONN_OPEN, self._set_up),
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_DIMSE_RECV, _whole),
            (evt.EVT_C_STORE, self._store),
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

    def _set_up(self, event: evt.Event) -> None:
        """Answer at once, and bound each wait for bytes: pynetdicom's own timeout does not run within a PDU.

        Bound what is held too: it keeps a message in memory until its end, and a PDU of whatever length it announces,
        even before anybody has said who calls.
        """
        connection: Any = event.assoc.dul.socket
        connection.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        connection.socket.settimeout(NETWORK_TIMEOUT_S)
        receive, most = connection.recv, self._intake.settings.max_instance_gb * 1e9 + SLACK
        connection.arrived = 0

        def bounded(count: int) -> bytearray:
            connection.arrived += count
            if count > LONGEST_PDU or connection.arrived > most:
                log.warning("connection_ended", reason="larger than MAX_INSTANCE_GB or any PDU may be")
                connection.socket.close()  # pynetdicom leaves that to the garbage collector
                raise OSError(EMSGSIZE, "too many bytes")
            received: bytearray = receive(count)
            return received

        connection.recv = bounded

    def _admit(self, event: evt.Event) -> None:
        asked: Any = event.assoc.requestor.primitive
        title = str(asked.calling_ae_title).strip()
        if not self._guard.ae_allowed(title):
            log.warning("association_rejected", reason="calling AE title not allowed")
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            evt.trigger(event.assoc, evt.EVT_REJECTED, {})
            event.assoc.kill()

    def _accepted(self, event: evt.Event) -> None:
        self._carriers[event.assoc] = self._activity.open(event.assoc.is_alive)

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request
        try:
            if request.DataSet is None:
                raise Refused("not_dicom", "The request carries no data set.")
            self._take(event)
            return SUCCESS
        except SegloopError as error:
            log.warning("store_refused", code=error.code, reason=error.sentence)
            return statuses(error)[0]
        except Exception as error:
            log.exception("store_failed", kind=type(error).__name__)
            return FAILED
        finally:
            _let_go(request.DataSet)

    def _take(self, event: evt.Event) -> None:
        request: Any = event.request
        assoc: Any = event.assoc
        self._intake.check_space()
        if len(request.DataSet.getbuffer()) > self._intake.settings.max_instance_gb * 1e9:
            raise Refused("too_large", "The object is larger than MAX_INSTANCE_GB allows.")
        named = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        incoming = self._intake.archive.incoming()
        try:
            with request.DataSet.getbuffer() as view:
                incoming.write(file_meta(*named, str(event.context.transfer_syntax)), view)
        except NotYet:
            incoming.discard()
            raise
        source = f"ae:{assoc.requestor.ae_title.strip()}"
        self._intake.accept(incoming, source, carrier=self._carriers.get(assoc), expect_instance=named)


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


def _whole(event: evt.Event) -> None:
    """A message is there: the next one may be as large again.

    pynetdicom aborts the association over a UID of more than 64 characters; cut, one object is refused instead.
    """
    connection: Any = event.assoc.dul.socket
    if connection is not None:
        connection.arrived = 0
    command: Any = event.message.command_set
    uid = command.get("AffectedSOPInstanceUID")
    if uid is not None and len(uid) > LONGEST_UID:
        command.AffectedSOPInstanceUID = uid[:LONGEST_UID]


def _let_go(data: BytesIO | None) -> None:
    """Free the data set now: pynetdicom holds the last request until the next one has arrived."""
    if data is not None:
        data.seek(0)
        data.truncate(0)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.dicom_tls:
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise Missing("dicom_tls", "DICOM_TLS needs TLS_CERTIFICATE and TLS_KEY.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context
