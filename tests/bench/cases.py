"""The cases: folder -> SEG, gateway -> SEG, and receiving; each runs ours and theirs in turn."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

from pydicom import dcmread

from contracts.model_repository import read_model, serving_version
from serving.settings import SHIPPED_MODELS
from tests.bench import sending
from tests.bench.measuring import Cost, Pairs, metered, python, run
from tests.bench.studies import PHASES, SLICES, Cine, Studies
from tests.journeys.orthanc import Orthanc
from tests.journeys.running import STUCK, RunningGateway

QUIET_S = 1.0
NEVER_S = 3600.0
"""Quiet period while only receiving is measured: nothing is segmented meanwhile."""
LOOK_S = 1.0
"""Pause between questions whether a study is done; each costs the gateway some milliseconds."""
TITLE = "BENCHPACS"

Tell = Callable[[str], None]
Side = Callable[[], Cost]


class Folders:
    """Fresh folders under one, numbered."""

    def __init__(self, root: Path) -> None:
        """``root`` exists."""
        self._root, self._count = root, 0

    def next(self, name: str) -> Path:
        """Return a path where nothing is yet."""
        self._count += 1
        return self._root / f"{self._count:02d}-{name}"


def alternate(ours: Side, theirs: Side, pairs: int, tell: Tell, name: str) -> Pairs:
    """Run both sides in turn, theirs first in every second pair, so that neither always has the other's leavings."""
    done: dict[str, list[Cost]] = {"ours": [], "theirs": []}
    for number in range(pairs):
        order = [("ours", ours), ("theirs", theirs)] if number % 2 else [("theirs", theirs), ("ours", ours)]
        for side, work in order:
            done[side].append(work())
            tell(f"{name} {number + 1}/{pairs} {side}: {done[side][-1].wall_s:.2f} s")
    return Pairs(done["ours"], done["theirs"])


class Segmenting:
    """Folder -> SEG and gateway -> SEG, against the plain script with as many threads, on the same images."""

    def __init__(self, folders: Folders, studies: Studies, threads: int) -> None:
        """Nothing starts before a case is run."""
        self._folders, self._studies, self._threads = folders, studies, threads
        version = serving_version(SHIPPED_MODELS, "cardiac")
        assert version is not None
        self._model = read_model(SHIPPED_MODELS, "cardiac", version).folder
        self.first = Cost()
        """The first study of a gateway that has just started."""
        self._plain_out = self._our_out = Path()

    def folder_to_seg(self, pairs: int, tell: Tell) -> Pairs:
        """``client send FOLDER --wait --out`` to a running gateway; client and gateway count together.

        Raises ``RuntimeError`` where the masks of both sides differ.
        """
        with self._gateway() as running:
            self.first = self._by_client(running)
            tell(f"folder -> SEG, first study of the gateway: {self.first.wall_s:.2f} s")
            found = alternate(lambda: self._by_client(running), self._plain, pairs, tell, "folder -> SEG")
        check_same(self._our_out, self._plain_out)
        return found

    def gateway_to_seg(self, pairs: int, tell: Tell) -> Pairs:
        """``storescu`` to a running gateway: from its start to the last SEG, less the quiet period."""
        with self._gateway() as running:
            self._by_storescu(running)
            tell("gateway -> SEG, first study of the gateway: not counted")
            return alternate(lambda: self._by_storescu(running), self._plain, pairs, tell, "gateway -> SEG")

    @contextmanager
    def _gateway(self) -> Iterator[RunningGateway]:
        running = RunningGateway(self._folders.next("home"), quiet_period_s=QUIET_S, threads=self._threads).start()
        try:
            yield running
        finally:
            running.stop()

    def _plain(self) -> Cost:
        cine, self._plain_out = self._studies.next(), self._folders.next("plain")
        cost, said = run(python("tests.bench.plain", cine.folder, self._plain_out, self._model, self._threads))
        cost.parts = json.loads(said)
        return cost

    def _by_client(self, running: RunningGateway) -> Cost:
        assert running.process is not None
        cine, out = self._studies.next(), self._folders.next("client")
        command = python("client", "send", cine.folder, "--to", f"{running.url}/dicom-web", "--wait", "--out", out)
        with metered(running.process.pid) as gateway:
            client, _ = run(command, running.environment())
        self._our_out = next(out.glob("*/cardiac-1"))
        return Cost(
            client.wall_s,
            client.cpu_s + gateway.cpu_s,
            client.peak_mb + gateway.peak_mb,
            parts={"client_cpu": client.cpu_s, "client_peak_mb": client.peak_mb} | _steps(running, cine),
        )

    def _by_storescu(self, running: RunningGateway) -> Cost:
        """The clock stops when the gateway noted that the stack is done; both read the clock of this machine."""
        assert running.process is not None
        cine = self._studies.next()
        with metered(running.process.pid) as cost:
            started = time.time()
            sending.store(running.dicom_port, [cine], "SEGLOOP")
            sent = time.time() - started
            done = _done_at(running, cine)
        cost.wall_s = done - started - QUIET_S
        cost.parts = {"send": sent} | _steps(running, cine)
        return cost


