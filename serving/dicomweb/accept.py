"""What a client accepts: the media ranges of an Accept header, as DICOM PS3.18 section 8.7 uses them."""

import re
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')


@dataclass(frozen=True)
class Range:
    """One media range. ``part`` is what each part of a multipart answer shall be; ``syntax`` a UID, ``*`` or empty."""

    kind: str
    part: str
    syntax: str
    weight: float

    @property
    def multipart(self) -> bool:
        """Whether a multipart answer is accepted."""
        return self.kind in ("multipart/related", "multipart/*", "*/*")

    @property
    def content(self) -> str:
        """What the payload shall be, in one piece or in parts."""
        return (self.part or "*/*") if self.kind.startswith("multipart/") else self.kind

    def admits(self, media_type: str) -> bool:
        """Whether the payload may be of this type."""
        content = self.content
        return content in ("*/*", media_type) or (content.endswith("/*") and media_type.startswith(content[:-1]))


def ranges(header: str) -> list[Range]:
    """Return the media ranges of an Accept header, the preferred ones first; what says ``q=0`` is left out."""
    found = []
    for text in _COMMA.split(header):
        if not text.strip():
            continue
        kind, options = parse_options_header(text.strip())
        part, syntax = (options.get(name, b"").decode("latin-1").strip() for name in (b"type", b"transfer-syntax"))
        found.append(Range(kind.decode("latin-1").lower(), part.lower(), syntax, _weight(options.get(b"q", b"1"))))
    return sorted((one for one in found if one.weight > 0), key=lambda one: -one.weight)


def _weight(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
