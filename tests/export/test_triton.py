"""Triton's file follows from the contract."""

import pytest

from contracts.model_contract import draft_contract
from contracts.prepare import Prepare
from contracts.segment import BATCH
from contracts.tasks import Task
from export.cards import DATA_SETS, card_text, terms_text
from export.triton import config_text


@pytest.mark.parametrize("side", [64, 128])
def test_names_shapes_and_dtypes_are_the_contracts(side: int) -> None:
    contract = draft_contract(Task.CARDIAC, Prepare(input_side=side, output_side=2 * side), version=4)
    text = config_text(contract, [7, 4])
    assert f'name: "image" data_type: TYPE_FP32 dims: [ 1, {side}, {side} ]' in text
    assert f'name: "labels" data_type: TYPE_UINT8 dims: [ {2 * side}, {2 * side} ]' in text
    assert "versions: [ 4, 7 ]" in text
    assert f"max_batch_size: {BATCH}" in text


def test_brackets_are_balanced() -> None:
    text = config_text(draft_contract(Task.CARDIAC, Prepare()), [1])
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")


@pytest.mark.parametrize("task", list(DATA_SETS))
def test_lines_of_the_texts_fit_a_page(task: Task) -> None:
    contract = draft_contract(task, Prepare(), version=1)
    assert terms_text(task).startswith("# ")
    assert "{" not in card_text(contract, 60)
