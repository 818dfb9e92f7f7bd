"""One try against real receivers: what arrives, what is booked, and that a repeat after a crash harms nothing."""

import gc
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from contracts.errors import NotFound
from serving.archive import Archive
from serving.deliver import attempt, destination_named, dimse, due, echo, offer, stow
from serving.deliver.answers import Verdict
from serving.deliver.destinations import DimseDestination, StowDestination
from serving.index.database import Database
from serving.index.models import Base, Delivery, History, Result, Sender, StackVersion, Study
from serving.settings import Settings
from tests.serving.deliver_peers import ScpScript, StowScript, scp, stow_peer, write_object

# pynetdicom drops the socket of a connection that failed without closing it; it is closed at once all the same.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def sockets_of_broken_connections() -> Iterator[None]:
    """Collect them while their warning is still ignored."""
    yield
    gc.collect()


def dimse_place(port: int, **more: object) -> DimseDestination:
    values = {
        "name": "pacs",
        "protocol": "dimse",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": port,
        "sources": ["*"],
    }
    return DimseDestination.model_validate(values | more)


def stow_place(url: str, **more: object) -> StowDestination:
    return StowDestination.model_validate({"name": "w", "protocol": "stow", "url": url, "sources": ["*"]} | more)


@pytest.fixture
def dicom_file(tmp_path: Path) -> Path:
    return write_object(tmp_path / "seg.dcm")


# --- C-STORE --------------------------------------------------------------------------------------------------------


def test_dimse_statuses_of_a_real_receiver_are_judged(dicom_file: Path) -> None:
    expected = {
        0x0000: Verdict.DELIVERED,
        0xB000: Verdict.DELIVERED,
        0x0111: Verdict.DELIVERED,
        0xA700: Verdict.TRANSIENT,
        0xA900: Verdict.PERMANENT,
        0xC000: Verdict.PERMANENT,
    }
    script = ScpScript(statuses=[*expected, 0])
    with scp(script) as port:
        found = [dimse.store(dicom_file, dimse_place(port), Settings()).verdict for _ in expected]
    assert found == list(expected.values())
    assert script.received == ["2.25.1"] * len(expected)


def test_a_receiver_that_speaks_implicit_only_gets_it_in_that_syntax(dicom_file: Path) -> None:
    script = ScpScript()
    with scp(script, implicit_only=True) as port:
        assert dimse.store(dicom_file, dimse_place(port), Settings()).verdict is Verdict.DELIVERED
    assert script.syntaxes == ["1.2.840.10008.1.2"]


def test_an_unknown_title_on_either_side_is_a_rejection_that_says_which(dicom_file: Path) -> None:
    with scp(ScpScript()) as port:
        answer = dimse.store(dicom_file, dimse_place(port, ae_title="OTHER"), Settings())
    assert (answer.verdict, "ae_title" in answer.sentence) == (Verdict.PERMANENT, True)
    with scp(ScpScript(), require_calling="SOMEONE") as port:
        answer = dimse.store(dicom_file, dimse_place(port), Settings())
    assert (answer.verdict, "does not know our AE title" in answer.sentence) == (Verdict.PERMANENT, True)


def test_a_receiver_without_segmentation_storage_is_a_rejection(dicom_file: Path) -> None:
    with scp(ScpScript(), classes=("1.2.840.10008.5.1.4.1.1.4",)) as port:
        answer = dimse.store(dicom_file, dimse_place(port), Settings())
    assert answer.verdict is Verdict.PERMANENT
    with scp(ScpScript(), classes=(dimse.LABELMAP_STORAGE,)) as port:
        answer = dimse.store(dicom_file, dimse_place(port), Settings())
    assert (answer.verdict, "Segmentation Storage" in answer.sentence) == (Verdict.PERMANENT, True)


def test_nobody_there_is_unreachable_and_worth_another_try(dicom_file: Path, free_port: Callable[[], int]) -> None:
    answer = dimse.store(dicom_file, dimse_place(free_port()), Settings())
    assert (answer.verdict, answer.unreachable) == (Verdict.TRANSIENT, True)
    answer = dimse.store(dicom_file, dimse_place(free_port(), host="no-such-host.invalid"), Settings())
    assert (answer.verdict, answer.unreachable) == (Verdict.TRANSIENT, True)


