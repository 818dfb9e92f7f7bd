"""Sending by C-STORE: the files' own transfer syntaxes, streamed from disk, one association for up to 128 kinds."""

import logging
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.files import DicomFile, Problem
from client.stow import passing, words
from contracts.errors import Unreachable, Usage

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

CONTEXTS = 128
"""Most presentation contexts of one association (DICOM PS3.8 section 9.3.2.2: odd identifiers below 256)."""


@dataclass(frozen=True)
class Peer:
    """A C-STORE receiver."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


def parse_peer(text: str) -> Peer:
    """Read ``AET@host:port``. Raises ``Usage``."""
    match = re.fullmatch(r"([\x20-\x3f\x41-\x5b\x5d-\x7e]{1,16})@(\[[0-9A-Fa-f:]+\]|[^@:\[\]\s]+):(\d{1,5})", text)
    if not match or not 0 < int(match[3]) < 65536:
        raise Usage("bad_peer", f"'{text}' is neither http(s)://.../dicom-web nor AET@host:port.")
    return Peer(match[1].strip(), match[2].strip("[]"), int(match[3]))


def send(
    peer: Peer, files: Sequence[DicomFile], on_bytes: Callable[[int], None], *, calling: str = "SEGLOOPCLIENT"
) -> list[Problem]:
    """Store files and return those that were not stored.

    Raises ``Unreachable`` when the receiver does not answer, goes away or rejects the association.
    """
    problems = [Problem(file.name, "its header cannot be read") for file in files if not _complete(file)]
    sendable = [file for file in files if _complete(file)]
    for group in _groups(sendable):
        problems += _send_group(peer, group, on_bytes, calling)
    return problems


def _complete(file: DicomFile) -> bool:
    return bool(file.sop_class_uid and file.sop_uid and file.transfer_syntax_uid)


def _groups(files: Sequence[DicomFile]) -> Iterator[list[DicomFile]]:
    """Split files so that each group has at most ``CONTEXTS`` pairs of class and transfer syntax."""
    group: list[DicomFile] = []
    kinds: set[tuple[str, str]] = set()
    for file in files:
        kind = (file.sop_class_uid, file.transfer_syntax_uid)
        if kind not in kinds and len(kinds) == CONTEXTS:
            yield group
            group, kinds = [], set()
        group.append(file)
        kinds.add(kind)
    if group:
        yield group


def _send_group(peer: Peer, files: list[DicomFile], on_bytes: Callable[[int], None], calling: str) -> list[Problem]:
    link = _associate(peer, files, calling)
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in link.accepted_contexts}
    problems: list[Problem] = []
    try:
        for number, file in enumerate(files):
            if (file.sop_class_uid, file.transfer_syntax_uid) not in accepted:
                problems.append(Problem(file.name, "the receiver does not accept this kind of object"))
            else:
                status = link.send_c_store(file.path).get("Status") if link.is_established else None
                if status is None:
                    done = f"{number} of {len(files)} files; sending again is safe"
                    raise Unreachable("peer_gone", f"{peer} broke off after {done}.")
                if not _stored(status):
                    problems.append(Problem(file.name, words(status), passing=passing(status)))
            on_bytes(file.size)
    finally:
        if link.is_established:
            link.release()
    return problems


def _associate(peer: Peer, files: list[DicomFile], calling: str) -> "Association":
    from pynetdicom import AE, _config, evt  # slow to import, and sending by HTTP does without

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    _config.STORE_SEND_CHUNKED_DATASET = True  # from the file, piece by piece
    entity = AE(ae_title=calling)
    entity.connection_timeout = 10
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    for sop_class, syntax in dict.fromkeys((f.sop_class_uid, f.transfer_syntax_uid) for f in files):
        entity.add_requested_context(sop_class, syntax)
    try:
        link = entity.associate(
            peer.host, peer.port, ae_title=peer.ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)]
        )
    except OSError as error:
        raise Unreachable("peer_unreachable", f"The host name in {peer} is not known.") from error
    if not link.is_established:
        raise Unreachable("peer_unreachable", _why_not(peer, link, calling))
    return link


def _stored(status: int) -> bool:
    return status == 0 or 0xB000 <= status <= 0xBFFF


def _why_not(peer: Peer, link: "Association", calling: str) -> str:
    if link.is_rejected:
        return (
            f"{peer} turned us away: it does not know the AE title {peer.ae_title}, or ours, {calling}. "
            "Have ours added there, or give another with --calling."
        )
    if link.rejected_contexts:
        return f"{peer} accepts none of these kinds of objects."
    return f"Nothing answers at {peer} as a DICOM receiver: check host, port and that it is running."


def _no_delay(event: "Event") -> None:
    """Send small packets at once; with Nagle's algorithm each object waits for delayed acknowledgements."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
