"""The command line: exit codes, what goes to stdout and what to stderr."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client.__main__ import main
from tests.client.stand_in import Script, gateway
from tests.serving.deliver_peers import ScpScript, scp, write_object

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
Output = pytest.CaptureFixture[str]


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_object(folder / "1.dcm", "2.25.1")
    write_object(folder / "2.dcm", "2.25.2")
    (folder / "[notes].txt").write_text("no DICOM")
    return folder


def test_send_and_wait_prints_one_document_on_stdout_and_saves_the_answer(
    exam: Path, tmp_path: Path, capsys: Output
) -> None:
    with gateway(Script()) as url:
        assert main(["send", str(exam), "--to", url, "--wait", "--out", str(tmp_path / "out"), "--json"]) == 0
    output = capsys.readouterr()
    (study,) = json.loads(output.out)["studies"]
    assert (study["study_uid"], study["state"]) == ("1.2.3", "done")
    assert [stack["results"] for stack in study["stacks"]] == [[], ["2.25.1", "2.25.2", "2.25.3"]]
    assert study["ignored"] == [{"series_uid": "1.2.3.6", "reason": "no images"}]
    assert "[notes].txt" in output.err
    assert "EF 58 %" in output.err or "EF 59 %" in output.err
    for name in ("seg-1.dcm", "sr.dcm"):
        assert (tmp_path / "out" / "1.2.3" / "cardiac-1" / name).is_file()


def test_people_read_the_summary_on_stdout(exam: Path, capsys: Output) -> None:
    with gateway(Script(final="held", reason="the mask is [odd]")) as url:
        assert main(["send", str(exam), "--to", url, "--wait"]) == 0
    output = capsys.readouterr()
    assert "the mask is [odd]" in output.out
    assert "release or dismiss" in output.out
    assert "2 of 2 files stored" in output.err


@pytest.mark.parametrize(("final", "code"), [("done", 0), ("not_processed", 0), ("refused", 4), ("failed", 1)])
def test_the_worst_stack_decides_the_exit_code(exam: Path, final: str, code: int) -> None:
    with gateway(Script(final=final, steps=[])) as url:
        assert main(["send", str(exam), "--to", url, "--wait", "--json"]) == code


def test_a_refused_file_is_exit_4_and_a_full_disk_exit_1(exam: Path, capsys: Output) -> None:
    with gateway(Script(refuse={"2.25.2": 0xA900}, steps=[])) as url:
        assert main(["send", str(exam), "--to", url]) == 4
    assert "2.dcm" in capsys.readouterr().err
    with gateway(Script(refuse={"2.25.2": 0xA700}, steps=[])) as url:
        assert main(["send", str(exam), "--to", url]) == 1


def test_sending_by_c_store_waits_by_the_api(exam: Path, capsys: Output) -> None:
    script = Script(studies={"1.2.3": []})
    with scp(ScpScript()) as port, gateway(script) as url:
        to = f"PACS@127.0.0.1:{port}"
        assert main(["send", str(exam), "--to", to, "--api", url, "--wait", "--json"]) == 0
    assert script.completed == ["1.2.3"]
    assert json.loads(capsys.readouterr().out)["studies"][0]["state"] == "done"


def test_c_store_without_a_gateways_api_just_sends(
    exam: Path, capsys: Output, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGLOOP_URL", f"http://127.0.0.1:{free_port()}/dicom-web")
    with scp(ScpScript()) as port:
        assert main(["send", str(exam), "--to", f"PACS@127.0.0.1:{port}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["studies"] == [
        {"study_uid": "1.2.3", "state": "sent", "stacks": [], "ignored": []}
    ]


def test_nobody_there_is_exit_6_and_one_sentence(exam: Path, capsys: Output, free_port: Callable[[], int]) -> None:
    address = f"http://127.0.0.1:{free_port()}/dicom-web"
    assert main(["send", str(exam), "--to", address, "--wait"]) == 6
    output = capsys.readouterr()
    assert output.out == ""
    assert "python -m serving" in output.err
    assert "Traceback" not in output.err
    assert main(["status", "--api", address, "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["code"] == "gateway_unreachable"


@pytest.mark.parametrize(
    "arguments",
    [
        ["send"],
        ["send", "/no/such/path"],
        ["send", ".", "--to", "nonsense"],
        ["send", ".", "--out", "x"],
        ["send", ".", "--token-file", "/no/such/token"],
        ["retry"],
        ["retry", "1.2.3", "--all"],
        ["delete", "1.2.3"],
        ["status", "../x"],
        ["fly"],
        ["sample", "cardiac", "x", "--slices", "1"],
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_settings_name_the_gateway_and_the_token(
    exam: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    (tmp_path / "token").write_text("secret\n")
    script = Script(token="secret", studies={"1.2.3": []}, steps=[])
    with gateway(script) as url:
        monkeypatch.setenv("SEGLOOP_URL", url)
        assert main(["status"]) == 2
        assert "--token-file" in capsys.readouterr().err
        monkeypatch.setenv("SEGLOOP_TOKEN_FILE", str(tmp_path / "token"))
        assert main(["status"]) == 0
        assert "1.2.3" in capsys.readouterr().out
        assert main(["status", "1.2.3"]) == 0
        assert "cardiac" in capsys.readouterr().out
        assert main(["status", "1.2.3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["received"] == 3
        assert main(["status", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["studies"][0]["reason"] == "[why]"
        assert main(["status", "9.9"]) == 4


def test_retry_of_one_and_of_all_and_delete(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(final="delivering", studies={"1.2": [], "1.3": []})
    with gateway(script) as url:
        assert main(["retry", "1.2", "--api", url]) == 0
        assert main(["retry", "--all", "--api", url, "--json"]) == 0
        assert main(["delete", "1.2", "--yes", "--api", url]) == 0
        assert main(["delete", "9.9", "--yes", "--api", url]) == 4
    assert script.retried == ["1.2", "1.2", "1.3"]
    assert script.deleted == ["1.2", "9.9"]
    assert '"stacks": 2' in capsys.readouterr().out


def test_echo_says_whether_a_destination_is_there(capsys: Output) -> None:
    with gateway(Script()) as url:
        assert main(["echo", "pacs", "--api", url]) == 0
        assert "pacs: [answers]" in capsys.readouterr().out
        assert main(["echo", "other", "--api", url, "--json"]) == 6
        assert json.loads(capsys.readouterr().out)["ok"] is False
        assert main(["echo", "nobody", "--api", url]) == 4


def test_a_sample_is_written_and_can_be_sent(tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "cine"
    assert main(["sample", "cardiac", str(folder), "--slices", "4", "--phases", "2", "--split-series", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (len(made["images"]), len(made["masks"])) == (8, 2)
    script = Script(steps=[])
    with gateway(script) as url:
        assert main(["send", str(folder / "images"), "--to", url]) == 0
    assert len(script.stored) == 8
    assert list(script.studies) == [made["study_uid"]]
