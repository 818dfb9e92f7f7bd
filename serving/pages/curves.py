"""Volume curves laid out for SVG: one with axes for a study's page, a small one for the list."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile

ENDS = (("ED", "ed_phase"), ("ES", "es_phase"))
UNITS = {"ml": "mL", "voxels": "voxels"}


@dataclass(frozen=True)
class Frame:
    """Size of the picture and what its edges leave to the curve, all in the SVG's own units."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    axes: bool


WHOLE = Frame(560, 190, left=52, right=14, top=22, bottom=38, axes=True)
SMALL = Frame(150, 52, left=7, right=7, top=8, bottom=2, axes=False)


@dataclass(frozen=True)
class End:
    """End diastole or end systole on the curve: a mark at (x, y), its text beside it."""

    word: str
    phase: int
    value: str
    x: float
    y: float
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Curve:
    """``points`` [(x, y)] by phase, ``line`` the same as text.

    ``levels`` [(y, text)] and ``phases`` [(x, text)] are where the axes carry numbers; ``words`` says it all.
    """

    frame: Frame
    points: tuple[tuple[float, float], ...]
    line: str
    ends: tuple[End, ...]
    levels: tuple[tuple[float, str], ...]
    phases: tuple[tuple[float, str], ...]
    unit: str
    words: str

    @property
    def step(self) -> float:
        """Distance from one phase to the next."""
        return self.points[1][0] - self.points[0][0]


def curve(volumes: object, measurements: Mapping[str, object], frame: Frame = WHOLE) -> Curve | None:
    """Lay out the volume of the left ventricle, one value a phase; None where there is no curve.

    The axis begins at zero, so that the fall of the curve is the ejection fraction. The unit is that of the measured
    end-diastolic volume.
    """
    if not isinstance(volumes, list) or len(volumes) < 2:
        return None
    values = [float(value) for value in volumes if isinstance(value, int | float) and math.isfinite(value)]
    if len(values) != len(volumes) or max(values) <= 0:
        return None
    gap = _round_step(max(values) / 4)
    top = gap * math.ceil(max(values) / gap) if frame.axes else max(values)
    across = (frame.width - frame.left - frame.right) / (len(values) - 1)
    tall = frame.height - frame.top - frame.bottom

    def height(value: float) -> float:
        return round(frame.top + (1 - value / top) * tall, 1)

    points = tuple((round(frame.left + i * across, 1), height(value)) for i, value in enumerate(values))
    unit = next((word for name, word in UNITS.items() if f"edv_{name}" in measurements), "")
    ends = tuple(_ends(values, points, measurements, unit, frame))
    levels = takewhile(lambda value: value <= top * 1.001, (gap * i for i in count()))
    every = max(1, math.ceil(len(values) / 8 / 5) * 5) if len(values) > 10 else 1
    marked = sorted({1, *range(every, len(values) + 1, every)})
    return Curve(
        frame,
        points,
        " ".join(f"{x},{y}" for x, y in points),
        ends,
        tuple((height(value), f"{value:,g}") for value in levels),
        tuple((points[phase - 1][0], str(phase)) for phase in marked),
        unit,
        f"Volume of the left ventricle over {len(values)} phases: "
        + (", ".join(f"{end.word} {end.value} in phase {end.phase}" for end in ends) or _range(values, unit)),
    )


def _ends(
    values: list[float],
    points: tuple[tuple[float, float], ...],
    measurements: Mapping[str, object],
    unit: str,
    frame: Frame,
) -> list[End]:
    found = []
    for word, name in ENDS:
        phase = measurements.get(name)
        if isinstance(phase, int) and 1 <= phase <= len(values):
            (x, y), value = points[phase - 1], f"{values[phase - 1]:,.0f} {unit}".strip()
            below = word == "ES" and y + 24 < frame.height - frame.bottom
            late = x > frame.width * 0.75
            text_x = x if below else x - 10 if late else x + 10
            anchor = "middle" if below else "end" if late else "start"
            found.append(End(word, phase, value, x, y, text_x, y + 20 if below else y - 8, anchor))
    return found


def _range(values: list[float], unit: str) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f} {unit}".strip()


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... (or 0.1, 0.2 ...) that is at least ``least``."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * 0.999)
