"""One table says what every border answers for an error."""

import pytest

from contracts.errors import ANSWERS, Broken, NotFound, NotYet, Refused, SegloopError, answer_to, exit_codes
from serving.pipeline.states import TRANSITIONS


def _kinds(kind: type[SegloopError]) -> list[type[SegloopError]]:
    return [found for below in kind.__subclasses__() for found in (below, *_kinds(below))]


def test_every_type_has_an_answer_of_its_own_or_of_its_parent() -> None:
    for kind in _kinds(SegloopError):
        assert answer_to(kind.__new__(kind)) in ANSWERS.values()
    assert answer_to(NotFound("c", "s")) != answer_to(Refused("c", "s"))


def test_what_nobody_foresaw_counts_as_our_failure() -> None:
    assert answer_to(ZeroDivisionError()) == ANSWERS[Broken]


def test_answers_are_what_their_borders_know() -> None:
    for answer in ANSWERS.values():
        assert 400 <= answer.http < 600
        assert answer.dimse >> 12 in (0xA, 0xC)  # DICOM PS3.4 Table B.2-1: failures of C-STORE
        assert 0 < answer.exit < 7
        assert answer.state in TRANSITIONS  # "" stays


def test_a_command_ends_with_the_sentence_and_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise NotYet("disk_low", "Too little disk space.")
    assert ended.value.code == ANSWERS[NotYet].exit
    assert capsys.readouterr() == ("", "Too little disk space.\n")


def test_a_command_without_an_error_goes_on() -> None:
    with exit_codes():
        done = True
    assert done
