"""The Dockerfile and the compose file: what Docker Compose makes of them, and that a gateway set up so starts."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, SYSTEM_PATH
from tests.interop.composed import DOCKERFILE, EXAMPLES, PASSWORD, Composed, resolve

Program = Callable[[str], str]
NEEDED = {
    "SEGLOOP_TOKENS": ("SEGLOOP_TOKENS",),
    "SEGLOOP_ALLOWED_AE_TITLES": ("SEGLOOP_ALLOWED_AE_TITLES",),
    "SEGLOOP_TLS_CERTIFICATE": ("SEGLOOP_TLS_CERTIFICATE", "SEGLOOP_TLS_KEY"),
}


@pytest.fixture
def composed(tmp_path: Path, program: Program) -> Iterator[Composed]:
    found = Composed(tmp_path / "segloop", program)
    yield found
    found.stop()


# --- the image


def instructions() -> list[str]:
    """The Dockerfile's instructions, each on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def copied() -> list[str]:
    words = [line.split()[1:] for line in instructions() if line.startswith("COPY") and "--from" not in line]
    return [source for *sources, _ in words for source in sources]


def test_the_image_is_built_from_what_is_here_and_gets_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_the_image_holds_the_gateway_pinned_and_runs_it_as_nobody_special() -> None:
    (install,) = [line for line in instructions() if "pip install" in line]
    assert "--constraint constraints/all.txt" in install
    assert "'.[gateway,cpu]'" in install
    stage = instructions()[[line.split()[-1] for line in instructions()].index("code") :]
    (user,) = [line.split()[1] for line in stage if line.startswith("USER")]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert 'CMD ["python", "-m", "serving"]' in stage
    assert not re.search(r"token|password|secret", " ".join(stage), re.IGNORECASE)


def test_an_image_with_weights_carries_their_terms_and_one_without_can_be_built() -> None:
    last = instructions()[[line.startswith("FROM code AS") for line in instructions()].index(True) :]
    assert [line.split()[1] for line in last if line.startswith("COPY")] == ["model_repository"]
    assert any("CC-BY-NC-SA-4.0" in line for line in last)
    assert all((folder / "TERMS.md").is_file() for folder in (ROOT / "model_repository").iterdir() if folder.is_dir())
    before = instructions()[: -len(last)]
    assert not any("model_repository" in line for line in before)


# --- the compose file


def test_compose_publishes_only_what_is_needed_and_sets_orthanc_up(composed: Composed) -> None:
    assert composed.published() == {"gateway": ["8443->8080"], "orthanc": ["4242->4242", "127.0.0.1:8042->8042"]}
    assert composed.services["orthanc"]["environment"]["TCP_NODELAY"] == "1"
    assert composed.document["networks"]["inside"] == {"internal": True}
    gateway = composed.services["gateway"]
    assert gateway["read_only"]
    assert gateway["cap_drop"] == ["ALL"]
    assert "/var/lib/segloop" in {target for _, target, mode in composed.mounts("gateway") if mode == "rw"}
    assert all(mode == "ro" for _, target, mode in composed.mounts("gateway") if target != "/var/lib/segloop")


def test_no_secret_stands_in_the_examples_and_compose_asks_for_the_password(tmp_path: Path, program: Program) -> None:
    assert PASSWORD not in "".join(path.read_text() for path in EXAMPLES.iterdir())
    folder = tmp_path / "unfilled"
    folder.mkdir()
    (folder / "compose.yaml").write_text((EXAMPLES / "compose.yaml").read_text())
    (folder / ".env").write_text((EXAMPLES / "example.env").read_text())
    with pytest.raises(AssertionError, match=r"set it in \.env"):
        resolve(folder, program)


@pytest.mark.usefixtures("private_network")
def test_a_gateway_with_compose_s_environment_and_files_starts_and_is_healthy(composed: Composed) -> None:
    gateway = composed.start("gateway")
    composed.answers(gateway, lambda: composed.ask("/readyz"))
    assert composed.ask("/", "sender").status_code == 403
    (check,) = [line for line in instructions() if line.startswith("HEALTHCHECK")]
    words = re.findall(r'"([^"]+)"', check.split("CMD")[1])
    asked = composed.contained("gateway")
    asked.folder, asked.command = composed.folder / "health", [gateway.command[0], *words[1:]]
    assert asked.run() == (0, "")
    assert gateway.stop() in (0, -15)
    code, printed = asked.run()
    assert (code, "https://127.0.0.1:8080/livez" in printed) == (1, True)


@pytest.mark.usefixtures("private_network")
@pytest.mark.parametrize("setting", NEEDED)
def test_without_one_of_its_settings_the_gateway_does_not_start_and_names_it(composed: Composed, setting: str) -> None:
    code, printed = composed.contained("gateway", without=setting).run()
    assert code == 2
    assert all(name in printed for name in NEEDED[setting])


@pytest.mark.usefixtures("private_network")
def test_the_bare_image_does_not_start_and_names_everything(composed: Composed) -> None:
    bare = composed.contained("gateway")
    bare.environment = {name: value for name, value in bare.environment.items() if name.endswith(("HOST", "HOME"))}
    code, printed = bare.run()
    assert code == 2
    assert all(name in printed for names in NEEDED.values() for name in names)


# --- without containers


def test_systemd_accepts_the_unit(program: Program, tmp_path: Path) -> None:
    unit = tmp_path / "segloop.service"
    text = (EXAMPLES / "segloop.service").read_text()
    unit.write_text(text.replace("/opt/segloop/.venv/bin/python", "/bin/true"))  # which is not there where tests run
    done = subprocess.run(
        [program("systemd-analyze"), "verify", str(unit)], capture_output=True, check=False, env={"PATH": SYSTEM_PATH}
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_the_unit_s_environment_file_sets_what_the_guard_asks_for() -> None:
    lines = (EXAMPLES / "segloop.env").read_text().splitlines()
    named = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert {"SEGLOOP_TOKENS", "SEGLOOP_ALLOWED_AE_TITLES", "SEGLOOP_DESTINATIONS"} <= set(named)
    assert named["SEGLOOP_TLS_TERMINATED_BY_PROXY"] == "true"
