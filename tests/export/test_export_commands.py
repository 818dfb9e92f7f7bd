"""``python -m export``: what people type, what they get, and which exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.model_repository import serving_version
from export.__main__ import app, main


def test_from_an_export_to_a_version_that_serves(exported: Path, tmp_path: Path) -> None:
    where = ["--repository", str(tmp_path), "--who", "tester"]
    command = CliRunner()
    assert command.invoke(app, ["publish", str(exported), "--why", "new", *where]).exit_code == 0
    assert command.invoke(app, ["promote", "cardiac", "1", "--why", "better", *where]).exit_code == 0
    assert serving_version(tmp_path, "cardiac") == 1
    listed = command.invoke(app, ["list", "--repository", str(tmp_path), "--json"])
    (model,) = json.loads(listed.stdout)["models"]
    assert (model["name"], model["version"], model["state"]) == ("cardiac", 1, "serving")


def test_the_repository_is_a_setting(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGLOOP_MODEL_REPOSITORY", str(tmp_path))
    assert CliRunner().invoke(app, ["publish", str(exported), "--why", "new"]).exit_code == 0
    assert (tmp_path / "cardiac" / "1").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("promote", "cardiac", "1", "--why", "w", "--repository", "none"), 5),
        (("publish", "none", "--why", "w", "--repository", "none"), 5),
        (("onnx", "--checkpoint", "none", "--out", "none"), 5),
        (("promote", "cardiac"), 2),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_only_the_export_itself_needs_torch() -> None:
    code = "import sys; import export.__main__, export.repository; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
