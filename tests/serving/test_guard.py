"""Off loopback nothing starts unguarded, nothing is open that no rule names, and no foreign page drives anything."""

import itertools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.websockets import WebSocketDisconnect

from contracts.errors import Usage, answer_to
from serving import observe, pages
from serving.archive import Archive
from serving.engines.pool import EnginePool
from serving.guard import Guard, Identity
from serving.guard import sessions as sessions_module
from serving.guard.middleware import GuardMiddleware
from serving.guard.roles import is_public, may
from serving.guard.sessions import MOST_FAILURES, Failures, Sessions
from serving.guard.tokens import ROLES, SHORTEST, Tokens
from serving.pages.router import _own_path
from serving.pipeline.progress import Board
from serving.readiness import Readiness
from serving.settings import Settings
from tests.serving import synthetic_index

TOKENS = {role: f"{role}-{'0123456789abcdef' * 2}" for role in ROLES}
LOCAL = "http://127.0.0.1"
PROXIED = "https://segloop.example"


def write_tokens(folder: Path) -> Path:
    path = folder / "tokens"
    path.write_text("# who may what\n\n" + "".join(f"{role}1 {role} {token}\n" for role, token in TOKENS.items()))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [
        program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-subj", "/CN=localhost", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


# --- start


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(("tokens", "titles", "certified", "proxy"), list(itertools.product([False, True], repeat=4)))
def test_it_starts_only_with_all_that_its_place_demands(
    tmp_path: Path,
    certificate: tuple[Path, Path],
    host: str,
    tokens: bool,
    titles: bool,
    certified: bool,
    proxy: bool,
) -> None:
    settings = Settings(
        http_host=host,
        tokens=write_tokens(tmp_path) if tokens else None,
        allowed_ae_titles="SCANNER1" if titles else " , ",
        tls_certificate=certificate[0] if certified else None,
        tls_key=certificate[1] if certified else None,
        tls_terminated_by_proxy=proxy,
    )
    if (host == "127.0.0.1" and not proxy) or (tokens and titles and (certified or proxy)):
        Guard(settings).check_start()
        return
    with pytest.raises(Usage) as caught:
        Guard(settings).check_start()
    assert answer_to(caught.value).exit == 2
    said = caught.value.sentence
    assert ("SEGLOOP_TOKENS" in said) == (not tokens)
    assert ("SEGLOOP_ALLOWED_AE_TITLES" in said) == (not titles)
    assert ("SEGLOOP_TLS_CERTIFICATE" in said) == (not (certified or proxy))


def test_the_dicom_side_alone_beyond_loopback_is_guarded_too() -> None:
    with pytest.raises(Usage, match="SEGLOOP_TOKENS"):
        Guard(Settings(dicom_host="0.0.0.0")).check_start()


def test_certificate_and_key_must_exist_belong_together_and_be_readable(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    other = tmp_path / "other.pem"
    other.write_text("nonsense")
    for cert, key, word in (
        (certificate[0], None, "belong together"),
        (certificate[0], tmp_path / "none.pem", "SEGLOOP_TLS_KEY"),
        (tmp_path / "none.pem", certificate[1], "SEGLOOP_TLS_CERTIFICATE"),
        (certificate[0], other, "cannot be used together"),
    ):
        with pytest.raises(Usage, match=word):
            Guard(Settings(tls_certificate=cert, tls_key=key)).check_start()
    with pytest.raises(Usage, match="SEGLOOP_DICOM_TLS"):
        Guard(Settings(dicom_tls=True)).check_start()


def test_an_encrypted_key_is_refused_and_no_terminal_is_asked(
    tmp_path: Path, certificate: tuple[Path, Path], program: Callable[[str], str]
) -> None:
    locked = tmp_path / "locked.pem"
    command = [program("openssl"), "pkcs8", "-topk8", "-in", str(certificate[1]), "-out", str(locked)]
    subprocess.run([*command, "-passout", "pass:secret"], check=True, capture_output=True)
    with pytest.raises(Usage, match="cannot be used together"):
        Guard(Settings(tls_certificate=certificate[0], tls_key=locked)).check_start()


# --- the token file


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "tokens_empty"),
        ("# nothing\n", "tokens_empty"),
        ("anna reader\n", "tokens_malformed"),
        (f"anna king {'x' * 30}\n", "tokens_malformed"),
        (f"an/na reader {'x' * 30}\n", "tokens_malformed"),
        ("anna reader short\n", "tokens_weak"),
        (f"anna reader {'x' * 30}\nbert reader {'x' * 30}\n", "tokens_repeated"),
    ],
)
def test_a_bad_token_file_says_which_line_and_never_a_token(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Usage) as caught:
        Tokens.read(path)
    assert caught.value.code == code
    assert "xxx" not in caught.value.sentence


