"""What routing rules may ask of a stack: figures of its geometry and time, and the attributes of its instances."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from contracts.geometry import dot, group_by_position, normal_of
from contracts.instances import Instance, Plane, Vector

LONG_AXIS: Vector = (0.67, -0.60, -0.43)
"""Mean direction of the left ventricle's long axis, base to apex: to the left, forward and down (LPS)."""


def features_of(instances: Sequence[Instance]) -> dict[str, object]:
    """Return features by name, None where unknown.

    ``positions`` and ``images_per_position`` (median) count; ``slice_distance_mm`` is the median gap,
    ``row_spacing_mm``, ``column_spacing_mm``, ``field_of_view_mm`` (longer side); ``angle_to_long_axis_deg`` and
    ``angle_to_body_axis_deg`` are those of the slice normal, up to its sign; ``phase_interval_ms`` is the median step
    of trigger times within a position, ``span_s`` the longest acquisition of one position. Attributes of
    :data:`contracts.describe.KEYWORDS` come under their keyword: one value where all instances agree, else the list of
    the different ones. Of this geometry a photograph has ``images_per_position``, the number of its frames, and the
    pixel spacings where it states one.
    """
    found: dict[str, object] = {
        "modality": instances[0].modality,
        "sop_class_uid": instances[0].sop_class_uid,
        "images": len(instances),
        **_merged([instance.attributes for instance in instances]),
    }
    planes = [plane for instance in instances for plane in instance.planes]
    if planes and instances[0].photograph:
        found |= _picture(planes, stated=not found.get("SpacingInvented"))
    elif planes:
        found |= _geometry(planes, instances[0])
    return found


def _picture(planes: Sequence[Plane], *, stated: bool) -> dict[str, object]:
    rows, columns = planes[0].spacing if stated else (None, None)
    return {"images_per_position": len(planes), "row_spacing_mm": rows, "column_spacing_mm": columns}


def _merged(attributes: Sequence[Mapping[str, object]]) -> dict[str, object]:
    names = dict.fromkeys(name for one in attributes for name in one)
    return {name: _distinct([one[name] for one in attributes if name in one]) for name in names}


def _distinct(values: Sequence[object]) -> object:
    """One value where all agree, else the list of the different ones; lists are joined into one."""
    if any(isinstance(value, list) for value in values):
        return list(dict.fromkeys(v for value in values for v in (value if isinstance(value, list) else [value])))
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else different


def _geometry(planes: Sequence[Plane], instance: Instance) -> dict[str, object]:
    first = planes[0]
    normal = normal_of(first.orientation)
    slices = group_by_position(planes, normal)
    gaps = [b - a for (a, _), (b, _) in pairwise(slices)]
    members = [group for _, group in slices]
    return {
        "positions": len(slices),
        "images_per_position": int(median(len(group) for group in members)),
        "slice_distance_mm": round(median(gaps), 3) if gaps else None,
        "row_spacing_mm": round(first.spacing[0], 4),
        "column_spacing_mm": round(first.spacing[1], 4),
        "field_of_view_mm": round(max(instance.rows * first.spacing[0], instance.columns * first.spacing[1]), 1),
        "angle_to_long_axis_deg": _angle(normal, LONG_AXIS),
        "angle_to_body_axis_deg": _angle(normal, (0.0, 0.0, 1.0)),
        "phase_interval_ms": _interval(members),
        "span_s": _span([[p.acquired_s for p in group] for group in members]),
    }


def _angle(a: Vector, b: Vector) -> float:
    cosine = abs(dot(a, b)) / (math.hypot(*a) * math.hypot(*b))
    return round(math.degrees(math.acos(min(1.0, cosine))), 1)


def _interval(members: Sequence[Sequence[Plane]]) -> float | None:
    steps = []
    for group in members:
        times = sorted(plane.trigger_time for plane in group if plane.trigger_time is not None)
        steps += [b - a for a, b in pairwise(times)]
    return round(median(steps), 3) if steps else None


def _span(times: Sequence[Sequence[float | None]]) -> float | None:
    known = [[time for time in group if time is not None] for group in times]
    spans = [max(group) - min(group) for group in known if group]
    within_a_day = [86400 - span if span > 43200 else span for span in spans]  # past midnight
    return round(max(within_a_day), 3) if spans else None
