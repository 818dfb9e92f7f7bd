"""A gateway's pages over a made-up index, served on a free port of loopback, and a Chromium that looks at them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from serving.app import create_app
from serving.index.database import Database
from serving.pipeline import tiles
from serving.settings import Settings
from tests.conftest import find_free_port
from tests.serving import synthetic_index

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Gateway:
    """The gateway's HTTP side without its threads: ``stacks`` are the ids of the made-up ones by state."""

    url: str
    db: Database
    stacks: dict[str, int]
    asked: list[tuple[int, int, int, frozenset[int] | None]] = field(default_factory=list)
    """Tiles that were asked for: stack, phase and slice from 0, labels."""


@contextmanager
def running(folder: Path, *, filled: bool = True, **settings: object) -> Iterator[Gateway]:
    """Serve the whole application on a free port; nothing listens for DICOM and no workflow runs."""
    port = find_free_port()
    chosen = Settings(home=folder, model_repository=folder, http_port=port, **settings)  # type: ignore[arg-type]
    db = synthetic_index.database(folder)
    found = Gateway(f"http://127.0.0.1:{port}", db, synthetic_index.fill(db) if filled else {})
    for stack in found.stacks.values():
        results = folder / "results" / str(stack)
        results.mkdir(parents=True)
        (results / "thumbnail.png").write_bytes(synthetic_index.heart_png(160))

    def tile_png(session, archive, home, stack, phase, slice_, shown=None):  # type: ignore[no-untyped-def]
        found.asked.append((stack, phase, slice_, shown))
        return synthetic_index.heart_png(phase=phase + slice_)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "tile_png", tile_png)
        app = create_app(chosen)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            thread.join(0.05)
        assert server.started
        yield found
        server.should_exit = True
        thread.join(10)
    db.close()


@pytest.fixture(scope="session")
def chromium(program) -> Iterator[Browser]:  # type: ignore[no-untyped-def]
    """Debian's Chromium; skipped (failed in CI) where it is not installed."""
    path = program("chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Pages over an index with a study in every state."""
    with running(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@dataclass
class Watched:
    """A page, what its console said, and every address it asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def watch(page: Page) -> Watched:
    """Note everything that goes wrong on a page or leaves it."""
    watched = Watched(page)
    page.on("console", lambda message: watched.console.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: watched.console.append(str(error)))
    page.on("request", lambda request: watched.asked.append(request.url))
    return watched


@pytest.fixture
def browser_page(chromium: Browser, gateway: Gateway) -> Iterator[Watched]:
    """A dark 1280 x 800 page; at the end nothing went wrong on it and nothing left the gateway."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    watched = watch(context.new_page())
    yield watched
    context.close()
    assert watched.console == []
    assert [url for url in watched.asked if not url.startswith(gateway.url)] == []
