"""The Python API against a stand-in of the gateway and a real C-STORE receiver."""

import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, MRImageStorage, SegmentationStorage
from pynetdicom import AE, evt

from client import cstore, files, stow
from client.api import ANSWERED, Gateway, Result, Stack, Study
from client.files import DicomFile, Problem
from client.http import single_part
from client.summary import as_json, exit_code, next_step
from contracts.errors import Broken, NotFound, NotYet, Refused, Unreachable, Usage
from tests.client.stand_in import Script, gateway
from tests.serving.deliver_peers import ScpScript, scp, write_object

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    """A folder of three DICOM files in a subfolder, and things that are no DICOM."""
    folder = tmp_path / "exam"
    (folder / "sub").mkdir(parents=True)
    for number in (1, 2, 3):
        write_object(folder / "sub" / f"{number}.dcm", f"2.25.{number}")
    (folder / "readme.txt").write_text("hello")
    (folder / "empty").touch()
    return folder


def names(problems: Sequence[Problem]) -> list[str]:
    return [Path(problem.name).name for problem in problems]


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_a_folder_goes_byte_for_byte_and_what_is_no_dicom_is_named(exam: Path) -> None:
    script = Script()
    with gateway(script) as url, Gateway(url) as one:
        sent = one.send([exam])
    assert (sent.study_uids, sent.files, sent.refused) == (("1.2.3",), 3, ())
    assert names(sent.skipped) == ["empty", "readme.txt"]
    assert script.stored == {f"2.25.{n}": (exam / "sub" / f"{n}.dcm").read_bytes() for n in (1, 2, 3)}


def test_many_files_go_in_batches_and_the_meter_counts_every_byte(tmp_path: Path) -> None:
    for number in range(103):
        write_object(tmp_path / f"{number}.dcm", f"2.25.{number}")
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    counted: list[int] = []

    class Meter:
        def __call__(self, count: int, size: int) -> "Meter":
            assert (count, size) == (103, total)
            return self

        def __enter__(self) -> Callable[[int], None]:
            return counted.append

        def __exit__(self, *_: object) -> None:
            return None

    script = Script()
    with gateway(script) as url, Gateway(url) as one:
        one.send([tmp_path], meter=Meter())
    assert script.batches == [50, 50, 3]
    assert sum(counted) == total