def test_a_token_file_that_every_user_may_read_is_refused(tmp_path: Path) -> None:
    path = write_tokens(tmp_path)
    path.chmod(0o644)
    with pytest.raises(Usage, match="chmod 600"):
        Tokens.read(path)
    with pytest.raises(Usage, match="cannot be read"):
        Tokens.read(tmp_path / "none")


@given(given_token=st.text(max_size=60))
def test_only_a_token_of_the_file_identifies(given_token: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    tokens = Tokens.read(write_tokens(folder))
    assert tokens.identify(given_token) is None or given_token in TOKENS.values()
    for role, token in TOKENS.items():
        assert tokens.identify(token) == Identity(f"{role}1", role, f"token:{role}1")
        assert tokens.identify(token + given_token) is None or not given_token
    assert len(next(iter(TOKENS.values()))) >= SHORTEST


# --- AE titles


@given(title=st.text("ABC 1", max_size=6))
def test_ae_titles_off_loopback_are_those_of_the_list(title: str) -> None:
    listed = Settings(http_host="0.0.0.0", allowed_ae_titles="A, B 1 ,CC")
    assert Guard(listed).ae_allowed(title) == (title.strip() in {"A", "B 1", "CC"})
    assert not Guard(Settings(http_host="0.0.0.0")).ae_allowed(title)
    assert Guard(Settings()).ae_allowed(title)


# --- the middleware


def build(folder: Path, settings: Settings) -> FastAPI:
    """The pages and the operator's routes, and one route that nobody thought of guarding."""
    db = synthetic_index.database(folder)
    synthetic_index.fill(db)
    guard = Guard(settings)
    guard.check_start()
    app = FastAPI(openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    archive, engines = Archive(folder), EnginePool(settings)
    readiness = Readiness(db, archive, engines, settings)
    app.include_router(pages.router(db, archive, engines, readiness, guard, settings, Board()))
    app.include_router(observe.router(db, archive, readiness, settings))
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH"]

    @app.api_route("/a/route/nobody/thought/of", methods=methods)
    def forgotten() -> dict[str, bool]:
        return {"reached": True}

    known = Depends(guard.require())

    @app.api_route("/{path:path}", methods=methods)
    def anything(path: str, caller: Identity = known) -> dict[str, str]:
        return {"path": path, "name": caller.name, "role": caller.role, "source": caller.source}

    app.add_middleware(GuardMiddleware, guard=guard)
    app.state.guard = guard
    return app


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("guarded")
    return build(
        folder,
        Settings(
            home=folder,
            tokens=write_tokens(folder),
            allowed_ae_titles="SCANNER1",
            tls_terminated_by_proxy=True,
        ),
    )


@pytest.fixture
def client(guarded: FastAPI) -> TestClient:
    for address in list(guarded.state.guard.failures._times):
        del guarded.state.guard.failures._times[address]
    return TestClient(guarded, base_url=PROXIED, follow_redirects=False)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("open")
    settings = Settings(home=folder, tokens=write_tokens(folder))
    return TestClient(build(folder, settings), base_url=LOCAL, follow_redirects=False)


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def every_route(app: FastAPI) -> set[tuple[str, str]]:
    """Return (method, path) of every route, those of included routers too, with parameters filled in."""
    found, waiting = set(), list(app.routes)
    while waiting:
        route = waiting.pop()
        waiting += getattr(getattr(route, "original_router", None), "routes", [])
        for method in getattr(route, "methods", None) or ():
            found.add((method, re.sub(r"{[^}]*}", "7", route.path.replace("{name}", "live.js"))))  # type: ignore[attr-defined]
    return found


def assert_guarded(app: FastAPI) -> None:
    client, public = TestClient(app, base_url=PROXIED, follow_redirects=False), set()
    for method, path in sorted(every_route(app)):
        answer = client.request(method, path)
        if is_public(method, path):
            public.add((method, path))
            assert answer.status_code in (200, 422), (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert public == {("GET", "/livez"), ("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/static/live.js")}


def test_every_route_but_the_few_public_ones_wants_an_identity(guarded: FastAPI) -> None:
    assert ("PATCH", "/a/route/nobody/thought/of") in every_route(guarded)
    assert_guarded(guarded)


def test_every_route_of_the_whole_gateway_wants_an_identity(tmp_path: Path) -> None:
    from serving.app import create_app

    settings = Settings(
        home=tmp_path / "home",
        model_repository=tmp_path,
        tokens=write_tokens(tmp_path),
        allowed_ae_titles="SCANNER1",
        tls_terminated_by_proxy=True,
    )
    app = create_app(settings)
    assert {("POST", "/dicom-web/studies"), ("DELETE", "/api/studies/7"), ("GET", "/metrics")} <= every_route(app)
    assert_guarded(app)


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {'f' * 40}"}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}]
)
def test_a_wrong_token_is_turned_away_even_where_no_token_would_do(
    client: TestClient, local: TestClient, headers: dict[str, str]
) -> None:
    for one in (client, local):
        answer = one.get("/api/studies", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "bad_token"


def test_a_token_gives_name_role_and_source(client: TestClient, local: TestClient) -> None:
    for one in (client, local):
        answer = one.get("/api/whatever", headers=bearer("reader")).json()
        assert (answer["name"], answer["role"], answer["source"]) == ("reader1", "reader", "token:reader1")
    assert local.get("/api/whatever").json()["source"] == "local"


PATHS = st.sampled_from(
    (
        "/",
        "/studies/1.2",
        "/system",
        "/api/studies",
        "/api/studies/1.2",
        "/api/studies/1.2/complete",
        "/api/x",
        "/api/stacks/3/release",
        "/api/stacks/3/tile.png",
        "/dicom-web/studies",
        "/dicom-web/studies/1.2/series",
        "/readyz",
        "/metrics",
        "/sign-out",
        "/a/route/nobody/thought/of",
        "/api/destinations/p/echo",
    )
)


@given(path=PATHS, method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]))
def test_an_operator_may_all_and_nobody_else_what_no_row_names(path: str, method: str) -> None:
    assert may("operator", method, path)
    assert not any(may(role, method, path) for role in ROLES[:-1] if method in ("PUT", "DELETE", "PATCH"))
    assert not any(may(role, method, path + "/new/thing") for role in ROLES[:-1] if method == "POST")
    assert not may("nobody", method, path)


@pytest.mark.parametrize(
    ("role", "method", "path", "allowed"),
    [
        ("sender", "POST", "/dicom-web/studies", True),
        ("sender", "POST", "/dicom-web/studies/1.2", True),
        ("sender", "POST", "/api/studies/1.2/complete", True),
        ("sender", "GET", "/api/studies/1.2", True),
        ("sender", "GET", "/api/studies/1.2/stacks/1/overlay.png", True),
        ("sender", "GET", "/api/stacks/1/overlay.png", False),
        ("sender", "GET", "/api/stacks/1/tile.png?phase=1&slice=1", False),
        ("reader", "GET", "/api/stacks/1/overlay.png", True),
        ("sender", "GET", "/api/studies", False),
        ("sender", "GET", "/dicom-web/studies", False),
        ("sender", "GET", "/", False),
        ("reader", "GET", "/dicom-web/studies", True),
        ("reader", "GET", "/", True),
        ("reader", "POST", "/dicom-web/studies", False),
        ("reader", "POST", "/api/stacks/1/release", False),
        ("reviewer", "POST", "/api/stacks/1/release", True),
        ("reviewer", "POST", "/api/studies/1.2/retry", True),
        ("reader", "POST", "/api/studies/1.2/retry", False),
        ("reviewer", "DELETE", "/api/studies/1.2", False),
        ("operator", "DELETE", "/api/studies/1.2", True),
    ],
)
def test_roles(client: TestClient, role: str, method: str, path: str, allowed: bool) -> None:
    answer = client.request(method, path, headers=bearer(role))
    assert (answer.status_code != 403) == allowed, answer.text


def test_a_handlers_own_demand_for_a_role_counts_too() -> None:
    app, guard = FastAPI(), Guard(Settings())
    reviewer = Depends(guard.require("reviewer"))

    @app.get("/reviewed")
    def reviewed(caller: Identity = reviewer) -> str:
        return caller.name

    assert TestClient(app).get("/reviewed").status_code == 401
    assert TestClient(GuardMiddleware(app, guard), base_url=LOCAL).get("/reviewed").json() == "local"


def test_every_answer_carries_the_safe_headers(client: TestClient) -> None:
    answers = [client.get(path, headers=bearer("operator")) for path in ("/", "/api/x", "/static/live.js", "/livez")]
    answers += [client.get("/api/x"), client.get("/", headers={"Accept": "text/html"}), client.post("/sign-in")]
    for answer in answers:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert answers[1].headers["cache-control"] == "no-store"


def test_websockets_are_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/api/live"):
        pass
    assert caught.value.code == 1008


# --- foreign pages


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "", "[bad"])
def test_loopback_answers_to_its_own_names_only(local: TestClient, host: str) -> None:
    answer = local.get("/api/x", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "LOCALHOST"])
