"""Laws of the intake: everything whole is kept, nothing is kept twice, and nothing runs again without need."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless
from sqlalchemy import Connection

from contracts.errors import Broken, NotYet, Refused
from contracts.stacks import from_json
from serving.index import receipts
from serving.index.models import StackVersion, Study
from serving.receive import ingest
from serving.receive.activity import Activity
from serving.receive.ingest import Accepted, statuses
from serving.removal import remove_study
from tests.builders import Exam, compress
from tests.serving.receiving import Receiving, encoded, receiving


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Receiving]:
    with receiving(tmp_path / "home") as made:
        yield made


def image(name: str = "exam", **changes: object) -> FileDataset:
    made = Exam(name).short_axis(1, 1)[0]
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def brighter(**changes: object) -> FileDataset:
    made = image(**changes)
    made.PixelData = made.PixelData[:-2] + b"\x07\x00"
    return made


def settled(side: Receiving) -> float:
    """Mark the study as settled, as the pipeline does, and return when it last had something new."""
    with side.db.write() as session:
        study = session.get_one(Study, side.study().study_uid)
        study.settled_at = study.last_received_at
    return side.study().last_received_at


def test_a_new_object_is_stored_with_all_that_is_known_of_it(side: Receiving) -> None:
    made = image()
    taken = side.take(made)
    assert taken == Accepted(
        made.SOPClassUID, made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID, "stored"
    )
    (row,) = side.rows()
    assert side.archive.path(row.key).read_bytes() == encoded(image())
    assert (row.kind, row.revision, row.size) == ("source", 1, len(encoded(image())))
    assert from_json(row.description).sop_uid == made.SOPInstanceUID
    study = side.study()
    assert study.attributes["00100020"] == {"vr": "LO", "Value": ["ID-exam"]}
    assert study.first_received_at <= study.last_received_at
    assert side.senders() == {"ae:A"}


def test_a_repeat_adds_nothing_and_runs_nothing(side: Receiving, tmp_path: Path) -> None:
    side.take(image())
    before = settled(side)
    packed = compress(image(), JPEGLSLossless, tmp_path).read_bytes()
    copies: list[bytes | FileDataset] = [image(), encoded(image(), ImplicitVRLittleEndian), packed]
    for copy in copies:
        assert side.take(copy).outcome == "repeated"
    assert side.kinds() == ["source"]
    assert len(side.files()) == 1
    assert side.study().last_received_at == before


def test_a_repeat_from_a_new_sender_has_the_study_looked_at_again(side: Receiving) -> None:
    side.take(image(), "ae:A")
    before = settled(side)
    assert side.take(image(), "token:b").outcome == "repeated"
    assert side.senders() == {"ae:A", "token:b"}
    assert side.study().last_received_at > before
    before = settled(side)
    side.take(image(), "token:b")
    assert side.study().last_received_at == before


def test_other_attributes_make_a_revision_in_the_place_of_the_old_one(side: Receiving) -> None:
    first, second = Exam().short_axis(2, 1)
    side.take(first)
    side.take(second)
    before = settled(side)
    taken = side.take(image(PatientName="Corrected"))
    assert taken.outcome == "revised"
    assert [(row.sop_uid, row.kind, row.revision) for row in side.rows()] == [
        (first.SOPInstanceUID, "source", 2),
        (second.SOPInstanceUID, "source", 1),
        (first.SOPInstanceUID, "replaced", 1),
    ]
    assert side.study().last_received_at > before
    assert side.study().attributes["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Corrected"}]}
    current, _, old = side.rows()
    assert side.archive.path(old.key).read_bytes() == encoded(image())
    assert side.archive.path(current.key).read_bytes() == encoded(image(PatientName="Corrected"))
    assert from_json(current.description).revision == 2


def test_a_copy_of_an_older_revision_does_not_flip_it_back(side: Receiving) -> None:
    side.take(image())
    side.take(image(PatientName="Corrected"))
    before = settled(side)
    assert side.take(image()).outcome == "repeated"
    assert side.take(image(PatientName="Corrected")).outcome == "repeated"
    assert side.kinds() == ["replaced", "source"]
    assert side.study().last_received_at == before


@pytest.mark.parametrize("change", [{}, {"PatientName": "Other"}])
def test_other_pixels_are_kept_aside_once_and_refused_each_time(side: Receiving, change: dict[str, object]) -> None:
    side.take(image())
    before = settled(side)
    for _ in range(3):
        with pytest.raises(Refused) as caught:
            side.take(brighter(**change))
        assert caught.value.code == "different_pixels"
        assert statuses(caught.value) == (0x0111, 0x0111)
    assert side.kinds() == ["aside", "source"]
    aside = next(row for row in side.rows() if row.kind == "aside")
    assert side.archive.path(aside.key).read_bytes() == encoded(brighter(**change))
    assert side.study().last_received_at == before


def test_another_place_in_the_patient_is_refused_too(side: Receiving) -> None:
    side.take(image())
    with pytest.raises(Refused):
        side.take(image(ImagePositionPatient=[1, 2, 3]))
    assert side.kinds() == ["aside", "source"]


def result_of(side: Receiving, **changes: object) -> tuple[FileDataset, int]:
    """Keep a result for a stack version of the one study; return it and the stack version's id."""
    side.take(image())
    with side.db.write() as session:
        version = StackVersion(
            study_uid=side.study().study_uid,
            key="k",
            version=1,
            state="processing",
            series_uids=[],
            instance_uids=[],
            digest="d",
            completeness={},
            model={},
            findings={},
            created_at=0.0,
            changed_at=0.0,
        )
        session.add(version)
        session.flush()
        stack_id = version.id
    exam = Exam()
    exam.short_axis(1, 1)
    made = exam.segmentation()
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made, stack_id


