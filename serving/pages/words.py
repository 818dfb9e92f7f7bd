"""How pages word things: times, units, states and what can be done about them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contracts.tasks import LABELS, Label, Task

STATES: dict[str, str] = {
    "receiving": "Instances are arriving, or the quiet period after the last one is not over.",
    "complete": "All there; waits for its turn.",
    "processing": "Being read, segmented and written.",
    "held": "The answer looks wrong. Nothing was delivered; a person releases or dismisses it.",
    "delivering": "Results are on their way to their destinations.",
    "done": "Answered, and delivered where destinations are set.",
    "not_processed": "No rule or no model takes this stack. It is kept.",
    "refused": "The input cannot be answered as it is. It is kept.",
    "failed": "Our failure, not the input's. It can be retried.",
    "dismissed": "A person decided that this answer is not to be delivered.",
}
ADVICE: dict[str, str] = {
    "held": "Look at every slice, then release it (it goes to its destinations) or dismiss it (it stays here).",
    "refused": "Mend the series at its source and send it again: what comes later opens a new version. "
    "Or change what the reason names here, then retry. Everything received is kept.",
    "failed": "Retry it. If it fails again, the gateway's log has the cause under this stack's number.",
    "not_processed": "If it should have been segmented: add a rule to RULES, then retry.",
    "implausible_measurements": "Mostly a slice was missed, or more than the heart was found. Look at the phases on "
    "the curve, then release it (it goes to its destinations) or dismiss it (it stays here).",
    "no_model": "Publish and promote a model for this task, then retry.",
}
SETTLED_WELL = frozenset({"complete", "processing", "delivering", "done"})
"""States whose reason is a remark, not a problem."""
DELIVERY_STATES = {"delivered": "done", "waiting": "complete", "sending": "delivering", "rejected": "refused"}
"""Which mark a delivery's state shares; ``withdrawn`` has that of ``dismissed``."""
ASIDE: dict[str, str] = {
    "aside": "came again with other pixels or geometry under a SOP Instance UID that is known: refused, kept aside. "
    "Send it under a UID of its own.",
    "returned": "a result of ours that came back: acknowledged, kept aside, never segmented.",
    "replaced": "an older revision: its attributes were corrected by what came later.",
}
"""Why instances are kept that do not count, and what their sender can do."""
COUNTS = {
    "receiving": "Studies arriving",
    "processing": "Stacks in work",
    "waiting": "Stacks held for a person",
    "refused": "Stacks refused",
    "failed": "Stacks failed",
}
KINDS = {"seg": "DICOM Segmentation: the masks of one phase", "sr": "DICOM Structured Report: the measurements"}
MEASUREMENTS: dict[str, tuple[str, str]] = {
    "edv": ("End-diastolic volume, left ventricle", "EDV"),
    "esv": ("End-systolic volume, left ventricle", "ESV"),
    "sv": ("Stroke volume", "SV"),
    "ef": ("Ejection fraction", "EF"),
    "lv_mass": ("Mass of left ventricular myocardium", "LV mass"),
    "lv_myocardium": ("Volume of left ventricular myocardium", "LV myocardium"),
    "lv_curve_jump": ("Largest jump of the cavity in one phase", "jump"),
    "rv_edv": ("End-diastolic volume, right ventricle", "RV EDV"),
    "rv_esv": ("End-systolic volume, right ventricle", "RV ESV"),
    "rv_ef": ("Ejection fraction, right ventricle", "RV EF"),
    "prostate_volume": ("Volume of the prostate", "prostate"),
    "lesion_area": ("Area of the lesion", "lesion"),
}
UNITS = {"ml": "mL", "percent": "%", "g": "g", "voxels": "voxels", "mm": "mm", "mm2": "mm²", "pixels": "pixels"}
KEY = re.compile(rf"(?P<stem>\w+?)_(?P<suffix>{'|'.join(UNITS)})(?:_(?P<phase>\d+))?")
LISTED = ("EDV", "ESV", "EF")
"""Measurements that the list of studies shows, where a stack has them; else its first three."""
STEPS = ("read", "predict", "write", "offer")


@dataclass(frozen=True)
class Figure:
    """One measurement in words; ``expected`` is the range that a heart stays in where this one does not, else empty."""

    name: str
    short: str
    number: str
    unit: str
    expected: str = ""


def ago(at: float, now: float) -> str:
    """Return how long before (or after) ``now`` a time is, in the two words people use."""
    gap = now - at
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(gap) >= size:
            number = f"{math.floor(abs(gap) / size)} {unit}"
            break
    else:
        if abs(gap) < 5:
            return "now"
        number = f"{math.floor(abs(gap))} s"
    return f"{number} ago" if gap > 0 else f"in {number}"


