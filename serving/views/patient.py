"""What a study says of its patient, as text for people who may read it."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from serving.index.models import Study

SEXES = {"F": "female", "M": "male", "O": "other"}
"""Patient's Sex (DICOM PS3.3 C.7.1.1)."""
OLDEST = 130


def patient_view(study: Study) -> dict[str, str]:
    """Return the patient's name, identifier, sex and age in years at the study, and the study's date and description.

    All as text, empty where absent.
    """
    born, made = (_text(study.attributes, tag) for tag in ("00100030", "00080020"))
    return {
        "name": _text(study.attributes, "00100010").replace("^", " ").strip(),
        "id": _text(study.attributes, "00100020"),
        "sex": SEXES.get(_text(study.attributes, "00100040").strip().upper(), ""),
        "age": _age(born, made),
        "study_date": _date(made),
        "description": _text(study.attributes, "00081030"),
    }


def _text(attributes: Mapping[str, Any], tag: str) -> str:
    """First value of an attribute in DICOM JSON (PS3.18 Annex F.2) as text."""
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else ""
    if isinstance(first, dict):
        first = first.get("Alphabetic") or first.get("Ideographic") or ""
    return "" if first is None else str(first)


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def _age(born: str, at: str) -> str:
    """Whole years between two dates (YYYYMMDD), as text; empty where one of them is none or they make no sense."""
    try:
        first, second = date.fromisoformat(_date(born)), date.fromisoformat(_date(at))
    except ValueError:
        return ""
    years = second.year - first.year - ((second.month, second.day) < (first.month, first.day))
    return str(years) if 0 <= years <= OLDEST else ""
