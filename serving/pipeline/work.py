"""What one step of a stack version leaves for the next (HOME/work/<id>), and its pictures (HOME/results/<id>).

Every file is written beside its name and renamed, so a step that was killed leaves nothing half-done and may run again.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from contracts.volumes import Grid
from serving.archive import sync_folder

PNG_LEVEL = 3
"""Of zlib. A twentieth more bytes than the smallest picture, for a twelfth of its time (1.7 s for a sheet)."""


class WorkFolder:
    """The folders of one stack version."""

    def __init__(self, home: Path, stack_id: int) -> None:
        """Both folders are made here."""
        self.work = home / "work" / str(stack_id)
        self.results = home / "results" / str(stack_id)
        self.work.mkdir(parents=True, exist_ok=True)
        self.results.mkdir(parents=True, exist_ok=True)

    def save_volume(self, images: NDArray[np.generic], grid: Grid) -> None:
        """Keep images, as ``contracts.volumes.load`` gives them, for the steps; their grid as long as the study."""
        self.save_json("grid.json", grid.to_json())
        _replace(self.work / "volume.npy", lambda stream: np.save(stream, images))

    def volume(self) -> NDArray[np.generic]:
        """The images that ``save_volume`` kept, mapped from disk."""
        return np.load(self.work / "volume.npy", mmap_mode="r")  # type: ignore[no-any-return]

    def grid(self) -> Grid:
        """The grid that ``save_volume`` kept."""
        return Grid.from_json(json.loads((self.results / "grid.json").read_text()))

    def save_labels(self, labels: NDArray[np.uint8]) -> None:
        """Keep labels [phase, slice, row, column], compressed: they stay as long as the study."""
        _replace(self.results / "labels.npz", lambda stream: np.savez_compressed(stream, labels=labels))

    def labels(self) -> NDArray[np.uint8]:
        """The labels that ``save_labels`` kept."""
        with np.load(self.results / "labels.npz") as archive:
            return archive["labels"]  # type: ignore[no-any-return]

    def save_json(self, name: str, value: object) -> None:
        """Keep a JSON document among the results."""
        _replace(self.results / name, lambda stream: stream.write(json.dumps(value, indent=2).encode()))

    def save_picture(self, name: str, picture: Any) -> None:
        """Keep a PIL image as PNG among the results."""
        _replace(self.results / name, lambda stream: picture.save(stream, format="PNG", compress_level=PNG_LEVEL))

    def drop_work(self) -> None:
        """Remove what only the steps needed."""
        shutil.rmtree(self.work, ignore_errors=True)


def remove(home: Path, stack_id: int) -> None:
    """Remove both folders of a stack version."""
    for part in ("work", "results"):
        shutil.rmtree(home / part / str(stack_id), ignore_errors=True)


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())  # the engine records the step as done, on the disk, right after
    part.replace(path)
    sync_folder(path.parent)
