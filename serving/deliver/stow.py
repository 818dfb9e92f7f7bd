"""One result by STOW-RS (DICOM PS3.18 section 10.5), and the question whether the archive is there by a small QIDO."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from serving.deliver.answers import Answer, Verdict, of_http, unreachable
from serving.deliver.destinations import StowDestination

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
CHUNK = 1 << 18
BOUNDARY = "segloop-result-7c41d2e8b90f4a6d"
_HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def store(path: Path, place: StowDestination) -> Answer:
    """Send one DICOM file, streamed, and judge what the response says about it."""
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
        "Content-Length": str(len(_HEAD) + path.stat().st_size + len(_TAIL)),
        "Accept": "application/dicom+json",
    }
    try:
        with _client(place) as client:
            response = client.post(f"{place.address}/studies", content=_body(path), headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return unreachable(f"{place.address}: {type(error).__name__}")
    except OSError as error:
        return Answer(Verdict.PERMANENT, f"token_file or ca_file cannot be used: {error.strerror or error}")
    return judge(response.status_code, response.content)


def judge(status: int, body: bytes) -> Answer:
    """Judge the response to a request that carried one instance; ``body`` is DICOM JSON, or anything else."""
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {}
    failed, stored = _items(document, "00081198"), _items(document, "00081199")
    if failed:
        reason = _first(failed[0], "00081197")
        if isinstance(reason, int) and 0 < reason <= 0xFFFF:
            return of_http(status, reason)
        return of_http(status if status >= 400 else 409)
    return of_http(status, referenced=bool(stored))


def echo(place: StowDestination) -> Answer:
    """Ask for one study: tells whether address and token are right, and stores nothing."""
    try:
        with _client(place) as client:
            response = client.get(
                f"{place.address}/studies", params={"limit": 1}, headers={"Accept": "application/dicom+json"}
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return unreachable(f"{place.address}: {type(error).__name__}")
    except OSError as error:
        return Answer(Verdict.PERMANENT, f"token_file or ca_file cannot be used: {error.strerror or error}")
    if response.is_success:
        return Answer(Verdict.DELIVERED, "answers QIDO-RS")
    return of_http(response.status_code)


def _client(place: StowDestination) -> httpx.Client:
    headers = {}
    if place.token_file:
        headers["Authorization"] = f"Bearer {place.token_file.read_text(encoding='utf-8').strip()}"
    trusted = ssl.create_default_context(cafile=place.ca_file)
    # Patients' results go where DESTINATIONS says, not through what a proxy variable of the environment says.
    return httpx.Client(headers=headers, timeout=TIMEOUT, verify=trusted, trust_env=False)


def _body(path: Path) -> Iterator[bytes]:
    yield _HEAD
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
    yield _TAIL


def _items(document: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = document.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _first(item: dict[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
