"""Write the generated page ``docs/settings.md``; ``--check`` only says whether it is up to date (exit 1 if not)."""

import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from serving.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """# Settings of the gateway

Written by `make docs` from `serving/settings.py`; edit there.

Each is an environment variable of `python -m serving`, which reads no other source. `python -m serving --help` lists
the same. Durations are seconds, sizes are decimal. A relative path counts from the folder in which the gateway starts.

| variable | default | limits | meaning |
|---|---|---|---|
"""
TYPES = {"bool": "`true` or `false`"}
SYMBOLS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def limits(field: FieldInfo) -> str:
    """Return what a value must be, as far as the settings themselves check it."""
    found = [TYPES[kind] for kind in TYPES if kind == getattr(field.annotation, "__name__", "")]
    for rule in field.metadata:
        found += [f"{sign} {getattr(rule, name):g}" for name, sign in SYMBOLS.items() if hasattr(rule, name)]
        if getattr(rule, "max_length", None) is not None:
            found.append(f"at most {rule.max_length} characters")
        if getattr(rule, "pattern", None) is not None:
            found.append(f"`{rule.pattern.strip('^$')}`")
    return ", ".join(found)


def default(field: FieldInfo) -> str:
    """Return a default as one would write it into the environment."""
    if field.default is None or field.default == "":
        return "empty"
    value = str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"
    return f"`{value.removesuffix('.0')}`"


def page() -> str:
    """Return the text of the page."""
    rows = [
        f"| `SEGLOOP_{name.upper()}` | {default(field)} | {limits(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or check it; return the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: make_docs.py [--check]", file=sys.stderr)
        return 2
    text = page()
    if not arguments:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/settings.md is not what the settings are: run 'make docs' and commit the page.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
