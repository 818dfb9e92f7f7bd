"""The file: small, clean, the same each time, and it answers as torch does."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from contracts.errors import Broken
from contracts.model_contract import METADATA_KEY, ModelContract, read_contract
from export.metadata import inner_contract, write_with_contract
from export.onnx import export_onnx, parity
from export.slices import parity_slices
from training.networks.exported import exported_runner
from training.networks.student import runner
from training.networks.trained import read_trained


def test_one_file_of_opset_20_with_fixed_sides_and_a_free_batch(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == ["contract.json", "model.onnx", "training.json"]
    proto = onnx.load(exported / "model.onnx", load_external_data=False)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (image,), (labels,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, image.type) == ("image", ["batch", 1, 32, 32], "tensor(float)")
    assert (labels.name, labels.shape[1:], labels.type) == ("labels", [64, 64], "tensor(uint8)")


def test_the_file_says_nothing_of_the_machine(exported: Path) -> None:
    content = (exported / "model.onnx").read_bytes()
    for trace in (b".py", b"/home", b"/usr", b"site-packages", str(Path.cwd()).encode()):
        assert trace not in content


def test_the_same_student_gives_the_same_bytes(exported: Path, checkpoint: Path, tmp_path: Path) -> None:
    contract = inner_contract(exported / "model.onnx")
    export_onnx(read_trained(checkpoint), contract, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (exported / "model.onnx").read_bytes()


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_labels_are_torchs_for_any_batch(exported: Path, checkpoint: Path, batch: int) -> None:
    contract = read_contract(exported / "contract.json")
    images = np.random.default_rng(batch).random((batch, 1, 32, 32)).astype(np.float32)
    ours = exported_runner(exported / "model.onnx", contract, threads=1)(images)
    torchs = runner(read_trained(checkpoint).network, 64)(images)
    assert ours.dtype == np.uint8
    assert ours.shape == (batch, 64, 64)
    assert len(np.unique(ours)) > 1
    assert (ours != torchs).mean() < 1e-3


def test_an_image_has_the_same_labels_alone_and_among_others(exported: Path) -> None:
    run = exported_runner(exported / "model.onnx", read_contract(exported / "contract.json"), threads=1)
    images = np.random.default_rng(0).random((5, 1, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(run(images)[3], run(images[3:4])[0])


def test_parity_notices_another_student(exported: Path, checkpoint: Path) -> None:
    trained = read_trained(checkpoint)
    images = parity_slices(None, trained.preset, trained.contract.prepare)
    found = parity(trained, trained.contract, exported / "model.onnx", images)
    assert found.decided_different == 0
    assert found.pixels == 8 * 64 * 64
    trained.network.head.bias.data[1] += 1  # type: ignore[union-attr, operator]
    with pytest.raises(Broken) as caught:
        parity(trained, trained.contract, exported / "model.onnx", images)
    assert caught.value.code == "no_parity"


def test_the_contract_stands_inside_and_beside(exported: Path) -> None:
    beside, inside = read_contract(exported / "contract.json"), inner_contract(exported / "model.onnx")
    assert beside == inside.model_copy(update={"model_sha256": beside.model_sha256})
    assert inside.model_sha256 == ""
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert ModelContract.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY]) == inside


def test_another_contract_changes_nothing_else(exported: Path, tmp_path: Path) -> None:
    contract = inner_contract(exported / "model.onnx")
    write_with_contract(exported / "model.onnx", contract, tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (exported / "model.onnx").read_bytes()
    other = contract.model_copy(update={"version": 8})
    write_with_contract(exported / "model.onnx", other, tmp_path / "other.onnx")
    assert inner_contract(tmp_path / "other.onnx") == other
    assert onnx.load(tmp_path / "other.onnx").graph == onnx.load(exported / "model.onnx").graph


def test_a_file_without_contract_is_broken(exported: Path, tmp_path: Path) -> None:
    proto = onnx.load(exported / "model.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(Broken):
        inner_contract(tmp_path / "bare.onnx")


def test_what_is_no_model_is_broken(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(Broken) as caught:
        exported_runner(tmp_path / "model.onnx", read_contract(exported / "contract.json"))
    assert caught.value.code == "bad_model"


def test_parity_is_measured_on_real_slices_where_there_are_some(acdc: Path, checkpoint: Path) -> None:
    trained = read_trained(checkpoint)
    preset = {**trained.preset, "validation_list": "lists/val_patients.txt"}
    images = parity_slices(acdc, preset, trained.contract.prepare, cases=1)
    assert images.shape[1:] == (1, 32, 32)
    assert 0 <= images.min() < images.max() <= 1
