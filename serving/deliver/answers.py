"""What a receiver's answer means for a delivery: stored, try again soon, or rejected and tried again slowly.

One table holds the DIMSE statuses and STOW failure reasons, which share their numbers (DICOM PS3.4 Table B.2-1, PS3.7
Annex C, PS3.18 Table 10.5.3-1); a second one the HTTP statuses that carry no such number.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The three ways a try ends."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


@dataclass(frozen=True)
class Answer:
    """The outcome of one try, and one sentence for a person. ``unreachable``: nobody answered at all."""

    verdict: Verdict
    sentence: str
    unreachable: bool = False


@dataclass(frozen=True)
class Row:
    """Statuses ``first`` to ``last``, both included."""

    first: int
    last: int
    verdict: Verdict
    meaning: str


_D, _T, _P = Verdict.DELIVERED, Verdict.TRANSIENT, Verdict.PERMANENT

STATUSES: tuple[Row, ...] = (
    Row(0x0000, 0x0000, _D, "stored"),
    Row(0x0001, 0x0001, _D, "stored with a warning"),
    Row(0x0107, 0x0107, _D, "stored with a warning about attributes"),
    Row(0x0110, 0x0110, _T, "the receiver failed to process it"),
    Row(0x0111, 0x0111, _D, "stored there before"),
    Row(0x0116, 0x0116, _D, "stored with a warning about an attribute value"),
    Row(0x0122, 0x0122, _P, "the receiver does not support this kind of object"),
    Row(0x0124, 0x0124, _P, "not authorized"),
    Row(0x0210, 0x0210, _T, "duplicate invocation"),
    Row(0x0213, 0x0213, _T, "the receiver is out of resources"),
    Row(0xA700, 0xA7FF, _T, "the receiver is out of resources"),
    Row(0xA900, 0xA9FF, _P, "the receiver says that the object does not match its class"),
    Row(0xB000, 0xBFFF, _D, "stored with a warning"),
    Row(0xC122, 0xC122, _P, "the receiver does not support this transfer syntax"),
    Row(0xC000, 0xCFFF, _P, "the receiver cannot understand the object"),
    Row(0xFE00, 0xFE00, _T, "cancelled by the receiver"),
    Row(0x0000, 0xFFFF, _P, "rejected"),
)
"""The first row that covers a status counts; the last one covers all."""

HTTP: tuple[Row, ...] = (
    Row(200, 200, _D, "stored"),
    Row(202, 202, _T, "the receiver did not say what became of it"),
    Row(204, 204, _D, "stored"),
    Row(401, 401, _P, "the receiver does not accept our token: see token_file"),
    Row(403, 403, _P, "the receiver does not allow us to store"),
    Row(404, 404, _P, "nothing is at this address: see url"),
    Row(408, 408, _T, "the receiver waited too long for us"),
    Row(409, 409, _P, "refused"),
    Row(425, 425, _T, "too early"),
    Row(429, 429, _T, "the receiver asks us to slow down"),
    Row(501, 501, _P, "the receiver does not implement storing"),
    Row(505, 505, _P, "the receiver does not speak this HTTP version"),
    Row(300, 399, _P, "the address has moved: see url"),
    Row(400, 499, _P, "the receiver rejects the request"),
    Row(500, 599, _T, "the receiver failed"),
    Row(0, 999, _P, "not an answer that STOW-RS knows"),
)


def _find(table: tuple[Row, ...], status: int) -> Row:
    return next(row for row in table if row.first <= status <= row.last)


def of_status(status: int) -> Answer:
    """Judge a C-STORE status or a STOW failure reason, 0 to 0xFFFF.

    The receiver's own words (0000,0902) are left out: they may name the patient, and answers are kept and shown.
    """
    row = _find(STATUSES, status)
    return Answer(row.verdict, f"{row.meaning} (0x{status:04X})" if status else row.meaning)


def of_http(status: int, failure_reason: int | None = None, *, referenced: bool = False) -> Answer:
    """Judge a STOW-RS response by what it says about our one instance.

    ``failure_reason`` is the instance's (0008,1197), where it stands among the failed; ``referenced`` says that it
    stands among the stored. Without either the HTTP status decides alone.
    """
    if failure_reason is not None:
        return of_status(failure_reason)
    if referenced and 200 <= status < 300:
        return Answer(_D, "stored" if status == 200 else "stored with a warning")
    row = _find(HTTP, min(max(status, 0), 999))
    return Answer(row.verdict, row.meaning if row.verdict is _D else f"{row.meaning} (HTTP {status})")


def of_rejection(result: int, source: int, reason: int) -> Answer:
    """Judge an A-ASSOCIATE-RJ (DICOM PS3.8 section 9.3.4): its result, source and reason fields."""
    if result == 2 or source == 3:
        return Answer(_T, f"association rejected for now: the receiver is busy ({result}/{source}/{reason})")
    known = {
        3: "the receiver does not know our AE title: have it added there, or set AE_TITLE",
        7: "the receiver does not answer to this AE title: see ae_title",
    }
    why = known.get(reason, "no reason given") if source == 1 else "its protocol does not match"
    return Answer(_P, f"association rejected: {why} ({result}/{source}/{reason})")


def unreachable(what: str) -> Answer:
    """Judge a connection that failed or broke: always worth another try."""
    return Answer(_T, f"not reachable: {what}", unreachable=True)
