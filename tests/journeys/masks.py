"""The grid of files, as the gateway arranges them, and the masks that a gateway answered for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.dicom import read_header
from contracts.segmentations import read_segmentation
from contracts.stacks import describe, stacks_of
from contracts.volumes import Grid, arrange
from tests.journeys.running import RunningGateway, retrieve


def grid_of(paths: Sequence[Path], *, accept: bool = False) -> Grid:
    """Return the grid of files that form one stack."""
    (stack,) = stacks_of([describe(read_header(path)) for path in paths])
    return arrange(stack, accept_per_instance_frame_of_reference=accept)


def masks_of(running: RunningGateway, study: dict[str, Any], stack: dict[str, Any], grid: Grid) -> NDArray[np.uint8]:
    """Return labels [phase, slice, row, column] of a stack, read back over WADO-RS; their files stay beside HOME."""
    found = []
    for result in sorted(stack["results"], key=lambda result: result["phase"]):
        path = running.home.parent / f"{result['sop_uid']}.dcm"
        path.write_bytes(retrieve(running, study["study_uid"], result))
        found.append(read_segmentation(path, grid, result["phase"] - 1))
    return np.stack(found)