def keep(side: Receiving, made: FileDataset, stack_id: int) -> str:
    return side.intake.keep_result(encoded(made), stack_id, made.SOPInstanceUID, 1)


def test_a_result_is_kept_once_and_never_overwritten(side: Receiving) -> None:
    made, stack_id = result_of(side)
    before = settled(side)
    key = keep(side, made, stack_id)
    assert keep(side, made, stack_id) == key
    assert side.kinds() == ["result", "source"]
    assert side.study().last_received_at == before
    made.SeriesDescription = "other"
    with pytest.raises(Broken) as caught:
        keep(side, made, stack_id)
    assert caught.value.code == "result_differs"
    assert len(side.files()) == 2


def test_results_that_come_back_are_acknowledged_and_run_nothing(side: Receiving) -> None:
    made, stack_id = result_of(side)
    keep(side, made, stack_id)
    before = settled(side)
    assert side.take(encoded(made, ImplicitVRLittleEndian), "ae:PACS").outcome == "returned"
    assert side.kinds() == ["result", "source"]
    made.PatientName = "Coerced"
    for _ in range(3):
        assert side.take(made, "ae:PACS").outcome == "returned"
    made.PixelData = b"\xff" * 32
    assert side.take(made, "ae:PACS").outcome == "returned"
    assert side.kinds() == ["result", "returned", "returned", "source"]
    assert side.study().last_received_at == before
    assert side.senders() == {"ae:A"}


def test_a_result_that_comes_back_under_another_study_is_still_ours(side: Receiving) -> None:
    made, stack_id = result_of(side)
    keep(side, made, stack_id)
    made.StudyInstanceUID = "1.2.3"
    assert side.take(made).outcome == "returned"
    assert {row.study_uid for row in side.rows()} == {image().StudyInstanceUID}


def test_what_came_from_outside_steps_aside_for_the_result_with_its_uid(side: Receiving) -> None:
    made, stack_id = result_of(side)
    side.take(made)
    keep(side, made, stack_id)
    assert side.kinds() == ["result", "returned", "source"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_dicom"),
        (b"GIF89a" + bytes(1000), "not_dicom"),
        (bytes(128) + b"DICM", "not_dicom"),
        (encoded(image())[:-100], "truncated"),
        (encoded(image())[:700], "truncated"),
    ],
)
def test_the_unreadable_goes_to_the_quarantine(side: Receiving, content: bytes, code: str) -> None:
    with pytest.raises(Refused) as caught:
        side.take(content)
    assert statuses(caught.value) == (0xC000, 0xC000)
    assert caught.value.code in (code, "bad_identity")
    assert [path.read_bytes() for path in side.quarantined()] == [content]
    assert side.unfinished() == side.files() == side.rows() == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/../3", "1.2\\3", "", "1." * 33 + "1", "1.2.a"])