def test_tls_towards_a_plain_receiver_does_not_send(dicom_file: Path) -> None:
    script = ScpScript()
    with scp(script) as port:
        answer = dimse.store(dicom_file, dimse_place(port, tls=True), Settings())
        missing = dimse.store(dicom_file, dimse_place(port, tls=True, ca_file="/no/such.pem"), Settings())
    assert answer.verdict is Verdict.TRANSIENT
    assert missing.verdict is Verdict.PERMANENT
    assert script.received == []


def test_tls_sends_to_whom_the_certificate_names_and_shows_our_own(
    dicom_file: Path, tmp_path: Path, program: Callable[[str], str]
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    strict = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    strict.load_cert_chain(certificate, key)
    strict.verify_mode = ssl.CERT_REQUIRED
    ours = Settings(dicom_tls=True, tls_certificate=certificate, tls_key=key)
    script = ScpScript()
    with scp(script, tls=strict) as port:
        known = dimse_place(port, tls=True, ca_file=str(certificate))
        assert dimse.store(dicom_file, known, ours).verdict is Verdict.DELIVERED
        assert dimse.store(dicom_file, known, Settings()).verdict is Verdict.TRANSIENT  # it demands a certificate
        assert dimse.store(dicom_file, dimse_place(port, tls=True), ours).verdict is Verdict.TRANSIENT
        other_name = dimse_place(port, tls=True, ca_file=str(certificate), host="localhost")
        assert dimse.store(dicom_file, other_name, ours).verdict is Verdict.TRANSIENT
    assert script.received == ["2.25.1"]


def test_dcmtk_takes_it(tmp_path: Path, program: Callable[[str], str], free_port: Callable[[], int]) -> None:
    port, folder = free_port(), tmp_path / "store"
    folder.mkdir()
    peer = subprocess.Popen(
        [program("storescp"), "-aet", "PACS", "-od", str(folder), str(port)], env={"TCP_NODELAY": "1"}
    )
    try:
        place = dimse_place(port)
        deadline = time.monotonic() + 20
        while not echo(place, Settings()).ok and time.monotonic() < deadline:
            time.sleep(0.1)
        answer = dimse.store(write_object(tmp_path / "a.dcm", "2.25.77"), place, Settings())
    finally:
        peer.kill()
        peer.wait()
    assert answer.verdict is Verdict.DELIVERED
    assert [path.name.endswith("2.25.77") for path in folder.iterdir()] == [True]


# --- STOW-RS --------------------------------------------------------------------------------------------------------


def test_stow_sends_the_file_byte_for_byte_with_its_token(dicom_file: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("good\n")
    script = StowScript()
    with stow_peer(script) as url:
        answer = stow.store(dicom_file, stow_place(url, token_file=str(token)))
    assert answer.verdict is Verdict.DELIVERED
    assert script.headers[0]["authorization"] == "Bearer good"
    assert script.headers[0]["content-type"].startswith('multipart/related; type="application/dicom"')
    head, _, rest = script.bodies[0].partition(b"\r\n\r\n")
    assert head.count(b"Content-Type: application/dicom") == 1
    assert rest.startswith(dicom_file.read_bytes())


def test_stow_answers_of_a_real_server_are_judged(dicom_file: Path) -> None:
    duplicate = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0111]}}]}}
    script = StowScript(answers=[(503, {}), (409, duplicate), (400, b"<html>"), (401, {}), (200, {})])
    with stow_peer(script) as url:
        found = [stow.store(dicom_file, stow_place(url)).verdict for _ in range(5)]
    assert found == [
        Verdict.TRANSIENT,
        Verdict.DELIVERED,
        Verdict.PERMANENT,
        Verdict.PERMANENT,
        Verdict.DELIVERED,
    ]


