"""The DICOM port: associations for C-STORE and C-ECHO (DICOM PS3.8).

pynetdicom negotiates associations; then each is served in one thread, on the shortest way from the socket to the disk.
Every storage class is taken, private and unknown ones and every transfer syntax too, since what is kept can be
processed later and what is turned away cannot.
"""

import ssl
from contextlib import suppress
from errno import EMSGSIZE
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_NODELAY
from typing import Any

import structlog
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from contracts.errors import Missing
from contracts.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from serving.guard import Guard
from serving.receive.activity import Activity
from serving.receive.ingest import Intake
from serving.receive.messages import LONGEST_PDU, Ended, Line, Violated
from serving.receive.store import Requests
from serving.settings import Settings

log = structlog.get_logger(__name__)

MAX_ASSOCIATIONS = 32
MAX_PDU = 131072
"""What we ask for: DCMTK's storescu sends no longer ones."""

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
                Requests(line, syntaxes, self._intake, source, carrier).serve()
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


def start(settings: Settings, intake: Intake, activity: Activity, guard: Guard) -> DicomServer:
    """Open the DICOM port. Raises ``Missing("dicom_port")`` where it is taken."""
    return DicomServer(settings, intake, activity, guard)


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
