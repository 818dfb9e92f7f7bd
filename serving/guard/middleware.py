"""The one place every HTTP request passes: who is it, may they, does a foreign page drive them; and safe headers."""

from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.guard.guard import Guard
from serving.guard.roles import is_public, may
from serving.guard.sessions import Session
from serving.guard.tokens import Identity
from serving.settings import LOOPBACK_NAMES

MOST_SIGN_IN_BYTES = 8192
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it a browser's own form posts carry "Origin: null" and could not be told from foreign ones.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
log = structlog.get_logger("guard")


class Turned(Exception):
    """A request that goes no further, with its answer."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(code)
        self.response: Response = JSONResponse({"code": code, "reason": reason}, status)
        if status == 401:
            self.response.headers["WWW-Authenticate"] = 'Bearer realm="segloop"'


class GuardMiddleware:
    """Pure ASGI, so that bodies stream through untouched. Add it last: the outermost layer sees every request."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app = app
        self.guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403 or a redirect to the sign-in form, or pass the request on with its ``Identity``."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_safe_headers(MutableHeaders(scope=message), path)
            await send(message)

        try:
            identity, session = self._admit(headers, method, path)
        except Turned as turned:
            log.warning("turned away", method=method, path=path, status=turned.response.status_code)
            await turned.response(scope, receive, send_safely)
            return
        if identity is None and not is_public(method, path):
            await _sign_in_first(headers, method, scope)(scope, receive, send_safely)
            return
        scope.setdefault("state", {}).update(identity=identity, session=session)
        if identity is not None and method not in SAFE:
            log.info("request", method=method, path=path, who=identity.name)
        await self.app(scope, receive, send_safely)

    def _admit(self, headers: Headers, method: str, path: str) -> tuple[Identity | None, Session | None]:
        """Return who calls, with the session if a cookie says so; raise ``Turned`` for what must not go on."""
        if self.guard.open and _hostname(headers.get("host", "")) not in LOOPBACK_NAMES:
            raise Turned(403, "unknown_host", "On loopback the gateway answers to 127.0.0.1 and localhost only.")
        if method not in SAFE:
            self._refuse_foreign_page(headers)
        if method == "POST" and path == "/sign-in":
            _demand_small_body(headers)
        identity, session = self._who(headers)
        # The two forms carry the value in their body; their own handlers compare it.
        if session is not None and method not in SAFE and path not in ("/sign-in", "/sign-out"):
            _demand_csrf(session, headers)
        if identity is not None and not is_public(method, path) and not may(identity.role, method, path):
            raise Turned(403, "forbidden", f"The role {identity.role} may not do this.")
        return identity, session

    def _who(self, headers: Headers) -> tuple[Identity | None, Session | None]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            identity = self.guard.identify(token.strip()) if scheme.lower() == "bearer" else None
            if identity is None:
                raise Turned(401, "bad_token", "The bearer token is not known here.")
            return identity, None
        session = self.guard.sessions.find(cookie_value(headers, self.guard))
        if session is not None:
            return session.identity, session
        return self.guard.anonymous(), None

    def _refuse_foreign_page(self, headers: Headers) -> None:
        """Refuse an unsafe request that a page of another site made; programs send neither of these headers."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            foreign = origin is not None and urlsplit(origin).netloc.lower() not in self._own_names(headers)
        if foreign:
            raise Turned(403, "cross_site", "A page of another site may not do this.")

    def _own_names(self, headers: Headers) -> set[str]:
        names = {headers.get("host", "").lower()}
        if self.guard.settings.tls_terminated_by_proxy:
            names.add(headers.get("x-forwarded-host", "").lower())
        return names - {""}


def cookie_name(guard: Guard) -> str:
    """Name of the session cookie; the prefix binds it to this host, over TLS, for every path (RFC 6265bis 4.1.3)."""
    return "segloop" if guard.open else "__Host-segloop"


def cookie_value(headers: Headers, guard: Guard) -> str:
    """Return the value of the session cookie, or an empty string. One without the prefix may be a neighbour's."""
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    name = cookie_name(guard)
    return jar[name].value if name in jar else ""


def add_safe_headers(headers: MutableHeaders, path: str) -> None:
    """Set what every answer carries; a handler's own Cache-Control stands, else nothing but static files is kept."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")


def _demand_small_body(headers: Headers) -> None:
    """Everyone may post to the sign-in form, and it is read into memory."""
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_SIGN_IN_BYTES:
        raise Turned(413, "too_large", "The sign-in form is small and says how long it is.")


def _demand_csrf(session: Session, headers: Headers) -> None:
    if not session.csrf_matches(headers.get("x-csrf-token", "")):
        raise Turned(403, "csrf", "The request lacks the page's X-CSRF-Token: reload the page and try again.")


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _sign_in_first(headers: Headers, method: str, scope: Scope) -> Response:
    """A person's browser is led to the form and back; a program is told in JSON."""
    if method == "GET" and "text/html" in headers.get("accept", ""):
        query = scope.get("query_string", b"").decode("latin-1")
        return RedirectResponse(f"/sign-in?next={quote(scope['path'] + ('?' + query if query else ''))}", 303)
    return Turned(401, "unauthenticated", "Send a bearer token: 'Authorization: Bearer ...'.").response
