"""Take the pictures of the documentation from a running gateway: ``make_screenshots.py URL STUDY_UID``.

Writes docs/images/{studies,study,system}.png, 1280 x 800, with the Chromium of the system. Only synthetic studies may
be in that gateway: the pictures are published. Whatever a page's console complains about is printed, with exit code 1.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def shoot(page: Page, address: str, name: str) -> None:
    """Show an address until its pictures have come, and save what the window shows."""
    answer = page.goto(address, wait_until="networkidle")
    if answer is None or not answer.ok:
        raise SystemExit(f"{address} does not answer as it should.")
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    page.screenshot(path=IMAGES / f"{name}.png")
    print(IMAGES / f"{name}.png")


def main(arguments: list[str]) -> int:
    """Take the three pictures and return the exit code."""
    program = shutil.which("chromium")
    if len(arguments) != 2:
        print(f"usage: {Path(sys.argv[0]).name} URL STUDY_UID", file=sys.stderr)
        return 2
    if program is None:
        print("The program 'chromium' is not installed (Debian: apt-get install chromium).", file=sys.stderr)
        return 5
    url, study_uid = arguments[0].rstrip("/"), arguments[1]
    IMAGES.mkdir(parents=True, exist_ok=True)
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
    print("\n".join(wrong), end="", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