def test_what_is_no_uid_is_refused_and_never_becomes_a_path(side: Receiving, keyword: str, uid: str) -> None:
    made = image()
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    content = encoded(made)
    own = str(made[keyword].value).encode()
    value = uid.encode()
    padded = value + b"\0" * (len(value) % 2)
    old = own + b"\0" * (len(own) % 2)
    start = content.rindex(old)
    head = content[: start - 2] + len(padded).to_bytes(2, "little")
    with pytest.raises(Refused) as caught:
        side.take(head + padded + content[start + len(old) :])
    assert caught.value.code == "bad_identity"
    assert len(side.quarantined()) == 1
    assert side.files() == []


def test_leading_zeros_stay_byte_for_byte(side: Receiving) -> None:
    uid = "1.02.003.0000"
    taken = side.take(image(SOPInstanceUID=uid, StudyInstanceUID="2.016.1", SeriesInstanceUID="00.1"))
    assert (taken.sop_uid, taken.study_uid, taken.series_uid) == (uid, "2.016.1", "00.1")
    assert side.rows()[0].sop_uid == uid


def test_what_the_request_promised_must_be_true(side: Receiving) -> None:
    made = image()
    with pytest.raises(Refused) as caught:
        side.take(made, expect_study="1.2.3")
    assert statuses(caught.value)[1] == 0xC409
    with pytest.raises(Refused) as caught:
        side.take(made, expect_instance=(made.SOPClassUID, "1.2.3"))
    assert statuses(caught.value)[0] == 0xA900
    named = (made.SOPClassUID, made.SOPInstanceUID)
    assert side.take(made, expect_study=made.StudyInstanceUID, expect_instance=named).outcome == "stored"
    assert len(side.quarantined()) == 2


@pytest.mark.parametrize("kind", ["report", "key_objects", "screenshot", "segmentation"])
def test_whatever_is_dicom_is_kept(side: Receiving, kind: str) -> None:
    assert side.take(getattr(Exam(), kind)()).outcome == "stored"


def test_the_study_is_open_before_its_object_is_acknowledged(side: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    activity = Activity()
    seen: list[set[str]] = []
    add = receipts.add_new

    def noting(connection: Connection, arrivals: Sequence[receipts.Arrival]) -> frozenset[str]:
        seen.append(activity.open_studies())
        return add(connection, arrivals)

    monkeypatch.setattr(receipts, "add_new", noting)
    with activity.carrying() as carrier:
        side.take(image(), carrier=carrier)
    assert seen == [{image().StudyInstanceUID}]


def test_of_many_who_send_the_same_new_object_one_stores_it(side: Receiving) -> None:
    content = encoded(image())
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def send(number: int) -> None:
        start.wait()
        outcomes.append(side.take(content, f"ae:{number % 2}").outcome)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["repeated"] * 5 + ["stored"]
    assert side.kinds() == ["source"]
    assert len(side.files()) == 1
    assert side.unfinished() == []
    assert side.senders() == {"ae:0", "ae:1"}


def test_a_crash_between_file_and_index_leaves_only_what_the_sweep_clears(
    side: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    side.take(image("kept"))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(receipts, "add_new", die)
    with pytest.raises(KeyboardInterrupt):
        side.take(image("lost"))
    monkeypatch.undo()
    side.archive.incoming()
    assert (len(side.files()), len(side.unfinished())) == (2, 1)
    side.intake.sweep()
    assert [path.stem for path in side.files()] == [row.key for row in side.rows()]
    assert side.unfinished() == []
    assert side.take(image("lost")).outcome == "stored"


def test_a_deleted_study_that_is_sent_again_is_new(side: Receiving) -> None:
    side.take(image())
    remove_study(side.db, side.archive, image().StudyInstanceUID, who="x", why="y")
    assert side.files() == []
    assert side.take(image()).outcome == "stored"


def test_arrival_is_always_later_than_the_last_settling(side: Receiving) -> None:
    """A clock that was set back must not leave an instance unprocessed."""
    first, second = Exam().short_axis(2, 1)
    side.take(first)
    with side.db.write() as session:
        study = session.get_one(Study, first.StudyInstanceUID)
        study.last_received_at = study.settled_at = study.last_received_at + 1e6
    side.take(second)
    assert side.study().last_received_at > side.study().settled_at


def test_no_space_is_not_yet(tmp_path: Path) -> None:
    with receiving(tmp_path / "home") as made:
        full = made.settings.model_copy(update={"min_free_gb": 1e9})
        made.intake.settings = full
        with pytest.raises(NotYet) as caught:
            made.intake.check_space()
        assert statuses(caught.value) == (0xA700, 0xA700)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(copies=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["", "Y", "Z"])), min_size=1, max_size=8))
