"""The plain script is a fixed measure: a ratio to something that moves says nothing."""

import hashlib
from pathlib import Path

PLAIN = Path(__file__).resolve().parent / "plain.py"
SHA256 = "c87f1824dce6cf729e5d3aeca1ddaa8e622c6eda190356beb5a5eebed25ced47"
"""Digest of ``plain.py`` as it was first written, before the gateway was tuned against it."""


def check_frozen(path: Path = PLAIN, expected: str = SHA256) -> str:
    """Return the digest of the plain script (SHA-256, hex); raises ``SystemExit`` where it is another one."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise SystemExit(f"{path.name} was changed: its SHA-256 is {found}, not {expected}; no ratio was measured.")
    return found
