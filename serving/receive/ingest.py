"""The intake: what becomes of an object that has arrived, whichever way it came.

Identity rule, by (study, SOP Instance UID):

- nothing known: ``stored``;
- equal to what is known, by value: ``repeated``, nothing new but perhaps one more sender;
- attributes outside pixels and geometry differ: ``revised``, a new revision takes the place of the old one; a copy of
  an older revision counts as ``repeated``, or two archives that hold one revision each would have it flip for ever;
- pixels or geometry differ: kept aside and ``Refused("different_pixels")``;
- it is a result of ours that comes back: ``returned``, acknowledged and never worked on.

``Study.last_received_at`` moves only where there is something to do: a new instance, a new revision, or a known
instance from a new sender (whose destinations must get the results; the settling pass finds the stacks unchanged and
only offers again). A returned or repeated object moves nothing, so nothing runs again.

A study that was deleted and is sent again is a new study: deleting meant its copy here, and nobody could otherwise
have a study processed again. Its tombstone stays as the record of the deletion.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from contracts.dicom import read_header
from contracts.errors import Broken, Refused, SegloopError, answer_to
from contracts.stacks import describe, to_json
from serving import faults
from serving.archive import Archive, Incoming
from serving.index import receipts
from serving.index.database import Database
from serving.index.receipts import Arrival
from serving.index.records import INSTANCE, attributes
from serving.metrics import note_received
from serving.receive.activity import Activity, Carrier
from serving.receive.commits import Commits
from serving.receive.sameness import Differences, Verdict, differences
from serving.settings import Settings

log = structlog.get_logger(__name__)

STATUSES = {
    "not_dicom": (0xC000, 0xC000),
    "truncated": (0xC000, 0xC000),
    "bad_identity": (0xC000, 0xC000),
    "other_study": (0xA900, 0xC409),
    "does_not_match": (0xA900, 0xA900),
    "different_pixels": (0x0111, 0x0111),
    "too_large": (0xA700, 0xA700),
}
"""Code of a refusal -> (C-STORE status, STOW failure reason), where it says more than the table of errors."""


def statuses(error: BaseException) -> tuple[int, int]:
    """Return (C-STORE status, STOW failure reason (0008,1197)) for an error of the intake."""
    if isinstance(error, SegloopError) and error.code in STATUSES:
        return STATUSES[error.code]
    answer = answer_to(error)
    return answer.dimse, answer.stow


TRIES = 20
"""Others may change what is current while a copy is compared with it; then the comparison begins again."""


@dataclass(frozen=True)
class Accepted:
    """What was accepted. ``outcome``: ``stored``, ``repeated``, ``revised`` or ``returned``."""

    sop_class_uid: str
    sop_uid: str
    series_uid: str
    study_uid: str
    outcome: str


class RefusedInstance(Refused):
    """A refusal of an object that could be read. ``named``: its SOP class and instance."""

    def __init__(self, named: tuple[str, str], code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.named = named


class Intake:
    """Takes objects into archive and index. Safe to share between threads."""

    def __init__(self, db: Database, archive: Archive, settings: Settings, activity: Activity) -> None:
        self.db, self.archive, self.settings, self.activity = db, archive, settings, activity
        self._commits = Commits(db)
        self._reading = threading.Lock()

    def sweep(self) -> None:
        """Clear what a crash left; call it at start, before anything is received."""
        with self.db.read() as session:
            known = receipts.all_keys(session)
        parts, orphans = self.archive.sweep(known)
        if parts or orphans:
            log.info("swept", unfinished=parts, unknown=orphans)

    def check_space(self) -> None:
        """Raise ``NotYet("disk_low")`` while the disk is below MIN_FREE_GB."""
        self.archive.check_space(self.settings.min_free_gb)

    def accept(
        self,
        incoming: Incoming,
        source: str,
        expect_study: str | None = None,
        *,
        carrier: Carrier | None = None,
        expect_instance: tuple[str, str] | None = None,
    ) -> Accepted:
        """Take one received object; when this returns, it is durable.

        Arguments and errors are those of :meth:`begin` and, as exceptions, of :meth:`finish`.
        """
        arrival = self.begin(incoming, source, expect_study, carrier=carrier, expect_instance=expect_instance)
        (outcome,) = self.finish([arrival])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def begin(
        self,
        incoming: Incoming,
        source: str,
        expect_study: str | None = None,
        *,
        carrier: Carrier | None = None,
        expect_instance: tuple[str, str] | None = None,
    ) -> Arrival:
        """Read the header of a received object and bring its bytes to the disk.

        ``source`` is ``ae:TITLE``, ``token:NAME`` or ``local``; ``expect_study`` the study that the request names;
        ``expect_instance`` (SOP class, SOP instance) as the C-STORE command names them; ``carrier`` learns the study.

        Raises ``Refused`` (``not_dicom``, ``truncated``, ``bad_identity``, ``other_study``, ``does_not_match``: the
        bytes are in the quarantine) and ``NotYet`` (``disk_full``: nothing was kept).
        """
        try:
            arrival = self._examine(incoming, source, expect_study, expect_instance)
            if carrier is not None:
                carrier.touch(arrival.study_uid)
            self.archive.keep(incoming)
        except Refused as refusal:
            self.archive.quarantine(incoming, refusal.code)
            raise
        except BaseException:
            incoming.discard()
            raise
        faults.point("receive:inside")
        return arrival

    def finish(self, arrivals: Sequence[Arrival]) -> list[Accepted | Exception]:
        """Decide about objects that were begun; when this returns, what was accepted is durable.

        Returns for each what became of it, or the error: ``Refused("different_pixels")`` (kept aside), or ours.
        """
        stored: frozenset[str] = frozenset()
        try:
            stored = self._commits.add(arrivals)
        except Exception:
            log.exception("group_failed", size=len(arrivals))  # one of them spoils the rest: try each alone
        outcomes = [self._finished(arrival, arrival.key in stored) for arrival in arrivals]
        faults.point("receive:after")
        return outcomes

    def _current(self, arrival: Arrival) -> receipts.Known | None:
        with self.db.engine.connect() as connection:
            return receipts.current(connection, arrival.study_uid, arrival.sop_uid)

    def _finished(self, arrival: Arrival, stored: bool) -> Accepted | Exception:
        try:
            outcome = "stored" if stored else self._settle(arrival)
        except RefusedInstance as refusal:
            return refusal
        except Exception as error:
            self._put_undecided_aside(arrival)
            return error
        note_received(arrival.source, arrival.size)
        return Accepted(arrival.sop_class_uid, arrival.sop_uid, arrival.series_uid, arrival.study_uid, outcome)

    def keep_result(self, payload: bytes, stack_version_id: int, sop_uid: str, phase: int, kind: str = "seg") -> str:
        """Keep an object that we made for a stack version and return its key. Done twice with the same bytes: once.

        ``phase`` counts from 1. Raises ``Broken("result_differs")`` where other bytes stand under its UID: results
        are never overwritten.
        """
        with self.db.read() as session:
            known = receipts.result_key(session, sop_uid)
        if known is not None:
            if self.archive.path(known).read_bytes() != payload:
                raise Broken("result_differs", "A result with this UID and other content exists already.")
            return known
        incoming = self.archive.incoming()
        try:
            incoming.write(payload)
            # No stack is ever formed of results, so nothing is described: their many frames would take 10 ms.
            arrival = _arrival(incoming, "segloop", read_header(incoming.path), {})
            self.archive.keep(incoming)
        except BaseException:
            incoming.discard()
            raise
        with self.db.write() as session:
            receipts.add_result(session, arrival, stack_version_id, phase, kind)
        return arrival.key

    def _examine(
        self, incoming: Incoming, source: str, expect_study: str | None, expect_instance: tuple[str, str] | None
    ) -> Arrival:
        # One at a time: the interpreter runs one anyway, and threads that compete for it take a tenth longer.
        with self._reading:
            header = read_header(incoming.path)
            _check_expectations(header, expect_study, expect_instance)
            return _arrival(incoming, source, header, to_json(describe(header)))

    def _settle(self, arrival: Arrival) -> str:
        """Decide about an object whose UID is, or was a moment ago, known."""
        for _ in range(TRIES):
            known = self._current(arrival)
            try:
                found = None if known is None else self._differences(known.key, arrival)
            except FileNotFoundError:
                continue  # deleted a moment ago
            if known is None or found is None:
                if self._commits.add([arrival]):
                    return "stored"
                continue
            with self.db.write() as session:
                outcome = self._apply(session, arrival, known, found)
            if outcome is None:
                continue  # somebody changed what is current in the meantime
            if outcome not in ("revised", "kept"):
                self.archive.remove([arrival.key])
            if known.kind == "result":
                return "returned"
            if found.verdict is Verdict.PIXELS:
                raise RefusedInstance(
                    (arrival.sop_class_uid, arrival.sop_uid),
                    "different_pixels",
                    "Another object with this SOP Instance UID is stored here and its pixels or geometry differ; the "
                    "one just sent is kept aside. Send it under a UID of its own.",
                )
            return outcome
        raise Broken("archive_damaged", "An object with this UID is known here, but its file cannot be found.")

    def _put_undecided_aside(self, arrival: Arrival) -> None:
        """Keep what nothing was decided about where somebody may look at it, unless the index names it after all."""
        try:
            with self.db.read() as session:
                named = receipts.is_named(session, arrival.key)
            if not named:
                self.archive.quarantine(arrival.incoming, "undecided")
        except Exception:
            log.exception("not_put_aside")  # the next start sweeps it

    def _differences(self, key: str, arrival: Arrival) -> Differences:
        return differences(self.archive.path(key), arrival.incoming.path)

    def _apply(self, session: Session, arrival: Arrival, known: receipts.Known, found: Differences) -> str | None:
        """Write the decision; None where ``known`` is not what is current any more."""
        if receipts.current(session.connection(), arrival.study_uid, arrival.sop_uid) != known:
            return None
        ours = known.kind == "result"
        seen = found.verdict is Verdict.SAME or receipts.has_copy(session, known, found.new)
        if not ours and found.verdict is not Verdict.PIXELS:
            if seen:
                receipts.add_sender(session, arrival)
                return "repeated"
            receipts.add_revision(session, arrival, known, found.known)
            return "revised"
        if seen:
            return "repeated"
        receipts.add_copy(session, arrival, known, found.new)
        return "kept"


def _arrival(incoming: Incoming, source: str, header: Dataset, description: dict[str, object]) -> Arrival:
    return Arrival(
        incoming=incoming,
        key=incoming.key,
        source=source,
        at=time.time(),
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        sop_uid=str(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")),
        size=incoming.size,
        header=header,
        instance=attributes(header, INSTANCE),
        description=description,
    )


def _check_expectations(header: Dataset, expect_study: str | None, expect_instance: tuple[str, str] | None) -> None:
    named = (str(header.SOPClassUID), str(header.SOPInstanceUID))
    if expect_study is not None and str(header.StudyInstanceUID) != expect_study:
        raise RefusedInstance(named, "other_study", "The object is of another study than the request names.")
    if expect_instance is not None and named != expect_instance:
        raise RefusedInstance(named, "does_not_match", "The request names another SOP class or instance.")
