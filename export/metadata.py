"""What an ONNX file says of itself: our contract, and nothing of the machine that made it. Needs no torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from contracts.errors import Broken
from contracts.model_contract import METADATA_KEY, ModelContract


def strip_metadata(proto: onnx.ModelProto) -> None:
    """Remove stack traces, source paths and doc strings from every part of a model, in place."""
    proto.producer_version = ""
    for part in _parts(proto):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def set_contract(proto: onnx.ModelProto, contract: ModelContract) -> None:
    """Put a contract into a model's metadata, in place; without what is a fact about the file."""
    onnx.helper.set_model_props(proto, {METADATA_KEY: contract.inside().to_json()})


def write_with_contract(source: Path, contract: ModelContract, target: Path) -> None:
    """Copy a model file with another contract inside. The same inputs give the same bytes."""
    proto = onnx.load(source)
    set_contract(proto, contract)
    target.write_bytes(proto.SerializeToString(deterministic=True))


def inner_contract(path: Path) -> ModelContract:
    """Return the contract that a model file carries. Raises ``Broken`` ``bad_contract`` where it carries none."""
    proto = onnx.load(path, load_external_data=False)
    texts = [entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise Broken("bad_contract", f"{path.name} carries no contract.")
    return ModelContract.from_json(texts[0])


def _parts(proto: onnx.ModelProto) -> Iterator[Any]:
    graph = proto.graph
    yield proto
    yield graph
    for group in (graph.node, graph.value_info, graph.input, graph.output, graph.initializer):
        yield from group
