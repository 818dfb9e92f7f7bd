"""Dermoscopy photographs with masks: ``images/ISIC_0000000.jpg`` and ``masks/ISIC_0000000.png`` (ISIC challenges)."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.cases.case import Case, Layout, Listed
from contracts.errors import Missing, Refused

SUFFIXES = (".jpg", ".jpeg", ".png")
_NAME = re.compile(r"(\d{7}|[a-zA-Z]\w*)(?:\.jpe?g|\.png)?$", re.ASCII)


def _file(folder: Path, name: str) -> Path:
    """The photograph, in whichever of the known formats."""
    paths = [folder / "images" / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _read(folder: Path, name: str) -> Case:
    """The photograph in its own pixels, one phase of one slice; a pixel belongs to the lesion from half white on."""
    path = _file(folder, name)
    photograph = _pixels(path, "RGB")
    label = (_pixels(folder / "masks" / f"{name}.png", "L") > 127).astype(np.uint8)
    if photograph.shape[:2] != label.shape:
        raise Refused("bad_case", f"{path.name} and its mask differ in size.")
    return Case(name, photograph[None, None], label[None, None], (name,))


def _pixels(path: Path, mode: str) -> NDArray[np.uint8]:
    if not path.is_file():
        raise Missing("no_case", f"There is no file {path}.")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused("bad_case", f"{path.name} is not a picture that can be read.") from error


def _parse(line: str) -> Listed | None:
    """``ISIC_0000000`` or ``0000000``, also as the name of a file."""
    match = _NAME.match(line)
    if not match:
        return None
    name = match[1].removesuffix("_segmentation")
    return Listed(f"ISIC_{name}" if name.isdigit() else name)


ISIC = Layout(
    "ISIC",
    "folders named images and masks",
    lambda folder: (folder / "images").is_dir() and (folder / "masks").is_dir(),
    _file,
    _read,
    _parse,
)
