"""The one command: which program each word starts."""

import runpy
import sys

import pytest

from client.segloop import main


@pytest.mark.parametrize(
    ("words", "package", "left"),
    [
        (["serve", "--help"], "serving", ["--help"]),
        (["train", "preset.toml"], "training", ["train", "preset.toml"]),
        (["evaluate", "--task", "cardiac"], "training", ["evaluate", "--task", "cardiac"]),
        (["export", "list"], "export", ["list"]),
        (["send", "folder"], "client", ["send", "folder"]),
        ([], "client", []),
    ],
)
def test_each_word_starts_its_program(monkeypatch, words, package, left):
    started = []
    monkeypatch.setattr(sys, "argv", ["segloop", *words])
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: started.append((name, sys.argv[1:])))
    main()
    assert started == [(package, left)]
