"""What ``make demo`` runs: a gateway, a synthetic beating heart sent to it, its answer checked and shown.

Everything it writes stands under ``var/demo``, or ``DEMO_FOLDER``. ``DEMO_EXIT=1`` ends after the result, with exit
code 0 if all is right.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from client import progress
from client.api import Gateway, Stack, Study
from client.samples.cardiac import Sample, write_cardiac
from contracts.dicom import read_header
from contracts.errors import Broken, NotFound, SegloopError, Usage, answer_to
from contracts.scores import dice
from contracts.segmentation_reader import read_segmentation
from contracts.stacks import describe, stacks_of
from contracts.tasks import LABELS, Task
from contracts.volumes import Grid, arrange
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


class DemoSettings(BaseSettings):
    """``DEMO_EXIT``: end after the result. ``DEMO_FOLDER``: where everything is written."""

    demo_exit: bool = False
    demo_folder: Path = ROOT / "var" / "demo"


FOLDER = DemoSettings().demo_folder.resolve()
LOG = FOLDER / "gateway.log"
KEPT = ("HTTP_PORT", "DICOM_PORT", "AE_TITLE", "MODEL_REPOSITORY", "THREADS", "PROVIDER")
"""Settings of the user's environment that the demo's gateway heeds; the rest is for a real one."""
ENOUGH = 0.80
START_S, ANSWER_S, STOP_S = 120.0, 900.0, 20.0


@dataclass(frozen=True)
class Shown:
    """What the last screen tells."""

    study: Study
    stack: Stack
    folder: Path
    picture: Path
    dice: dict[str, float]


def main() -> int:
    """Run the demo and return its exit code."""
    console = Console(highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with gateway(console) as settings:
            shown = answer_sample(console, settings)
            good = show(console, settings, shown)
            if DemoSettings().demo_exit:
                return 0 if good else 1
            console.print("\nThe gateway is running. [bold]Ctrl-C[/] ends it.")
            wait_for_end()
    except SegloopError as error:
        console.print(error.sentence, style="red", markup=False, soft_wrap=True)
        return answer_to(error).exit
    except KeyboardInterrupt:
        console.print(f"\nStopped. What was received stands in {shorter(FOLDER)}; 'make demo' goes on with it.")
    return 0


@contextmanager
def gateway(console: Console) -> Iterator[Settings]:
    """Run a gateway for as long as the block does; gives its settings. Raises ``Usage`` for a busy port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEGLOOP_")}
    kept |= {f"SEGLOOP_{name}": os.environ[f"SEGLOOP_{name}"] for name in KEPT if f"SEGLOOP_{name}" in os.environ}
    for name in [name for name in os.environ if name not in kept]:
        del os.environ[name]
    try:
        settings = Settings(home=FOLDER)
    except ValidationError as error:
        fault = error.errors()[0]
        raise Usage("bad_settings", f"SEGLOOP_{str(fault['loc'][0]).upper()}: {fault['msg']}.") from error
    check_port(settings.http_port, "SEGLOOP_HTTP_PORT")
    check_port(settings.dicom_port, "SEGLOOP_DICOM_PORT")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=ROOT,
            env=kept | {"SEGLOOP_HOME": str(FOLDER)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with console.status("Starting the gateway: models, index, listeners"):
            seconds = await_ready(process, settings)
        console.print(f"[green]✓[/] Gateway ready after {seconds:.0f} s")
        yield settings
    finally:
        stop(process)


def check_port(port: int, setting: str) -> None:
    """Raise ``Usage`` with what to do where a port of this machine is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                free = other.getsockname()[1]
            raise Usage("port_busy", f"Port {port} is in use: run '{setting}={free} make demo'.") from error


def await_ready(process: "subprocess.Popen[bytes]", settings: Settings) -> float:
    """Wait until the gateway has made a right inference; return the seconds. Raises ``Broken`` when it does not."""
    start = time.monotonic()
    said = "no answer"
    while time.monotonic() - start < START_S:
        if process.poll() is not None:
            raise Broken("gateway_ended", f"The gateway did not start:\n{last_lines()}\nIts log is {shorter(LOG)}.")
        try:
            response = httpx.get(f"http://127.0.0.1:{settings.http_port}/readyz", timeout=30, trust_env=False)
            if response.is_success:
                return time.monotonic() - start
            said = response.text[:300]
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise Broken("gateway_not_ready", f"The gateway was not ready after {START_S:.0f} s ({said}); log: {shorter(LOG)}.")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the gateway in order, or by force when it takes too long."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_end() -> None:
    """Sleep until Ctrl-C, which raises ``KeyboardInterrupt``."""
    while True:
        signal.pause()


def answer_sample(console: Console, settings: Settings) -> Shown:
    """Write the sample, send it by C-STORE, wait for its answer, save and score it. Raises ``Broken``."""
    shutil.rmtree(FOLDER / "sample", ignore_errors=True)
    shutil.rmtree(FOLDER / "out", ignore_errors=True)
    with console.status("Writing a synthetic short-axis cine of a beating heart"):
        sample = write_cardiac(FOLDER / "sample")
    phases, slices = sample.truth.shape[:2]
    console.print(f"[green]✓[/] Synthetic heart written: {slices} slices x {phases} phases")
    peer = f"{settings.ae_title}@127.0.0.1:{settings.dicom_port}"
    with Gateway(address(settings)) as one:
        with suppress(NotFound):
            one.delete(sample.study_uid)  # of an earlier demo: the same study is not worked on twice
        start = time.monotonic()
        sent = one.send(sample.paths, to=peer, meter=lambda files, size: progress.sending(console, files, size))
        if sent.refused:
            raise Broken("not_stored", f"{len(sent.refused)} images were not stored: {sent.refused[0].reason}.")
        console.print(f"[green]✓[/] Sent by C-STORE to {peer}")
        with progress.waiting(console) as on_change:
            (study,) = one.wait(sent.study_uids, timeout_s=ANSWER_S, on_change=on_change)
        seconds = time.monotonic() - start
        saved = one.save(study, FOLDER / "out")
    stack = next((stack for stack in study.stacks if stack.results), None)
    if stack is None or study.state not in ("done", "delivering"):
        reasons = "; ".join(f"{stack.state}: {stack.reason.rstrip('.')}" for stack in study.stacks)
        raise Broken("not_answered", f"The study was not answered ({study.state}): {reasons}. Log: {shorter(LOG)}.")
    folder = next(path.parent for path in saved)
    picture = Path(shutil.copy(folder / "overlay.png", FOLDER / "overlay.png"))
    reports = sum(result.kind == "sr" for result in stack.results)
    made = f"{len(stack.results) - reports} DICOM SEG, one a phase" + (
        ", and the measurements as SR" if reports else ""
    )
    console.print(f"[green]✓[/] Answered after {seconds:.0f} s: {made}")
    with console.status("Comparing with the sample's own masks"):
        scores = score(sample, folder, stack)
    return Shown(study, stack, folder, picture, scores)


def score(sample: Sample, folder: Path, stack: Stack) -> dict[str, float]:
    """Return the mean Dice over all phases of each structure against the sample's own masks, read from both SEGs."""
    grid = grid_of(sample.paths)
    answered = sum(result.kind == "seg" for result in stack.results)
    if answered != grid.phases:
        raise Broken("phases_missing", f"{answered} of {grid.phases} phases were answered.")
    labels = LABELS[Task.CARDIAC]
    sums = dict.fromkeys((label.title for label in labels), 0.0)
    for phase, truth_path in enumerate(sample.masks):
        predicted = read_segmentation(folder / f"seg-{phase + 1}.dcm", grid, phase)
        truth = read_segmentation(truth_path, grid, phase)
        for label in labels:
            sums[label.title] += dice(predicted == label.value, truth == label.value) / grid.phases
    return sums


def grid_of(paths: Sequence[Path]) -> Grid:
    """Return where the sample's images lie: positions, phases, spacing."""
    (stack,) = stacks_of([describe(read_header(path)) for path in paths])
    return arrange(stack, accept_per_instance_frame_of_reference=False)


def show(console: Console, settings: Settings, shown: Shown) -> bool:
    """Print the last screen and return whether the result is right."""
    mean = sum(shown.dice.values()) / len(shown.dice)
    good = mean >= ENOUGH
    table = Table.grid(padding=(0, 2))
    for name, value in {**shown.dice, "Mean": mean}.items():
        table.add_row(name, Text(f"{value:.3f}", style="bold green" if value >= ENOUGH else "bold red"))
    measured = shown.stack.measurements
    if "ef_percent" in measured:
        table.add_row("Ejection fraction", f"{measured['ef_percent']:.0f} %")
    title = "Dice against the heart's own masks"
    console.print()
    console.print(Panel(table, title=title, border_style="green" if good else "red", expand=False))
    base = address(settings).removesuffix("/dicom-web")
    api = "" if settings.http_port == Settings.model_fields["http_port"].default else f" --api {address(settings)}"
    for name, place in {
        "Picture": shorter(shown.picture),
        "DICOM SEG": shorter(shown.folder),
        "Worklist": f"{base}/",
        "This study": f"{base}/studies/{shown.study.study_uid}",
        "System": f"{base}/system",
        "A PACS sends to": f"AE title {settings.ae_title}, 127.0.0.1, port {settings.dicom_port}",
        "or by STOW-RS to": f"{address(settings)}/studies",
        "You send with": f".venv/bin/python -m client send FOLDER --wait --out results{api}",
    }.items():
        console.print(f"[bold]{name:17}[/] {place}", soft_wrap=True)
    console.print("\nResearch use only: not a medical device.", style="dim")
    if not good:
        console.print(f"A mean Dice below {ENOUGH:.2f}: something is not right here.", style="red")
    return good


def address(settings: Settings) -> str:
    """The gateway's DICOMweb root."""
    return f"http://127.0.0.1:{settings.http_port}/dicom-web"


def shorter(path: Path) -> str:
    """A path as seen from the checkout, where it lies in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def last_lines(count: int = 5) -> str:
    """The end of the gateway's log."""
    return "\n".join(LOG.read_text(errors="replace").splitlines()[-count:])


if __name__ == "__main__":
    sys.exit(main())