def test_loopback_by_any_of_its_names(local: TestClient, host: str) -> None:
    assert local.get("/api/x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_foreign_page_does_nothing_on_loopback(
    local: TestClient, method: str, headers: dict[str, str], status: int
) -> None:
    assert local.request(method, "/api/studies/1.2/retry", headers=headers).status_code == status


def test_behind_a_proxy_its_forwarded_name_is_our_own(client: TestClient) -> None:
    headers = bearer("operator") | {"Host": "127.0.0.1:8080", "Origin": "https://pacs.example"}
    assert client.post("/api/x", headers=headers).status_code == 403
    assert client.post("/api/x", headers=headers | {"X-Forwarded-Host": "pacs.example"}).status_code == 200


# --- people


def sign_in(client: TestClient, role: str = "operator", next: str = "/") -> None:
    answer = client.post("/sign-in", data={"token": TOKENS[role], "next": next})
    assert (answer.status_code, answer.headers["location"]) == (303, next)


def csrf_of(client: TestClient) -> str:
    text = client.get("/").text
    return text.split('<meta name="csrf" content="')[1].split('"')[0]


def test_a_browser_is_led_to_the_form_and_back(client: TestClient) -> None:
    answer = client.get("/studies/1.2?x=1", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    form = client.get(answer.headers["location"])
    assert 'value="/studies/1.2?x=1"' in form.text
    assert client.get("/api/x", headers={"Accept": "application/json"}).status_code == 401


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_never_see(client: TestClient) -> None:
    answer = client.post("/sign-in", data={"token": TOKENS["reader"], "next": "/system"})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-segloop=")
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert TOKENS["reader"] not in answer.headers["set-cookie"]
    assert client.get("/system").status_code == 200
    assert "reader1" in client.get("/").text


def test_an_unsafe_request_of_a_session_needs_its_csrf_value(client: TestClient) -> None:
    sign_in(client)
    assert client.post("/api/stacks/1/release").json()["code"] == "csrf"
    assert client.post("/api/stacks/1/release", headers={"X-CSRF-Token": "guess"}).status_code == 403
    assert client.delete("/api/studies/1.2").status_code == 403
    right = {"X-CSRF-Token": csrf_of(client)}
    assert client.post("/api/stacks/1/release", headers=right).status_code == 200
    assert client.post("/api/stacks/1/release", headers=right | {"Origin": "https://evil.example"}).status_code == 403


def test_signing_out_ends_the_session_itself_and_not_the_cookie_only(client: TestClient) -> None:
    sign_in(client)
    cookie, csrf = client.cookies["__Host-segloop"], csrf_of(client)
    assert client.post("/sign-out", data={"csrf": "wrong"}).status_code == 403
    assert client.get("/").status_code == 200
    assert client.post("/sign-out", data={"csrf": csrf}).status_code == 303
    client.cookies.set("__Host-segloop", cookie)
    assert client.get("/").status_code == 401


def test_the_sign_in_form_that_everyone_may_post_to_takes_little(client: TestClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answers = [
        client.post("/sign-in", data={"token": "x" * 10_000}),
        client.post("/sign-in", content=iter([b"token=", b"x" * 100]), headers=form),
    ]
    assert [answer.status_code for answer in answers] == [413, 413]


def test_pages_offer_what_the_role_may_do(client: TestClient) -> None:
    held = f"/studies/{synthetic_index.study_uid('held')}"
    offers = {
        role: {
            word
            for word in ("/release", "/retry", 'data-method="DELETE"')
            if word in client.get(held, headers=bearer(role)).text
        }
        for role in ("reader", "reviewer", "operator")
    }
    assert offers == {
        "reader": set(),
        "reviewer": {"/release", "/retry"},
        "operator": {"/release", "/retry", 'data-method="DELETE"'},
    }


@pytest.mark.parametrize("value", ["", "x", "a" * 5000, "\u00e9", "=;,", '"'])
def test_a_made_up_cookie_is_nobody(client: TestClient, value: str) -> None:
    header = {"Cookie": f"__Host-segloop={value}".encode()}
    assert client.get("/api/x", headers=header).status_code == 401  # type: ignore[arg-type]


def test_wrong_tokens_are_slowed_down_and_a_senders_token_opens_no_page(client: TestClient) -> None:
    assert client.post("/sign-in", data={"token": TOKENS["sender"]}).status_code == 403
    for _ in range(MOST_FAILURES):
        answer = client.post("/sign-in", data={"token": "wrong"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    assert client.post("/sign-in", data={"token": "wrong"}).status_code == 429
    assert client.get("/api/x", headers=bearer("reader")).status_code == 200


def test_failures_are_forgotten_after_their_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    failures, clock = Failures(), [100.0]
    monkeypatch.setattr(sessions_module.time, "monotonic", lambda: clock[0])
    for _ in range(MOST_FAILURES):
        failures.note("a")
    assert failures.too_many("a")
    assert not failures.too_many("b")
    clock[0] += sessions_module.FAILURE_WINDOW_S + 1
    assert not failures.too_many("a")


def test_a_session_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    table, clock = Sessions(), [1000.0]
    monkeypatch.setattr(sessions_module.time, "time", lambda: clock[0])
    value = table.open(Identity("anna", "reader", "token:anna"))
    assert table.find(value) is not None
    clock[0] += sessions_module.LIFETIME_S + 1
    assert table.find(value) is None


@given(target=st.one_of(st.text(), st.text("/\\:@.a?#%\t\n")))
def test_after_signing_in_one_stays_here(target: str) -> None:
    own = _own_path(target)
    assert own.startswith("/")
    assert not own.startswith("//")
    assert "\\" not in own
    assert own.isprintable()


def test_static_files_are_the_few_that_exist(client: TestClient) -> None:
    for name in ("../router.py", "..%2frouter.py", "router.py", "%2e%2e/router.py"):
        assert client.get(f"/static/{name}").status_code in (401, 404)
