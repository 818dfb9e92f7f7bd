"""The client's side of HTTP: one place that turns answers and failures into typed errors, and reads multipart."""

import re
from typing import Any
from urllib.parse import urlsplit

import httpx

from contracts.errors import Broken, Missing, NotFound, NotYet, Refused, SegloopError, Unreachable, Usage

TIMEOUT = httpx.Timeout(60.0, connect=10.0, read=300.0)
_KINDS: dict[int, type[SegloopError]] = {
    400: Refused, 404: NotFound, 409: Refused, 413: Refused, 415: Refused, 422: Usage,
    502: Unreachable, 503: NotYet, 507: NotYet,
}  # fmt: skip
_TOKEN = "give --token-file FILE, or set SEGLOOP_TOKEN_FILE"  # noqa: S105 (a hint, no secret)


class Connection:
    """One gateway over HTTP. ``url`` is its DICOMweb root, or its base address."""

    def __init__(self, url: str, token: str = "") -> None:
        """Connect lazily. Raises ``Usage`` for what is no http(s) address."""
        if not url.startswith(("http://", "https://")):
            raise Usage("bad_url", f"{url} is no address of a gateway: it starts with http:// or https://.")
        self.base = url.rstrip("/").removesuffix("/dicom-web")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        here = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=not here)  # no proxy to this machine

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Make one request and return the answer, whatever its status. Raises ``Unreachable``."""
        try:
            return self._client.request(method, f"{self.base}{path}", **more)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(
                "gateway_unreachable",
                f"No gateway answers at {self.base} ({type(error).__name__}): start it with 'python -m serving', "
                "or give its address with --api or SEGLOOP_URL.",
            ) from error

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET with errors raised."""
        return checked(self.request("GET", path, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        """POST with errors raised."""
        return checked(self.request("POST", path, **more))

    def delete(self, path: str, **more: Any) -> httpx.Response:
        """DELETE with errors raised."""
        return checked(self.request("DELETE", path, **more))


def checked(response: httpx.Response) -> httpx.Response:
    """Return a success; raise the typed error that the gateway's ``{"code", "reason"}`` names otherwise."""
    if response.is_success:
        return response
    code, reason = _words(response)
    if response.status_code == 401:
        raise Usage("token_needed", f"The gateway does not know us: {_TOKEN}.")
    if response.status_code == 403:
        raise Usage("not_allowed", f"{reason or 'This token may not do that'} (the token's role decides: {_TOKEN}).")
    if not reason:
        address = f"{response.request.url.scheme}://{response.request.url.netloc.decode()}"
        reason = f"{address} answered HTTP {response.status_code} and no more: is this the gateway's address?"
    if response.status_code == 503 and code.startswith("missing"):
        raise Missing(code, reason)
    raise _KINDS.get(response.status_code, Broken)(code or f"http_{response.status_code}", reason)


def _words(response: httpx.Response) -> tuple[str, str]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and "reason" in document:
        return str(document.get("code", "")), str(document["reason"])
    return "", warning(response)


def warning(response: httpx.Response) -> str:
    """Return the words of the Warning header: STOW-RS has no place for a sentence in its document."""
    said = re.fullmatch(r'299 \S+ "(.*)"', response.headers.get("warning", ""))
    return said[1] if said else ""


def single_part(response: httpx.Response) -> bytes:
    """Return the one object of a WADO-RS answer, multipart/related or plain. Raises ``Broken`` for anything else."""
    kind, _, parameters = response.headers.get("content-type", "").partition(";")
    if kind.strip().lower() == "application/dicom":
        return response.content
    boundary = next(
        (
            value.strip().strip('"')
            for name, _, value in (item.partition("=") for item in parameters.split(";"))
            if name.strip().lower() == "boundary"
        ),
        "",
    )
    body = response.content
    start, end = body.find(b"\r\n\r\n"), body.rfind(f"\r\n--{boundary}".encode())
    if not boundary or start < 0 or end < start + 4:
        raise Broken("bad_answer", "The gateway's answer holds no DICOM object.")
    return body[start + 4 : end]
