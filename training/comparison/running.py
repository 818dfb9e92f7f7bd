"""Runs what a plan lacks, some rows side by side, and writes each finished one down at once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from contracts.errors import Broken
from training.comparison.plan import Plan, Row, Run, missing, ready
from training.networks.trained import LAST, read_checkpoint

Process = "subprocess.Popen[bytes]"


def compare(plan: Plan, data: Path, folder: Path, results_file: Path, workers: int, people: Console) -> list[Row]:
    """Run what is missing, ``workers`` at a time, and return all rows.

    A run that was stopped goes on where it was. Raises ``Broken`` ``row_failed`` at the end where some failed; all
    others are done then.
    """
    results = read_results(results_file)
    waiting = missing(plan, folder, results)
    running: dict[str, tuple[Run, subprocess.Popen[bytes]]] = {}
    failed: list[str] = []
    started, total = time.monotonic(), len(waiting)
    while waiting or running:
        for run in ready(waiting, set(running))[: workers - len(running)]:
            waiting.remove(run)
            running[run.key] = run, _start(plan, run, data, folder)
        time.sleep(0.2)
        for run in [run for run, process in running.values() if process.poll() is not None]:
            if running.pop(run.key)[1].returncode:
                failed.append(run.key)
                waiting = [other for other in waiting if other.first != run.key]
                continue
            rows = measured(plan, run, data, folder)
            results = [row for row in results if row["key"] != run.key] + rows
            write_results(results_file, results)
            left = len(waiting) + len(running)
            eta = (time.monotonic() - started) / (total - left) * left / 60
            figures = ", ".join(f"{row['dice']:.3f} on {row['list']}" for row in rows)
            people.print(f"{run.key}: {figures}; {left} of {total} left, about {eta:.0f} min")
    if failed:
        raise Broken("row_failed", f"{len(failed)} runs failed: {', '.join(failed)}; see log.txt in their folders.")
    return results


def measured(plan: Plan, run: Run, data: Path, folder: Path) -> list[Row]:
    """Judge a finished run on every list of its plan; one row for each."""
    state = read_checkpoint(folder / run.key / LAST)
    before = int(read_checkpoint(folder / run.first / LAST)["iteration"]) if run.first else 0
    preset = run.preset
    shared = {
        "key": run.key,
        "row": run.row,
        "method": preset.method,
        plan.amount: float(run.labelled) if plan.amount == "labelled_fraction" else int(run.labelled),
        "labelled": preset.train_list,
        "preset": plan.preset,
        "teacher": "none" if preset.method == "supervised" else preset.consistency.teacher,
        "stage1_seed": run.seed,
        "seed": preset.seed,
        "iterations": before + preset.iterations,
        "own_iterations": preset.iterations,
        "unlabelled_patients": state["unlabelled"],
        "precision": state["precision"],
        "device": state["device"],
        "code_version": state["code_version"],
        "cpu_hours": round(state["cpu_seconds"] / 3600, 4),
    }
    return [{**shared, **_figures(plan, name, folder / run.key / LAST, data)} for name in plan.lists]


def read_results(path: Path) -> list[Row]:
    """Return the rows that stand; none where there is no file."""
    rows: list[Row] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return rows


def write_results(path: Path, rows: list[Row]) -> None:
    """Write rows in a steady order, beside their place and then into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    ordered = sorted(rows, key=lambda row: (row["key"], row["list"]))
    part.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    part.replace(path)


def _start(plan: Plan, run: Run, data: Path, folder: Path) -> "subprocess.Popen[bytes]":
    out = folder / run.key
    out.mkdir(parents=True, exist_ok=True)
    command = ["train", plan.preset, "--data", str(data), "--out", str(out), "--resume"]
    command += [word for change in run.changes for word in ("--set", change)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": str(run.preset.threads or 1)}
    with (out / "log.txt").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "training", *command], stdout=log, stderr=log, env=one_thread)  # noqa: S603


def _figures(plan: Plan, name: str, checkpoint: Path, data: Path) -> Row:
    command = ["evaluate", "--task", plan.task.value, "--data", str(data), "--list", str(plan.list_file(name, data))]
    command += ["--checkpoint", str(checkpoint), "--threads", "1", "--json"]
    done = subprocess.run([sys.executable, "-m", "training", *command], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise Broken("row_failed", f"{checkpoint.parent.name} could not be judged on {name}: {done.stderr[-300:]}")
    answer = json.loads(done.stdout)
    return {
        "list": name,
        "dice": answer["mean_dice"],
        "dice_raw": answer["mean_dice_raw"],
        "dice_by_class": answer["dice"],
        "hd95_vox": answer["mean_hd95_vox"],
        "components": answer["components"],
        "holes": answer["holes"],
        "cases": {case["id"]: sum(case["dice"].values()) / len(case["dice"]) for case in answer["cases"]},
    }
