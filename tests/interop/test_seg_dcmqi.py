"""dcmqi, an independent reader built on DCMTK, finds the same voxels at the same places as highdicom and as we do."""

import gzip
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import KDTree

from contracts.segmentations import read_segmentation
from contracts.tasks import Task
from tests.conftest import skip_or_fail
from tests.contracts.benches import Bench
from tests.interop.segs import EVERY, SYNTHETIC, store, sunnybrook

READERS_TOLERANCE_MM = 0.01


@pytest.fixture(scope="module")
def segimage2itkimage() -> str:
    """Path of dcmqi's program, which its wheel puts beside Python."""
    path = Path(sys.executable).with_name("segimage2itkimage")
    if not path.is_file():
        skip_or_fail("dcmqi is not installed: pip install dcmqi, of the extra dev.")
    return str(path)


def read_nrrd(path: Path) -> tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64]]:
    """Return voxels [slice, row, column], the directions [column, row, slice][xyz] and the origin [xyz] in LPS mm."""
    head, body = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    assert fields["space"] == "left-posterior-superior"
    sizes = [int(size) for size in fields["sizes"].split()]
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    voxels = np.frombuffer(raw, dtype={"short": np.int16, "unsigned char": np.uint8}[fields["type"]])
    vectors = re.findall(r"\(([^)]*)\)", fields["space directions"] + fields["space origin"])
    numbers = np.array([[float(part) for part in vector.split(",")] for vector in vectors])
    return voxels.reshape(sizes[::-1]).astype(np.int16), numbers[:3], numbers[3]


def agree(program: str, one: Bench, path: Path, labels: NDArray[np.uint8], folder: Path, task: Task) -> None:
    """Compare the readers with each other, and the places that dcmqi finds with those of the source planes."""
    subprocess.run([program, "--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nrrd"],
                   capture_output=True, check=True)  # fmt: skip
    by_highdicom = hd.seg.segread(path).get_volume(combine_segments=True).array
    ours = read_segmentation(path, one.grid, 0, task)
    row, column = np.array(one.grid.orientation[:3]), np.array(one.grid.orientation[3:])
    for label in np.unique(labels[labels > 0]):
        voxels, directions, origin = read_nrrd(folder / f"{label}.nrrd")
        counts = {int((labels == label).sum()), int((by_highdicom == label).sum()), int((ours == label).sum())}
        assert counts == {int((voxels != 0).sum())}
        index, down, along = np.nonzero(labels == label)
        corners = np.array([plane.position for plane in one.grid.planes[0]])[index]
        expected = corners + np.outer(down * one.grid.spacing[0], column) + np.outer(along * one.grid.spacing[1], row)
        found = origin + np.argwhere(voxels)[:, ::-1] @ directions
        assert expected.shape == found.shape
        offsets, partners = KDTree(expected).query(found)
        assert offsets.max() < READERS_TOLERANCE_MM
        assert len(set(partners.tolist())) == len(expected)


@pytest.mark.parametrize("name", EVERY)
def test_synthetic_results_read_alike(segimage2itkimage: str, tmp_path: Path, name: str) -> None:
    one, provenance = EVERY[name]()
    path, labels = store(tmp_path, one, provenance)
    agree(segimage2itkimage, one, path, labels, tmp_path, provenance.task)


@pytest.mark.parametrize("study", ["SCD0000101", pytest.param("SCD0000201", marks=pytest.mark.prove)])
def test_results_of_a_real_study_read_alike(
    segimage2itkimage: str, data: Callable[[str], Path], tmp_path: Path, study: str
) -> None:
    one = sunnybrook(data("sunnybrook"), study, tmp_path)
    path, labels = store(tmp_path, one, SYNTHETIC["classic"]()[1])
    agree(segimage2itkimage, one, path, labels, tmp_path, Task.CARDIAC)