def absolute(at: float) -> str:
    """Return a time as UTC to the second, ISO 8601 with a blank."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float) -> str:
    """Return a time for a machine: RFC 3339, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """Return how long a step took, in a unit that keeps two or three digits."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min"


def clock(seconds: float) -> str:
    """Return how long something takes as minutes and seconds, or in hours and days where it takes those."""
    whole = math.floor(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600} h" if whole < 86400 else f"{whole // 86400} d"


def measured(measurements: Mapping[str, object]) -> list[Figure]:
    """Return every measurement that has a number and a known unit, and every one that is implausible, in their order.

    ``implausible`` of the measurements is a list of ``{"name", "value", "low", "high"}``; ``value`` may be None.
    """
    doubted = {one["name"]: one for one in _implausible(measurements)}
    values = {key: value for key, value in measurements.items() if _number_of(value) is not None}
    rows = [_figure(key, value, doubted.get(key)) for key, value in values.items()]
    rows += [_figure(key, one["value"], one) for key, one in doubted.items() if key not in values]
    return [row for row in rows if row is not None]


def summary(measurements: Mapping[str, object]) -> list[Figure]:
    """Return the few measurements that the list of studies shows."""
    found = measured(measurements)
    return [row for row in found if row.short in LISTED] or found[:3]


def steps_line(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, int]]:
    """Return (step, seconds of its last run, how often it ran) of the steps that ran, in their order."""
    runs = {step: [entry["seconds"] for entry in history if entry["event"] == step] for step in STEPS}
    return [(step, seconds[-1], len(seconds)) for step, seconds in runs.items() if seconds]


def chosen_first(
    results: Sequence[Mapping[str, Any]], measurements: Mapping[str, object]
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Split results into those that are delivered as a rule (reports, ED, ES) and the other phases."""
    chosen = {0, measurements.get("ed_phase"), measurements.get("es_phase")}
    first = [result for result in results if result["kind"] != "seg" or result["phase"] in chosen]
    if not first or len(results) <= 4:
        return list(results), []
    return first, [result for result in results if result not in first]


def series_of(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (kind, series UID) of every series that results stand in, once each."""
    return sorted({(result["kind"], result["series_uid"]) for result in results if result["series_uid"]})


def phase_word(phase: int, measurements: Mapping[str, object]) -> str:
    """Return a result's phase in words: its number and, where it is one, ED or ES; 0 means all phases."""
    names = [word for word, name in (("ED", "ed_phase"), ("ES", "es_phase")) if measurements.get(name) == phase]
    return " ".join([str(phase), *names]) if phase else "all"


def by_destination(deliveries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum deliveries up by destination and state: how many, the most tries, the next time, the latest answer."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for delivery in deliveries:
        groups.setdefault((delivery["destination"], delivery["state"]), []).append(delivery)
    return [
        {
            "destination": destination,
            "state": state,
            "count": len(group),
            "attempts": max(delivery["attempts"] for delivery in group),
            "next_at": min(delivery["next_at"] for delivery in group),
            "changed_at": max(delivery["changed_at"] for delivery in group),
            "last_answer": max(group, key=lambda delivery: float(delivery["changed_at"]))["last_answer"],
        }
        for (destination, state), group in groups.items()
    ]


def advice(state: str, code: str) -> str:
    """Return what a person can do about a stack, empty where nothing is to be done."""
    return ADVICE.get(code) or ADVICE.get(state, "")


def labels_of(task: str) -> tuple[Label, ...]:
    """Return the labels of a task by its name, none for a name that is no task."""
    return LABELS[Task(task)] if task in set(Task) else ()


def _implausible(measurements: Mapping[str, object]) -> list[Mapping[str, Any]]:
    found = measurements.get("implausible")
    return [one for one in found if isinstance(one, dict) and "name" in one] if isinstance(found, list) else []


def _figure(key: str, value: object, doubted: Mapping[str, Any] | None) -> Figure | None:
    parts = KEY.fullmatch(key)
    if parts is None:
        return None
    stem, suffix, phase = parts["stem"], parts["suffix"], parts["phase"]
    name, short = MEASUREMENTS.get(stem, (stem.replace("_", " "), stem.replace("_", " ")))
    if stem == "lv_mass" and suffix == "voxels":  # a count, and no mass
        name, short = MEASUREMENTS["lv_myocardium"]
    name += f", phase {phase}" if phase else ""
    number = _number_of(value)
    expected = f"{doubted['low']:g} to {doubted['high']:g} {UNITS[suffix]}" if doubted else ""
    return Figure(name, short, "unknown" if number is None else _number(number, suffix), UNITS[suffix], expected)


def _number_of(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]


def _number(value: float, suffix: str) -> str:
    whole = suffix in ("voxels", "pixels", "mm2") or abs(value) >= 1000
    return f"{value:,.0f}" if whole else f"{value:.1f}"
