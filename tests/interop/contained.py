"""Programs that see what they would see in a container: files at the places of the configuration, names of the peers.

Images cannot be built where the tests run. A mount namespace gives a program the very paths, and a copied ``/etc`` the
very names, that a compose file or an installed proxy gives it; the environment is empty but for what it is given.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.conftest import SYSTEM_PATH

INSIDE = r"""
set -eu
copy=$1 names=$2; shift 2
mount -t tmpfs tmpfs "$copy"
cp -a /etc "$copy/etc"
rm -rf "$copy/etc/orthanc" "$copy/etc/nginx/sites-enabled"
mkdir -p "$copy/etc/orthanc" "$copy/etc/nginx/sites-enabled"
mount --bind "$copy/etc" /etc
for name in $names; do echo "127.0.0.1 $name" >> /etc/hosts; done
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs $folder; done
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "$(dirname "$2")"; touch "$2"; fi
  mount --bind "$1" "$2"
  if [ "$3" = ro ]; then mount -o remount,bind,ro "$2"; fi
  shift 3
done
shift
exec env -i "$@"
"""


@dataclass
class Contained:
    """A program with mounts (what, where, ``rw`` or ``ro``), host names for loopback, and an environment of its own."""

    folder: Path
    names: Sequence[str]
    command: Sequence[str]
    mounts: Sequence[tuple[Path, str, str]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    where: Path = Path("/")
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "log"

    def start(self) -> "Contained":
        """Start the program; it is the caller's to wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = self._popen(log)
        return self

    def run(self, timeout: float = 60) -> tuple[int, str]:
        """Run it to its end; return exit code and what it printed."""
        process = self._popen(subprocess.PIPE)
        printed, _ = process.communicate(timeout=timeout)
        return process.returncode, printed.decode()

    def stop(self) -> int:
        """End it in order and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def _popen(self, output: "IO[bytes] | int") -> "subprocess.Popen[bytes]":
        self.folder.mkdir(parents=True, exist_ok=True)
        copy = self.folder / "etc-copy"
        copy.mkdir(exist_ok=True)
        mounts = [str(word) for mount in self.mounts for word in mount]
        variables = [f"{name}={value}" for name, value in {"PATH": SYSTEM_PATH, **self.environment}.items()]
        head = ["unshare", "--mount", "bash", "-c", INSIDE, "inside", str(copy), " ".join(self.names)]
        return subprocess.Popen(
            [*head, *mounts, "--", *variables, *self.command],
            cwd=self.where,
            env={"PATH": SYSTEM_PATH, **{name: os.environ[name] for name in ("LANG",) if name in os.environ}},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
