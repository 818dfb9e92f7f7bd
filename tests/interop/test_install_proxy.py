"""The example files of nginx and Caddy: a study streams through them, and people sign in behind them."""

import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from client.samples.cardiac import Sample, write_cardiac
from tests.interop.composed import EXAMPLES, TOKENS, certificate
from tests.interop.contained import Contained
from tests.journeys.running import RunningGateway, until

pytestmark = pytest.mark.usefixtures("private_network")
HOST = "segloop.example"
SITE = {
    "nginx": ("nginx.conf", "/etc/nginx/sites-enabled/segloop"),
    "caddy": ("Caddyfile", "/etc/caddy/Caddyfile"),
}
COMMAND = {
    "nginx": ("nginx", "-g", "daemon off;"),
    "caddy": ("caddy", "run", "--config", "/etc/caddy/Caddyfile"),
}
CHECK = {
    "nginx": ("nginx", "-t"),
    "caddy": ("caddy", "validate", "--config", "/etc/caddy/Caddyfile"),
}


class Proxied:
    """A gateway behind a proxy, and a client that reaches it by the proxy's name over TLS."""

    def __init__(self, folder: Path, kind: str, gateway: RunningGateway) -> None:
        self.gateway, self.kind = gateway, kind
        certificates = folder / "certificates"
        certificates.mkdir()
        certificate(certificates, HOST)
        self.trusted = ssl.create_default_context(cafile=certificates / "certificate.pem")
        text, count = re.subn(
            r"127\.0\.0\.1:8080", f"127.0.0.1:{gateway.http_port}", (EXAMPLES / SITE[kind][0]).read_text()
        )
        assert count == 1
        (folder / "site").write_text(text)
        (folder / "state").mkdir()
        mounts = [(folder / "site", SITE[kind][1], "ro"), (certificates, "/etc/ssl/segloop", "ro")]
        mounts += [(folder / "state", f"/var/{place}/{kind}", "rw") for place in ("lib", "log")]
        variables = {"HOME": f"/var/lib/{kind}"}
        self.program = Contained(folder / "proxy", [HOST], COMMAND[kind], mounts, variables)
        self.check = Contained(folder / "check", [HOST], CHECK[kind], mounts, variables)

    def client(self, role: str = "") -> httpx.Client:
        """A client; with a role it shows that role's token."""
        headers = {"Host": HOST} | ({"Authorization": f"Bearer {TOKENS[role]}"} if role else {})
        return httpx.Client(
            base_url="https://127.0.0.1", verify=self.trusted, headers=headers, timeout=60, trust_env=False
        )

    def ask(self, method: str, path: str, role: str = "", **more: object) -> httpx.Response:
        """Send one request by the proxy's name."""
        with self.client(role) as client:
            return client.request(method, path, extensions={"sni_hostname": HOST}, **more)  # type: ignore[arg-type]

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/livez").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]
) -> Iterator[Proxied]:
    program(request.param)
    tmp_path = tmp_path_factory.mktemp(request.param)
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{role} {role} {token}\n" for role, token in TOKENS.items()))
    tokens.chmod(0o600)
    guarded = {"tokens": tokens, "allowed_ae_titles": "PACS", "tls_terminated_by_proxy": "true"}
    running = RunningGateway(tmp_path / "home", quiet_period_s=60, **guarded)
    found = Proxied(tmp_path, request.param, running)
    running.start()
    code, printed = found.check.run()
    assert code == 0, printed
    found.program.start()
    until(found.answers, 30, what=f"the proxy does not answer; see {found.program.log}")
    yield found
    found.program.stop()
    running.stop()


def body(sample: Sample, pause: Callable[[], None]) -> Iterator[bytes]:
    """A STOW-RS body in chunks; ``pause`` is called before its last part."""
    for number, path in enumerate(sample.paths):
        if number == len(sample.paths) - 1:
            pause()
        yield b"--b\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n"
    yield b"--b--\r\n"


def test_a_study_streams_through_the_proxy_and_addresses_are_the_proxy_s(proxied: Proxied, tmp_path: Path) -> None:
    sample = write_cardiac(tmp_path / "sample", slices=8, phases=4)

    def here_before_the_last_part() -> None:
        kept = [proxied.gateway.home / name for name in ("incoming", "archive")]
        until(
            lambda: any(path.is_file() for folder in kept for path in folder.rglob("*")),
            30,
            what="the proxy keeps the body to itself until it is whole",
        )

    answer = proxied.ask(
        "POST",
        "/dicom-web/studies",
        "sender",
        content=body(sample, here_before_the_last_part),
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
    )
    assert answer.status_code == 200, answer.text
    stored = answer.json()["00081199"]["Value"]
    assert len(stored) == len(sample.paths)
    assert all(one["00081190"]["Value"][0].startswith(f"https://{HOST}/dicom-web/") for one in stored)
    found = proxied.ask("GET", f"/dicom-web/studies/{sample.study_uid}/metadata", "reader")
    assert len(found.json()) == len(sample.paths)


def test_people_sign_in_behind_the_proxy_and_strangers_do_not(proxied: Proxied) -> None:
    assert proxied.ask("GET", "/api/studies").status_code == 401
    origin = {"Origin": f"https://{HOST}"}
    signed = proxied.ask("POST", "/sign-in", data={"token": TOKENS["operator"], "next": "/"}, headers=origin)
    assert (signed.status_code, signed.headers["location"]) == (303, "/")
    cookie = signed.headers["set-cookie"]
    assert cookie.startswith("__Host-segloop=")
    assert "Secure" in cookie
    page = proxied.ask("GET", "/", headers={"Cookie": cookie.split(";")[0]})
    assert "Research use only" in page.text
    foreign = proxied.ask(
        "POST", "/sign-in", data={"token": TOKENS["operator"]}, headers={"Origin": "https://else.example"}
    )
    assert foreign.status_code == 403


def test_plain_http_leads_to_tls(proxied: Proxied) -> None:
    answer = httpx.get("http://127.0.0.1/system", headers={"Host": HOST}, trust_env=False)
    assert answer.status_code in (301, 308)
    assert answer.headers["location"] == f"https://{HOST}/system"