def test_any_order_of_copies_keeps_each_content_once(
    tmp_path_factory: pytest.TempPathFactory, copies: list[tuple[str, str]]
) -> None:
    """``A``, ``B``, ``C`` are pixels; names are attributes. Whoever comes first sets the pixels that count."""
    with receiving(tmp_path_factory.mktemp("order")) as side:
        for pixels, name in copies:
            made = image(PatientName=name)
            made.PixelData = made.PixelData[:-2] + pixels.encode() + b"\0"
            try:
                outcome = side.take(made).outcome
            except Refused:
                outcome = "refused"
            assert (outcome == "refused") == (pixels != copies[0][0])
        assert len(side.rows()) == len(side.files()) == len(set(copies))
        assert side.kinds().count("source") == 1
        assert side.kinds().count("replaced") + 1 == len({name for pixels, name in copies if pixels == copies[0][0]})


def test_an_object_that_fails_leaves_the_others_of_its_group_alone(
    side: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Exam().short_axis(3, 1)
    add = receipts.add_new

    def fail(connection: Connection, arrivals: Sequence[receipts.Arrival]) -> frozenset[str]:
        if images[1].SOPInstanceUID in [arrival.sop_uid for arrival in arrivals]:
            raise ZeroDivisionError
        return add(connection, arrivals)

    monkeypatch.setattr(receipts, "add_new", fail)
    arrivals = []
    for made in images:
        incoming = side.archive.incoming()
        incoming.write(encoded(made))
        arrivals.append(side.intake.begin(incoming, "local"))
    outcomes = side.intake.finish(arrivals)
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert [one.outcome for one in outcomes if isinstance(one, Accepted)] == ["stored", "stored"]
    assert [row.sop_uid for row in side.rows()] == [images[0].SOPInstanceUID, images[2].SOPInstanceUID]


def test_twice_in_one_group_is_once(side: Receiving) -> None:
    arrivals = []
    for _ in range(2):
        incoming = side.archive.incoming()
        incoming.write(encoded(image()))
        arrivals.append(side.intake.begin(incoming, "local"))
    outcomes = side.intake.finish(arrivals)
    assert [one.outcome for one in outcomes if isinstance(one, Accepted)] == ["stored", "repeated"]
    assert len(side.files()) == 1
    assert side.intake.finish([]) == []


def test_a_known_file_that_is_gone_is_reported_and_nothing_hangs(side: Receiving) -> None:
    side.take(image())
    side.files()[0].unlink()
    with pytest.raises(Broken) as caught:
        side.take(image())
    assert caught.value.code == "archive_damaged"


def test_a_file_that_cannot_be_made_permanent_leaves_nothing(side: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(side.archive, "keep", full)
    with pytest.raises(OSError, match="No space"):
        side.take(image())
    assert side.unfinished() == side.files() == []
    assert side.rows() == []


def test_a_copy_that_breaks_the_comparison_is_put_aside(side: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> object:
        raise RuntimeError("a defect")

    side.take(image())
    monkeypatch.setattr(ingest, "differences", breaks)
    with pytest.raises(RuntimeError):
        side.take(brighter())
    assert side.unfinished() == []
    assert [path.read_bytes() for path in side.quarantined()] == [encoded(brighter())]
    assert side.kinds() == ["source"]
