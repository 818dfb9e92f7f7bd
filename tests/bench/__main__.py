"""``python -m tests.bench``: run the cases and write ``docs/results/bench.md`` and ``bench.json``."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import Missing, exit_codes
from tests import conftest
from tests.bench import machine, report, step
from tests.bench.cases import QUIET_S, Folders, Receiving, Segmenting, Tell
from tests.bench.frozen import check_frozen
from tests.bench.measuring import Pairs
from tests.bench.studies import Studies

SECONDS = {
    "folder_to_seg": 24, "gateway_to_seg": 26, "one_association": 4, "four_associations": 7, "stow": 4,
    "step_fp32": 60, "step_bf16": 35,
}  # fmt: skip
"""About what a pair of each case takes on two cores: only the estimate of the time left depends on it."""

PROGRAMS = ("/usr/sbin/Orthanc", "/usr/bin/storescu")


class Progress:
    """One line a run on stderr, and the time left if the machine stays as fast as it was so far."""

    def __init__(self, pairs: dict[str, int]) -> None:
        """``pairs`` that will be run, by case."""
        self._total, self._done = float(sum(SECONDS[name] * count for name, count in pairs.items())), 0.0
        self._started = time.monotonic()

    def of(self, name: str) -> Tell:
        """Return the function that a case tells its runs to."""

        def tell(what: str) -> None:
            self._done = min(self._done + SECONDS[name] / 2, self._total)
            passed = time.monotonic() - self._started
            left = passed / self._done * (self._total - self._done)
            print(f"{passed:5.0f} s  {what}; about {left:.0f} s left", file=sys.stderr, flush=True)

        return tell


def bench(
    only: Annotated[list[str] | None, typer.Option(help=f"Cases: {', '.join(SECONDS)}. Default: all.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of runs a case.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="Inference threads of both sides. 0: as many as cores.")] = 0,
    work: Annotated[Path, typer.Option(help="Folder on the disk that is measured; emptied.")] = Path(".cache/bench"),
    out: Annotated[Path, typer.Option(help="Folder for bench.md and bench.json.")] = Path("docs/results"),
) -> None:
    """Measure the gateway beside a plain script and beside Orthanc; takes up to a quarter of an hour."""
    with exit_codes():
        plain = check_frozen()
        chosen = {name: pairs for name in SECONDS if not only or name in only}
        _check()
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        threads = threads or os.cpu_count() or 1
        document: dict[str, Any] = {
            "machine": machine.describe(work),
            "plain_sha256": plain,
            "threads": threads,
            "quiet_s": QUIET_S,
        }
        print("Drawing a cine ...", file=sys.stderr, flush=True)
        cases = _run(chosen, work.resolve(), threads, document)
        report.write(out, document, cases)
        print((out / "bench.md").read_text())
        shutil.rmtree(work)


def _check() -> None:
    """Raises ``Missing`` where a program or the private network is not to be had."""
    missing = [program for program in PROGRAMS if not Path(program).exists()]
    if missing:
        raise Missing("programs", f"Missing: {', '.join(missing)}; scripts/install-test-programs installs them.")
    conftest.pytest_sessionstart()
    if not conftest.PRIVATE_NETWORK:
        raise Missing("private_network", "No network namespace of our own: run as root with iproute2 installed.")


def _run(chosen: dict[str, int], work: Path, threads: int, document: dict[str, Any]) -> dict[str, Pairs]:
    folders, studies, progress = Folders(work), Studies(work), Progress(chosen)
    done: dict[str, Pairs] = {}
    segmenting = Segmenting(folders, studies, threads)
    for name in ("folder_to_seg", "gateway_to_seg"):
        if name in chosen:
            done[name] = getattr(segmenting, name)(chosen[name], progress.of(name))
    if segmenting.first.wall_s:
        document["first_study_s"] = round(segmenting.first.wall_s, 3)
    for precision in step.PRECISIONS:
        name = f"step_{precision}"
        if name in chosen:
            done[name] = step.pairs(precision, chosen[name], progress.of(name))
    if chosen.keys() - done.keys():
        with Receiving(folders, studies) as receiving:
            for name in ("one_association", "four_associations", "stow"):
                if name in chosen:
                    done[name] = getattr(receiving, name)(chosen[name], progress.of(name))
    return done


if __name__ == "__main__":
    typer.run(bench)