def test_stow_to_nobody_and_without_its_token_file(dicom_file: Path, free_port: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    answer = stow.store(dicom_file, stow_place(url))
    assert (answer.verdict, answer.unreachable) == (Verdict.TRANSIENT, True)
    assert stow.store(dicom_file, stow_place(url, token_file="/no/such/token")).verdict is Verdict.PERMANENT
    assert not echo(stow_place(url), Settings()).ok


# --- echo -----------------------------------------------------------------------------------------------------------


def test_echo_by_each_protocol(free_port: Callable[[], int], tmp_path: Path) -> None:
    with scp(ScpScript()) as port:
        assert echo(dimse_place(port), Settings()).ok
        wrong = echo(dimse_place(port, ae_title="OTHER"), Settings())
    assert not wrong.ok
    assert "PACS" not in wrong.sentence.replace("pacs", "")
    assert not echo(dimse_place(free_port()), Settings()).ok
    token = tmp_path / "token"
    token.write_text("bad")
    with stow_peer(StowScript()) as url:
        good = echo(stow_place(url), Settings())
        bad = echo(stow_place(url, token_file=str(token)), Settings())
    assert (good.ok, "answers" in good.sentence, good.seconds > 0) == (True, True, True)
    assert (bad.ok, "token" in bad.sentence) == (False, True)


# --- one try with its row -------------------------------------------------------------------------------------------


class Bench:
    """An index with one stack of two results that wait for the destination ``pacs``."""

    def __init__(self, home: Path, port: int) -> None:
        self.settings = Settings(home=home, destinations=home / "destinations.toml")
        (home / "destinations.toml").write_text(
            f'[[destination]]\nname="pacs"\nprotocol="dimse"\nae_title="PACS"\nhost="127.0.0.1"\nport={port}\nsources=["*"]\n'
        )
        self.db = Database(f"sqlite:///{home / 'index.sqlite'}")
        Base.metadata.create_all(self.db.engine)
        self.archive = Archive(home)
        with self.db.write() as session:
            session.add(Study(study_uid="1.2.3", first_received_at=1, last_received_at=1, attributes={}))
            session.flush()
            session.add(Sender(study_uid="1.2.3", sop_uid="1", source="local"))
            stack = StackVersion(
                study_uid="1.2.3", key="k", version=1, state="delivering", series_uids=[], instance_uids=["1"],
                digest="d", completeness={}, created_at=1, changed_at=1,
            )  # fmt: skip
            session.add(stack)
            session.flush()
            self.stack_id = stack.id
            for phase, uid in ((1, "2.25.1"), (2, "2.25.2")):
                incoming = self.archive.incoming()
                incoming.write(write_object(home / "x.dcm", uid).read_bytes())
                key = self.archive.keep(incoming)
                session.add(
                    Result(sop_uid=uid, stack_version_id=stack.id, kind="seg", phase=phase, key=key, created_at=1)
                )
            session.flush()
            offer(session, stack, self.settings)

    def attempt(self, delivery_id: int, number: int | None = None) -> Delivery:
        """Make a try, by default the next one."""
        attempt(self.db, self.archive, self.settings, delivery_id, number or self.row(delivery_id).attempts + 1)
        return self.row(delivery_id)

    def row(self, delivery_id: int) -> Delivery:
        with self.db.read() as session:
            return session.get_one(Delivery, delivery_id)

    def change(self, delivery_id: int, **values: object) -> None:
        with self.db.write() as session:
            row = session.get_one(Delivery, delivery_id)
            for name, value in values.items():
                setattr(row, name, value)

    def due(self) -> list[int]:
        with self.db.read() as session:
            return [row.id for row in due(session, time.time())]

    def state(self) -> str:
        with self.db.read() as session:
            return session.get_one(StackVersion, self.stack_id).state

    def history(self) -> list[str]:
        with self.db.read() as session:
            return list(session.scalars(select(History.reason).order_by(History.id)))


@pytest.fixture
def bench(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[tuple[Bench, int]]:
    port = free_port()
    made = Bench(tmp_path, port)
    yield made, port
    made.db.close()


def test_the_last_delivery_of_a_stack_ends_it(bench: tuple[Bench, int]) -> None:
    made, port = bench
    script = ScpScript()
    first, second = made.due()
    with scp(script, port=port):
        assert made.attempt(first).state == "delivered"
        assert made.state() == "delivering"
        assert made.attempt(second).state == "delivered"
    assert made.state() == "done"
    assert made.due() == []
    assert script.received == ["2.25.1", "2.25.2"]
    assert sum("stored" in line for line in made.history()) == 2


def test_a_booked_try_that_runs_again_sends_nothing(bench: tuple[Bench, int]) -> None:
    made, port = bench
    script = ScpScript(statuses=[0xA700, 0])
    first, second = made.due()
    with scp(script, port=port):
        waiting = made.attempt(first)
        assert (waiting.state, waiting.attempts) == ("waiting", 1)
        assert made.attempt(first, 1).attempts == 1  # the job of a try that was booked before a crash
        made.attempt(second)
        made.attempt(second, 1)
    assert script.received == ["2.25.1", "2.25.2"]


def test_a_try_that_died_after_sending_is_sent_again_and_counted_once(bench: tuple[Bench, int]) -> None:
    made, port = bench
    script = ScpScript(statuses=[0x0111])
    first, _ = made.due()
    made.change(first, state="sending", attempts=1, next_at=time.time() + 900)  # as kill -9 leaves it
    with scp(script, port=port):
        row = made.attempt(first, 1)
    assert (row.state, row.attempts) == ("delivered", 1)


def test_the_history_names_a_report_by_its_kind_and_a_mask_by_its_phase(bench: tuple[Bench, int]) -> None:
    made, port = bench
    first, second = made.due()
    with made.db.write() as session:
        report = session.get_one(Result, "2.25.2")
        report.kind, report.phase = "sr", 0
    with scp(ScpScript(), port=port):
        made.attempt(first)
        made.attempt(second)
    assert [line.split(", ")[1] for line in made.history() if "try" in line] == ["phase 1", "SR"]


def test_an_outage_backs_off_for_the_whole_destination_and_drains_at_once(bench: tuple[Bench, int]) -> None:
    made, port = bench
    first, second = made.due()
    waits = []
    for number in range(1, 11):
        made.change(first, next_at=0.0)
        row = made.attempt(first)
        assert (row.state, row.attempts) == ("waiting", number)
        waits.append(row.next_at - row.changed_at)
    assert [round(wait) for wait in waits] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert made.due() == []  # the other one waits with it, untried
    assert made.row(second).attempts == 0
    assert len(made.history()) == 1  # an outage is one line
    with scp(ScpScript(), port=port):
        made.change(first, next_at=0.0)
        assert made.attempt(first).state == "delivered"
        assert made.due() == [second]
        made.attempt(second)
    assert made.state() == "done"


def test_a_try_that_was_handed_out_before_its_destination_fell_silent_is_made(bench: tuple[Bench, int]) -> None:
    """Its job has the name of this try: were it to end without one, no later job could ever be started for it."""
    made, _ = bench
    first, second = made.due()
    made.attempt(first)
    assert made.row(second).next_at > time.time()  # postponed with the destination
    row = made.attempt(second, 1)
    assert (row.state, row.attempts) == ("waiting", 1)


def test_a_rejection_is_shown_slowed_down_and_never_lost(bench: tuple[Bench, int]) -> None:
    made, port = bench
    first, second = made.due()
    with scp(ScpScript(), port=port, require_calling="SOMEONE"):
        waits = []
        for _ in range(8):
            made.change(first, next_at=0.0)
            row = made.attempt(first)
            waits.append(round(row.next_at - row.changed_at))
    assert row.state == "rejected"
    assert "AE title" in row.last_answer
    assert waits == [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]
    assert made.state() == "delivering"
    assert made.due() == [second]
    with scp(ScpScript(), port=port):  # mended
        made.change(first, next_at=0.0)
        assert made.attempt(first).state == "delivered"


def test_a_rejection_after_a_long_outage_starts_with_the_short_wait(bench: tuple[Bench, int]) -> None:
    made, port = bench
    first, _ = made.due()
    made.change(first, attempts=40)
    with scp(ScpScript(statuses=[0xC000]), port=port):
        row = made.attempt(first)
    assert round(row.next_at - row.changed_at) == 600


def test_what_was_withdrawn_or_deleted_is_not_sent(bench: tuple[Bench, int]) -> None:
    made, port = bench
    script = ScpScript()
    first, second = made.due()
    made.change(first, state="withdrawn")
    with made.db.write() as session:
        session.delete(session.get_one(Delivery, second))
    with scp(script, port=port):
        attempt(made.db, made.archive, made.settings, first, 1)
        attempt(made.db, made.archive, made.settings, second, 1)
    assert script.received == []


def test_a_destination_that_left_the_file_is_a_rejection_and_a_lost_file_is_ours(bench: tuple[Bench, int]) -> None:
    made, _ = bench
    first, second = made.due()
    made.change(first, destination="gone")
    assert made.attempt(first).state == "rejected"
    with made.db.read() as session:
        made.archive.path(session.get_one(Result, "2.25.2").key).unlink()
    row = made.attempt(second)
    assert (row.state, "our own failure" in row.last_answer) == ("waiting", True)
    with pytest.raises(NotFound, match="pacs"):
        destination_named(made.settings, "gone")