def test_zips_are_opened_and_no_member_chooses_where_it_lands(exam: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "in" / "exam.zip"
    bundle.parent.mkdir()
    with zipfile.ZipFile(bundle, "w") as made:
        made.write(exam / "sub" / "1.dcm", "../../../evil.dcm")
        made.write(exam / "sub" / "2.dcm", "/absolute.dcm")
        made.writestr("note.txt", "hello")
        made.writestr("folder/", "")
    scratch = tmp_path / "in" / "scratch"
    scratch.mkdir()
    before = set(tmp_path.rglob("*"))
    found, skipped = files.collect([bundle], scratch)
    assert all(path.parent == scratch for path in set(tmp_path.rglob("*")) - before)
    assert {file.sop_uid for file in found} == {"2.25.1", "2.25.2"}
    assert all(str(bundle) in file.name for file in found)
    assert names(skipped) == ["exam.zip!note.txt"]


def test_a_member_whose_packing_is_damaged_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.dcm", bytes(128) + b"DICM" + bytes(range(256)) * 400)
    content = bytearray((tmp_path / "e.zip").read_bytes())
    content[60:200] = bytes(value ^ 0xA5 for value in content[60:200])
    (tmp_path / "e.zip").write_bytes(content)
    found, skipped = files.collect([tmp_path / "e.zip"], tmp_path)
    assert (found, names(skipped)) == ([], ["e.zip!x.dcm"])


def test_damaged_zips_media_directories_and_unreadable_headers(tmp_path: Path) -> None:
    whole = write_object(tmp_path / "a.dcm")
    write_object(tmp_path / "b_DICOMDIR", "2.25.2", sop_class=files.MEDIA_DIRECTORY)
    (tmp_path / "c_cut.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as made:
        made.write(whole, "x.dcm")
    content = bytearray((tmp_path / "d.zip").read_bytes())
    content[400:500] = bytes(100)
    (tmp_path / "d.zip").write_bytes(content)
    (tmp_path / "scratch").mkdir()
    found, skipped = files.collect(sorted(path for path in tmp_path.iterdir() if path.is_file()), tmp_path / "scratch")
    assert [Path(file.name).name for file in found] == ["a.dcm", "c_cut.dcm"]  # the gateway says what is wrong with it
    assert found[1].study_uid == ""
    assert names(skipped) == ["b_DICOMDIR", "d.zip!x.dcm"]


def test_refused_files_are_named_with_their_reason(exam: Path) -> None:
    (exam / "sub" / "0.dcm").write_bytes(bytes(128) + b"DICM" + b"junk")
    script = Script(refuse={"2.25.2": 0xA900, "2.25.3": 0xA700})
    with gateway(script) as url, Gateway(url) as one:
        sent = one.send([exam])
    assert names(sent.refused) == ["0.dcm", "2.dcm", "3.dcm"]
    assert [problem.passing for problem in sent.refused] == [False, False, True]
    assert all(problem.reason.endswith("It is cut off.") for problem in sent.refused)
    assert all(f"0x{code:04X}" in p.reason for code, p in zip((0xC000, 0xA900, 0xA700), sent.refused, strict=True))


def test_a_gateway_without_room_says_so(exam: Path) -> None:
    script = Script(whole=(503, {"warning": '299 segloop "The disk is full."'}))
    with gateway(script) as url, Gateway(url) as one, pytest.raises(NotYet, match=r"The disk is full\."):
        one.send([exam])


def test_wrong_paths_tokens_addresses(exam: Path, tmp_path: Path, free_port: Callable[[], int]) -> None:
    with gateway(Script(token="secret")) as url:
        with Gateway(url) as one, pytest.raises(Usage, match="--token-file"):
            one.send([exam])
        with Gateway(url, "secret") as one:
            assert one.send([exam]).refused == ()
            with pytest.raises(Usage, match="absent"):
                one.send([tmp_path / "absent"])
            with pytest.raises(Refused, match="No DICOM file"):
                one.send([exam / "readme.txt"])
    with Gateway(f"http://127.0.0.1:{free_port()}") as one, pytest.raises(Unreachable, match="python -m serving"):
        one.send([exam])
    with pytest.raises(Usage, match="http"):
        Gateway("ftp://x")


def test_memory_does_not_grow_with_files(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
    large = DicomFile(path, "large", 64 << 20)
    tracemalloc.start()
    total = sum(len(piece) for piece in stow._body([large, large], lambda _: None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 128 << 20
    assert peak < 4 << 20


# --- C-STORE --------------------------------------------------------------------------------------------------------


def test_c_store_keeps_each_files_own_transfer_syntax_and_bytes(tmp_path: Path) -> None:
    paths = {
        "2.25.1": write_object(tmp_path / "plain.dcm", "2.25.1"),
        "2.25.2": write_object(tmp_path / "packed.dcm", "2.25.2", sop_class=MRImageStorage, syntax=JPEGBaseline8Bit),
    }
    entity = AE(ae_title="SCP")
    entity.add_supported_context(SegmentationStorage)
    entity.add_supported_context(MRImageStorage, [ExplicitVRLittleEndian, JPEGBaseline8Bit])
    received: dict[str, tuple[str, bytes]] = {}

    def on_store(event: evt.Event) -> int:
        received[event.request.AffectedSOPInstanceUID] = (
            event.context.transfer_syntax,
            event.request.DataSet.getvalue(),
        )
        return 0

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        with Gateway() as one:
            sent = one.send(list(paths.values()), to=f"SCP@127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
    assert (sent.files, sent.refused) == (2, ())
    assert {uid: syntax for uid, (syntax, _) in received.items()} == {
        "2.25.1": ExplicitVRLittleEndian,
        "2.25.2": JPEGBaseline8Bit,
    }
    assert all(paths[uid].read_bytes().endswith(content) for uid, (_, content) in received.items())


def test_c_store_statuses_and_kinds_that_are_not_accepted(tmp_path: Path) -> None:
    script = ScpScript(statuses=[0xB000, 0xA700, 0xC001, 0])
    paths = [write_object(tmp_path / f"{n}.dcm", f"2.25.{n}") for n in range(4)]
    paths.append(write_object(tmp_path / "other.dcm", "2.25.9", sop_class=MRImageStorage))
    (tmp_path / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"junk")
    with scp(script) as port, Gateway() as one:
        sent = one.send([*paths, tmp_path / "cut.dcm"], to=f"PACS@127.0.0.1:{port}")
    assert len(script.received) == 4
    assert names(sent.refused) == ["cut.dcm", "1.dcm", "2.dcm", "other.dcm"]
    assert [problem.passing for problem in sent.refused] == [False, True, False, False]


def test_c_store_to_nobody_and_to_one_who_does_not_know_us(exam: Path, free_port: Callable[[], int]) -> None:
    with Gateway() as one:
        with pytest.raises(Unreachable, match="host, port"):
            one.send([exam], to=f"PACS@127.0.0.1:{free_port()}")
        with pytest.raises(Unreachable, match="not known"):
            one.send([exam], to="PACS@no-such-host.invalid:104")
        with scp(ScpScript()) as port, pytest.raises(Unreachable, match="AE title OTHER"):
            one.send([exam], to=f"OTHER@127.0.0.1:{port}")
        with scp(ScpScript(), classes=(MRImageStorage,)) as port, pytest.raises(Unreachable, match="none of these"):
            one.send([exam], to=f"PACS@127.0.0.1:{port}")


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "PACS@host:0", "PACS@h:99999", "@host:104", "A" * 17 + "@h:1"])
def test_what_is_no_peer_is_a_usage_error(text: str) -> None:
    with pytest.raises(Usage):
        cstore.parse_peer(text)


def test_a_peer_is_read_with_blanks_in_its_title_and_ipv6() -> None:
    assert cstore.parse_peer("MY PACS@10.0.0.5:104") == cstore.Peer("MY PACS", "10.0.0.5", 104)
    assert cstore.parse_peer("X@[::1]:11112") == cstore.Peer("X", "::1", 11112)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2)), max_size=400))
