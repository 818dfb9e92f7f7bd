"""How pages word things: times, units, states and what can be done about them."""

import math
from collections.abc import Mapping, Sequence
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
    "no_model": "Publish and promote a model for this task, then retry.",
}
SETTLED_WELL = frozenset({"complete", "processing", "delivering", "done"})
"""States whose reason is a remark, not a problem."""
DELIVERY_STATES = {"delivered": "done", "waiting": "complete", "sending": "delivering", "rejected": "refused"}
"""Which mark a delivery's state shares; ``withdrawn`` has that of ``dismissed``."""
MEASUREMENTS: dict[str, tuple[str, str]] = {
    "edv": ("End-diastolic volume, left ventricle", "EDV"),
    "esv": ("End-systolic volume, left ventricle", "ESV"),
    "sv": ("Stroke volume", "SV"),
    "ef": ("Ejection fraction", "EF"),
    "lv_mass": ("Mass of left ventricular myocardium", "LV mass"),
    "rv_edv": ("End-diastolic volume, right ventricle", "RV EDV"),
    "rv_esv": ("End-systolic volume, right ventricle", "RV ESV"),
    "rv_ef": ("Ejection fraction, right ventricle", "RV EF"),
}
UNITS = {"_ml": "mL", "_percent": "%", "_g": "g", "_voxels": "voxels", "_mm": "mm"}


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


def measured(measurements: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Return (name, short name, value with unit) of every measurement that has a number and a known unit."""
    rows = []
    for key, value in measurements.items():
        suffix = next((suffix for suffix in UNITS if key.endswith(suffix)), "")
        if suffix and isinstance(value, int | float) and math.isfinite(value):
            stem = key.removesuffix(suffix)
            name, short = MEASUREMENTS.get(stem, (stem.replace("_", " "), stem.replace("_", " ")))
            rows.append((name, short, f"{_number(float(value), suffix)} {UNITS[suffix]}"))
    return rows


def summary(measurements: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (short name, value) of the few measurements that the list of studies shows."""
    return [(short, value) for _, short, value in measured(measurements) if short in ("EDV", "ESV", "EF")]


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


def curve(volumes: object, width: int = 320, height: int = 90) -> dict[str, object] | None:
    """Lay out a volume curve, one value a phase, for an SVG of this size; None where there is no curve.

    Returns ``points`` (text for a polyline), ``dots`` [(x, y)] by phase, ``most`` and ``least``.
    """
    if not isinstance(volumes, list) or len(volumes) < 2:
        return None
    values = [float(value) for value in volumes if isinstance(value, int | float)]
    if len(values) != len(volumes) or max(values) <= 0:
        return None
    edge, top = 8, max(values)
    step = (width - 2 * edge) / (len(values) - 1)
    dots = [
        (round(edge + i * step, 1), round(height - edge - value / top * (height - 2 * edge), 1))
        for i, value in enumerate(values)
    ]
    points = " ".join(f"{x},{y}" for x, y in dots)
    return {"points": points, "dots": dots, "most": top, "least": min(values), "width": width, "height": height}


def _number(value: float, suffix: str) -> str:
    return f"{value:.1f}" if suffix in ("_ml", "_g", "_percent", "_mm") and abs(value) < 1000 else f"{value:,.0f}"
