"""The grid of files, as the gateway arranges them."""

from collections.abc import Sequence
from pathlib import Path

from contracts.dicom import read_header
from contracts.stacks import describe, stacks_of
from contracts.volumes import Grid, arrange


def grid_of(paths: Sequence[Path], *, accept: bool = False) -> Grid:
    """Return the grid of files that form one stack."""
    (stack,) = stacks_of([describe(read_header(path)) for path in paths])
    return arrange(stack, accept_per_instance_frame_of_reference=accept)