def test_groups_keep_every_file_once_and_fit_an_association(kinds: list[tuple[int, int]]) -> None:
    sent = [DicomFile(Path(f"{n}"), "", 1, "", f"1.{a}", f"2.{n}", f"3.{b}") for n, (a, b) in enumerate(kinds)]
    groups = list(cstore._groups(sent))
    assert [file for group in groups for file in group] == sent
    assert all(0 < len({(f.sop_class_uid, f.transfer_syntax_uid) for f in group}) <= 128 for group in groups)


# --- waiting and saving ---------------------------------------------------------------------------------------------


def test_waiting_declares_the_study_complete_and_ends_with_its_answer(exam: Path) -> None:
    script = Script()
    seen: list[str] = []
    with gateway(script) as url, Gateway(url) as one:
        one.send([exam])
        (study,) = one.wait(["1.2.3"], on_change=lambda studies: seen.append(studies[0].state))
    assert script.completed == ["1.2.3"]
    assert seen == ["receiving", "complete", "processing", "done"]
    assert study.answered
    assert [stack.task for stack in study.stacks] == ["", "cardiac"]


@pytest.mark.parametrize("final", sorted(ANSWERED))
def test_waiting_ends_at_every_state_that_needs_no_more_work_of_ours(exam: Path, final: str) -> None:
    with gateway(Script(final=final, steps=[])) as url, Gateway(url) as one:
        one.send([exam])
        assert one.wait(["1.2.3"])[0].state == final


