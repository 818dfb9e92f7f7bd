"""A small Python API for scripts.

::

    from pathlib import Path
    from client.api import Gateway

    with Gateway("http://127.0.0.1:8080/dicom-web") as gateway:
        sent = gateway.send([Path("exam/")])
        for study in gateway.wait(sent.study_uids):
            print(study.state, [stack.reason for stack in study.stacks])
            gateway.save(study, Path("answers/"))

Every error is one of ``contracts.errors``: ``Refused`` for the input's fault, ``Unreachable`` where nobody answers,
``Usage`` for wrong arguments or a missing token, ``Broken`` for a failure of ours.
"""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from client import cstore, files, stow
from client.files import Problem
from client.http import Connection, single_part
from client.settings import DEFAULT_URL
from contracts.errors import Broken, NotFound, Refused, Unreachable, Usage

ANSWERED = frozenset({"held", "delivering", "done", "not_processed", "refused", "failed", "dismissed"})
"""States of a stack at which waiting ends: its answer is there, or it will not come by itself."""
SILENCE_S = 60.0
"""A gateway that restarts while we wait is awaited this long."""
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Result(_Answer):
    """One object made for a stack. ``kind``: ``seg`` (``phase`` counts from 1) or ``sr`` (``phase`` 0)."""

    sop_uid: str
    series_uid: str = ""
    phase: int = 0
    kind: str = "seg"


class Progress(_Answer):
    """How far the prediction of a stack has come: slices done of all, and seconds left at the pace so far."""

    done: int
    total: int
    eta_s: float


class Stack(_Answer):
    """One input stack: what was segmented together, and what became of it."""

    id: int
    series_uids: tuple[str, ...]
    task: str = ""
    state: str
    code: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()
    measurements: dict[str, Any] = {}
    progress: Progress | None = None
    results: tuple[Result, ...] = ()
    deliveries: tuple[dict[str, Any], ...] = ()

    @property
    def answered(self) -> bool:
        """Whether nothing more will come without a person or a destination."""
        return self.state in ANSWERED


class Ignored(_Answer):
    """A series without images."""

    series_uid: str
    reason: str = ""


