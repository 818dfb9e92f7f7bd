"""What does not allow a start is said in one sentence, with the setting to change."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.errors import ANSWERS, Broken, SegloopError, answer_to
from serving import durable
from serving.app import create_app
from serving.settings import Settings
from tests.conftest import ROOT


@pytest.mark.parametrize(
    "wrong",
    [
        {"ae_title": "HERZ\u00c4"},
        {"ae_title": "BACK\\SLASH"},
        {"ae_title": "SEVENTEEN-LETTERS"},
        {"ae_title": " "},
        {"http_port": 70000},
        {"dicom_port": -1},
        {"backend": "abacus"},
        {"max_instance_gb": 0},
    ],
)
def test_a_wrong_value_is_refused_by_its_setting(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "code", "named"),
    [
        ({"database_url": "no address"}, 2, "DATABASE_URL"),
        ({"database_url": "nosuch://host/x"}, 2, "DATABASE_URL"),
        ({"database_url": "sqlite:////no/such/folder/index.sqlite"}, 6, "DATABASE_URL"),
        ({"home": "/proc/no/home"}, 2, "SEGLOOP_HOME"),
        ({"rules": "/no/rules.toml"}, 2, "/no/rules.toml"),
        ({"destinations": "/no/destinations.toml"}, 2, "DESTINATIONS"),
        ({"dicom_tls": True}, 2, "SEGLOOP_TLS_CERTIFICATE"),
    ],
)
def test_what_does_not_allow_a_start_has_a_sentence_and_an_exit_code(
    tmp_path: Path, wrong: dict[str, object], code: int, named: str
) -> None:
    with pytest.raises(SegloopError, match=named) as refused:
        create_app(Settings(**{"home": tmp_path, "model_repository": tmp_path, **wrong}))  # type: ignore[arg-type]
    assert answer_to(refused.value).exit == code
    assert "\n" not in refused.value.sentence


def test_a_start_that_fails_for_a_reason_of_ours_ends_with_its_code(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    (tmp_path / "dbos.sqlite").write_bytes(b"no database" * 100)
    settings = {"HOME": tmp_path, "MODEL_REPOSITORY": tmp_path, "HTTP_PORT": free_port(), "DICOM_PORT": free_port()}
    named = {f"SEGLOOP_{name}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "serving"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | named, capture_output=True, timeout=60)
    assert ended.returncode == ANSWERS[Broken].exit


def test_a_home_that_is_in_use_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    durable.claim(tmp_path)
    try:
        with pytest.raises(SegloopError, match="SEGLOOP_HOME"):
            create_app(Settings(home=tmp_path, model_repository=tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["executor.lock"]
    finally:
        os.close(durable._lock)
