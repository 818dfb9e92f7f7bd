"""Is the gateway of this container up? Exit code 0 or 1, for HEALTHCHECK.

It asks ``/livez``, which needs no token; a restart does not mend what ``/readyz`` complains about. The certificate is
not checked: it is for the name that others use, and this is the machine itself.
"""

import ssl
import sys
from urllib.request import urlopen

from serving.settings import LOOPBACK_NAMES, Settings


def main() -> int:
    """Ask and return the exit code."""
    settings = Settings()
    tls = settings.tls_certificate is not None
    host = settings.http_host if settings.http_host in LOOPBACK_NAMES else "127.0.0.1"
    unchecked = ssl._create_unverified_context() if tls else None  # noqa: S323 -- see above
    address = f"{'https' if tls else 'http'}://{host}:{settings.http_port}/livez"
    try:
        with urlopen(address, timeout=8, context=unchecked) as answer:  # noqa: S310 -- an address of our own
            return 0 if answer.status == 200 else 1
    except OSError as error:
        print(f"{address}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
