"""T2 MR of the prostate: one ``.npz`` a patient, or MetaImage files as PROMISE12 has them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.cases.archives import read_arrays
from contracts.cases.case import Case, Layout, Listed
from contracts.cases.metaimage import read_metaimage
from contracts.errors import Refused

_NAME = re.compile(r"(\w[\w-]*)(?:\.npz|\.mhd|\.mha)?$", re.ASCII)


def _archive(folder: Path, patient: str) -> Path:
    return folder / "patients" / f"{patient}.npz"


def _read_archive(folder: Path, patient: str) -> Case:
    """``image`` and ``label`` [slice, row, column], ``spacing`` [slice, row, column] in mm."""
    path = _archive(folder, patient)
    image, label, spacing = read_arrays(path, "image", "label", "spacing")
    return _case(patient, path, image, label, spacing)


def _metaimage(folder: Path, patient: str) -> Path:
    """The image, in the folder itself or in one below it (``TrainingData_Part1`` and so on)."""
    found = [*folder.glob(f"{patient}.mh[ad]"), *folder.glob(f"*/{patient}.mh[ad]")]
    return found[0] if found else folder / f"{patient}.mhd"


def _read_metaimage(folder: Path, patient: str) -> Case:
    path = _metaimage(folder, patient)
    image, spacing = read_metaimage(path)
    label, _ = read_metaimage(path.with_name(f"{patient}_segmentation{path.suffix}"))
    return _case(patient, path, image, label, np.array(spacing))


def _case(name: str, path: Path, image: NDArray[Any], label: NDArray[Any], spacing: NDArray[Any]) -> Case:
    if image.shape != label.shape or image.ndim != 3 or not image.size:
        raise Refused("bad_case", f"Image and label of {path.name} are not volumes of one shape.")
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise Refused("bad_case", f"The spacing of {path.name} is not three lengths.")
    slice_mm, row_mm, column_mm = (float(f"{value:.6g}") for value in spacing)  # 3.6, which float32 made 3.5999999
    return Case(name, image[None], (label > 0).astype(np.uint8)[None], (name,), (slice_mm, row_mm, column_mm))


def _parse(line: str) -> Listed | None:
    """``RUNMC_Case00`` or ``Case00``, also as the name of a file."""
    match = _NAME.match(line)
    return Listed(match[1].removesuffix("_segmentation")) if match else None


PROSTATE = Layout(
    "prostate", "folder named patients", lambda f: (f / "patients").is_dir(), _archive, _read_archive, _parse
)
PROMISE12 = Layout(
    "PROMISE12",
    "MetaImage with a _segmentation beside it",
    lambda folder: any(folder.glob("*_segmentation.mh[ad]")) or any(folder.glob("*/*_segmentation.mh[ad]")),
    _metaimage,
    _read_metaimage,
    _parse,
)
