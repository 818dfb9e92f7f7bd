"""Named points at which a test of recovery makes the process kill itself, as a power cut would.

Only the setting FAULT arms a point; without it every call is one comparison.
"""

import os
import signal

_armed = ""


def arm(name: str) -> None:
    """Let the process die at the point ``name``; an empty name disarms."""
    global _armed
    _armed = name


def point(name: str) -> None:
    """Die here by SIGKILL if this point is armed."""
    if _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)