def test_waiting_outlasts_a_restart_and_a_limit_ends_it(exam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(steps=["processing"])
    with gateway(script) as url, Gateway(url) as one:
        one.send([exam])
        ask, failures = one.status, iter([True, False, True, True])

        def status(study_uid: str) -> Study:
            if next(failures, False):
                raise Unreachable("gateway_unreachable", "gone")
            return ask(study_uid)

        monkeypatch.setattr(one, "status", status)
        assert one.wait(["1.2.3"])[0].state == "done"
        script.steps = ["processing"] * 100
        with pytest.raises(Broken, match="No answer within"):
            one.wait(["1.2.3"], timeout_s=0.5)
        monkeypatch.setattr("client.api.SILENCE_S", 0.3)
        failures = iter([True] * 100)
        with pytest.raises(Unreachable):
            one.wait(["1.2.3"])


def test_a_study_of_which_nothing_was_stored_is_refused_not_awaited(exam: Path) -> None:
    with gateway(Script(refuse={f"2.25.{n}": 0xA900 for n in (1, 2, 3)})) as url, Gateway(url) as one:
        sent = one.send([exam])
        (study,) = one.wait(sent.study_uids)
    assert (study.state, study.stacks) == ("refused", ())


def test_results_are_saved_under_the_promised_names(exam: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = Script(steps=[])
    with gateway(script) as url, Gateway(url) as one:
        one.send([exam])
        written = one.save(one.status("1.2.3"), out)
        script.missing_files = {"overlay.png"}
        again = one.save(one.status("1.2.3"), tmp_path / "again")
    folder = out / "1.2.3" / "cardiac-1"
    assert sorted(written) == sorted(path for path in out.rglob("*") if path.is_file())
    assert {path.name for path in written} == {"seg-1.dcm", "seg-2.dcm", "sr.dcm", "measurements.json", "overlay.png"}
    assert b"2.25.3" in (folder / "sr.dcm").read_bytes()
    assert (folder / "seg-2.dcm").read_bytes() == b"SEG 2.25.2\r\n"
    assert "overlay.png" not in {path.name for path in again}


@pytest.mark.parametrize("uid", ["..", "../../etc", "1.2/3", "", "1..2", "1." * 40])
def test_nothing_but_a_uid_becomes_part_of_an_address_or_a_path(tmp_path: Path, uid: str) -> None:
    with Gateway() as one:
        for call in (one.status, one.complete, one.retry, one.delete):
            with pytest.raises(Usage):
                call(uid)
        with pytest.raises(Usage):
            one.save(study_of(["done"]).model_copy(update={"study_uid": uid}), tmp_path)


def test_retry_delete_echo_and_unknown_names(exam: Path) -> None:
    script = Script()
    with gateway(script) as url, Gateway(url) as one:
        one.send([exam])
        assert one.retry("1.2.3") == 2
        assert one.delete("1.2.3") == 5
        assert one.echo("pacs").ok
        assert not one.echo("other").ok
        for call in (one.retry, one.delete, one.status):
            with pytest.raises(NotFound):
                call("9.9")
        with pytest.raises(NotFound):
            one.echo("nobody")
    assert (script.retried, script.deleted) == (["1.2.3", "9.9"], ["1.2.3", "9.9"])


# --- laws -----------------------------------------------------------------------------------------------------------


@given(content=st.binary(max_size=300), quoted=st.booleans())
def test_one_object_comes_out_of_multipart_as_it_went_in(content: bytes, quoted: bool) -> None:
    boundary = "b-0123456789"
    body = (
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + f"\r\n--{boundary}--".encode()
    )
    header = f'multipart/related; type="application/dicom"; boundary={chr(34) * quoted}{boundary}{chr(34) * quoted}'
    assert single_part(httpx.Response(200, headers={"content-type": header}, content=body)) == content


@given(st.binary(max_size=100), st.sampled_from(["multipart/related", "text/html", "multipart/related; boundary=x"]))
def test_what_holds_no_object_is_an_error_of_ours(content: bytes, kind: str) -> None:
    response = httpx.Response(200, headers={"content-type": kind}, content=content.replace(b"\r\n", b""))
    with pytest.raises(Broken):
        single_part(response)


STATES = st.lists(st.sampled_from(sorted(ANSWERED)), max_size=6)


def study_of(states: list[str]) -> Study:
    results = (Result(sop_uid="2.25.1"),)
    stacks = tuple(
        Stack(id=n, series_uids=("1",), task="cardiac", state=state, results=results) for n, state in enumerate(states)
    )
    return Study(study_uid="1.2.3", state=states[0] if states else "done", stacks=stacks)


@given(states=STATES, passing=st.lists(st.booleans(), max_size=3))
def test_exit_codes_rank_failed_over_refused_over_done(states: list[str], passing: list[bool]) -> None:
    code = exit_code([study_of(states)], [Problem("f", "r", passing=one) for one in passing])
    if "failed" in states or any(passing):
        assert code == 1
    elif "refused" in states or passing:
        assert code == 4
    else:
        assert code == 0


@given(states=STATES)
def test_the_json_has_exactly_the_promised_keys(states: list[str]) -> None:
    (study,) = as_json([study_of(states)])["studies"]  # type: ignore[misc, attr-defined]
    assert list(study) == ["study_uid", "state", "stacks", "ignored"]
    keys = ["series_uids", "task", "state", "reason", "results"]
    assert [list(stack) for stack in study["stacks"]] == [keys] * len(states)
    assert all(stack["results"] == ["2.25.1"] for stack in study["stacks"])


def test_whoever_must_act_is_told_how() -> None:
    for state, word in {"held": "/studies/1.2.3", "refused": "retry", "failed": "log", "delivering": "/system"}.items():
        study = study_of([state])
        assert word in next_step(study, study.stacks[0], "http://g")
    unmatched = Stack(id=1, series_uids=(), state="not_processed", code="no_model")
    assert "retry 1.2.3" in next_step(study_of(["done"]), unmatched, "http://g")
    assert next_step(study_of(["done"]), study_of(["done"]).stacks[0], "http://g") == ""
