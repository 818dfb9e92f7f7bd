"""The model repository on disk: which models there are, which version serves, and the append that changes it.

::

    <repository>/<name>/history.jsonl              one state change a line; the only thing that says what serves
    <repository>/<name>/<version>/model.onnx       the model
    <repository>/<name>/<version>/contract.json    what it promises
    <repository>/<name>/<version>/training.json    what it was made from

A line of the history carries a checksum of itself. A last line that is torn (power failed while it was written) was
never confirmed to anyone: readers ignore and report it, the next append removes it. Any other damage is an error.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from contracts.errors import Broken, Missing
from contracts.model_contract import ModelContract, file_sha256, read_contract

HISTORY, MODEL, CONTRACT, TRAINING = "history.jsonl", "model.onnx", "contract.json", "training.json"
State = Literal["published", "shadow", "gated", "refused", "serving", "retired"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One state change of a version: when (UTC, ISO 8601), who, from what to what, why, with which figures."""

    version: int
    before: str
    after: str
    when: str
    who: str
    why: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class History:
    """The entries of a model, oldest first; ``torn`` says that a last line was not readable and was left out."""

    entries: tuple[Entry, ...]
    torn: bool = False

    @property
    def serving(self) -> int | None:
        """The version that serves: the last one that became ``serving`` and has not been ``retired`` since."""
        for entry in reversed(self.entries):
            if entry.after == "serving":
                return entry.version
            if entry.after == "retired" and entry.before == "serving":
                return None
        return None

    def state(self, version: int) -> str:
        """Return the state of a version, empty where it has none; one that another has replaced is ``retired``."""
        own = [entry.after for entry in self.entries if entry.version == version]
        if own and own[-1] == "serving" and self.serving != version:
            return "retired"
        return own[-1] if own else ""


@dataclass(frozen=True)
class Model:
    """A version in the repository. ``folder`` is the version's own."""

    name: str
    version: int
    folder: Path
    contract: ModelContract

    @property
    def file(self) -> Path:
        """Path of the model file."""
        return self.folder / MODEL


def model_names(repository: Path) -> tuple[str, ...]:
    """Return the names of the models in a repository, sorted; none where the folder does not exist."""
    if not repository.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in repository.glob(f"[!.]*/{HISTORY}")))


def versions(repository: Path, name: str) -> tuple[int, ...]:
    """Return the versions of a model that stand in the repository, ascending."""
    folder = repository / name
    found = (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else iter(())
    return tuple(sorted(int(path.name) for path in found if path.name.isdecimal()))


def serving_version(repository: Path, name: str) -> int | None:
    """Return the version of a model that serves; None where none does or the model does not exist."""
    return read_history(repository / name).serving


def read_model(repository: Path, name: str, version: int | None = None) -> Model:
    """Return a version of a model, by default the one that serves.

    Raises ``Missing`` ``no_model`` where it does not exist and ``Broken`` ``other_model`` where the model file is not
    the one that its contract names.
    """
    chosen = version if version is not None else serving_version(repository, name)
    if chosen is None:
        raise Missing("no_model", f"No version of the model {name} serves in {repository}.")
    folder = repository / name / str(chosen)
    if not (folder / MODEL).is_file():
        raise Missing("no_model", f"There is no version {chosen} of the model {name} in {repository}.")
    contract = read_contract(folder / CONTRACT)
    if file_sha256(folder / MODEL) != contract.model_sha256:
        raise Broken("other_model", f"The file of {name}:{chosen} is not the one that its contract names.")
    return Model(name, chosen, folder, contract)


def read_history(folder: Path) -> History:
    """Read the history in a model's folder; an absent one is empty. Raises ``Broken`` ``bad_history``."""
    path = folder / HISTORY
    entries, sound = _parse(path.read_bytes() if path.is_file() else b"")
    torn = path.is_file() and path.stat().st_size > sound
    if torn:
        log.warning("the last line of %s is torn and was ignored", path)
    return History(entries, torn)


def append(
    folder: Path,
    version: int,
    after: State,
    *,
    who: str,
    why: str,
    figures: Mapping[str, float] | None = None,
    when: datetime | None = None,
) -> Entry:
    """Append a state change to the history in a model's folder, durably: it holds once this returns.

    Writers exclude each other by a file lock. ``when`` defaults to now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / HISTORY
    with path.open("a+b") as stream, _locked(stream.fileno()):
        stream.seek(0)
        entries, sound = _parse(stream.read())
        stream.truncate(sound)
        moment = (when or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        before = History(entries).state(version)
        entry = Entry(version, before, after, moment, who, why, dict(figures or {}))
        stream.write(_line(entry))
        stream.flush()
        os.fsync(stream.fileno())
    _sync(folder)
    return entry


def seed(shipped: Path, target: Path) -> tuple[str, ...]:
    """Copy into ``target`` the models of a shipped repository that it lacks, and return their names.

    What is there is never touched. A model appears whole or not at all, also when the program is killed or two start
    at once. Raises ``Missing`` ``no_models`` where nothing is shipped and ``target`` holds nothing either.
    """
    if not model_names(shipped) and not model_names(target):
        raise Missing(
            "no_models", f"There are no models in {target}: set SEGLOOP_MODEL_REPOSITORY to a folder that holds some."
        )
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".seed.lock").open("wb") as lock, _locked(lock.fileno()):
        added = tuple(name for name in model_names(shipped) if not (target / name).exists())
        for name in added:
            stage = stage_of(target / name)
            shutil.copytree(shipped / name, stage)
            move_in(stage, target / name)
    return added


def stage_of(place: Path) -> Path:
    """Return the folder beside ``place`` in which it is prepared; what a killed program left there is removed."""
    stage = place.parent / f".stage-{place.name}"
    shutil.rmtree(stage, ignore_errors=True)
    return stage


def move_in(stage: Path, place: Path) -> None:
    """End the preparation of a folder: bring it to the disk, then rename it to a place that does not exist yet."""
    for path in (*stage.rglob("*"), stage):
        _sync(path)
    stage.rename(place)
    _sync(place.parent)


def _parse(data: bytes) -> tuple[tuple[Entry, ...], int]:
    """Return the entries and how many bytes of ``data`` they fill; what follows is one torn line or nothing."""
    entries: list[Entry] = []
    at = 0
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        entry = _entry(line)
        if entry is None and number < len(lines):
            raise Broken("bad_history", f"Line {number} of a model's history is damaged.")
        if entry is None:
            break
        entries.append(entry)
        at += len(line)
    return tuple(entries), at


def _entry(line: bytes) -> Entry | None:
    try:
        fields: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        checksum = fields.pop("checksum", None)
        if checksum is None or checksum != _checksum(fields):
            return None
        return Entry(before=fields.pop("from"), after=fields.pop("to"), **fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _line(entry: Entry) -> bytes:
    fields: dict[str, Any] = {
        "version": entry.version,
        "from": entry.before,
        "to": entry.after,
        "when": entry.when,
        "who": entry.who,
        "why": entry.why,
        "figures": dict(entry.figures),
    }
    return json.dumps({**fields, "checksum": _checksum(fields)}).encode() + b"\n"


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _sync(path: Path) -> None:
    """Bring a file or the entries of a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
