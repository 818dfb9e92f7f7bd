"""How a study's state derives from those of its stacks, and what states have in common."""

from collections.abc import Iterable

from serving.index.models import Study
from serving.pipeline.states import NEEDS_PERSON

__all__ = ["ANSWERED", "IN_PROGRESS", "NEEDS_PERSON", "PICTURED", "URGENCY", "study_state"]

URGENCY = ("held", "refused", "failed", "receiving", "complete", "processing", "delivering", "done", "dismissed")
"""A study's state is that of its stack which comes first here: a person's turn, then the furthest behind.

``not_processed`` comes last, so that ten unmatched series do not hide the one that was answered.
"""
IN_PROGRESS = frozenset({"receiving", "complete", "processing", "delivering"})
ANSWERED = frozenset({"held", "delivering", "done"})
"""States in which the work on a stack ends with an answer."""
PICTURED = frozenset({"held", "delivering", "done", "dismissed"})
"""States in which a stack has a picture."""


def study_state(study: Study, states: Iterable[str]) -> str:
    """Derive a study's state from those of its current stacks; ``receiving`` until its arrivals were settled."""
    if study.settled_at < study.last_received_at:
        return "receiving"
    known = set(states)
    return next((state for state in URGENCY if state in known), "not_processed")
