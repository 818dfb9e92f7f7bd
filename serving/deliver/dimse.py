"""One result by C-STORE, and the question whether a receiver is there by C-ECHO."""

import logging
import socket
import ssl
from pathlib import Path

from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from contracts.dicom import read_dataset
from contracts.errors import Usage
from serving.deliver.answers import Answer, Verdict, of_rejection, of_status, unreachable
from serving.deliver.destinations import DimseDestination
from serving.settings import Settings

LABELMAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
RESULT_CLASSES = (SegmentationStorage, LABELMAP_STORAGE, ComprehensiveSRStorage, Comprehensive3DSRStorage)
UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
CONNECT_S, ANSWER_S = 10.0, 60.0

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # every answer is judged and shown by us


def store(path: Path, place: DimseDestination, settings: Settings) -> Answer:
    """Send one DICOM file; the file's own transfer syntax, or uncompressed little endian as the receiver accepts."""
    dataset = read_dataset(path)
    entity = _entity(settings)
    meta = dataset.file_meta
    for sop_class in RESULT_CLASSES:
        if sop_class != meta.MediaStorageSOPClassUID:
            entity.add_requested_context(sop_class, UNCOMPRESSED)
    compressed = meta.TransferSyntaxUID.is_compressed
    entity.add_requested_context(meta.MediaStorageSOPClassUID, [meta.TransferSyntaxUID] if compressed else UNCOMPRESSED)
    association = _associate(entity, place, settings)
    try:
        if isinstance(association, Answer):
            return association
        if not any(c.abstract_syntax == meta.MediaStorageSOPClassUID for c in association.accepted_contexts):
            return Answer(Verdict.PERMANENT, f"the receiver accepts no {dataset.SOPClassUID.name}")
        status = association.send_c_store(dataset)
        if "Status" not in status:
            return unreachable("the connection broke, or no answer came, while sending")
        return of_status(int(status.Status))
    except ValueError:
        return Answer(Verdict.PERMANENT, "the receiver accepts no transfer syntax that we can send this object in")
    finally:
        _leave(association)


def echo(place: DimseDestination, settings: Settings) -> Answer:
    """Ask by C-ECHO whether the receiver is there and knows us."""
    entity = _entity(settings)
    entity.add_requested_context(Verification)
    association = _associate(entity, place, settings)
    try:
        if isinstance(association, Answer):
            return association
        status = association.send_c_echo()
        if "Status" not in status:
            return unreachable("no answer to C-ECHO")
        if status.Status == 0:
            return Answer(Verdict.DELIVERED, "answers C-ECHO")
        return of_status(int(status.Status))
    finally:
        _leave(association)


def _entity(settings: Settings) -> AE:
    entity = AE(ae_title=settings.ae_title)
    entity.connection_timeout = CONNECT_S
    entity.acse_timeout = ANSWER_S
    entity.dimse_timeout = ANSWER_S
    entity.network_timeout = ANSWER_S
    entity.maximum_pdu_size = 131072
    return entity


def _associate(entity: AE, place: DimseDestination, settings: Settings) -> Association | Answer:
    try:
        tls = (_tls(place, settings), place.host) if place.tls else None
    except (OSError, ssl.SSLError, Usage) as error:
        return Answer(Verdict.PERMANENT, f"TLS cannot be set up: {error}")
    try:
        association = entity.associate(
            place.host,
            place.port,
            ae_title=place.ae_title,
            tls_args=tls,
            evt_handlers=[(evt.EVT_CONN_OPEN, no_delay)],
        )
    except OSError:
        return unreachable(f"the host name {place.host} is not known")
    if association.is_established:
        return association
    if association.is_rejected:
        rejection = association.acceptor.primitive
        if rejection is not None:
            return of_rejection(rejection.result or 0, rejection.result_source or 0, rejection.diagnostic or 0)
    if association.rejected_contexts:
        return Answer(Verdict.PERMANENT, "the receiver accepts none of the objects that we offer")
    return unreachable(f"{place.host}:{place.port} does not answer as a DICOM receiver")


def _tls(place: DimseDestination, settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=place.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.dicom_tls and settings.tls_certificate and settings.tls_key:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def no_delay(event: evt.Event) -> None:
    """Send small packets at once: with Nagle's algorithm each object waits for delayed acknowledgements (50 ms)."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave(association: Association | Answer) -> None:
    if isinstance(association, Association) and association.is_established:
        association.release()
