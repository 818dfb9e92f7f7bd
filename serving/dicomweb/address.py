"""Addresses of what is stored, as clients see them."""

from fastapi import Request


def root(request: Request) -> str:
    """Return the address of the DICOMweb root as this client reaches it, without a slash at its end.

    The Host header decides, since a proxy may stand between. dicomweb-client leaves the port out of it: where the
    host is the very address we listen on, or loopback, no proxy does, and the port is ours.
    """
    url, server = request.url, request.scope.get("server")
    host = url.netloc
    direct = server and url.hostname in (server[0], "localhost", "127.0.0.1", "::1")
    if server and direct and url.port is None and server[1] not in (None, 80, 443):
        host = f"{url.netloc}:{server[1]}"
    return f"{url.scheme}://{host}/dicom-web"


def address(base: str, study_uid: str, series_uid: str = "", sop_uid: str = "") -> str:
    """Return where a study, a series of it or an instance is retrieved; ``base`` is from :func:`root`."""
    found = f"{base}/studies/{study_uid}"
    if series_uid:
        found += f"/series/{series_uid}"
    if sop_uid:
        found += f"/instances/{sop_uid}"
    return found
