"""The bearer-token file: who has a token, and with which role. Only digests of the tokens stay in memory."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import Usage

ROLES = ("reader", "sender", "reviewer", "operator")
SHORTEST = 20
"""Characters a token must have at least: long enough that guessing is hopeless and needs no lockout."""
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Identity:
    """Who makes a request. ``source`` is what destinations are mapped from: ``token:<name>``, or ``local``."""

    name: str
    role: str
    source: str


LOCAL = Identity("local", "operator", "local")
"""Everyone on bare loopback."""


class Tokens:
    """The tokens of a file, as SHA-256 digests."""

    def __init__(self, entries: dict[bytes, Identity]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    @classmethod
    def read(cls, path: Path) -> "Tokens":
        """Read lines ``name role token``; blank lines and lines that begin with ``#`` are skipped.

        Raises ``Usage``, naming the line but never the token, for a file that is unreadable, readable by every user
        of the machine, empty, or malformed.
        """
        try:
            if path.stat().st_mode & 0o007:
                raise Usage("tokens_exposed", f"Every user may read or change the token file {path}: chmod 600 it.")
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = f"The token file {path} cannot be read: {type(error).__name__}."
            raise Usage("tokens_unreadable", why) from error
        entries: dict[bytes, Identity] = {}
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                digest, identity = _entry(line, f"Line {number} of {path}")
                if digest in entries or identity in entries.values():
                    raise Usage("tokens_repeated", f"Line {number} of {path} repeats a name or a token.")
                entries[digest] = identity
        if not entries:
            raise Usage("tokens_empty", f"The token file {path} has no line with name, role and token.")
        return cls(entries)

    def identify(self, token: str) -> Identity | None:
        """Return whose token this is. Takes equally long for every wrong token."""
        given = hashlib.sha256(token.encode()).digest()
        found = None
        for digest, identity in self._entries.items():
            if hmac.compare_digest(digest, given):
                found = identity
        return found


def _entry(line: str, where: str) -> tuple[bytes, Identity]:
    fields = line.split()
    if len(fields) != 3:
        raise Usage("tokens_malformed", f"{where} is not three words: name, role, token.")
    name, role, token = fields
    if not NAME.fullmatch(name):
        raise Usage("tokens_malformed", f"{where}: a name has letters, digits, '.', '-' and '_', at most 64.")
    if role not in ROLES:
        raise Usage("tokens_malformed", f"{where}: the role must be one of {', '.join(ROLES)}.")
    if len(token) < SHORTEST:
        raise Usage("tokens_weak", f"{where}: a token has at least {SHORTEST} characters (try: openssl rand -hex 32).")
    return hashlib.sha256(token.encode()).digest(), Identity(name, role, f"token:{name}")
