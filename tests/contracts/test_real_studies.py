"""Real studies as public data sets keep them: awkward files come out right, or with the reason they deserve."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from contracts.dicom import read_header
from contracts.errors import Refused
from contracts.stacks import Instance, describe, stacks_of
from contracts.tasks import Task
from contracts.volumes import arrange, load
from serving.routing import load_rules, route

Data = Callable[[str], Path]


def unpacked(archive: Path, folder: Path) -> tuple[list[Instance], dict[str, Path]]:
    """What is remembered of the files of an archive, in random order, and the files by SOP Instance UID."""
    with ZipFile(archive) as packed:
        packed.extractall(folder)
    paths = sorted(folder.rglob("*.dcm"))
    random.Random(7).shuffle(paths)
    files = {}
    instances = []
    for path in paths:
        instance = describe(read_header(path))
        instances.append(instance)
        files[instance.sop_uid] = path
    return instances, files


def one_series_a_position(instances: list[Instance]) -> list[Instance]:
    """The same images as a scanner would have stored them that makes each slice a series."""
    series = {plane.position: f"1.2.{n}" for n, plane in enumerate(i.planes[0] for i in instances)}
    return [
        replace(i, series_uid=series[i.planes[0].position], planes=(replace(i.planes[0], series_uid="1.2"),))
        for i in instances
    ]


@pytest.mark.parametrize(("name", "slices"), [("SCD0000101", 12), ("SCD0000201", 13)])
def test_a_sunnybrook_study_needs_the_rule_that_accepts_it(data: Data, tmp_path: Path, name: str, slices: int) -> None:
    instances, files = unpacked(data("sunnybrook") / f"{name}.zip", tmp_path)
    (stack,) = stacks_of(instances)
    assert stack.frame_of_reference == "each"
    routed = route(stack, load_rules(None))
    assert routed.rule is not None
    assert routed.rule.task == Task.CARDIAC
    with pytest.raises(Refused) as caught:
        arrange(stack, accept_per_instance_frame_of_reference=False)
    assert caught.value.code == "frame_of_reference_per_instance"
    grid = arrange(stack, accept_per_instance_frame_of_reference=True)
    numbers = np.array([[plane.instance_number for plane in row] for row in grid.planes], np.int64)
    files_order = np.arange(1, 20 * slices + 1).reshape(slices, 20).T
    assert sorted(map(tuple, numbers.T)) == sorted(map(tuple, files_order.T))
    assert grid.slice_distance == pytest.approx(10, abs=1e-3)
    assert not grid.warnings
    assert grid.frame_of_reference_derived
    volume = load(grid, files.__getitem__)
    assert volume.shape == (20, slices, 256, 256)
    assert 1000 < volume.max() < 1600

    (split,) = stacks_of(one_series_a_position(instances))
    assert len(split.series_uids) == slices
    again = arrange(split, accept_per_instance_frame_of_reference=True)
    assert [[p.sop_uid for p in row] for row in again.planes] == [[p.sop_uid for p in row] for row in grid.planes]
    assert again.frame_of_reference_uid == grid.frame_of_reference_uid


def test_a_sunnybrook_study_whose_orientations_differ_in_the_last_digit_is_one_stack(
    data: Data, tmp_path: Path
) -> None:
    instances, _ = unpacked(data("sunnybrook") / "SCD0000201.zip", tmp_path)
    for index in range(0, len(instances), 3):
        plane = instances[index].planes[0]
        a, *others = plane.orientation
        orientation = (a + 1e-6, *others)
        instances[index] = replace(instances[index], planes=(replace(plane, orientation=orientation),))  # type: ignore[arg-type]
    (stack,) = stacks_of(instances)
    assert arrange(stack, accept_per_instance_frame_of_reference=True).slices == 13


def test_prostate_series_are_routed_and_their_localizer_falls_into_three(data: Data, tmp_path: Path) -> None:
    for name, distance in (("ProstateX-0000", 3.0), ("ProstateX-0001", 3.0), ("ProstateX-0218", 3.6)):
        instances, _ = unpacked(data("other") / "prostatex" / f"{name}.zip", tmp_path / name)
        tasks: Counter[Task | None] = Counter()
        for stack in stacks_of(instances):
            routed = route(stack, load_rules(None))
            tasks[routed.rule.task if routed.rule else None] += 1
            if routed.rule:
                grid = arrange(stack, accept_per_instance_frame_of_reference=False)
                assert grid.phases == 1
                assert grid.slice_distance == pytest.approx(distance, abs=1e-2)
        assert tasks[Task.PROSTATE] == 1
        assert tasks[None] == (3 if name == "ProstateX-0001" else 0)
