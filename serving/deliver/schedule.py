"""When a delivery is tried again. The times are stored in its row, so an outage of days survives any restart."""

from serving.deliver.answers import Verdict

FIRST_S, CAP_S = 2.0, 300.0
"""A receiver that is down or busy: 2 s, 4 s, ... at most 5 minutes, without end."""
SLOW_FIRST_S, SLOW_CAP_S = 600.0, 21600.0
"""A rejection, which a person has to mend: 10 minutes, doubling, at most 6 hours."""


def delay_s(attempts: int, verdict: Verdict) -> float:
    """Seconds to wait after the ``attempts``-th try (from 1) ended with ``verdict``; 0 when it is delivered."""
    if verdict is Verdict.DELIVERED:
        return 0.0
    first, cap = (FIRST_S, CAP_S) if verdict is Verdict.TRANSIENT else (SLOW_FIRST_S, SLOW_CAP_S)
    doublings = min(max(attempts, 1) - 1, 16)  # beyond the cap either way; keeps the power a small number
    return float(min(first * 2.0**doublings, cap))
