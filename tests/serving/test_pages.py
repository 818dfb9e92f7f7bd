"""What pages say: units, times, advice; and each page of each state without a browser."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from contracts.tasks import Task
from scripts import make_docs
from serving import pages, views
from serving.archive import Archive
from serving.engines.pool import EnginePool
from serving.guard import Guard
from serving.guard.middleware import GuardMiddleware
from serving.guard.tokens import Tokens
from serving.index.database import Database
from serving.index.models import StackVersion, Study
from serving.pages import words
from serving.pipeline.progress import Board
from serving.pipeline.states import TRANSITIONS
from serving.readiness import Readiness
from serving.settings import Settings
from tests.serving import synthetic_index
from tests.serving.test_guard import bearer, write_tokens

SCRIPT = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """An index with a study in every state."""
    found = synthetic_index.database(tmp_path_factory.mktemp("pages"))
    synthetic_index.fill(found)
    yield found
    found.close()


def client(db: Database, folder: Path, board: Board | None = None, **settings: object) -> TestClient:
    chosen = Settings(home=folder, model_repository=folder, **settings)  # type: ignore[arg-type]
    app = FastAPI()
    guard = Guard(chosen)
    guard._tokens = Tokens.read(chosen.tokens) if chosen.tokens else Tokens({})
    archive, engines = Archive(folder), EnginePool(chosen)
    readiness = Readiness(db, archive, engines, chosen)
    app.include_router(pages.router(db, archive, engines, readiness, guard, chosen, board or Board()))
    app.add_middleware(GuardMiddleware, guard=guard)
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.mark.parametrize("state", [*synthetic_index.STATES, "receiving"])
def test_each_state_has_its_page_with_word_shape_reason_and_advice(db: Database, tmp_path: Path, state: str) -> None:
    text = client(db, tmp_path).get(f"/studies/{synthetic_index.study_uid(state)}").text
    assert "Research use only" in text
    assert f"mark is-{state}" in text
    assert "<svg" in text
    code, reason = synthetic_index.REASONS.get(state, ("", ""))
    assert reason.replace("'", "&#39;") in text
    if state in ("held", "refused", "failed", "not_processed"):
        assert words.advice(state, code).split(":")[0].replace("'", "&#39;") in text
    assert ("/release" in text) == (state == "held")


def test_every_state_and_every_reason_to_act_is_worded() -> None:
    assert set(words.STATES) == (set(TRANSITIONS) - {""}) | {"receiving"}
    assert all(words.advice(state, "") for state in ("held", "refused", "failed", "not_processed"))
    assert words.advice("not_processed", "no_model") != words.advice("not_processed", "no_rule")


def test_what_a_sender_wrote_is_text_and_never_markup(tmp_path: Path) -> None:
    db = synthetic_index.database(tmp_path)
    synthetic_index.fill(db)
    uid = synthetic_index.study_uid("refused")
    with db.write() as session:
        for study in session.query(Study):
            study.attributes = synthetic_index.attributes(SCRIPT, 1)
        for stack in session.query(StackVersion):
            stack.reason, stack.code, stack.series_uids = SCRIPT, SCRIPT, [SCRIPT]
    seen = client(db, tmp_path)
    for path in (
        "/",
        f"/studies/{uid}",
        f"/?q={SCRIPT}",
        f"/studies/{SCRIPT.replace('/', '')}",
        f"/sign-in?next={SCRIPT}",
    ):
        answer = seen.get(path)
        assert "<script>" not in answer.text, path
    db.close()


def test_deleted_and_unknown_studies_say_so(db: Database, tmp_path: Path) -> None:
    seen = client(db, tmp_path)
    gone = seen.get(f"/studies/{synthetic_index.ROOT}.99")
    assert (gone.status_code, "by anna: asked for" in gone.text) == (404, True)
    assert seen.get("/studies/1.2.3").status_code == 404


def test_only_pages_with_something_in_progress_look_often(db: Database, tmp_path: Path) -> None:
    seen = client(db, tmp_path)

    def refresh(path: str) -> int:
        return int(re.findall(r'data-refresh="(\d+)"', seen.get(path).text)[0])

    busy = {state: refresh(f"/studies/{synthetic_index.study_uid(state)}") for state in synthetic_index.STATES}
    assert {state for state, wait in busy.items() if wait == 2} == {"processing", "delivering", "complete"}
    assert refresh("/") == 2
    assert refresh("/sign-in") == 0


def test_the_empty_list_names_this_machine_where_every_address_is_listened_on(tmp_path: Path) -> None:
    db = synthetic_index.database(tmp_path)
    shown = TestClient(client(db, tmp_path).app, base_url="http://localhost").get("/").text
    assert "SEGLOOP@127.0.0.1:11112" in shown
    assert "[[destination]]" in TestClient(client(db, tmp_path).app, base_url="http://localhost").get("/system").text
    tokens = write_tokens(tmp_path)
    seen = client(db, tmp_path, dicom_host="0.0.0.0", ae_title="OURS", tokens=tokens)
    text = seen.get("/", headers={"Host": "pacs.example:8080"} | bearer("reader")).text
    assert "OURS@pacs.example:11112" in text
    assert "0.0.0.0" not in text
    db.close()


# --- words


@given(gap=st.floats(-1e7, 1e7), now=st.floats(1e9, 2e9))
def test_relative_times_name_the_largest_whole_unit_and_its_direction(gap: float, now: float) -> None:
    text = words.ago(now - gap, now)
    if text == "now":
        assert abs(gap) < 5.001
        return
    number, unit = re.fullmatch(r"(?:in )?(\d+) (d|h|min|s)(?: ago)?", text).groups()  # type: ignore[union-attr]
    size = {"d": 86400, "h": 3600, "min": 60, "s": 1}[unit]
    assert int(number) * size <= abs(gap) + 1e-3 < (int(number) + 1) * size + 1e-2
    assert text.endswith("ago") == (gap > 0)
    assert text.startswith("in ") == (gap < 0)


def test_absolute_times_are_utc() -> None:
    assert words.absolute(0) == "1970-01-01 00:00:00 UTC"
    assert words.iso(1.9) == "1970-01-01T00:00:01Z"


@given(seconds=st.floats(0, 1e5))
def test_durations_carry_a_unit_and_few_digits(seconds: float) -> None:
    number, unit = words.duration(seconds).split(" ")
    assert unit in ("ms", "s", "min")
    factor = {"ms": 0.001, "s": 1, "min": 60}[unit]
    assert float(number) * factor == pytest.approx(seconds, rel=0.06, abs=0.0006)


def test_numbers_carry_their_units() -> None:
    found = {row.short: f"{row.number} {row.unit}" for row in words.measured(synthetic_index.FINDINGS["measurements"])}  # type: ignore[arg-type]
    assert found == {"EDV": "142.3 mL", "ESV": "61.0 mL", "SV": "81.3 mL", "EF": "57.1 %", "LV mass": "101.5 g"}
    voxels = {
        "edv_voxels": 123456,
        "esv_voxels": 5,
        "lv_mass_voxels": 7,
        "ed_phase": 3,
        "odd": math.nan,
        "ef_percent": None,
    }
    assert [(row.number, row.unit) for row in words.measured(voxels)] == [
        ("123,456", "voxels"),
        ("5", "voxels"),
        ("7", "voxels"),
    ]
    assert not any("mass" in row.name.lower() for row in words.measured(voxels))
    assert [row.short for row in words.summary(voxels)] == ["EDV", "ESV"]


def test_figures_of_other_tasks_are_named_and_listed_too() -> None:
    (one,) = words.summary({"prostate_volume_ml": 41.27})
    assert (one.name, one.number, one.unit) == ("Volume of the prostate", "41.3", "mL")
    lesions = words.measured({"lesion_area_mm2_1": 12.4, "lesion_area_mm2_2": 13.6, "lesion_area_pixels": 1200})
    assert [(row.name, row.number, row.unit) for row in lesions] == [
        ("Area of the lesion, phase 1", "12", "mm²"),
        ("Area of the lesion, phase 2", "14", "mm²"),
        ("Area of the lesion", "1,200", "pixels"),
    ]


def test_what_no_heart_has_is_marked_also_where_there_is_no_number() -> None:
    doubts = [
        {"name": "ef_percent", "value": None, "low": 5, "high": 90},
        {"name": "lv_curve_jump_percent", "value": 61.5, "low": 0, "high": 30},
        {"name": "sv_ml", "value": 2.0, "low": 5, "high": 300},
    ]
    rows = words.measured({"edv_ml": 60.0, "sv_ml": 2.0, "ef_percent": None, "implausible": doubts})
    assert [(row.short, row.number, row.expected) for row in rows] == [
        ("EDV", "60.0", ""),
        ("SV", "2.0", "5 to 300 mL"),
        ("EF", "unknown", "5 to 90 %"),
        ("jump", "61.5", "0 to 30 %"),
    ]


@given(
    junk=st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_odd_doubts_and_figures_never_break_a_page(junk: object) -> None:
    assert words.measured({"implausible": junk, "edv_ml": junk}) is not None  # type: ignore[dict-item]


def test_a_held_stack_with_an_implausible_figure_shows_word_shape_and_range(db: Database, tmp_path: Path) -> None:
    seen = client(db, tmp_path)
    for path in ("/", f"/studies/{synthetic_index.study_uid('held')}"):
        text = seen.get(path).text
        marked = re.findall(r'<span class="mark is-implausible"><svg.*?</svg>(.*?)</span>', text)
        assert marked == ["implausible"]
        assert "expected 5 to 90 %" in text
    with db.write() as session:
        stack = next(stack for stack in session.query(StackVersion) if stack.state == "held")
        before, stack.code = stack.code, "implausible_measurements"
    assert "expected 5 to 90 %" not in seen.get("/").text  # its reason says so already
    with db.write() as session:
        session.get_one(StackVersion, stack.id).code = before
    assert "is-implausible" not in seen.get(f"/studies/{synthetic_index.study_uid('done')}").text


@given(seconds=st.floats(0, 3599.99))
def test_the_clock_has_minutes_and_two_digits_of_seconds(seconds: float) -> None:
    minutes, rest = re.fullmatch(r"(\d+):(\d\d)", words.clock(seconds)).groups()  # type: ignore[union-attr]
    assert int(minutes) * 60 + int(rest) == math.floor(seconds)


def test_long_times_are_in_hours_and_days() -> None:
    assert [words.clock(hours * 3600) for hours in (1, 23.9, 24, 80)] == ["1 h", "23 h", "1 d", "3 d"]


def test_the_steps_of_a_stack_are_in_order_with_their_last_run_and_how_many_there_were() -> None:
    history = [
        {"event": "state", "seconds": 0},
        {"event": "predict", "seconds": 9.0},
        {"event": "read", "seconds": 1.0},
        {"event": "predict", "seconds": 2.0},
    ]
    assert words.steps_line(history) == [("read", 1.0, 1), ("predict", 2.0, 2)]


def test_reports_and_the_phases_that_are_delivered_come_first_and_none_is_lost() -> None:
    results = [{"kind": "seg", "phase": phase, "series_uid": "1.1"} for phase in range(1, 21)]
    results.append({"kind": "sr", "phase": 0, "series_uid": "1.2"})
    measurements = {"ed_phase": 1, "es_phase": 8}
    first, others = words.chosen_first(results, measurements)
    assert [words.phase_word(result["phase"], measurements) for result in first] == ["1 ED", "8 ES", "all"]
    assert len(first) + len(others) == len(results)
    assert words.series_of(results) == [("seg", "1.1"), ("sr", "1.2")]
    assert words.chosen_first(results[:3], {}) == (results[:3], [])
    assert words.chosen_first(results[:-1], {}) == (results[:-1], [])


def test_a_study_s_page_shows_report_and_masks_steps_and_what_came_back(db: Database, tmp_path: Path) -> None:
    seen = client(db, tmp_path)
    text = seen.get(f"/studies/{synthetic_index.study_uid('done')}").text
    assert re.findall(r'data-name="Phase">(.*?)<', text) == ["1 ED", "8 ES", "all"]
    assert ">SR</span>" in text
    assert "predict <b>11.2 s</b>" in text
    assert "answered after <b>0:41</b>" in text
    assert "female · 53 y" in text
    refused = seen.get(f"/studies/{synthetic_index.study_uid('refused')}").text
    assert "<b>1 instance</b>: came again with other pixels" in refused


def test_the_list_says_how_long_each_took_or_has_taken(db: Database, tmp_path: Path) -> None:
    text = client(db, tmp_path).get("/").text
    assert "in 0:41" in text
    assert text.count("data-clock") == len(views.IN_PROGRESS)
    assert text.count('class="spark"') == 4


def test_list_and_study_show_how_far_a_prediction_has_come(db: Database, tmp_path: Path) -> None:
    board = Board()
    uid = synthetic_index.study_uid("processing")
    with db.read() as session:
        stack_id = next(entry["stacks"][0]["id"] for entry in views.studies_view(session) if entry["study_uid"] == uid)
    seen = client(db, tmp_path, board)
    with board.watching(stack_id) as note:
        note(40, 200)
        for path in ("/", f"/studies/{uid}"):
            text = seen.get(path).text
            assert '<progress max="200" value="40"' in text
            assert "40 of 200 slices" in text
    assert "<progress" not in seen.get("/").text


def test_a_row_without_figures_or_reason_says_what_its_state_means(db: Database, tmp_path: Path) -> None:
    text = client(db, tmp_path).get("/").text
    shown = re.findall(r'<div class="answer">(.*?)</div>\s*</li>', text, re.DOTALL)
    assert len(shown) == len(synthetic_index.STATES) + 1
    assert all(re.sub(r"<[^>]*>", "", part).strip() for part in shown)


def test_the_system_page_shows_first_what_was_set(db: Database, tmp_path: Path) -> None:
    seen = client(db, tmp_path, ae_title="OURS")
    text = seen.get("/system").text
    first, rest = text[text.index("<h2>Settings") :].split("<details>")
    assert ("SEGLOOP_AE_TITLE" in first, "SEGLOOP_AE_TITLE" in rest) == (True, False)
    assert "SEGLOOP_QUIET_PERIOD_S" in rest
    archive = Archive(tmp_path)
    incoming = archive.incoming()
    incoming.write(b"?")
    archive.quarantine(incoming, "not_dicom")
    assert "1 <code>not_dicom</code>" in seen.get("/system").text


def test_deliveries_are_summed_up_by_destination_and_state() -> None:
    def one(place: str, state: str, attempts: int, next_at: float, at: float, said: str) -> dict[str, object]:
        times = {"attempts": attempts, "next_at": next_at, "changed_at": at}
        return {"destination": place, "state": state, "last_answer": said, **times}

    rows = [
        one("a", "waiting", 1, 50, 5, "old"),
        one("a", "waiting", 3, 40, 6, "new"),
        one("a", "delivered", 1, 0, 7, "ok"),
    ]
    rows += [one("b", "rejected", 2, 90, 8, "no")]
    found = words.by_destination(rows)
    assert [(group["destination"], group["state"], group["count"]) for group in found] == [
        ("a", "waiting", 2),
        ("a", "delivered", 1),
        ("b", "rejected", 1),
    ]
    assert (found[0]["attempts"], found[0]["next_at"], found[0]["last_answer"]) == (3, 40, "new")


def test_labels_of_a_task() -> None:
    assert [label.name for label in words.labels_of("cardiac")] == ["rv", "myo", "lv"]
    assert words.labels_of("") == ()
    assert all(words.labels_of(task.value) for task in Task)


# --- the generated page


def test_the_page_of_settings_is_what_the_settings_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert make_docs.main(["--check"]) == 0
    assert all(f"`SEGLOOP_{name.upper()}`" in make_docs.page() for name in Settings.model_fields)
    monkeypatch.setattr(make_docs, "PAGE", tmp_path / "settings.md")
    assert make_docs.main(["--check"]) == 1
    assert make_docs.main([]) == 0
    assert make_docs.main(["--check"]) == 0
    assert make_docs.main(["--wrong"]) == 2


def test_the_script_of_the_pages_is_short_and_asks_nobody_else() -> None:
    text = (Path(pages.__file__).parent / "static" / "live.js").read_text()
    assert len(text.splitlines()) <= 150
    assert "http://" not in text
    assert "https://" not in text
