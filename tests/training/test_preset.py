"""Presets: what is shipped can be read, changes are checked, the precision fits the machine."""

from pathlib import Path

import pytest
import torch

from contracts.errors import Missing, Usage
from training.precision import choose_precision
from training.preset import Preset, shipped

SHIPPED = sorted(path.stem for path in shipped(Path("ci")).parent.glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_presets_can_be_read_by_name_and_by_path(name: str) -> None:
    assert Preset.read(Path(name)) == Preset.read(shipped(Path(name)))
    assert Preset.read(Path(name)).name == name


def test_a_preset_survives_its_checkpoint() -> None:
    preset = Preset.read(Path("ci"))
    assert Preset.model_validate_json(preset.model_dump_json()) == preset


def test_changes_reach_into_tables_and_keep_the_rest() -> None:
    preset = Preset.read(Path("ci"), ("iterations=7", "views.rotation=5.5", "prepare.margin=1.5", "precision=fp32"))
    assert (preset.iterations, preset.views.rotation, preset.prepare.margin) == (7, 5.5, 1.5)
    assert preset.precision == "fp32"
    assert preset.batch == Preset.read(Path("ci")).batch


@pytest.mark.parametrize("change", ["iterations", "=3", "iterations=0", "unknown=1", "views.unknown=1", "seed=x"])
def test_bad_changes_are_usage_errors(change: str) -> None:
    with pytest.raises(Usage) as caught:
        Preset.read(Path("ci"), (change,))
    assert caught.value.code == "bad_preset"


def test_an_absent_preset_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        Preset.read(tmp_path / "none.toml")


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("not [ toml", "utf-8")
    with pytest.raises(Usage):
        Preset.read(tmp_path / "p.toml")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512_bf16 sse", "bf16-mixed"),
        ("fpu amx_bf16", "bf16-mixed"),
        ("fpu avx2 avx512f", "32-true"),
        ("fpu avx512_bf16x", "32-true"),
    ],
)
def test_automatic_precision_follows_the_processor(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "cpuinfo").write_text(f"model name : x\nflags\t\t: {flags}\n", "utf-8")
    assert choose_precision("auto", tmp_path / "cpuinfo") == expected
    assert choose_precision("fp32", tmp_path / "cpuinfo") == "32-true"
    assert choose_precision("bf16", tmp_path / "cpuinfo") == "bf16-mixed"


def test_a_machine_that_tells_nothing_trains_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_precision("auto", tmp_path / "none") == "32-true"
    (tmp_path / "empty").write_text("processor : 0\n", "utf-8")
    assert choose_precision("auto", tmp_path / "empty") == "32-true"


PAPER = sorted(name for name in SHIPPED if name.endswith("-paper"))


@pytest.mark.parametrize("name", PAPER)
def test_recipe_matches_preset(name: str) -> None:
    """The published numbers (arXiv 2410.13486v1, sections III and IV), for every data set."""
    preset = Preset.read(Path(name))
    options = preset.consistency
    assert (preset.optimizer, preset.learning_rate, preset.weight_decay, preset.schedule) == ("sgd", 1e-2, 1e-4, "poly")
    assert (preset.prepare.input_side, preset.batch, preset.batch_unlabelled) == (224, 8, 8)
    assert (options.teacher, options.threshold, options.sharpness) == ("self", 0.95, 1000)
    assert (options.fusion_width, options.grid, options.channel_dropout) == (128, 4, 0.5)
    assert options.weights.model_dump() == {"supervised": 0.5, "unlabelled": 0.25, "intra": 0.125, "cross": 0.125}
    views = preset.views
    assert (views.rotation, views.quarter_turn, views.region_scale, views.jitter) == (0, 0, 0, 0)
    assert (views.flip, views.half_turn) == (0.5, 0.5)


@pytest.mark.parametrize("name", PAPER)
def test_to_the_letter_differs_in_the_two_temperatures_alone(name: str) -> None:
    literal, repaired = Preset.read(Path(f"{name}-literal")), Preset.read(Path(name))
    temperatures = {"affinity_temperature": 0.1, "prototype_temperature": 0.1}
    assert (literal.consistency.affinity_temperature, literal.consistency.prototype_temperature) == (1.0, 1.0)
    same = {"name": repaired.name, "consistency": literal.consistency.model_copy(update=temperatures)}
    assert literal.model_copy(update=same) == repaired


def test_a_preset_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "ci"\nname = "mine"\n[prepare]\ninput_side = 32\n', "utf-8")
    ours, base = Preset.read(path), Preset.read(Path("ci"))
    assert (ours.prepare.input_side, ours.prepare.output_side) == (32, base.prepare.output_side)
    assert ours.iterations == base.iterations


@pytest.mark.parametrize("changes", [("method=semsim",), ("unlabelled_list=synthetic",)])
def test_an_unlabelled_list_goes_with_the_methods_that_use_it(changes: tuple[str, ...]) -> None:
    with pytest.raises(Usage):
        Preset.read(Path("ci"), changes)
