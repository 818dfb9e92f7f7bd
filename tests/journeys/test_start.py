"""How the gateway starts and refuses to start, as an operator sees it."""

import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.builders import Exam, write
from tests.conftest import ROOT
from tests.journeys.running import RunningGateway, storescu, until

TOKENS = "ward sender 0123456789abcdef-ward\nadmin operator 0123456789abcdef-admin\n"
WITHOUT_TORCH = """
import sys
class Blocked:
    names = {"torch", "lightning_fabric", "onnx", "onnxscript", "tensorboard", "training", "export"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not part of the gateway's installation")
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def tokens(tmp_path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    path.chmod(0o600)
    return path


def refused(running: RunningGateway, **settings: object) -> str:
    """Start a gateway that must refuse, and return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=ROOT,
        env=running.environment(**settings),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr.decode()


def test_off_loopback_it_names_every_setting_that_is_missing(gateway):
    said = refused(gateway(), http_host="0.0.0.0", dicom_host="0.0.0.0")
    for setting in ("SEGLOOP_TOKENS", "SEGLOOP_ALLOWED_AE_TITLES", "SEGLOOP_TLS_CERTIFICATE"):
        assert setting in said


def test_a_proxy_on_loopback_is_guarded_too(gateway):
    assert "SEGLOOP_TOKENS" in refused(gateway(), tls_terminated_by_proxy=True)


def test_a_busy_port_is_one_sentence_with_the_setting(gateway):
    first = gateway().start()
    said = refused(gateway(), http_port=first.http_port)
    assert "SEGLOOP_HTTP_PORT" in said
    assert len(said.strip().splitlines()) == 1


def test_a_second_gateway_on_one_home_does_not_start(gateway):
    first = gateway().start()
    second = gateway()
    second.home = first.home
    said = refused(second)
    assert "SEGLOOP_HOME" in said
    assert len(said.strip().splitlines()) == 1


def test_a_wrong_setting_is_named(gateway):
    assert "SEGLOOP_BACKEND" in refused(gateway(), backend="abacus")


def test_with_tokens_strangers_are_turned_away_by_both_doors(gateway, tokens, tmp_path):
    running = gateway(tls_terminated_by_proxy=True, tokens=tokens, allowed_ae_titles="SCANNER").start()
    images = list(write(Exam("guarded").short_axis(), tmp_path).values())
    assert not storescu(running.dicom_port, images, calling="STRANGER")
    assert storescu(running.dicom_port, images, calling="SCANNER")
    studies = f"{running.url}/api/studies"
    assert httpx.get(studies, timeout=10).status_code == 401
    assert httpx.get(studies, headers={"Authorization": "Bearer wrong"}, timeout=10).status_code == 401
    admin = {"Authorization": "Bearer 0123456789abcdef-admin"}
    assert [study["received"] for study in httpx.get(studies, headers=admin, timeout=10).json()] == [18]
    ward = {"Authorization": "Bearer 0123456789abcdef-ward"}
    study_uid = Exam("guarded").study_uid
    assert httpx.delete(f"{studies}/{study_uid}", headers=ward, timeout=10).status_code == 403


def test_nothing_listens_but_what_the_settings_say(gateway):
    running = gateway().start()
    assert running.process is not None
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process(running.process.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", running.http_port), ("127.0.0.1", running.dicom_port)}


def test_gateway_and_client_start_without_torch(gateway, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT_TORCH)
    running = gateway()
    environment = running.environment() | {"PYTHONPATH": str(tmp_path / "site")}
    blocked = subprocess.run([sys.executable, "-c", "import torch"], env=environment, capture_output=True, timeout=60)
    assert b"not part of the gateway" in blocked.stderr
    with running.log.open("ab") as log:
        running.process = subprocess.Popen([sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stderr=log)
    until(running.alive, 60, what="the gateway did not start without torch")
    assert httpx.get(f"{running.url}/readyz", timeout=60).json()["ready"]
    status = subprocess.run(
        [sys.executable, "-m", "client", "status", "--json"],
        cwd=ROOT,
        env=environment | {"SEGLOOP_URL": f"{running.url}/dicom-web"},
        capture_output=True,
        timeout=60,
    )
    assert status.returncode == 0, status.stderr


def test_a_full_disk_accepts_nothing_and_says_so(gateway, tmp_path):
    running = gateway(min_free_gb=10**6).start()
    images = list(write(Exam("full").short_axis(), tmp_path).values())
    assert not storescu(running.dicom_port, images)
    assert httpx.get(f"{running.url}/readyz", timeout=60).status_code == 503
    stow = httpx.post(
        f"{running.url}/dicom-web/studies",
        content=b"--b\r\nContent-Type: application/dicom\r\n\r\n" + images[0].read_bytes() + b"\r\n--b--\r\n",
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
        timeout=30,
    )
    assert stow.status_code == 503
    assert httpx.get(f"{running.url}/api/studies", timeout=10).json() == []
    assert not list((running.home / "archive").rglob("*.dcm"))
