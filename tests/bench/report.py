"""The figures as a page for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.measuring import Cost, Pairs
from tests.bench.sending import PARTS
from tests.bench.studies import PHASES, SIDE, SLICES

GOALS = {"wall_s": 1.35, "cpu_s": 1.2, "peak_mb": 900.0, "rate": 1.0, "step": 0.5}
"""What gateway -> SEG, receiving and a training step are to keep to; see :func:`goals`."""

QUIET_LOAD = 0.5
"""Load average above which a page says that its figures are rough."""

SEG_CASES = {"folder_to_seg": "folder -> SEG", "gateway_to_seg": "gateway -> SEG"}
RECEIVE_CASES = {
    "one_association": "C-STORE, one association",
    "four_associations": "C-STORE, four associations",
    "stow": "STOW-RS, one connection",
}

STEP_CASES = {"step_fp32": "step of SemSim, fp32", "step_bf16": "step of SemSim, bf16"}

HEAD = """# Benchmark

Written by `make bench`; the same figures for programs stand in `bench.json`. **Research use only.**

{load}Ratios are medians over pairs of runs that followed one another (A B, B A, ...), so that a change of the machine's
speed meets both sides. Seconds are medians too; read them for this machine only.

| | |
|---|---|
"""
SEG_HEAD = """
## To SEG: beside a plain script

A synthetic cine of {slices} slices x {phases} phases at {side} x {side}; {threads} inference threads on both sides; the
same mathematics (`contracts.segment`, post-processing included); every SEG synced to the disk. The masks of both sides
are compared and were equal, bit for bit. The plain script (`tests/bench/plain.py`, SHA-256
`{plain}`) reads with pydicom, runs ONNX Runtime and writes with
highdicom; its clock includes the start of Python and its imports.

- **folder -> SEG**: `client send FOLDER --wait --out` to a running gateway, from the start of the client to its end;
  CPU and memory of client and gateway added.
- **gateway -> SEG**: from the start of `storescu` until the gateway notes that the last SEG is stored, less the quiet
  period of {quiet:g} s; CPU and memory of the gateway, its waiting included.

Peak RSS is the highest of the process's whole life. Beside what the script does, the gateway keeps what it received,
measures, draws two pictures and remembers every step.

| case | | gateway | plain | ratio | of each pair |
|---|---|---|---|---|---|
"""
RECEIVE_HEAD = """
## Receiving: beside Orthanc

The same senders to both: DCMTK's `storescu`, and one HTTP client that stores {parts} instances a request; instances of
131 kB. `TCP_NODELAY=1` for both and for the senders; Orthanc with `SyncStorageArea` true and `OverwriteInstances`
false. Both were up all the time and took turns on the same disk. CPU is the receiver's.

A success of the gateway means: file, folder and index are synced. Orthanc syncs the file, but not its folder, and its
SQLite (WAL, `synchronous=NORMAL`) does not sync commits.

| case | | gateway | Orthanc | ratio | of each pair |
|---|---|---|---|---|---|
"""
STEP_HEAD = """
## Training: a step of SemSim beside the straightforward one

4 labelled and 4 unlabelled images of 96 x 96, fused features of width 128 in three layers, the same losses, one thread.
The straightforward step (`tests/bench/semsim_plain.py`, frozen) makes four forward passes in NCHW and the affinity of
all pixels with all pixels, image by image.

| case | | ours | straightforward | ratio | of each pair |
|---|---|---|---|---|---|
"""
AGAIN = """
## How to run it again

```
make bench                                   # everything, up to a quarter of an hour
.venv/bin/python -m tests.bench --only gateway_to_seg --pairs 5 --threads 1 --out /tmp
```

