"""The protocol on real hearts: what ``prepare`` and ``restore`` cost, whatever network stands between them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.cases import names_of, read_case, read_list
from contracts.prepare import Prepare, heart_square, largest_component, prepare_slices, restore_slices, whole_square
from contracts.scores import dice
from contracts.tasks import Task

PLAIN = Prepare(low_percentile=0, high_percentile=100, high_value=1)


def there_and_back(labels: np.ndarray, prepare: Prepare) -> np.ndarray:
    """Labels [slice, row, column] through the fine square by a network that is always right and sure."""
    heart, _ = largest_component(labels > 0)
    square = heart_square(heart, prepare)
    finer = PLAIN.model_copy(update={"input_side": prepare.output_side})
    shares = np.stack([_finer((labels == value).astype(np.float32), square, finer) for value in range(4)])
    return restore_slices(shares.argmax(axis=0).astype(np.uint8), square, *labels.shape[1:])


def _finer(mask: np.ndarray, square: object, finer: Prepare) -> np.ndarray:
    coarse = prepare_slices(mask, square, PLAIN)[:, 0]  # type: ignore[arg-type]
    return prepare_slices(coarse, whole_square(*coarse.shape[1:]), finer)[:, 0]


@pytest.mark.parametrize("patient", range(3))
def test_the_grid_is_fine_enough_for_hearts(data: Callable[[str], Path], patient: int) -> None:
    folder = data("acdc")
    name = names_of(read_list(Task.CARDIAC, folder / "lists" / "val_patients.txt"))[patient]
    for labels in read_case(Task.CARDIAC, folder, name).labels:
        back = there_and_back(labels, Prepare())
        for value, floor in ((1, 0.96), (2, 0.95), (3, 0.97)):
            assert dice(back == value, labels == value) > floor
