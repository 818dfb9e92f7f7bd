"""Which role may send which request. What no row names is for operators alone, so a new route starts out guarded."""

import re

PUBLIC = (
    ("GET", re.compile(r"/livez")),
    ("GET", re.compile(r"/sign-in")),
    ("POST", re.compile(r"/sign-in")),
    ("GET", re.compile(r"/static/.+")),
)
"""What needs no identity: is the process up, the sign-in form and what that form looks like."""

_ANYONE = frozenset({"reader", "sender", "reviewer"})
_READERS = frozenset({"reader", "reviewer"})
_SENDERS = frozenset({"sender"})
_REVIEWERS = frozenset({"reviewer"})

TABLE = (
    # One study whose UID the caller knows: a sender fetches its own answers. Lists and searches are for readers.
    ("GET", re.compile(r"/api/studies/[^/]+(/stacks/.+)?"), _ANYONE),
    ("GET", re.compile(r"/dicom-web/studies/.+"), _ANYONE),
    ("POST", re.compile(r"/dicom-web/studies(/[^/]+)?"), _SENDERS),
    ("POST", re.compile(r"/api/studies/[^/]+/complete"), _SENDERS),
    ("POST", re.compile(r"/api/studies/[^/]+/retry"), _SENDERS | _REVIEWERS),
    ("GET", re.compile(r"/(studies/[^/]+|system)?"), _READERS),
    ("GET", re.compile(r"/(api|dicom-web)/.+"), _READERS),
    ("POST", re.compile(r"/api/stacks/[^/]+/(release|dismiss)"), _REVIEWERS),
    ("GET", re.compile(r"/(readyz|metrics)"), _ANYONE),
    ("POST", re.compile(r"/sign-out"), _ANYONE),
)


def is_public(method: str, path: str) -> bool:
    """Return whether a request needs no identity."""
    return any(_reading(method) == verb and pattern.fullmatch(path) for verb, pattern in PUBLIC)


def may(role: str, method: str, path: str) -> bool:
    """Return whether ``role`` may send this request; an operator may send every one."""
    if role == "operator":
        return True
    return any(role in roles for verb, pattern, roles in TABLE if _reading(method) == verb and pattern.fullmatch(path))


def _reading(method: str) -> str:
    return "GET" if method == "HEAD" else method
