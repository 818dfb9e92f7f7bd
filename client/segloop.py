"""The installed command ``segloop``: one name for the four programs, each started as ``python -m`` would start it."""

import runpy
import sys

PROGRAMS = {"serve": "serving", "train": "training", "evaluate": "training", "export": "export"}
"""First word -> package. Every other word is the client's own: ``segloop send ...``."""


def main() -> None:
    """Hand the arguments to the program that the first word names."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    package = PROGRAMS.get(word, "client")
    if word in ("serve", "export"):
        # ``train`` and ``evaluate`` are commands of their package; these two words are only its name.
        del sys.argv[1]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
