"""The states of a stack version and the one place where they change."""

import time

from sqlalchemy.orm import Session

from contracts.errors import Broken
from serving import webhook
from serving.index.models import History, StackVersion

TRANSITIONS: dict[str, frozenset[str]] = {
    "": frozenset({"complete", "not_processed", "refused"}),
    "complete": frozenset({"processing", "not_processed", "refused", "failed"}),
    "processing": frozenset({"held", "delivering", "done", "refused", "not_processed", "failed"}),
    "held": frozenset({"processing", "dismissed"}),
    "delivering": frozenset({"done", "delivering"}),
    "done": frozenset({"delivering"}),
    "not_processed": frozenset({"complete", "not_processed", "refused"}),
    "refused": frozenset({"complete", "not_processed", "refused"}),
    "failed": frozenset({"complete", "not_processed", "refused"}),
    "dismissed": frozenset(),
}
"""From each state to those that may follow. ``done`` -> ``delivering``: another sender has destinations of its own."""

NEEDS_PERSON = frozenset({"held", "refused", "failed"})


def move(session: Session, stack: StackVersion, to: str, *, who: str, reason: str = "", code: str = "") -> None:
    """Change a stack's state, write the change into its history and announce what needs a person.

    Raises ``Broken`` for a pair that ``TRANSITIONS`` does not have.
    """
    if to not in TRANSITIONS.get(stack.state, frozenset()):
        raise Broken("bad_transition", f"A stack in state {stack.state or 'new'} cannot become {to}.")
    now = time.time()
    session.add(
        History(
            stack_version_id=stack.id, at=now, who=who, event="state", before=stack.state, after=to, reason=reason[:500]
        )
    )
    stack.state, stack.reason, stack.code, stack.changed_at = to, reason[:500], code, now
    if to in NEEDS_PERSON:
        webhook.announce(session, stack)


def note_step(session: Session, stack: StackVersion, step: str, seconds: float, *, reason: str = "") -> None:
    """Write one step that ran, with how long it took, into a stack's history."""
    session.add(
        History(
            stack_version_id=stack.id, at=time.time(), who="segloop", event=step, reason=reason[:500], seconds=seconds
        )
    )
