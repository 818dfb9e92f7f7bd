"""The archive: files that are written once and never overwritten. The one place that names a file.

``incoming/KEY.part`` receives bytes, ``archive/KK/KEY.dcm`` keeps them, ``quarantine/`` holds what could not be read.
Keys are random and our own; nothing a sender says becomes part of a path.

The order that makes "stored" true: file fsync, rename, folder fsync, then the index commits, then the sender hears it.
A crash in between leaves a file that no row names, never a row that names nothing.
"""

import os
import re
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import structlog

from contracts.errors import Broken, NotYet

log = structlog.get_logger(__name__)

KEY = re.compile(r"[0-9a-f]{32}")
MOST_ORPHANS = 1000
"""More files than this without a row are no trace of a crash: then the index is not the one of this archive."""


class Incoming:
    """An object that is arriving. ``path`` exists from the start; ``size`` counts bytes."""

    def __init__(self, folder: Path) -> None:
        self.key = uuid.uuid4().hex
        self.path = folder / f"{self.key}.part"
        self.size = 0
        self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append the pieces without copying them. Raises ``NotYet("disk_full")`` when the disk is full."""
        views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        try:
            while views:
                done = os.writev(self._file, views)
                self.size += done
                while views and done >= len(views[0]):
                    done -= len(views.pop(0))
                if views:
                    views[0] = views[0][done:]
        except OSError as error:
            raise NotYet("disk_full", f"The object could not be written: {error.strerror}.") from error

    def finish(self) -> None:
        """All bytes are there: bring them to the disk and close the file. Doing it twice does nothing."""
        if self._file >= 0:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise NotYet("disk_full", f"The object could not be written: {error.strerror}.") from error
            self._close()

    def discard(self) -> None:
        """Forget the object: nothing half stored remains."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Archive:
    """The files under ``home``. ``quarantine_mb`` caps the unreadable ones. Safe to share between threads."""

    def __init__(self, home: Path, quarantine_mb: float = 500.0) -> None:
        self.home = home.resolve()
        self._quarantine_bytes = int(quarantine_mb * 1e6)
        self._archive = self.home / "archive"
        self._incoming = self.home / "incoming"
        self._quarantine = self.home / "quarantine"
        for folder in (self._archive, self._incoming, self._quarantine):
            folder.mkdir(parents=True, exist_ok=True)
        for first in range(256):
            (self._archive / f"{first:02x}").mkdir(exist_ok=True)
        sync_folder(self._archive)
        sync_folder(self.home)

    def incoming(self) -> Incoming:
        """Open a new object for writing."""
        return Incoming(self._incoming)

    def keep(self, incoming: Incoming) -> str:
        """Make a received object permanent and return its key. When this returns, its bytes survive a power cut."""
        incoming.finish()
        target = self.path(incoming.key)
        incoming.path.rename(target)
        incoming.path = target
        sync_folder(target.parent)
        return incoming.key

    def path(self, key: str) -> Path:
        """Return where the object of that key stands; the key is one of ours or it is ``Broken``."""
        if not KEY.fullmatch(key):
            raise Broken("bad_key", "A name of a stored object is not one of ours.")
        return self._archive / key[:2] / f"{key}.dcm"

    def remove(self, keys: Collection[str]) -> None:
        """Delete objects (of a deleted study, or copies that nothing needs); missing ones are fine."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def quarantine(self, incoming: Incoming, why: str) -> Path:
        """Put an unreadable object aside under a name that nothing opens; the oldest make room for it.

        ``why`` is the code of the refusal and becomes part of the name.
        """
        incoming.finish()
        return self._put_aside(incoming.path, incoming.key, why)

    def quarantined(self) -> dict[str, int]:
        """Return how many objects are in the quarantine, by why."""
        return dict(Counter(path.name.split("-")[1] for path in self._quarantine.glob("*-*-*.bin")))

    def free_gb(self) -> float:
        """Free disk space in units of 1e9 bytes."""
        return shutil.disk_usage(self.home).free / 1e9

    def check_space(self, min_free_gb: float) -> None:
        """Raise ``NotYet("disk_low")`` when less than ``min_free_gb`` is free."""
        if self.free_gb() < min_free_gb:
            raise NotYet("disk_low", "Too little free disk space to accept new objects.")

    def sweep(self, known_keys: Collection[str]) -> tuple[int, int]:
        """After a start: clear what a crash left. Returns (unfinished receipts removed, unknown files put aside).

        Call it before anything is received. A file without a row was never acknowledged, so its sender sends it again;
        it goes to the quarantine rather than away, and stays where it is when there are so many that the index must be
        the wrong one (an old copy of it, say): patients' images are never swept away by a mistake with a database.
        """
        parts = list(self._incoming.glob("*.part"))
        for part in parts:
            part.unlink()
        orphans = [path for path in self._files() if path.stem not in known_keys]
        if len(orphans) > MOST_ORPHANS:
            log.error("archive_and_index_differ", unknown_files=len(orphans))
            return len(parts), 0
        for path in orphans:
            self._put_aside(path, path.stem, "orphan")
        return len(parts), len(orphans)

    def _files(self) -> Iterator[Path]:
        return self._archive.glob("??/*.dcm")

    def _put_aside(self, path: Path, key: str, why: str) -> Path:
        safe = re.sub(r"[^a-z_]", "", why) or "unreadable"
        target = self._quarantine / f"{time.time_ns() // 1000:020d}-{safe}-{key}.bin"
        path.rename(target)
        self._trim_quarantine()
        return target

    def _trim_quarantine(self) -> None:
        files = sorted(self._quarantine.glob("*.bin"))
        sizes = [path.stat().st_size for path in files]
        excess = sum(sizes) - self._quarantine_bytes
        for path, size in zip(files, sizes, strict=True):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: what was renamed into it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
