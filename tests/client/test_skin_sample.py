"""The synthetic photographs: lesions darker than their skin, in files as a dermoscope writes them, with true masks."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy import ndimage

from client.__main__ import main
from client.samples.skin import PIXEL_MM, Photographs, write_skin
from contracts.describe import describe
from contracts.dicom import read_header
from contracts.segmentations import read_segmentation
from contracts.stacks import stacks_of
from contracts.tasks import Task
from contracts.volumes import arrange, load
from serving.routing import load_rules, route


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Two photographs of an odd size."""
    return write_skin(tmp_path_factory.mktemp("sample"), photographs=2, rows=241, columns=327)


def test_the_gateway_reads_each_as_a_photograph_of_the_task(sample: Photographs) -> None:
    stacks = stacks_of([describe(read_header(path)) for path in sample.paths])
    assert [route(stack, load_rules(None)).rule.task for stack in stacks] == [Task.SKIN] * 2  # type: ignore[union-attr]
    for stack, path, mask, truth in zip(stacks, sample.paths, sample.masks, sample.truth, strict=True):
        grid = arrange(stack, accept_per_instance_frame_of_reference=False)
        assert (grid.pixel_mm, grid.warnings) == ((PIXEL_MM, PIXEL_MM), ())
        assert load(grid, lambda _, path=path: path).shape == (1, 1, 241, 327, 3)
        assert np.array_equal(read_segmentation(mask, grid, 0, Task.SKIN)[0] == 1, truth)


def test_a_lesion_is_one_dark_piece_inside_of_the_picture(sample: Photographs) -> None:
    for path, truth in zip(sample.paths, sample.truth, strict=True):
        grey = dcmread(path).pixel_array.mean(axis=-1)
        assert ndimage.label(truth)[1] == 1
        assert 0.02 < truth.mean() < 0.4
        assert not any(edge.any() for edge in (truth[0], truth[-1], truth[:, 0], truth[:, -1]))
        assert np.percentile(grey[truth], 90) < np.percentile(grey[~truth], 20)


def test_the_same_arguments_write_the_same_bytes_and_another_seed_other_lesions(tmp_path: Path) -> None:
    options = {"photographs": 1, "rows": 60, "columns": 80}
    first, again, other = (
        write_skin(tmp_path / name, seed=seed, **options) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for kind in ("paths", "masks"):
        one, two, three = (getattr(made, kind)[0].read_bytes() for made in (first, again, other))
        assert one == two != three
    assert not np.array_equal(first.truth, other.truth)
    assert first.study_uid != other.study_uid


def test_dciodvfy_finds_no_error_in_it(sample: Photographs, program: Callable[[str], str]) -> None:
    for path in (*sample.paths, *sample.masks):
        report = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False).stderr
        assert "DermoscopicPhotographyImage" in report or "Segmentation" in report
        assert [line for line in report.splitlines() if line.startswith("Error")] == []


def test_the_command_writes_it_and_says_how_to_send_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "skin", str(tmp_path / "s"), "--photographs", "1"]) == 0
    told = capsys.readouterr()
    assert "1 images" in told.out + told.err
    assert "send" in told.out + told.err
    assert len(list((tmp_path / "s").rglob("*.dcm"))) == 2
