"""Every error that crosses a border, and what each border answers for it.

::

    SegloopError
    ├── Refused       the input's fault: a stable code and a sentence the sender can act on
    │   └── NotFound  it names something that is not here
    ├── NotYet        nobody's fault: wait and try again
    ├── Broken        ours: a defect or a machine that failed us
    ├── Missing       something needed is not there: a program, a setting, a model, data
    ├── Unreachable   a peer does not answer: gateway, Triton, destination
    └── Usage         the caller asked for something that makes no sense

No message carries a patient's name, identifier or date: messages are stored by the workflow engine and logged.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What each border says for one kind of error.

    ``http`` status code; ``dimse`` C-STORE status (DICOM PS3.4 Table B.2-1); ``stow`` failure reason (0008,1197)
    (DICOM PS3.18 Table 10.5.3-1); ``exit`` code of our commands; ``state`` of the input stack, empty where it stays.
    """

    http: int
    dimse: int
    stow: int
    exit: int
    state: str


class SegloopError(Exception):
    """Base of every typed error. ``code`` is stable and machine readable, ``sentence`` is for a person."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class Refused(SegloopError):
    """The input cannot be answered and its sender can change that. Nothing that was received is lost."""


class NotFound(Refused):
    """The caller names a study, stack, file or destination that is not here."""


class NotYet(SegloopError):
    """Wait and send again: no disk space, a start in progress, a study that is still arriving."""


class Broken(SegloopError):
    """Our own failure; the input may be fine."""


class Missing(SegloopError):
    """Something needed is missing, said by name."""


class Unreachable(SegloopError):
    """A peer does not answer."""


class Usage(SegloopError):
    """Wrong arguments or settings."""


ANSWERS: dict[type[SegloopError], Answer] = {
    Refused: Answer(http=409, dimse=0xA900, stow=0xA900, exit=4, state="refused"),
    NotFound: Answer(http=404, dimse=0xA900, stow=0xA900, exit=4, state="refused"),
    NotYet: Answer(http=503, dimse=0xA700, stow=0xA700, exit=1, state=""),
    Broken: Answer(http=500, dimse=0xC001, stow=0x0110, exit=1, state="failed"),
    Missing: Answer(http=503, dimse=0xA700, stow=0x0110, exit=5, state="failed"),
    Unreachable: Answer(http=502, dimse=0xC001, stow=0x0110, exit=6, state="failed"),
    Usage: Answer(http=422, dimse=0xC001, stow=0x0110, exit=2, state="failed"),
}


def answer_to(error: BaseException) -> Answer:
    """Return the row of ``ANSWERS`` for an error; an error of no known type counts as ``Broken``."""
    for kind in type(error).__mro__:
        if kind in ANSWERS:
            return ANSWERS[kind]
    return ANSWERS[Broken]


@contextmanager
def exit_codes() -> Iterator[None]:
    """Run a command: a typed error becomes its sentence on stderr and ends the process with its exit code."""
    try:
        yield
    except SegloopError as error:
        print(error.sentence, file=sys.stderr)
        raise SystemExit(answer_to(error).exit) from error
