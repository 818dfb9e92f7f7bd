"""Sending by STOW-RS (DICOM PS3.18 section 10.5): batches of files, streamed from disk."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from client.files import DicomFile, Problem
from client.http import Connection, checked, warning
from contracts.errors import Unreachable

BATCH = 50
CHUNK = 1 << 18
BOUNDARY = "segloop-client-2f6b0c9d14e84c57"
HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
TAIL = f"--{BOUNDARY}--\r\n".encode()
REASONS = {
    0x0110: "the gateway failed to process it",
    0x0122: "this kind of object is not supported",
    0x0124: "not allowed",
    0xC122: "this transfer syntax is not supported",
}


def send(connection: Connection, files: Sequence[DicomFile], on_bytes: Callable[[int], None]) -> list[Problem]:
    """Store files in requests of at most ``BATCH`` and return those that were not stored.

    Memory does not grow with files. Raises ``Unreachable``, saying how many are safe, when the gateway goes away;
    sending again is safe.
    """
    problems: list[Problem] = []
    for start in range(0, len(files), BATCH):
        try:
            problems += _send_batch(connection, files[start : start + BATCH], on_bytes)
        except Unreachable as error:
            done = f" {start} of {len(files)} files were answered before; sending again is safe." if start else ""
            raise Unreachable(error.code, error.sentence + done) from error
    return problems


def _send_batch(connection: Connection, batch: Sequence[DicomFile], on_bytes: Callable[[int], None]) -> list[Problem]:
    response = connection.request(
        "POST",
        "/dicom-web/studies",
        content=_body(batch, on_bytes),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
            "Content-Length": str(sum(len(HEAD) + file.size + 2 for file in batch) + len(TAIL)),
            "Accept": "application/dicom+json",
        },
    )
    document = _document(response) if response.status_code in (200, 202, 409) else None
    if document is None:
        checked(response)
        return []
    return _problems(document, batch, warning(response))


def _document(response: Any) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    known = isinstance(document, dict) and not document.keys().isdisjoint(("00081198", "00081199"))
    return document if known else None


def _body(batch: Sequence[DicomFile], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for file in batch:
        yield HEAD
        with file.path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
                on_bytes(len(chunk))
        yield b"\r\n"
    yield TAIL


def _problems(document: dict[str, Any], batch: Sequence[DicomFile], said: str) -> list[Problem]:
    """Name the files that failed: by UID where the answer gives it, else in the order they were sent.

    ``said`` is what the gateway says about all of them.
    """
    stored = {_first(item, "00081155") for item in _items(document, "00081199")}
    names = {file.sop_uid: file.name for file in batch if file.sop_uid not in stored}
    found = []
    for item in _items(document, "00081198"):
        sop_uid = str(_first(item, "00081155") or next(iter(names), ""))
        reason = _first(item, "00081197")
        code = reason if isinstance(reason, int) else 0
        sentence = f"{words(code)}: {said}" if said else words(code)
        found.append(Problem(names.pop(sop_uid, sop_uid or "a file"), sentence, passing=passing(code)))
    return found


def words(code: int) -> str:
    """Return a sentence for a failure reason (0008,1197) or a C-STORE status."""
    if 0xA700 <= code <= 0xA7FF:
        return f"no room or no time for it now, send it again later (0x{code:04X})"
    return f"{REASONS.get(code, 'refused')} (0x{code:04X})"


def passing(code: int) -> bool:
    """Whether a failure reason or status is about now, not about the object."""
    return 0xA700 <= code <= 0xA7FF or code == 0x0110


def _items(document: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return list(document.get(tag, {}).get("Value", []))


def _first(item: dict[str, Any], tag: str) -> object:
    values = item.get(tag, {}).get("Value", [])
    return values[0] if values else None
