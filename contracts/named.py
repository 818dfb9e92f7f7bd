"""What the words of a header name: the prostate, the skin.

Descriptions are free text, in which people also write names and dates, so none of them is kept: what leaves this module
is a yes or a no for each organ. Words are compared without accents and case, in the languages of many hospitals.
"""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from pydicom.dataset import Dataset

TEXTS = (
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
)
CODES = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "ProcedureCodeSequence")
"""Sequences of codes whose meanings are read like texts."""

PROSTATE = re.compile(r"prosta(?!te[ck]t|glandin)|pi-?rads|простат|前列腺|前立腺|전립선")
"""Not prostatectomy, after which there is none."""
SKIN = re.compile(
    r"\bskin|\bderm[ao]|telederm|melano[mc]|\bn(?:ae|e)v[ui]|\bnavus|\bhaut|\bhuid|\bpeau\b|\bpiel\b|\bpele\b|\bpelle\b"
    r"|кож|родинк|皮膚|皮肤|피부"
)
FOR_SKIN = frozenset({"DMS", "XC"})
"""Modalities of cameras that look at the body from outside: dermoscopy, external-camera photography (PS3.3 C.7.3.1)."""


def organs_named(header: Dataset) -> dict[str, bool]:
    """Return ``ProstateNamed`` and ``SkinNamed``: whether body part, coded region, descriptions of study, series,
    protocol and procedure name that organ; for the skin the modality may do so too."""
    prostate, skin = _named("\n".join(_texts(header)))
    return {"ProstateNamed": prostate, "SkinNamed": skin or str(header.get("Modality") or "").strip() in FOR_SKIN}


@lru_cache(maxsize=256)
def _named(texts: str) -> tuple[bool, bool]:
    """Whether texts name the prostate and the skin; the images of a series have the same ones."""
    words = _simple(texts)
    return PROSTATE.search(words) is not None, SKIN.search(words) is not None


def _texts(header: Dataset) -> Iterator[str]:
    for keyword in TEXTS:
        with suppress(Exception):  # a text that cannot be decoded names nothing
            yield str(header.get(keyword) or "")
    for keyword in CODES:
        with suppress(Exception):
            yield from [str(item.get("CodeMeaning") or "") for item in header.get(keyword) or []]


def _simple(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.replace("_", " ").casefold())
    return unicodedata.normalize("NFC", "".join(letter for letter in apart if not unicodedata.combining(letter)))
