"""The grid of files, as the gateway arranges them, and the masks that a gateway answered for them."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from contracts.dicom import read_header
from contracts.segmentations import read_segmentation
from contracts.stacks import describe, stacks_of
from contracts.volumes import Grid, arrange
from tests.journeys.running import RunningGateway, retrieve
from tests.patient_space import Placed, asked


def grid_of(paths: Sequence[Path], *, accept: bool = False) -> Grid:
    """Return the grid of files that form one stack."""
    (stack,) = stacks_of([describe(read_header(path)) for path in paths])
    return arrange(stack, accept_per_instance_frame_of_reference=accept)


def segs_of(stack: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the SEGs among a stack's results, in order of their phases; what is of no one phase is another kind."""
    return sorted((result for result in stack["results"] if result["phase"] > 0), key=lambda result: result["phase"])


def masks_of(running: RunningGateway, study: dict[str, Any], stack: dict[str, Any], grid: Grid) -> NDArray[np.uint8]:
    """Return labels [phase, slice, row, column] of a stack, read back over WADO-RS; their files stay beside HOME."""
    found = []
    for result in segs_of(stack):
        path = running.home.parent / f"{result['sop_uid']}.dcm"
        path.write_bytes(retrieve(running, study["study_uid"], result))
        found.append(read_segmentation(path, grid, result["phase"] - 1))
    return np.stack(found)


def masks_at(
    running: RunningGateway, study: dict[str, Any], planes: Sequence[Placed], phases: Iterable[int]
) -> Mapping[int, NDArray[np.uint8]]:
    """Return for each phase (from 0) what the SEG of a study's only stack says at planes of the patient.

    The answer comes from the positions that stand in the retrieved file, uint8 [plane, row, column].
    """
    (stack,) = study["stacks"]
    results = {result["phase"] - 1: result for result in segs_of(stack)}
    found = {}
    for phase in phases:
        file = retrieve(running, study["study_uid"], results[phase])
        found[phase] = asked(pydicom.dcmread(io.BytesIO(file)), planes)
    return found
