"""Synthetic cines for the benchmark: drawn once, then the same images under UIDs of their own for each run."""

import os
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID

from client.samples.cardiac import write_cardiac
from contracts.identifiers import derive_uid

SLICES, PHASES, SIDE = 10, 30, 256


@dataclass(frozen=True)
class Cine:
    """The images of one study, all in ``folder``."""

    folder: Path
    study_uid: str
    paths: tuple[Path, ...]


class Studies:
    """Makes cines of ``slices`` x ``phases`` under ``folder``."""

    def __init__(self, folder: Path, *, slices: int = SLICES, phases: int = PHASES, side: int = SIDE) -> None:
        """The heart is drawn here, which takes some seconds."""
        self._folder, self._made = folder, 0
        drawn = write_cardiac(folder / "drawn", slices=slices, phases=phases, rows=side, columns=side, seed=1)
        self._drawn = [dcmread(path) for path in drawn.paths]

    def next(self, count: int | None = None) -> Cine:
        """Return another study of the same images, or of the first ``count`` of them."""
        self._made += 1
        name, folder = str(self._made), self._folder / f"cine-{self._made}"
        folder.mkdir()
        paths = []
        for number, image in enumerate(self._drawn[:count]):
            image.StudyInstanceUID, image.SeriesInstanceUID = (
                derive_uid("bench", name, x) for x in ("study", "series")
            )
            image.FrameOfReferenceUID = derive_uid("bench", name, "frame of reference")
            image.SOPInstanceUID = derive_uid("bench", name, str(number))
            image.file_meta.MediaStorageSOPInstanceUID = UID(image.SOPInstanceUID)
            paths.append(folder / f"{number:04d}.dcm")
            image.save_as(paths[-1], enforce_file_format=True)
        os.sync()  # or a receiver's syncs would bring these to the disk too
        return Cine(folder, derive_uid("bench", name, "study"), tuple(paths))
