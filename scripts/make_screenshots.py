"""Take the pictures of the documentation: ``make_screenshots.py`` writes docs/images/{studies,study,system}.png.

It starts a gateway of its own with an empty HOME, sends it synthetic studies that end in different states, and looks at
its pages with the Chromium of the system, 1280 x 800. Whatever a page's console complains about is printed, with exit
code 1.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright
from pydicom import dcmread
from pynetdicom import AE, StoragePresentationContexts, evt

from client.api import Gateway
from client.samples.cardiac import write_cardiac

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESTINATIONS = """
[[destination]]
name = "pacs"
protocol = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {there}
sources = ["ae:SCANNER1"]

[[destination]]
name = "research"
protocol = "dimse"
ae_title = "RESEARCH"
host = "127.0.0.1"
port = {away}
sources = ["ae:SCANNER2"]
"""


def studies(folder: Path) -> dict[str, tuple[tuple[Path, ...], str]]:
    """Write synthetic studies and return, by the state they end in, their files and the AE title that sends them."""
    whole = write_cardiac(folder / "whole")
    late = write_cardiac(folder / "late", slices=8, phases=12, seed=7)
    still = write_cardiac(folder / "still", slices=8, phases=12, seed=4)
    torn = write_cardiac(folder / "torn", slices=8, phases=12, seed=5)
    # A heart that does not beat: every phase shows the first one's picture.
    by_slice = len(still.paths) // 12
    for place, path in enumerate(still.paths):
        image = dcmread(path)
        image.PixelData = dcmread(still.paths[place % by_slice]).PixelData
        image.save_as(path)
    return {
        "refused": (torn.paths[:-1], "SCANNER2"),
        "held": (still.paths, "SCANNER1"),
        "delivering": (late.paths, "SCANNER2"),
        "done": (whole.paths, "SCANNER1"),
    }


@contextmanager
def receiver(port: int) -> Iterator[None]:
    """Take every object on a port and keep none."""
    entity = AE("PACS")
    entity.supported_contexts = StoragePresentationContexts
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    try:
        yield
    finally:
        assert server is not None
        server.shutdown()


@contextmanager
def gateway(folder: Path, there: int, away: int) -> Iterator[tuple[str, str]]:
    """Run a gateway in ``folder``; give its HTTP address and its DICOM address."""
    (folder / "destinations.toml").write_text(DESTINATIONS.format(there=there, away=away))
    http, dicom = free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEGLOOP_")}
    settings = {"HOME": "var", "HTTP_PORT": http, "DICOM_PORT": dicom, "DESTINATIONS": "destinations.toml"}
    environment = kept | {f"SEGLOOP_{name}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "serving"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                if httpx.get(f"http://127.0.0.1:{http}/readyz", timeout=30, trust_env=False).is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{http}", f"SEGLOOP@127.0.0.1:{dicom}"
    finally:
        process.terminate()
        process.wait(30)


def send(url: str, peer: str, folder: Path) -> str:
    """Send the studies, wait until each is in its state, and return the UID of the one that is done."""
    shown = ""
    with Gateway(f"{url}/dicom-web") as one:
        for state, (paths, calling) in studies(folder).items():
            sent = one.send(paths, to=peer, calling=calling)
            (study,) = one.wait(sent.study_uids)
            for _ in range(60):
                study = one.status(study.study_uid)
                if study.state == state:
                    break
                time.sleep(1)
            else:
                raise SystemExit(f"A study is {study.state}, not {state}: {[stack.reason for stack in study.stacks]}")
            shown = study.study_uid
    return shown


def shoot(page: Page, address: str, name: str) -> None:
    """Show an address until its pictures have come, and save what the window shows."""
    answer = page.goto(address, wait_until="networkidle")
    if answer is None or not answer.ok:
        raise SystemExit(f"{address} does not answer as it should.")
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    page.screenshot(path=IMAGES / f"{name}.png")
    print(IMAGES / f"{name}.png")


def shoot_all(url: str, study_uid: str, program: str) -> list[str]:
    """Take the three pictures; return what went wrong on the pages."""
    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        shoot(page, f"{url}/", "studies")
        shoot(page, f"{url}/studies/{study_uid}", "study")
        shoot(page, f"{url}/system", "system")
        browser.close()
    return wrong


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Take the pictures and return the exit code."""
    program = shutil.which("chromium")
    if program is None:
        print("The program 'chromium' is not installed (Debian: apt-get install chromium).", file=sys.stderr)
        return 5
    IMAGES.mkdir(parents=True, exist_ok=True)
    there, away = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, receiver(there), gateway(Path(folder), there, away) as (url, peer):
        wrong = shoot_all(url, send(url, peer, Path(folder)), program)
    print("\n".join(wrong), end="", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
