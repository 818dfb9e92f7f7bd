"""A run that is small enough for tests: drawn hearts, a narrow grid, a few steps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.sources import Source, read_source
from training.data.synthetic import synthetic_cases
from training.preset import Preset


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing by more, and sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> Preset:
    """A preset of six steps."""
    return Preset.read(
        Path("ci"),
        ("iterations=6", "warm_up=2", "batch=3", "evaluate_every=6", "checkpoint_every=3", "prepare.input_side=32"),
    )


@pytest.fixture(scope="session")
def source(tiny: Preset) -> Source:
    """The data of ``tiny``."""
    return read_source(tiny, None)


@pytest.fixture(scope="session")
def acdc_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the ACDC layout with three drawn patients and lists."""
    folder = tmp_path_factory.mktemp("acdc")
    (folder / "patients").mkdir()
    (folder / "lists").mkdir()
    for case in synthetic_cases(3):
        arrays = {f"{phase}_image": image for phase, image in zip(("ed", "es"), case.images, strict=True)}
        labels = {f"{phase}_label": label for phase, label in zip(("ed", "es"), case.labels, strict=True)}
        np.savez(folder / "patients" / f"{case.name}.npz", **arrays, **labels)
    (folder / "lists" / "train.txt").write_text("patient001\npatient002\n", "utf-8")
    (folder / "lists" / "val.txt").write_text("patient003\n", "utf-8")
    return folder
