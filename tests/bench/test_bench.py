"""Laws of the benchmark's own tool; the benchmark itself is ``make bench``."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from client.samples.cardiac import Sample, write_cardiac
from contracts.model_repository import read_model, serving_version
from contracts.segment import segment
from contracts.segmentations import read_segmentation
from contracts.volumes import load
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.settings import SHIPPED_MODELS
from tests.bench import report
from tests.bench.cases import check_same
from tests.bench.frozen import check_frozen
from tests.bench.measuring import Cost, Pairs, metered, python, run
from tests.bench.studies import Studies
from tests.journeys.masks import grid_of

MACHINE: dict[str, Any] = {
    "measured": "today",
    "load_before": [0.1, 0.2, 0.3],
    "processor": "P",
    "cores": 2,
    "flags": ["avx2"],
    "memory_gb": 4.0,
    "file_system": "ext4",
    "sync_ms": 1.0,
    "commit": "abc",
    "changed": False,
    "python": "3.11",
    "packages": {"numpy": "2"},
    "orthanc": "1",
    "dcmtk": "3",
}
DOCUMENT = {"machine": MACHINE, "plain_sha256": "d1ce", "threads": 2, "quiet_s": 1.0}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_cardiac(tmp_path_factory.mktemp("sample"), slices=4, phases=2, rows=96, columns=96)


def seg_pairs(wall: float = 1.0) -> Pairs:
    return Pairs(
        [Cost(wall, 2.0, 500.0, parts={"read": 1.0}), Cost(wall, 2.0, 700.0, parts={"read": 3.0})],
        [Cost(1.0, 2.0, 400.0, parts={"read": 2.0}), Cost(1.0, 4.0, 400.0, parts={"read": 2.0})],
    )


def test_the_plain_script_is_the_one_that_was_frozen():
    assert check_frozen()


def test_a_changed_plain_script_is_refused(tmp_path: Path):
    (tmp_path / "plain.py").write_text("print('tuned')\n")
    with pytest.raises(SystemExit, match=r"plain\.py was changed"):
        check_frozen(tmp_path / "plain.py")


def test_the_plain_script_writes_what_the_contract_answers(sample: Sample, tmp_path: Path):
    version = serving_version(SHIPPED_MODELS, "cardiac")
    assert version is not None
    model = read_model(SHIPPED_MODELS, "cardiac", version)
    cost, said = run(python("tests.bench.plain", sample.paths[0].parent, tmp_path, model.folder, 1))
    assert set(json.loads(said)) == {"imports", "read", "predict", "write"}
    assert cost.wall_s > 0
    assert cost.cpu_s > 0
    assert cost.peak_mb > 50
    grid = grid_of(sample.paths)
    paths = {str(dcmread(path).SOPInstanceUID): path for path in sample.paths}
    expected = segment(load(grid, paths.__getitem__), model.contract, OnnxRuntimeEngine(model, threads=1).run).labels
    found = [read_segmentation(tmp_path / f"seg-{phase + 1}.dcm", grid, phase) for phase in range(grid.phases)]
    assert np.array_equal(np.stack(found), expected)


def test_masks_that_differ_in_one_bit_or_are_missing_are_noticed(sample: Sample, tmp_path: Path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        (folder / "seg-1.dcm").write_bytes(sample.masks[0].read_bytes())
    check_same(ours, theirs)
    changed = dcmread(ours / "seg-1.dcm")
    changed.PixelData = bytes([changed.PixelData[0] ^ 1]) + changed.PixelData[1:]
    changed.save_as(ours / "seg-1.dcm")
    with pytest.raises(RuntimeError, match="differ"):
        check_same(ours, theirs)
    (ours / "seg-1.dcm").unlink()
    with pytest.raises(RuntimeError, match="different phases"):
        check_same(ours, theirs)


def test_each_study_is_the_same_images_under_other_uids(tmp_path: Path):
    studies = Studies(tmp_path, slices=3, phases=2, side=64)
    one, other = studies.next(), studies.next(4)
    assert (len(one.paths), len(other.paths)) == (6, 4)
    for a, b in zip(map(dcmread, one.paths), map(dcmread, other.paths), strict=False):
        assert a.PixelData == b.PixelData
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            assert a[keyword].value != b[keyword].value
    assert grid_of(one.paths).phases == 2


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3.*the reason"):
        run([sys.executable, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"])


def test_the_peak_of_a_command_is_its_own_not_ours():
    ballast = np.ones(30_000_000)  # 240 MB
    program = "import time; held = b'x' * {}; time.sleep(0.5)"
    small, large = (run([sys.executable, "-c", program.format(size)])[0].peak_mb for size in (1, 100_000_000))
    assert 1 < small < 60
    assert 100 < large < 180
    assert ballast.nbytes > 200e6


def test_the_cpu_of_a_running_process_is_counted():
    with metered(os.getpid()) as cost:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    assert cost.cpu_s >= 0.25
    assert cost.peak_mb > 10


def test_the_ratio_is_the_median_of_the_pairs_not_the_ratio_of_medians():
    pairs = Pairs([Cost(2.0), Cost(8.0), Cost(3.0)], [Cost(1.0), Cost(8.0), Cost(2.0)])
    assert pairs.ratios("wall_s") == [2.0, 1.0, 1.5]
    assert pairs.ratio("wall_s") == 1.5
    assert pairs.medians("wall_s") == (3.0, 2.0)


def test_goals_tell_kept_from_missed():
    slow = Pairs([Cost(2.0, count=100)], [Cost(1.0, count=100)])
    found = report.goals({"gateway_to_seg": seg_pairs(1.36), "stow": slow})
    assert {name: goal["holds"] for name, goal in found.items()} == {
        "gateway_to_seg wall_s ratio": False,
        "gateway_to_seg cpu_s ratio": True,
        "gateway_to_seg peak_mb": True,
        "stow rate ratio": False,
    }
    assert found["gateway_to_seg peak_mb"]["found"] == 700.0


@pytest.mark.parametrize(("load", "rough"), [(0.1, False), (4.0, True)])
def test_the_page_names_the_measure_and_says_when_it_is_rough(tmp_path: Path, load: float, rough: bool):
    document = DOCUMENT | {"machine": MACHINE | {"load_before": [load, 0, 0]}}
    rates = Pairs([Cost(2.0, 1.0, 90.0, count=300)], [Cost(1.0, 1.0, 90.0, count=300)])
    report.write(tmp_path, document, {"gateway_to_seg": seg_pairs(), "one_association": rates})
    page, kept = (tmp_path / "bench.md").read_text(), json.loads((tmp_path / "bench.json").read_text())
    assert ("under load" in page) == rough
    assert "d1ce" in page
    assert "| C-STORE, one association | instances/s | 150 | 300 | **0.50** | 0.50 |" in page
    assert kept["plain_sha256"] == "d1ce"
    assert kept["cases"]["one_association"]["ratios"]["rate"] == 0.5
    assert kept["goals"]["one_association rate ratio"]["holds"] is False