On a machine that does nothing else meanwhile. It needs root and the programs that `scripts/install-test-programs`
installs: Orthanc listens on every interface, so all of it runs in a network namespace of its own.
"""
SEG_ROWS = (("wall_s", "wall, s", 2), ("cpu_s", "CPU, s", 2), ("peak_mb", "peak RSS, MB", 0))
STEP_ROWS = (("cpu_s", "CPU, s", 2), ("peak_mb", "peak RSS, MB", 0))
RECEIVE_ROWS = (("rate", "instances/s", 0), ("cpu_s", "CPU, s", 2))


def write(folder: Path, document: Mapping[str, Any], cases: Mapping[str, Pairs]) -> None:
    """Write ``bench.json`` and ``bench.md`` into ``folder``; ``document`` says on what and how it was measured."""
    whole = {**document, "cases": {name: _case(pairs) for name, pairs in cases.items()}, "goals": goals(cases)}
    (folder / "bench.json").write_text(json.dumps(whole, indent=2) + "\n")
    (folder / "bench.md").write_text(page(document, cases))


def goals(cases: Mapping[str, Pairs]) -> dict[str, dict[str, float | bool]]:
    """Return for each goal that was measured its limit, what was found, and whether it holds."""
    found: dict[str, tuple[float, float, bool]] = {}
    if "gateway_to_seg" in cases:
        pairs = cases["gateway_to_seg"]
        for of in ("wall_s", "cpu_s"):
            found[f"gateway_to_seg {of} ratio"] = (GOALS[of], pairs.ratio(of), pairs.ratio(of) <= GOALS[of])
        peak = max(cost.peak_mb for cost in pairs.ours)
        found["gateway_to_seg peak_mb"] = (GOALS["peak_mb"], peak, peak <= GOALS["peak_mb"])
    for name in RECEIVE_CASES.keys() & cases.keys():
        rate = cases[name].ratio("rate")
        found[f"{name} rate ratio"] = (GOALS["rate"], rate, rate >= GOALS["rate"])
    if "step_fp32" in cases:  # bfloat16 is a second line
        step = cases["step_fp32"].ratio("cpu_s")
        found["step_fp32 cpu_s ratio"] = (GOALS["step"], step, step <= GOALS["step"])
    return {
        name: {"limit": limit, "found": round(value, 3), "holds": holds}
        for name, (limit, value, holds) in found.items()
    }


def page(document: Mapping[str, Any], cases: Mapping[str, Pairs]) -> str:
    """Return the page."""
    machine = document["machine"]
    load = machine["load_before"][0]
    busy = (
        f"**Measured under load ({load:g} before the run): rough figures, not final.**\n\n" if load > QUIET_LOAD else ""
    )
    text = HEAD.format(load=busy)
    text += "".join(f"| {name} | {_said(value)} |\n" for name, value in _machine(machine).items())
    seg = [name for name in SEG_CASES if name in cases]
    if seg:
        text += SEG_HEAD.format(
            slices=SLICES,
            phases=PHASES,
            side=SIDE,
            threads=document["threads"],
            plain=document["plain_sha256"],
            quiet=document["quiet_s"],
        )
        for name in seg:
            text += "".join(_row(SEG_CASES[name], cases[name], *what) for what in SEG_ROWS)
        text += _parts(document, cases)
    receive = [name for name in RECEIVE_CASES if name in cases]
    if receive:
        text += RECEIVE_HEAD.format(parts=PARTS)
        for name in receive:
            text += "".join(_row(RECEIVE_CASES[name], cases[name], *what) for what in RECEIVE_ROWS)
    stepping = [name for name in STEP_CASES if name in cases]
    if stepping:
        text += STEP_HEAD
        for name in stepping:
            text += "".join(_row(STEP_CASES[name], cases[name], *what) for what in STEP_ROWS)
    return text + _goals(cases) + AGAIN


def _row(title: str, pairs: Pairs, of: str, words: str, digits: int) -> str:
    ours, theirs = pairs.medians(of)
    each = ", ".join(f"{ratio:.2f}" for ratio in pairs.ratios(of))
    return f"| {title} | {words} | {ours:.{digits}f} | {theirs:.{digits}f} | **{pairs.ratio(of):.2f}** | {each} |\n"


def _parts(document: Mapping[str, Any], cases: Mapping[str, Pairs]) -> str:
    """Where the time goes, from what each side says itself."""
    lines = ["", "Seconds by part, medians:", ""]
    for name in SEG_CASES:
        if name in cases:
            lines += [f"- {SEG_CASES[name]}: {_told(cases[name].ours)}", f"  plain: {_told(cases[name].theirs)}"]
    first = document.get("first_study_s")
    if first:
        lines += [
            f"- folder -> SEG, first study of a gateway that has just started: {first:.2f} s wall, not counted above"
        ]
    return "\n".join(lines) + "\n"


def _told(costs: Sequence[Cost]) -> str:
    return ", ".join(f"{name} {median(cost.parts[name] for cost in costs):.2f}" for name in costs[0].parts)


def _goals(cases: Mapping[str, Pairs]) -> str:
    text = "\n## Goals\n\n| goal | limit | found | |\n|---|---|---|---|\n"
    for name, goal in goals(cases).items():
        text += f"| {name} | {goal['limit']:g} | {goal['found']:g} | {'holds' if goal['holds'] else 'missed'} |\n"
    return text


def _machine(machine: Mapping[str, Any]) -> dict[str, Any]:
    named = dict(machine)
    packages = named.pop("packages")
    return {
        "measured": named["measured"],
        "load average before": ", ".join(f"{load:g}" for load in named["load_before"]),
        "machine": f"{named['processor']}, {named['cores']} cores, {named['memory_gb']:g} GB",
        "processor flags": " ".join(named["flags"]),
        "disk": f"{named['file_system']}; writing and syncing 131 kB and its folder takes {named['sync_ms']:g} ms",
        "commit": named["commit"] + (" with changes" if named["changed"] else ""),
        "programs": f"Python {named['python']}, Orthanc {named['orthanc']}, DCMTK {named['dcmtk']}",
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items()),
    }


def _said(value: Any) -> str:
    return str(value).replace("|", "/")


def _case(pairs: Pairs) -> dict[str, Any]:
    of = ["wall_s", "cpu_s", "peak_mb"] + (["rate"] if pairs.ours[0].count else [])
    return {
        "ours": [_cost(cost) for cost in pairs.ours],
        "theirs": [_cost(cost) for cost in pairs.theirs],
        "ratios": {name: round(pairs.ratio(name), 4) for name in of},
    }


def _cost(cost: Cost) -> dict[str, Any]:
    plain = asdict(cost)
    plain["parts"] = {name: round(value, 3) for name, value in cost.parts.items()}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in plain.items()}
