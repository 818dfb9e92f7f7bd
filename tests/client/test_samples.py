"""The synthetic cine: a heart that beats, in files as a scanner writes them, with masks that are true."""

import hashlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from client.samples.anatomy import contraction, person, section
from client.samples.cardiac import Sample, write_cardiac
from contracts.dicom import read_header
from contracts.segmentations import read_segmentation
from contracts.stacks import Stack, describe, stacks_of
from contracts.volumes import Grid, arrange, load
from serving.routing import load_rules, route

VOXEL_ML = 1.4 * 1.4 * 8 / 1000
RV, MYO, LV = 1, 2, 3
PHASES = 4


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_cardiac(tmp_path_factory.mktemp("sample"), phases=PHASES)


def stack_of(sample: Sample) -> Stack:
    (stack,) = stacks_of([describe(read_header(path)) for path in sample.paths])
    return stack


def loaded(sample: Sample) -> tuple[Grid, NDArray[np.float32]]:
    """Read a sample the way the gateway does."""
    grid = arrange(stack_of(sample), accept_per_instance_frame_of_reference=False)
    files = {str(read_header(path).SOPInstanceUID): path for path in sample.paths}
    return grid, load(grid, files.__getitem__)


def millilitres(sample: Sample, label: int) -> NDArray[np.float64]:
    """Return the volume of a structure in each phase."""
    volumes: NDArray[np.float64] = np.count_nonzero(sample.truth == label, axis=(1, 2, 3)) * VOXEL_ML
    return volumes


def test_the_gateway_reads_it_as_one_cine_of_the_task(sample: Sample) -> None:
    routed = route(stack_of(sample), load_rules(None))
    assert routed.rule is not None, routed.reason
    assert routed.rule.task == "cardiac"
    grid, images = loaded(sample)
    assert images.shape == sample.truth.shape == (PHASES, 10, 256, 216)
    assert grid.spacing == (1.4, 1.4)
    assert grid.slice_distance == pytest.approx(8)
    assert grid.warnings == ()


def test_planes_stand_across_the_long_axis_and_are_seen_from_the_apex_as_usual(sample: Sample) -> None:
    grid, _ = loaded(sample)
    row, column = np.array(grid.orientation[:3]), np.array(grid.orientation[3:])
    assert np.allclose(np.cross(row, column), (-0.67, 0.6, 0.43), atol=0.1)
    assert row[0] > 0, "the patient's left is at the right of the picture"
    assert column[2] < 0, "the patient's feet are at its bottom"


def test_masks_are_the_truth_at_the_same_planes(sample: Sample) -> None:
    grid, _ = loaded(sample)
    for phase, path in enumerate(sample.masks):
        assert (read_segmentation(path, grid, phase) == sample.truth[phase]).all()


def test_blood_is_bright_and_muscle_a_third_of_it(sample: Sample) -> None:
    _, images = loaded(sample)
    middle = slice(3, 8)
    blood, other, muscle = (images[:, middle][sample.truth[:, middle] == label].mean() for label in (LV, RV, MYO))
    assert 0.3 < muscle / blood < 0.5
    assert 0.7 < other / blood < 0.95
    assert 400 < blood < 900


def test_the_heart_beats_as_a_healthy_one_does() -> None:
    body = person(0)
    radii = [section(body, 0.3, contraction(phase / 40), (0, 0)) for phase in range(40)]
    inner = [part.inner for part in radii]
    walls = [part.outer - part.inner for part in radii]
    assert inner.index(max(inner)) == 0
    assert 0.3 < inner.index(min(inner)) / 40 < 0.4
    assert walls[0] < 9 < walls[inner.index(min(inner))] < 15


@pytest.mark.parametrize("seed", [0, 3])
def test_volumes_are_plausible(tmp_path: Path, seed: int) -> None:
    one = write_cardiac(tmp_path, phases=5, rows=160, columns=160, seed=seed)
    left, right, muscle = (millilitres(one, label) for label in (LV, RV, MYO))
    assert 80 < left.max() < 180
    assert 0.5 < 1 - left.min() / left.max() < 0.7
    assert 0.6 < right.max() / left.max() < 1.4
    assert 60 < muscle.mean() < 150


def test_the_left_ventricle_is_round_closed_and_right_of_the_other(sample: Sample) -> None:
    for labels in sample.truth.reshape(-1, 256, 216):
        cavity = labels == LV
        assert cavity.any()
        grown = cavity.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                grown |= np.roll(cavity, step, axis)
        assert (labels[grown & ~cavity] == MYO).all(), "the wall surrounds the cavity"
        if (labels == RV).any():
            assert np.argwhere(labels == RV)[:, 1].mean() < np.argwhere(cavity)[:, 1].mean()


def test_slices_taper_towards_the_apex_which_comes_first(sample: Sample) -> None:
    areas = np.count_nonzero(sample.truth[0] == LV, axis=(1, 2))
    assert (np.diff(areas) > 0).all()
    right = np.count_nonzero(sample.truth[0] == RV, axis=(1, 2))
    assert right[0] < 0.3 * right[-1]


def test_off_centre_moves_heart_and_images_alike(sample: Sample, tmp_path: Path) -> None:
    moved = write_cardiac(tmp_path, phases=PHASES, off_centre=(28.0, -14.0))
    assert (moved.truth[:, :, : 256 - 10, 20:] == sample.truth[:, :, 10:, : 216 - 20]).all()
    assert moved.study_uid != sample.study_uid
    _, images = loaded(moved)
    assert images[moved.truth == LV].mean() > 2 * images[moved.truth == MYO].mean()


def test_a_series_a_slice_holds_the_same_images_and_is_one_stack(sample: Sample, tmp_path: Path) -> None:
    split = write_cardiac(tmp_path, phases=PHASES, split_series=True)
    assert len(split.series_uids) == 10
    assert (split.truth == sample.truth).all()
    shuffled = list(split.paths)
    random.Random(1).shuffle(shuffled)
    _, images = loaded(Sample(tuple(shuffled), split.masks, split.truth, split.study_uid, split.series_uids))
    assert (images == loaded(sample)[1]).all()
    named = {str(series.SeriesInstanceUID) for series in dcmread(split.masks[0]).ReferencedSeriesSequence}
    assert named == set(split.series_uids)


def digest(paths: tuple[Path, ...]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def test_the_same_arguments_write_the_same_bytes_and_another_seed_another_person(tmp_path: Path) -> None:
    one, same, other = (
        write_cardiac(tmp_path / name, slices=6, phases=2, rows=160, columns=160, seed=seed)
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert digest(one.paths + one.masks) == digest(same.paths + same.masks)
    assert one.study_uid != other.study_uid
    assert not (one.truth == other.truth).all()


def test_nothing_in_it_names_a_person(sample: Sample) -> None:
    headers: list[Dataset] = [dcmread(path, stop_before_pixels=True) for path in (*sample.paths[:2], sample.masks[0])]
    assert {str(header.PatientName) for header in headers} == {"SAMPLE^CARDIAC"}
    assert len({header.PatientID for header in headers}) == 1


def test_dciodvfy_finds_no_error_in_it(sample: Sample, program: Callable[[str], str]) -> None:
    for path in (sample.paths[0], sample.masks[-1]):
        command = [program("dciodvfy"), str(path)]
        report = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert [line for line in report.splitlines() if line.startswith("Error")] == []
