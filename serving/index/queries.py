"""Searches over the index for QIDO-RS: three levels, matching as in DICOM PS3.4 section C.2.2.2.

What does not count (replaced, returned, kept aside) is never found.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import JSON, ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from serving.index.models import Instance, Series, Study
from serving.index.receipts import CURRENT
from serving.index.records import INSTANCE, SERIES, STUDY

STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
MODALITY, MODALITIES_IN_STUDY = "00080060", "00080061"
DATES = frozenset({"DA", "TM", "DT"})
NUMBERS = frozenset({"IS", "DS", "US", "UL", "SS", "SL", "FL", "FD"})

LEVELS = {"study": 0, "series": 1, "instance": 2}


def _tags(keywords: Sequence[str]) -> frozenset[str]:
    return frozenset(f"{tag:08X}" for tag in map(tag_for_keyword, keywords) if tag is not None)


STUDY_TAGS, SERIES_TAGS, INSTANCE_TAGS = _tags(STUDY), _tags(SERIES), _tags(INSTANCE)
_UID_COLUMNS: dict[str, tuple[int, Any]] = {
    STUDY_UID: (0, Study.study_uid),
    SERIES_UID: (1, Series.series_uid),
    SOP_UID: (2, Instance.sop_uid),
    SOP_CLASS: (2, Instance.sop_class_uid),
}


@dataclass(frozen=True)
class Found:
    """One match. ``attributes`` is its DICOM JSON, all levels that were asked for and what is counted for it."""

    study_uid: str
    series_uid: str
    sop_uid: str
    attributes: dict[str, object]


def supported(level: str, tag: str) -> bool:
    """Whether a search at this level can match the attribute ``tag`` (eight hex digits)."""
    depth = LEVELS[level]
    known = STUDY_TAGS | {MODALITIES_IN_STUDY, MODALITY}
    if depth >= 1:
        known |= SERIES_TAGS
    if depth >= 2:
        known |= INSTANCE_TAGS
    return tag in known


def search_studies(session: Session, matches: dict[str, str], limit: int | None, offset: int) -> list[Found]:
    """Return studies, the newest first. ``matches``: tag -> value as a query gives it."""
    query = select(Study).where(exists().where(_counts(), Instance.study_uid == Study.study_uid))
    query = query.where(*_conditions(matches, 0)).order_by(Study.first_received_at.desc(), Study.study_uid)
    studies = session.scalars(_page(query, limit, offset)).all()
    counts = _series_counts(session, [study.study_uid for study in studies])
    return [Found(s.study_uid, "", "", _study(s.attributes, s.study_uid, counts[s.study_uid])) for s in studies]


def search_series(
    session: Session, matches: dict[str, str], limit: int | None, offset: int, *, with_study: bool
) -> list[Found]:
    """Return series in order of arrival; ``with_study`` adds the attributes of their studies."""
    members = func.count(Instance.id)
    query = (
        select(Series, Study, members)
        .join(Study, Study.study_uid == Series.study_uid)
        .join(Instance, and_(Instance.study_uid == Series.study_uid, Instance.series_uid == Series.series_uid))
        .where(_counts(), *_conditions(matches, 1))
        .group_by(Study.study_uid, Series.study_uid, Series.series_uid)
        .order_by(Study.first_received_at.desc(), Study.study_uid, func.min(Instance.id))
    )
    rows = session.execute(_page(query, limit, offset)).all()
    return [
        Found(
            study.study_uid,
            series.series_uid,
            "",
            {
                **(study.attributes if with_study else {}),
                **series.attributes,
                STUDY_UID: _value("UI", study.study_uid),
                SERIES_UID: _value("UI", series.series_uid),
                "00201209": _value("IS", count),
            },
        )
        for series, study, count in rows
    ]


def search_instances(
    session: Session, matches: dict[str, str], limit: int | None, offset: int, *, with_study: bool
) -> list[Found]:
    """Return instances in order of arrival; ``with_study`` adds the attributes of study and series."""
    query = (
        select(Instance, Series, Study)
        .join(Study, Study.study_uid == Instance.study_uid)
        .join(Series, and_(Series.study_uid == Instance.study_uid, Series.series_uid == Instance.series_uid))
        .where(_counts(), *_conditions(matches, 2))
        .order_by(Study.first_received_at.desc(), Study.study_uid, Instance.id)
    )
    rows = session.execute(_page(query, limit, offset)).all()
    return [
        Found(
            instance.study_uid,
            instance.series_uid,
            instance.sop_uid,
            {
                **({**study.attributes, **series.attributes} if with_study else {}),
                **instance.attributes,
                STUDY_UID: _value("UI", instance.study_uid),
                SERIES_UID: _value("UI", instance.series_uid),
                SOP_UID: _value("UI", instance.sop_uid),
                SOP_CLASS: _value("UI", instance.sop_class_uid),
                "00083002": _value("UI", instance.transfer_syntax_uid),
            },
        )
        for instance, series, study in rows
    ]


def instances_of(session: Session, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Instance]:
    """Return the current instances of a study, of one series of it, or one instance; in order of arrival."""
    query = select(Instance).where(Instance.study_uid == study_uid, _counts())
    if series_uid:
        query = query.where(Instance.series_uid == series_uid)
    if sop_uid:
        query = query.where(Instance.sop_uid == sop_uid)
    return list(session.scalars(query.order_by(Instance.id)))


def _counts() -> ColumnElement[bool]:
    return Instance.kind.in_(CURRENT)


def _page(query: Any, limit: int | None, offset: int) -> Any:
    return query.limit(limit).offset(offset or None)


def _series_counts(session: Session, study_uids: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """Study -> (modality, number of instances) of each of its series."""
    query = (
        select(Instance.study_uid, Series.attributes, func.count(Instance.id))
        .join(Series, and_(Series.study_uid == Instance.study_uid, Series.series_uid == Instance.series_uid))
        .where(Instance.study_uid.in_(study_uids), _counts())
        .group_by(Instance.study_uid, Series.study_uid, Series.series_uid)
    )
    counts: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for study_uid, attributes, count in session.execute(query):
        modality: Any = attributes.get(MODALITY, {})
        values = modality.get("Value") or [""]
        counts[study_uid].append((str(values[0]), count))
    return counts


def _study(attributes: dict[str, object], study_uid: str, series: list[tuple[str, int]]) -> dict[str, object]:
    modalities = sorted({modality for modality, _ in series if modality})
    required = {tag: {"vr": dictionary_VR(int(tag, 16))} for tag in sorted(STUDY_TAGS - {"00080005", "00100021"})}
    return {
        **required,
        **attributes,
        STUDY_UID: _value("UI", study_uid),
        MODALITIES_IN_STUDY: {"vr": "CS", "Value": modalities},
        "00201206": _value("IS", len(series)),
        "00201208": _value("IS", sum(count for _, count in series)),
    }


def _value(vr: str, value: str | int) -> dict[str, object]:
    return {"vr": vr, "Value": [value]}


def _conditions(matches: dict[str, str], depth: int) -> list[ColumnElement[bool]]:
    return [_condition(tag, value, depth) for tag, value in matches.items() if value.strip("*") != ""]


def _condition(tag: str, value: str, depth: int) -> ColumnElement[bool]:
    if tag in _UID_COLUMNS:
        return _UID_COLUMNS[tag][1].in_(value.replace("\\", ",").split(","))  # type: ignore[no-any-return]
    if tag == MODALITIES_IN_STUDY or (tag == MODALITY and depth == 0):
        return (
            exists()
            .where(
                Series.study_uid == Study.study_uid,
                or_(*(_matches(Series.attributes, MODALITY, "CS", one) for one in value.replace("\\", ",").split(","))),
            )
            .correlate(Study)
        )
    column = Study.attributes if tag in STUDY_TAGS else Series.attributes if tag in SERIES_TAGS else Instance.attributes
    return _matches(column, tag, dictionary_VR(int(tag, 16)), value)


def _matches(column: "InstrumentedAttribute[dict[str, object]]", tag: str, vr: str, value: str) -> ColumnElement[bool]:
    path: tuple[str | int, ...] = (tag, "Value", 0, "Alphabetic") if vr == "PN" else (tag, "Value", 0)
    element: Any = column[path]
    assert isinstance(column.type, JSON)
    if vr in NUMBERS:
        return element.as_float() == _number(value)  # type: ignore[no-any-return]
    text = element.as_string()
    if vr in DATES:
        return _range(text, value)
    if vr == "PN" or "*" in value or "?" in value:
        return text.ilike(_pattern(value), escape="\\")  # type: ignore[no-any-return]
    return text == value  # type: ignore[no-any-return]


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _range(text: Any, value: str) -> ColumnElement[bool]:
    """``20120101-20121231``, ``-20121231``, ``20120101-`` or one value (PS3.4 section C.2.2.2.5)."""
    if "-" not in value:
        return text == value  # type: ignore[no-any-return]
    first, _, last = value.partition("-")
    bounds = [text.is_not(None)] + ([text >= first] if first else []) + ([text <= last + "~"] if last else [])
    return and_(*bounds)


def _pattern(value: str) -> str:
    """The LIKE pattern of a DICOM pattern: ``*`` any characters, ``?`` one; names match whatever their case."""
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
