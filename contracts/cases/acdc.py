"""The ACDC benchmark as one file a patient: ``patients/patient010.npz`` with images and labels of two phases."""

import re
from pathlib import Path

import numpy as np

from contracts.cases.archives import read_arrays
from contracts.cases.case import Case, Layout, Listed
from contracts.errors import Refused

PHASES = ("ed", "es")
_NAME = re.compile(r"(?:patient)?(\d{1,3})(?:_frame0?([12]))?(?:_slice_\d+)?$")


def cardiac_frames(patient: str) -> tuple[str, ...]:
    """Return the names of a patient's phases in the layout, for example ``patient010_frame01``."""
    return tuple(f"{patient}_frame{phase + 1:02d}" for phase in range(len(PHASES)))


def _file(folder: Path, patient: str) -> Path:
    return folder / "patients" / f"{patient}.npz"


def _read(folder: Path, patient: str) -> Case:
    """Phase 0 is end-diastole, 1 end-systole, each on a grey scale of its own; the layout keeps no spacing."""
    path = _file(folder, patient)
    arrays = read_arrays(path, *(f"{phase}_{kind}" for kind in ("image", "label") for phase in PHASES))
    try:
        images, labels = np.stack(arrays[:2]), np.stack(arrays[2:])
    except ValueError as error:
        raise Refused("bad_case", f"The phases of {path.name} differ in shape.") from error
    if images.shape != labels.shape or images.ndim != 4:
        raise Refused("bad_case", f"Images and labels of {path.name} differ in shape.")
    return Case(patient, images, labels.astype(np.uint8), cardiac_frames(patient))


def _parse(line: str) -> Listed | None:
    """``010``, ``patient010`` or ``patient010_frame01`` (also with ``_slice_K``)."""
    match = _NAME.match(line)
    if not match:
        return None
    return Listed(f"patient{int(match[1]):03d}", int(match[2]) - 1 if match[2] else None)


ACDC = Layout("ACDC", "folder named patients", lambda folder: (folder / "patients").is_dir(), _file, _read, _parse)
