"""What a model promises: its task, labels, input, output and origin. Stands beside the model file and inside it."""

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import Broken, Missing
from contracts.prepare import Prepare
from contracts.tasks import LABELS, Code, Task

METADATA_KEY = "segloop.contract"


class Tensor(BaseModel):
    """Name, shape without the batch axis, and dtype of an input or output; the batch is the first axis and free."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "uint8"]


class LabelEntry(BaseModel):
    """One value of the label output and what it means (SNOMED CT)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int
    name: str
    code: str
    scheme: str
    meaning: str


class ModelContract(BaseModel):
    """All that serving, evaluation and export need to know of a model.

    ``model_sha256`` is the digest of the model file and ``known_answer`` what the file answers to the test inference
    (``contracts.known_answer``). Both are facts about a published file, so the copy that the file itself carries has
    neither, nor has the contract of a model that was not published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: Literal[1] = 1
    task: Task
    name: str
    version: int = Field(ge=0)
    variant: str = "fp32"
    labels: tuple[LabelEntry, ...]
    prepare: Prepare
    input: Tensor
    output: Tensor
    scores: dict[str, float] = {}
    snapshot_sha256: str = ""
    terms: str = ""
    model_sha256: str = ""
    known_answer: dict[str, int] | None = None

    @property
    def digest(self) -> str:
        """The model digest from which identifiers of results derive: SHA-256 of the model file, hex."""
        return self.model_sha256

    def inside(self) -> Self:
        """Return the copy that the model file itself carries."""
        return self.model_copy(update={"model_sha256": "", "known_answer": None})

    def to_json(self) -> str:
        """Return the contract as JSON, the same text for the same contract."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a contract; raises ``Broken`` ``bad_contract`` where the text is none."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise Broken("bad_contract", f"The model contract cannot be read: {error.error_count()} faults.") from error


def label_entries(task: Task) -> tuple[LabelEntry, ...]:
    """Return the labels of a task as a contract states them."""

    def entry(value: int, name: str, code: Code) -> LabelEntry:
        return LabelEntry(value=value, name=name, code=code.value, scheme=code.scheme, meaning=code.meaning)

    return tuple(entry(label.value, label.name, label.type) for label in LABELS[task])


def draft_contract(task: Task, prepare: Prepare, version: int = 0) -> ModelContract:
    """Return the contract of a student of ``task`` before it is exported: shapes follow from ``prepare``."""
    return ModelContract(
        task=task,
        name=task.value,
        version=version,
        labels=label_entries(task),
        prepare=prepare,
        input=Tensor(name="image", shape=(prepare.channels, prepare.input_side, prepare.input_side), dtype="float32"),
        output=Tensor(name="labels", shape=(prepare.output_side, prepare.output_side), dtype="uint8"),
    )


def read_contract(path: Path) -> ModelContract:
    """Read ``contract.json``; raises ``Missing`` ``no_contract`` or ``Broken`` ``bad_contract``."""
    try:
        return ModelContract.from_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise Missing("no_contract", f"There is no model contract at {path}.") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