class Study(_Answer):
    """A study with its stacks; ``state`` is that of the stack which needs a person first, else the furthest behind."""

    study_uid: str
    state: str
    stacks: tuple[Stack, ...] = ()
    ignored: tuple[Ignored, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether every stack is answered and nothing that arrived is still to be looked at."""
        return self.state != "receiving" and all(stack.answered for stack in self.stacks)


@dataclass(frozen=True)
class Sent:
    """What became of the files of one ``send``."""

    study_uids: tuple[str, ...]
    files: int
    refused: tuple[Problem, ...]
    skipped: tuple[Problem, ...]


@dataclass(frozen=True)
class EchoAnswer:
    """Whether a destination answers by its own protocol, in a sentence, and after how many seconds."""

    ok: bool
    sentence: str
    seconds: float


Meter = Callable[[int, int], AbstractContextManager[Callable[[int], None]]]
"""From the number of files and bytes to a context that gives the function which adds bytes sent."""


def _checked(study_uid: str) -> str:
    """Let nothing but a UID become part of an address or of a path."""
    if not _UID.fullmatch(study_uid):
        raise Usage("bad_uid", "A study is named by its StudyInstanceUID: digits and points, at most 64.")
    return study_uid


def _no_meter(_files: int, _size: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda _: None)


class Gateway:
    """One gateway. ``url`` is its DICOMweb root, ``token`` a bearer token where it wants one."""

    def __init__(self, url: str = DEFAULT_URL, token: str = "") -> None:
        """Connect lazily: an address that nobody answers at shows with the first call."""
        self._connection = Connection(url, token)
        self.base = self._connection.base

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(
        self,
        paths: Sequence[Path],
        *,
        to: str = "",
        calling: str = "SEGLOOPCLIENT",
        meter: Meter = _no_meter,
    ) -> Sent:
        """Send files, folders and zips: by STOW-RS, or by C-STORE with ``to = "AET@host:port"``.

        What is no DICOM is skipped and named. Raises ``Usage`` for a path that does not exist, ``Refused`` where no
        path holds DICOM, ``Unreachable`` where the receiver does not answer.
        """
        peer = cstore.parse_peer(to) if to else None
        with tempfile.TemporaryDirectory(prefix="segloop-send-") as scratch:
            found, skipped = files.collect(paths, Path(scratch))
            if not found:
                raise Refused("no_dicom", f"No DICOM file is among the {len(skipped)} files given.")
            with meter(len(found), sum(file.size for file in found)) as on_bytes:
                if peer is None:
                    refused = stow.send(self._connection, found, on_bytes)
                else:
                    refused = cstore.send(peer, found, on_bytes, calling=calling)
        studies = dict.fromkeys(file.study_uid for file in found if file.study_uid)
        return Sent(tuple(studies), len(found), tuple(refused), tuple(skipped))

    def studies(self, state: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """List at most ``limit`` (1 to 1000) studies, the latest first, as ``GET /api/studies``; ``state`` filters."""
        return list(self._connection.get("/api/studies", params={"state": state, "limit": limit}).json())

    def status_document(self, study_uid: str) -> dict[str, Any]:
        """Return all that ``GET /api/studies/{uid}`` tells, history and deliveries included. Raises ``NotFound``."""
        return dict(self._connection.get(f"/api/studies/{_checked(study_uid)}").json())

    def status(self, study_uid: str) -> Study:
        """Return a study with its stacks. Raises ``NotFound``."""
        return Study.model_validate(self.status_document(study_uid))

    def complete(self, study_uid: str) -> None:
        """Say that nothing more of this study is coming, which ends its quiet period. Raises ``NotFound``."""
        self._connection.post(f"/api/studies/{_checked(study_uid)}/complete")

    def wait(
        self,
        study_uids: Sequence[str],
        *,
        timeout_s: float = 3600.0,
        on_change: Callable[[Sequence[Study]], None] = lambda _: None,
    ) -> list[Study]:
        """Declare studies complete and wait until each is answered, or refused as a whole.

        Outlasts a restart of the gateway. Raises ``Broken`` ``wait_timeout`` after ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        for uid in study_uids:
            self._declare(uid)
        pause, silent_since = 0.25, 0.0
        while True:
            try:
                studies = [self._status_or_refused(uid) for uid in study_uids]
            except Unreachable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > SILENCE_S:
                    raise
            else:
                silent_since = 0.0
                on_change(studies)
                if all(study.answered for study in studies):
                    return studies
            if time.monotonic() > deadline:
                raise Broken(
                    "wait_timeout", f"No answer within {timeout_s:.0f} s; the work goes on: ask again by status."
                )
            time.sleep(pause)
            pause = min(pause * 1.3, 2.0)

    def _declare(self, study_uid: str) -> None:
        try:
            self.complete(study_uid)
        except Refused:
            return  # nothing of it was stored, which the status says

    def _status_or_refused(self, study_uid: str) -> Study:
        try:
            return self.status(study_uid)
        except NotFound:
            return Study(study_uid=study_uid, state="refused")

    def object(self, study_uid: str, result: Result) -> bytes:
        """Return a result as a DICOM file, by WADO-RS."""
        path = f"/dicom-web/studies/{_checked(study_uid)}/series/{result.series_uid}/instances/{result.sop_uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        return single_part(self._connection.get(path, headers={"Accept": accept}))

    def save(self, study: Study, out: Path) -> list[Path]:
        """Save a study's results as ``<study>/<task>-<n>/seg-<phase>.dcm``, ``sr.dcm``, ``measurements.json``,
        ``overlay.png``.

        Returns the paths written. Stacks that were not segmented write nothing.
        """
        written: list[Path] = []
        numbers: dict[str, int] = {}
        for stack in study.stacks:
            if stack.task:
                numbers[stack.task] = numbers.get(stack.task, 0) + 1
                folder = out / _checked(study.study_uid) / f"{stack.task}-{numbers[stack.task]}"
                written += self._save_stack(study.study_uid, stack, folder)
        return written

    def _save_stack(self, study_uid: str, stack: Stack, folder: Path) -> list[Path]:
        contents: dict[str, bytes] = {}
        place = f"/api/studies/{_checked(study_uid)}/stacks/{stack.id}"
        for result in stack.results:
            name = f"seg-{result.phase}.dcm" if result.kind == "seg" else f"{result.kind}.dcm"
            contents[name] = self.object(study_uid, result)
        for name in ("measurements.json", "overlay.png"):
            try:
                contents[name] = self._connection.get(f"{place}/{name}").content
            except NotFound:
                continue  # not segmented, or not looked at yet
        if contents:
            folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return [folder / name for name in contents]

    def retry(self, study_uid: str) -> int:
        """Run again what was refused, failed or not processed, and try waiting deliveries now; count the stacks."""
        return int(self._connection.post(f"/api/studies/{_checked(study_uid)}/retry").json().get("stacks", 0))

    def delete(self, study_uid: str) -> int:
        """Delete a study with its results for good, but for a tombstone; return how many objects went."""
        response = self._connection.delete(f"/api/studies/{_checked(study_uid)}")
        return int(response.json().get("deleted", 0))

    def echo(self, destination: str) -> EchoAnswer:
        """Let the gateway ask one of its destinations whether it is there. Raises ``NotFound`` for an unknown name."""
        answer = self._connection.post(f"/api/destinations/{quote(destination, safe='')}/echo").json()
        return EchoAnswer(bool(answer["ok"]), str(answer["sentence"]), float(answer["seconds"]))
