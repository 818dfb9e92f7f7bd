"""Triton's description of a model, generated from its contract."""

from collections.abc import Sequence

from contracts.model_contract import ModelContract, Tensor
from contracts.segment import BATCH

_DTYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_TEMPLATE = """\
name: "{name}"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {batch}
input [ {{ {input} }} ]
output [ {{ {output} }} ]
instance_group [ {{ count: 1 }} ]
dynamic_batching {{ max_queue_delay_microseconds: 5000 }}
version_policy {{ specific {{ versions: [ {versions} ] }} }}
parameters [ {{ key: "intra_op_thread_count" value {{ string_value: "2" }} }} ]
model_warmup [ {{ name: "one" batch_size: 1 inputs {{ key: "{input_name}"
  value {{ {warm_up} zero_data: true }} }} }} ]
"""


def config_text(contract: ModelContract, versions: Sequence[int]) -> str:
    """Return ``config.pbtxt`` of a model: what the contract says, and which versions Triton loads."""
    return _TEMPLATE.format(
        name=contract.name,
        batch=BATCH,
        input=_named(contract.input),
        output=_named(contract.output),
        versions=", ".join(str(version) for version in sorted(versions)),
        input_name=contract.input.name,
        warm_up=_shaped(contract.input),
    )


def _named(tensor: Tensor) -> str:
    return f'name: "{tensor.name}" {_shaped(tensor)}'


def _shaped(tensor: Tensor) -> str:
    return f"data_type: {_DTYPES[tensor.dtype]} dims: [ {', '.join(str(side) for side in tensor.shape)} ]"
