"""One slice with its outlines, decoded when somebody looks at it: nothing is kept for a look that may never come."""

import dataclasses
import functools
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.errors import NotFound
from contracts.pictures import tile
from contracts.tasks import Task
from contracts.volumes import Grid, load
from serving.archive import Archive
from serving.index.models import Instance, StackVersion


def tile_png(
    session: Session,
    archive: Archive,
    home: Path,
    stack_id: int,
    phase: int,
    slice_: int,
    shown: frozenset[int] | None = None,
) -> bytes:
    """Return a PNG of one slice; ``phase`` and ``slice_`` count from 0. ``shown``: values to outline, None for all.

    Raises ``NotFound`` ``no_picture`` where the stack has no mask yet or no such slice.
    """
    folder = home / "results" / str(stack_id)
    stack = session.get(StackVersion, stack_id)
    if stack is None or not (folder / "grid.json").is_file():
        raise NotFound("no_picture", "This stack has no mask to show (yet).")
    grid, labels = _kept(folder, (folder / "labels.npz").stat().st_mtime_ns)
    if not (0 <= phase < grid.phases and 0 <= slice_ < grid.slices):
        raise NotFound("no_picture", f"There are {grid.phases} phases and {grid.slices} slices, counted from 1.")
    plane = grid.planes[phase][slice_]
    one = dataclasses.replace(grid, planes=((plane,),), positions=grid.positions[slice_ : slice_ + 1])
    key = session.scalar(
        select(Instance.key).where(
            Instance.study_uid == stack.study_uid,
            Instance.sop_uid == plane.sop_uid,
            Instance.kind.in_(("source", "replaced")),
        )
    )
    if key is None:
        raise NotFound("no_picture", "The source image is no longer here.")
    image = load(one, lambda _: archive.path(key))
    mask = labels[phase : phase + 1, slice_ : slice_ + 1]
    if shown is not None:
        mask = np.where(np.isin(mask, list(shown)), mask, 0).astype(np.uint8)
    picture = tile(image, mask, Task(stack.task), 0, 0)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


@functools.lru_cache(maxsize=2)
def _kept(folder: Path, _written: int) -> tuple[Grid, NDArray[np.uint8]]:
    """Grid and labels of a stack; two are kept in memory, since a slider asks for one slice after the other."""
    grid = Grid.from_json(json.loads((folder / "grid.json").read_text()))
    with np.load(folder / "labels.npz") as archive:
        return grid, archive["labels"]
