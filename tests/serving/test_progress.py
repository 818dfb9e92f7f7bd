"""The board of running predictions."""

import pytest

from serving.pipeline.progress import Board


def test_a_stack_is_on_the_board_while_it_runs():
    board = Board()
    with board.watching(7) as note:
        assert board.running() == {}
        note(3, 12)
        first = board.running()[7]
        assert (first.done, first.total) == (3, 12)
        note(12, 12)
        assert board.running()[7].eta_s == 0
    assert board.running() == {}


def test_an_error_takes_it_off_the_board():
    board = Board()

    def predict():
        with board.watching(7) as note:
            note(1, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        predict()
    assert board.running() == {}


def test_stacks_do_not_disturb_each_other():
    board = Board()
    with board.watching(1) as one, board.watching(2) as two:
        one(1, 4)
        two(2, 4)
        assert {stack: progress.done for stack, progress in board.running().items()} == {1: 1, 2: 2}
