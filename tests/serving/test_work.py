"""The files between steps: what is saved comes back, and nothing half-written is ever seen."""

import numpy as np
import pytest
from PIL import Image

from serving.pipeline import work
from serving.pipeline.work import WorkFolder


def test_labels_come_back(tmp_path):
    labels = np.random.default_rng(0).integers(0, 4, (2, 3, 17, 19), dtype=np.uint8)
    WorkFolder(tmp_path, 7).save_labels(labels)
    assert np.array_equal(WorkFolder(tmp_path, 7).labels(), labels)


def test_a_second_write_replaces_the_first(tmp_path):
    folder = WorkFolder(tmp_path, 7)
    folder.save_json("measurements.json", {"a": 1})
    folder.save_json("measurements.json", {"b": 2})
    assert (folder.results / "measurements.json").read_text().split() == ["{", '"b":', "2", "}"]


def test_a_write_that_fails_leaves_the_old_one(tmp_path):
    folder = WorkFolder(tmp_path, 7)
    folder.save_json("measurements.json", {"a": 1})
    with pytest.raises(TypeError):
        folder.save_json("measurements.json", object())
    assert '"a": 1' in (folder.results / "measurements.json").read_text()


def test_pictures_are_png(tmp_path):
    folder = WorkFolder(tmp_path, 7)
    folder.save_picture("overlay.png", Image.new("RGB", (4, 3)))
    with Image.open(folder.results / "overlay.png") as picture:
        assert picture.size == (4, 3)


def test_dropping_work_keeps_results_and_removal_takes_both(tmp_path):
    folder = WorkFolder(tmp_path, 7)
    folder.save_json("measurements.json", {})
    folder.drop_work()
    assert not folder.work.exists()
    assert folder.results.exists()
    work.remove(tmp_path, 7)
    assert not folder.results.exists()