def check_same(ours: Path, theirs: Path) -> None:
    """Raise ``RuntimeError`` unless both folders hold the same phases and each phase the same frames, bit for bit."""
    phases = {path.name for path in theirs.glob("seg-*.dcm")}
    if phases != {path.name for path in ours.glob("seg-*.dcm")} or not phases:
        raise RuntimeError("the two sides segmented different phases")
    for name in phases:
        a, b = dcmread(ours / name), dcmread(theirs / name)
        if (a.NumberOfFrames, a.PixelData) != (b.NumberOfFrames, b.PixelData):
            raise RuntimeError(f"the masks of {name} differ")


def _history(running: RunningGateway, cine: Cine) -> list[dict[str, Any]]:
    study = running.study(cine.study_uid)
    stacks = study.get("stacks", [])
    stuck = [f"{stack['state']}: {stack['reason']}" for stack in stacks if stack["state"] in STUCK]
    if stuck:
        raise RuntimeError(f"the study was not answered: {stuck}")
    return stacks[0]["history"] if stacks else []


def _done_at(running: RunningGateway, cine: Cine, seconds: float = 600) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(LOOK_S)
        for entry in _history(running, cine):
            if entry["after"] == "done":
                return float(entry["at"])
    raise RuntimeError(f"the study was not answered within {seconds:g} s; see {running.log}")


def _steps(running: RunningGateway, cine: Cine) -> dict[str, float]:
    """Seconds of each step as the gateway noted them."""
    return {entry["event"]: entry["seconds"] for entry in _history(running, cine) if entry["event"] != "state"}


class Receiving:
    """How many instances a second are received, and stored for good, beside Orthanc on the same disk.

    Both stay up and take turns; the gateway's quiet period is so long that it does nothing but receive.
    """

    def __init__(self, folders: Folders, studies: Studies) -> None:
        """Both start with the context."""
        self._studies = studies
        self._ours = RunningGateway(folders.next("home"), quiet_period_s=NEVER_S)
        self._theirs = Orthanc(folders.next("orthanc"), TITLE)

    def __enter__(self) -> "Receiving":
        self._ours.start()
        self._theirs.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.stop()
        self._theirs.stop()

    def one_association(self, pairs: int, tell: Tell) -> Pairs:
        """C-STORE of one study over one association."""
        return self._stores(1, None, pairs, tell)

    def four_associations(self, pairs: int, tell: Tell) -> Pairs:
        """C-STORE over four associations at the same time, each with half a study of its own."""
        return self._stores(4, PHASES * SLICES // 2, pairs, tell)

    def stow(self, pairs: int, tell: Tell) -> Pairs:
        """STOW-RS of one study over one connection."""

        def side(url: str, process: Popen[bytes] | None) -> Side:
            def work() -> Cost:
                cine = self._studies.next()
                return _received(process, len(cine.paths), lambda: sending.stow(f"{url}/dicom-web", cine))

            return work

        ours, theirs = side(self._ours.url, self._ours.process), side(self._theirs.url, self._theirs.process)
        return alternate(ours, theirs, pairs, tell, "STOW-RS")

    def _stores(self, associations: int, count: int | None, pairs: int, tell: Tell) -> Pairs:
        def side(port: int, called: str, process: Popen[bytes] | None) -> Side:
            def work() -> Cost:
                cines = [self._studies.next(count) for _ in range(associations)]
                total = sum(len(cine.paths) for cine in cines)
                return _received(process, total, lambda: sending.store(port, cines, called))

            return work

        ours = side(self._ours.dicom_port, "SEGLOOP", self._ours.process)
        theirs = side(self._theirs.dicom_port, TITLE, self._theirs.process)
        return alternate(ours, theirs, pairs, tell, f"C-STORE, {associations} at once")


def _received(process: Popen[bytes] | None, count: int, send: Callable[[], None]) -> Cost:
    assert process is not None
    with metered(process.pid) as cost:
        send()
    cost.count = count
    return cost
