"""From lists to slices: who is named is read, and drawn hearts are hearts."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from contracts.errors import Missing
from training.data.sources import read_source
from training.data.synthetic import synthetic_cases
from training.preset import Preset

LISTS = ("train_list=lists/train.txt", "validation_list=lists/val.txt")


def test_the_listed_patients_are_read_and_no_others(acdc_layout: Path) -> None:
    source = read_source(Preset.read(Path("ci"), LISTS), acdc_layout)
    assert source.seen == ("patient001", "patient002")
    assert [case.name for case in source.validation] == ["patient003"]
    assert [case.images.shape[:2] for case in source.labelled] == [(2, 4), (2, 4)]


def test_a_list_that_is_not_there_is_missing(acdc_layout: Path) -> None:
    with pytest.raises(Missing):
        read_source(Preset.read(Path("ci"), ("train_list=lists/none.txt",)), acdc_layout)


def test_drawn_hearts_for_validation_are_others_than_for_training() -> None:
    source = read_source(Preset.read(Path("ci")), None)
    seen = {case.images.tobytes() for case in source.labelled}
    assert not seen & {case.images.tobytes() for case in source.validation}
    assert len(source.validation) == 2


@pytest.mark.parametrize("seed", range(3))
def test_drawn_hearts_have_the_anatomy_of_hearts(seed: int) -> None:
    for case in synthetic_cases(2, seed):
        ed, es = case.labels
        assert (ed == 3).sum() > (es == 3).sum() > 0
        for volume in (ed, es):
            touching = ndimage.binary_dilation(volume == 3) & (volume != 3)
            assert set(np.unique(volume[touching])) <= {2, 3}
            columns = [np.nonzero(volume == value)[2].mean() for value in (1, 3)]
            assert columns[0] < columns[1]


def test_the_same_seed_draws_the_same_hearts() -> None:
    one, two = synthetic_cases(2, 4), synthetic_cases(2, 4)
    assert all(a.images.tobytes() == b.images.tobytes() for a, b in zip(one, two, strict=True))
