"""What is shown of the index: states derived from stacks, lists that find, no patient data where a sender reads."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import views
from serving.archive import Archive
from serving.engines.pool import EnginePool
from serving.index.database import Database
from serving.index.models import StackVersion, Study
from serving.pipeline.states import TRANSITIONS
from serving.removal import remove_study
from serving.settings import Settings
from serving.views import study as study_views
from serving.views.system import changed_settings
from tests.serving import synthetic_index

STATES = sorted(set(TRANSITIONS) - {""})


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """An index with a study in every state."""
    found = synthetic_index.database(tmp_path_factory.mktemp("views"))
    synthetic_index.fill(found)
    yield found
    found.close()


def study(*, settled: bool) -> Study:
    return Study(study_uid="1", last_received_at=10.0, settled_at=10.0 if settled else 9.0, attributes={})


@given(states=st.lists(st.sampled_from(STATES), max_size=12))
def test_a_studys_state_is_the_most_urgent_of_its_stacks_in_any_order(states: list[str]) -> None:
    derived = views.study_state(study(settled=True), states)
    assert derived == views.study_state(study(settled=True), reversed(states))
    assert derived in (states or ["not_processed"])
    if views.NEEDS_PERSON & set(states):
        assert derived in views.NEEDS_PERSON
    elif views.IN_PROGRESS & set(states):
        assert derived in views.IN_PROGRESS
    elif derived == "not_processed":
        assert set(states) <= {"not_processed"}
    assert views.study_state(study(settled=False), states) == "receiving"


def test_every_state_of_a_stack_has_its_place_in_the_order_of_urgency() -> None:
    assert set(STATES) | {"receiving"} == set(views.URGENCY) | {"not_processed"}


def test_the_list_has_every_study_once_the_latest_first(db: Database) -> None:
    with db.read() as session:
        found = views.studies_view(session)
    assert [entry["state"] for entry in found] == [*synthetic_index.STATES, "receiving"]
    arrivals = [entry["last_received_at"] for entry in found]
    assert arrivals == sorted(arrivals, reverse=True)


@pytest.mark.parametrize("state", [*synthetic_index.STATES, "receiving"])
def test_each_state_can_be_asked_for(db: Database, state: str) -> None:
    with db.read() as session:
        found = views.studies_view(session, state=state)
        one = views.study_view(session, synthetic_index.study_uid(state))
    assert [entry["study_uid"] for entry in found] == [synthetic_index.study_uid(state)]
    assert one is not None
    assert one["state"] == state
    assert (found[0]["state"] in views.NEEDS_PERSON) == found[0]["needs_person"]


def test_what_needs_a_person_is_found_and_counted(db: Database) -> None:
    with db.read() as session:
        found = views.studies_view(session, needs_person=True)
        counts = views.counts_view(session)
    assert {entry["state"] for entry in found} == views.NEEDS_PERSON
    assert counts == {"receiving": 1, "processing": 3, "waiting": 1, "refused": 1, "failed": 1}


@pytest.mark.parametrize(
    ("search", "count"),
    [
        ("synthetic müller 3", 1),
        ("MÜLLER", 10),
        ("SYN-0004", 1),
        ("2024-01-31", 10),
        ("20240131", 10),
        ("2.25.1000.10", 1),
        ("%", 0),
        ("_", 0),
        ('"', 0),
        ("vr", 0),
        ("nobody", 0),
        ("   ", 10),
    ],
)
def test_search_finds_names_numbers_dates_and_uids(db: Database, search: str, count: int) -> None:
    with db.read() as session:
        assert len(views.studies_view(session, search=search)) == count


def test_the_list_is_as_long_as_asked_even_where_most_do_not_match(tmp_path: Path) -> None:
    db = synthetic_index.database(tmp_path)
    with db.write() as session:
        for number in range(250):
            session.add(
                Study(
                    study_uid=f"9.{number}",
                    first_received_at=1.0,
                    last_received_at=1000.0 - number,
                    settled_at=0.0 if number % 50 == 49 else 2000.0,
                    attributes={},
                )
            )
    with db.read() as session:
        assert len(views.studies_view(session, limit=130)) == 130
        assert len(views.studies_view(session, state="receiving")) == 5
        assert len(views.studies_view(session, state="not_processed", limit=240)) == 240
    db.close()


def test_one_study_says_all_that_scripts_rely_on_and_nothing_of_the_patient(db: Database) -> None:
    with db.read() as session:
        found = views.study_view(session, synthetic_index.study_uid("done"))
    assert found is not None
    assert {"study_uid", "state", "stacks", "ignored", "received"} <= set(found)
    stack = found["stacks"][0]
    expected = "id series_uids task state code reason results warnings measurements model history deliveries version"
    assert set(expected.split()) <= set(stack)
    assert [result["phase"] for result in stack["results"]] == [1, 8, 0]
    assert [step["event"] for step in stack["history"]] == ["state", "read", "predict", "write", "state"]
    assert {series["series_uid"] for series in found["ignored"]} == {
        f"{synthetic_index.study_uid('done')}.{number}" for number in (1, 2)
    }
    text = json.dumps(found)
    assert not any(word in text for word in ("Müller", "M\\u00fcller", "SYN-", "20240131"))


def test_a_deleted_study_and_an_unknown_one_are_not_there(tmp_path: Path) -> None:
    db = synthetic_index.database(tmp_path)
    synthetic_index.fill(db)
    uid = synthetic_index.study_uid("held")
    remove_study(db, Archive(tmp_path), uid, who="x", why="y")
    with db.read() as session:
        assert views.study_view(session, uid) is None
        assert views.study_view(session, "1.2.3") is None
        assert uid not in {entry["study_uid"] for entry in views.studies_view(session)}
        assert views.counts_view(session)["waiting"] == 0
    db.close()


def test_only_current_versions_count(tmp_path: Path) -> None:
    db = synthetic_index.database(tmp_path)
    ids = synthetic_index.fill(db)
    with db.write() as session:
        session.get_one(StackVersion, ids["failed"]).current = False
        synthetic_index.add_stack(session, synthetic_index.study_uid("failed"), "done", 5.0, version=2)
    with db.read() as session:
        found = views.study_view(session, synthetic_index.study_uid("failed"))
        assert views.counts_view(session)["failed"] == 0
    assert found is not None
    assert (found["state"], len(found["stacks"])) == ("done", 1)
    db.close()


@given(
    value=st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_odd_attributes_of_a_patient_are_text_all_the_same(value: object) -> None:
    odd = Study(study_uid="1", attributes={tag: value for tag in ("00100010", "00100020", "00080020")})
    nested = Study(study_uid="1", attributes={"00100010": {"vr": "PN", "Value": value}, "00080020": {"Value": [value]}})
    for one in (odd, nested):
        assert all(isinstance(text, str) for text in views.patient_view(one).values())


@pytest.mark.parametrize(
    ("born", "made", "age"),
    [
        ("19700201", "20240131", "53"),
        ("19700131", "20240131", "54"),
        ("20240131", "20240131", "0"),
        ("20250131", "20240131", ""),
        ("18000101", "20240131", ""),
        ("1970", "20240131", ""),
        ("19701399", "20240131", ""),
        ("", "", ""),
    ],
)
def test_age_is_in_whole_years_at_the_study_or_unknown(born: str, made: str, age: str) -> None:
    attributes = {"00100030": {"Value": [born]}, "00080020": {"Value": [made]}}
    assert views.patient_view(Study(study_uid="1", attributes=attributes))["age"] == age


def test_a_search_looks_at_no_age_and_no_sex(db: Database) -> None:
    with db.read() as session:
        assert views.studies_view(session)[0]["patient"]["age"] == "53"
        assert views.studies_view(session, search="53") == []
        assert views.studies_view(session, search="female") == []


def state(after: str, at: float) -> dict[str, object]:
    return {"event": "state", "after": after, "at": at}


@pytest.mark.parametrize(
    ("history", "seconds"),
    [
        ([], None),
        ([state("complete", 1), state("processing", 2)], None),
        ([state("complete", 1), state("processing", 2), {"event": "predict", "at": 3}, state("done", 5)], 4),
        ([state("complete", 1), state("delivering", 5), state("done", 900)], 4),
        ([state("complete", 1), state("held", 5), state("processing", 800), state("done", 900)], 4),
        ([state("complete", 1), state("failed", 5), state("complete", 100), state("done", 103)], 3),
        ([state("not_processed", 1)], None),
    ],
)
def test_the_answer_is_what_comes_first_after_the_last_time_it_was_complete(
    history: list[dict[str, object]], seconds: float | None
) -> None:
    assert study_views.answered_s(history) == seconds


def test_the_list_knows_since_when_and_how_long_and_the_volumes(db: Database) -> None:
    with db.read() as session:
        found = {entry["state"]: entry for entry in views.studies_view(session)}
    assert found["done"]["answered_s"] == pytest.approx(synthetic_index.TOOK_S, abs=0.01)
    assert found["done"]["lv_by_phase"] == synthetic_index.FINDINGS["lv_by_phase"]
    assert found["processing"]["answered_s"] is None
    assert found["receiving"]["since"] == found["receiving"]["first_received_at"]
    assert all(entry["since"] >= entry["first_received_at"] for entry in found.values())


def test_instances_that_do_not_count_are_counted_by_kind(db: Database) -> None:
    with db.read() as session:
        refused = views.study_view(session, synthetic_index.study_uid("refused"))
        done = views.study_view(session, synthetic_index.study_uid("done"))
    assert refused is not None
    assert done is not None
    assert (refused["kept_aside"], done["kept_aside"]) == ({"aside": 1}, {})
    assert refused["received"] == 3


def test_settings_that_were_set_are_named(tmp_path: Path) -> None:
    assert changed_settings(Settings()) == []
    assert changed_settings(Settings(home=tmp_path, threads=2)) == ["SEGLOOP_HOME", "SEGLOOP_THREADS"]


def test_the_system_shows_no_secret(db: Database, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        database_url="postgresql+psycopg://segloop:hunter2@db/segloop",
        webhook_url="https://anna:hunter3@hooks.example/T0K3N?key=hunter4",
    )
    with db.read() as session:
        found = views.system_view(session, Archive(tmp_path), EnginePool(settings), settings)
    text = json.dumps(found)
    assert not any(secret in text for secret in ("hunter", "T0K3N", "anna"))
    assert "hooks.example" in text
    assert {entry["task"] for entry in found["engines"]} == {"cardiac", "prostate", "skin", "gland"}
    assert set(found["settings"]) == {f"SEGLOOP_{name.upper()}" for name in Settings.model_fields}
