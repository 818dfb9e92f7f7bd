"""The places results go to: the DESTINATIONS file, read and checked in one pass.

::

    [[destination]]
    name = "pacs"
    protocol = "dimse"
    ae_title = "PACS"
    host = "10.0.0.5"
    port = 104
    sources = ["ae:SCANNER1", "token:research"]

    [[destination]]
    name = "archive"
    protocol = "stow"
    url = "https://archive.example/dicom-web"
    token_file = "/etc/segloop/archive.token"
    sources = ["*"]
    phases = "all"
"""

import functools
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.errors import Usage

_SOURCE = re.compile(r"ae:[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}|token:[^\s,]{1,64}|local|\*")


def _source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError("a source is ae:TITLE, token:NAME, local or *")
    return value


def _ae_title(value: str) -> str:
    if not value.strip() or "\\" in value or not value.isascii() or not value.isprintable():
        raise ValueError("an AE title is 1 to 16 printable ASCII characters without backslash")
    return value.strip()


class _Place(BaseModel):
    """What both protocols have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    sources: tuple[Annotated[str, AfterValidator(_source)], ...] = Field(min_length=1)
    phases: Literal["ed-es", "all"] = "ed-es"
    ca_file: Path | None = None
    """PEM certificates to trust instead of the system's."""

    def takes(self, sources: Iterable[str]) -> bool:
        """Whether a result whose instances came from these sources may go here."""
        return "*" in self.sources or not set(self.sources).isdisjoint(sources)


class DimseDestination(_Place):
    """A C-STORE receiver."""

    protocol: Literal["dimse"]
    ae_title: Annotated[str, AfterValidator(_ae_title)] = Field(max_length=16)
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: bool = False

    @property
    def address(self) -> str:
        """``AET@host:port``."""
        return f"{self.ae_title}@{self.host}:{self.port}"


class StowDestination(_Place):
    """A STOW-RS receiver; ``url`` is its DICOMweb root, the part before ``/studies``."""

    protocol: Literal["stow"]
    url: str = Field(pattern=r"^https?://[^\s/]")
    token_file: Path | None = None

    @property
    def address(self) -> str:
        """The DICOMweb root."""
        return self.url.rstrip("/")


Destination = DimseDestination | StowDestination
_PLACE: TypeAdapter[Destination] = TypeAdapter(Annotated[Destination, Field(discriminator="protocol")])


def load_destinations(path: Path | None) -> tuple[Destination, ...]:
    """Read the DESTINATIONS file; none named means that nothing is delivered.

    Raises ``Usage`` with every problem of the file in one sentence each.
    """
    if path is None:
        return ()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Usage("destinations_unreadable", f"DESTINATIONS: {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage("destinations_not_toml", f"DESTINATIONS: {path} is not TOML: {error}.") from error
    tables = document.get("destination", [])
    problems = [f"unknown table or key '{key}'" for key in document if key != "destination"]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        tables, problems = [], [*problems, "write each destination as [[destination]], with double brackets"]
    places = [_place(number, table, problems) for number, table in enumerate(tables, start=1)]
    names = [place.name for place in places if place]
    problems += [f"the name '{name}' is used twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise Usage("destinations_invalid", f"DESTINATIONS: {path}: " + "; ".join(problems) + ".")
    return tuple(place for place in places if place)


@functools.cache
def configured(path: Path | None) -> tuple[Destination, ...]:
    """Read the file once per process: an edit that breaks it is found at the next start, not in a study's delivery."""
    return load_destinations(path)


def _place(number: int, table: dict[str, Any], problems: list[str]) -> Destination | None:
    try:
        return _PLACE.validate_python(table)
    except ValidationError as error:
        label = f"destination {number}" + (f" ('{table['name']}')" if isinstance(table.get("name"), str) else "")
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"] if part not in ("dimse", "stow"))
            what = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{label}: {where + ': ' if where else ''}{what}")
        return None
