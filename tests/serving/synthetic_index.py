"""An index with made-up studies in every state, for tests of views and pages and for their pictures."""

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from contracts.stacks import Instance as Described
from contracts.stacks import to_json
from serving.index.database import Database
from serving.index.models import Delivery, History, Instance, Result, Sender, StackVersion, Study, Tombstone

ROOT = "2.25.1000"
MODEL = {"name": "cardiac", "version": 1, "variant": "fp32", "digest": "0123456789abcdef" * 4}
FINDINGS = {
    "measurements": {
        "edv_ml": 142.31,
        "esv_ml": 61.02,
        "sv_ml": 81.29,
        "ef_percent": 57.12,
        "lv_mass_g": 101.5,
        "ed_phase": 1,
        "es_phase": 8,
    },
    "warnings": ["The slice distance is 0.2 mm wider than the thickness."],
    "phases": 20,
    "lv_by_phase": [142.3, 138, 130, 115, 98, 80, 68, 61, 64, 72, 85, 99, 112, 120, 126, 130, 134, 138, 141, 142],
    "slices": 9,
}
DOUBTED = {
    **FINDINGS["measurements"],  # type: ignore[dict-item]
    "ef_percent": 2.1,
    "implausible": [{"name": "ef_percent", "value": 2.1, "low": 5, "high": 90}],
}
REASONS = {
    "held": ("in_pieces", "The structures lie in pieces: the largest holds only 41% of what was found."),
    "refused": ("missing_slice", "A slice is missing between 40.0 mm and 60.0 mm along the normal."),
    "failed": ("unexpected", "RuntimeError in step predict; the gateway's log has the details."),
    "not_processed": ("no_rule", "No rule matches; nearest was 'short-axis cine': 1 phase a position, not at least 8."),
    "dismissed": ("dismissed", "The base was cut off."),
}
TOOK_S = 41.0
"""Seconds from a made-up stack being complete to its answer."""
STATES = ("done", "held", "refused", "failed", "processing", "delivering", "complete", "not_processed", "dismissed")


def study_uid(state: str) -> str:
    """Return the UID of the made-up study whose first stack is in ``state``."""
    return f"{ROOT}.{1 + (*STATES, 'receiving').index(state)}"


def attributes(name: str, number: int) -> dict[str, object]:
    """Return study and patient attributes as DICOM JSON."""
    return {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
        "00100020": {"vr": "LO", "Value": [f"SYN-{number:04d}"]},
        "00100030": {"vr": "DA", "Value": ["19700201"]},
        "00100040": {"vr": "CS", "Value": ["F"]},
        "00080020": {"vr": "DA", "Value": ["20240131"]},
        "00081030": {"vr": "LO", "Value": ["Synthetic cardiac MR"]},
    }


def fill(db: Database, now: float | None = None) -> dict[str, int]:
    """Write one study for each state and one that is arriving; return state -> id of its first stack."""
    at, ids = time.time() if now is None else now, {}
    with db.write() as session:
        for number, state in enumerate((*STATES, "receiving"), start=1):
            uid = f"{ROOT}.{number}"
            settled = 0.0 if state == "receiving" else at - 60 * number
            session.add(
                Study(
                    study_uid=uid,
                    first_received_at=at - 60 * number - 20,
                    last_received_at=at - 60 * number,
                    settled_at=settled,
                    attributes=attributes(f"Synthetic^Müller {number}", number),
                )
            )
            session.flush()
            for series in range(3):
                add_instance(session, uid, f"{uid}.{series}", at, images=series < 2)
            session.add(Sender(study_uid=uid, sop_uid=f"{uid}.0.1", source="ae:SCANNER1"))
            if state == "refused":
                add_instance(session, uid, f"{uid}.0", at, images=True, kind="aside")
            if state != "receiving":
                ids[state] = add_stack(session, uid, state, at - 60 * number)
        session.add(Tombstone(study_uid=f"{ROOT}.99", at=at, who="anna", why="asked for", instances=3))
    return ids


def add_instance(  # type: ignore[no-untyped-def]
    session, uid: str, series_uid: str, at: float, *, images: bool, kind: str = "source"
) -> None:
    """Write one instance of a series; without images it is a document."""
    described = Described(f"{series_uid}.1", series_uid, uid, "1.2", "MR" if images else "PR", 0, 0, "", ())
    session.add(
        Instance(
            sop_uid=f"{series_uid}.1",
            series_uid=series_uid,
            study_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            key=f"{abs(hash((series_uid, kind))):032x}"[:32],
            kind=kind,
            size=131_000,
            received_at=at,
            attributes={},
            description=to_json(described),
        )
    )


def add_stack(session, uid: str, state: str, at: float, version: int = 1) -> int:  # type: ignore[no-untyped-def]
    """Write a stack in ``state`` with the history, results and deliveries that go with it, and return its id."""
    code, reason = REASONS.get(state, ("", ""))
    pictured = state in ("done", "held", "delivering", "dismissed")
    stack = StackVersion(
        study_uid=uid,
        key=f"key-{uid}",
        version=version,
        state=state,
        task="" if state == "not_processed" else "cardiac",
        code=code,
        reason=reason,
        series_uids=[f"{uid}.0"],
        instance_uids=[f"{uid}.0.1"],
        digest=f"digest-{uid}",
        completeness={"at": at},
        model=MODEL if pictured else {},
        findings=FINDINGS | ({"measurements": DOUBTED} if state == "held" else {}) if pictured else {},
        created_at=at,
        changed_at=at,
    )
    session.add(stack)
    session.flush()
    steps = [("read", 0.41), ("predict", 11.2), ("write", 0.32)] if pictured else []
    begun = at - TOOK_S if pictured else at
    session.add(History(stack_version_id=stack.id, at=begun, who="segloop", event="state", after="complete"))
    for step, seconds in steps:
        session.add(History(stack_version_id=stack.id, at=at, who="segloop", event=step, seconds=seconds))
    if state != "complete":
        session.add(History(stack_version_id=stack.id, at=at, who="segloop", event="state", after=state, reason=reason))
    if state in ("done", "delivering"):
        _add_results(session, stack, at)
    return stack.id


def _add_results(session, stack: StackVersion, at: float) -> None:  # type: ignore[no-untyped-def]
    for kind, phase in (("seg", 1), ("seg", 8), ("sr", 0)):
        sop_uid = f"{stack.study_uid}.9.{phase}"
        session.add(
            Result(
                sop_uid=sop_uid,
                stack_version_id=stack.id,
                kind=kind,
                phase=phase,
                key=f"k{stack.id}-{phase}",
                created_at=at,
            )
        )
        session.add(
            Delivery(
                stack_version_id=stack.id,
                sop_uid=sop_uid,
                destination="pacs1",
                state="delivered" if stack.state == "done" else "waiting",
                attempts=1 if stack.state == "done" else 3,
                next_at=at + 4000,
                last_answer="stored" if stack.state == "done" else "not reachable: connection refused",
                changed_at=at,
            )
        )


def heart_png(size: int = 256, phase: int = 1) -> bytes:
    """Return a picture of a disc in a ring, in place of a slice with outlines."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(x, y)
    plane = np.where(radius < 0.2 + 0.01 * phase, 210, np.where(radius < 0.4, 70, 30)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, format="PNG")
    return stream.getvalue()


def database(folder: Path) -> Database:
    """Return a migrated index in ``folder``."""
    db = Database(f"sqlite:///{folder / 'index.sqlite'}")
    db.migrate()
    return db
