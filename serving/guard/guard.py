"""The guard: may the gateway start as it is set up, and who is calling."""

import ssl
from collections.abc import Callable
from pathlib import Path

from fastapi import HTTPException, Request

from contracts.errors import Usage
from serving.guard.sessions import Failures, Sessions
from serving.guard.tokens import LOCAL, Identity, Tokens
from serving.settings import Settings


class Guard:
    """Start conditions, identities and AE titles of one gateway.

    ``check_start`` reads the token file; before it nobody but bare loopback is let in.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sessions = Sessions()
        self.failures = Failures()
        self._tokens = Tokens({})
        self._titles = frozenset(title.strip() for title in settings.allowed_ae_titles.split(",") if title.strip())

    @property
    def open(self) -> bool:
        """Whether this is bare loopback, where nobody must say who they are."""
        return not self.settings.guarded

    def check_start(self) -> None:
        """Read the tokens and check certificate and key.

        Raises ``Usage`` with every setting that is missing or wrong, so that one look mends them all.
        """
        settings, problems = self.settings, []
        if settings.guarded:
            problems += [words for given, words in _demands(settings) if not given]
        problems += _tls_problems(settings)
        if settings.tokens is not None:
            try:
                self._tokens = Tokens.read(settings.tokens)
            except Usage as error:
                problems.append(error.sentence)
        if problems:
            why = "" if self.open else "The gateway is reachable beyond this machine or stands behind a proxy. "
            raise Usage("unguarded", why + " ".join(problems))

    def ae_allowed(self, title: str) -> bool:
        """Return whether a calling AE title may store. With no list: any on bare loopback, none elsewhere."""
        return title.strip() in self._titles if self._titles else self.open

    def identify(self, token: str) -> Identity | None:
        """Return whose bearer token this is, or None."""
        return self._tokens.identify(token)

    def anonymous(self) -> Identity | None:
        """Return who a caller without a token is: ``LOCAL`` on bare loopback, nobody elsewhere."""
        return LOCAL if self.open else None

    def require(self, *roles: str) -> Callable[[Request], Identity]:
        """Return a FastAPI dependency that gives the caller's ``Identity``.

        With ``roles`` it answers 403 to all but these and operators; the middleware's table has ruled before it.
        """

        def caller(request: Request) -> Identity:
            identity = getattr(request.state, "identity", None)
            if not isinstance(identity, Identity):
                raise HTTPException(401, {"code": "unauthenticated", "reason": "Who is calling is not known."})
            if roles and identity.role not in (*roles, "operator"):
                raise HTTPException(403, {"code": "forbidden", "reason": f"This needs the role {' or '.join(roles)}."})
            return identity

        return caller


def _demands(settings: Settings) -> list[tuple[bool, str]]:
    """Pairs (is it there, what to set) of what every start off bare loopback needs."""
    certified = settings.tls_certificate is not None and settings.tls_key is not None
    return [
        (settings.tokens is not None, "Set SEGLOOP_TOKENS to a file of lines 'name role token'."),
        (
            bool(settings.allowed_ae_titles.strip(" ,")),
            "Set SEGLOOP_ALLOWED_AE_TITLES to the calling AE titles that may store, separated by commas.",
        ),
        (
            certified or settings.tls_terminated_by_proxy,
            "Set SEGLOOP_TLS_CERTIFICATE and SEGLOOP_TLS_KEY to PEM files, "
            "or SEGLOOP_TLS_TERMINATED_BY_PROXY=true behind a proxy that ends TLS.",
        ),
    ]


def _tls_problems(settings: Settings) -> list[str]:
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        return ["SEGLOOP_TLS_CERTIFICATE and SEGLOOP_TLS_KEY belong together: set both or none."]
    if certificate is None or key is None:
        lacking = "SEGLOOP_DICOM_TLS=true needs SEGLOOP_TLS_CERTIFICATE and SEGLOOP_TLS_KEY."
        return [lacking] if settings.dicom_tls else []
    return _pair_problems(certificate, key)


def _pair_problems(certificate: Path, key: Path) -> list[str]:
    unreadable = [f"{path} ({name}) cannot be read." for name, path in _named(certificate, key) if not _readable(path)]
    if unreadable:
        return unreadable
    try:
        # A password would be asked for on the terminal, where a service has none: an encrypted key is refused.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        return [f"Certificate {certificate} and key {key} cannot be used together: {error}."]
    return []


def _named(certificate: Path, key: Path) -> tuple[tuple[str, Path], ...]:
    return (("SEGLOOP_TLS_CERTIFICATE", certificate), ("SEGLOOP_TLS_KEY", key))


def _readable(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True
