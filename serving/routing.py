"""Rules that map an input stack to a task: conditions on DICOM features in a TOML file, never on free text.

A file has one ``[[rule]]`` a task with ``[[rule.condition]]`` below it::

    feature = "positions"        # a name of contracts.features, or a DICOM keyword kept by contracts.describe
    comparison = "at_least"      # at_least, at_most, is, one_of, none_of, has_all, absent, present
    value = 5                    # number, text, flag or list of them; none for absent and present
    or_unknown = true            # whether the condition holds where the feature is unknown (default: false)
    words = "only {value} slice position{s}; a short-axis cine has at least 5"

``words`` say what is wrong where the condition fails; ``{value}`` is what the stack has, ``{s}`` its plural's ending.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contracts.errors import Usage
from contracts.stacks import Stack
from contracts.tasks import Task

SHIPPED_RULES = Path(__file__).with_name("rules.toml")

Scalar = bool | int | float | str


class Condition(BaseModel):
    """One condition on one feature."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    feature: str
    comparison: str
    value: Scalar | list[Scalar] | None = None
    or_unknown: bool = False
    words: str

    @model_validator(mode="after")
    def _value_fits(self) -> "Condition":
        if self.comparison not in COMPARISONS:
            raise ValueError(f"comparison {self.comparison!r} is none of {', '.join(COMPARISONS)}")
        shape = COMPARISONS[self.comparison].value_shape
        given = self.value
        fits = {
            "number": isinstance(given, int | float) and not isinstance(given, bool),
            "scalar": given is not None and not isinstance(given, list),
            "list": isinstance(given, list) and len(given) > 0,
            "none": given is None,
        }[shape]
        if not fits:
            raise ValueError(f"the value of {self.comparison!r} must be {_SHAPES[shape]}")
        return self

    def holds(self, features: Mapping[str, object]) -> bool:
        """Whether a stack's features satisfy the condition."""
        if self.unknown(features):
            return self.or_unknown or self.comparison == "absent"
        return COMPARISONS[self.comparison].test(features[self.feature], self.value)

    def unknown(self, features: Mapping[str, object]) -> bool:
        """Whether a stack does not have the feature."""
        return features.get(self.feature) in (None, "", [])

    def complaint(self, features: Mapping[str, object]) -> str:
        """What is wrong, in words: ``{value}`` is what was found, ``{s}`` the plural's ending."""
        found = features.get(self.feature)
        items = found if isinstance(found, list) else [found]
        if self.comparison == "none_of" and isinstance(self.value, list):
            items = [item for item in items if _words(item) & _words(self.value)]
        return self.words.replace("{value}", _told(items)).replace("{s}", "" if items == [1] else "s")


class Rule(BaseModel):
    """The conditions under which a stack belongs to a task."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=80)
    task: Task = Field(strict=False)
    accept_per_instance_frame_of_reference: bool = False
    conditions: list[Condition] = Field(alias="condition", min_length=1)

    def failures(self, features: Mapping[str, object]) -> list[Condition]:
        """The conditions that do not hold, in the order of the file."""
        return [condition for condition in self.conditions if not condition.holds(features)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule: list[Rule] = Field(min_length=1)


@dataclass(frozen=True)
class Routed:
    """Where a stack goes.

    ``rule`` is None where none matches: ``code`` is then ``no_rule`` and ``reason`` tells why the nearest one does
    not. With a rule, ``code`` and ``reason`` are empty, or the stack's own problem, with which it is refused.
    """

    rule: Rule | None
    reason: str = ""
    code: str = ""


@dataclass(frozen=True)
class _Comparison:
    test: Callable[[object, object], bool]
    value_shape: str


_SHAPES = {"number": "a number", "scalar": "a single value", "list": "a list", "none": "left out"}


def _told(items: list[object]) -> str:
    """Values as a person says them: numbers as their range, at most four texts."""
    if all(item is None or item == "" for item in items):
        return "unknown"
    numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) == len(items):
        low, high = f"{min(numbers):.4g}", f"{max(numbers):.4g}"
        return low if low == high else f"{low} to {high}"
    return ", ".join(str(item) for item in items[:4])


def _every_number(test: Callable[[float, float], bool]) -> Callable[[object, object], bool]:
    def compare(found: object, value: object) -> bool:
        items = found if isinstance(found, list) else [found]
        return isinstance(value, int | float) and all(isinstance(i, int | float) and test(i, value) for i in items)

    return compare


def _words(found: object) -> set[object]:
    """The values of a feature, texts in upper case, for comparisons with a list."""
    items = found if isinstance(found, list) else [found]
    return {item.upper() if isinstance(item, str) else item for item in items}


COMPARISONS: dict[str, _Comparison] = {
    "at_least": _Comparison(_every_number(lambda found, value: found >= value), "number"),
    "at_most": _Comparison(_every_number(lambda found, value: found <= value), "number"),
    "is": _Comparison(lambda found, value: _words(found) == _words(value), "scalar"),
    "one_of": _Comparison(lambda found, value: _words(found) <= _words(value), "list"),
    "none_of": _Comparison(lambda found, value: not _words(found) & _words(value), "list"),
    "has_all": _Comparison(lambda found, value: _words(found) >= _words(value), "list"),
    "absent": _Comparison(lambda found, value: False, "none"),
    "present": _Comparison(lambda found, value: True, "none"),
}
"""How a feature is compared. A feature with several values must satisfy numbers and ``one_of`` with each of them."""


def load_rules(path: Path | None) -> tuple[Rule, ...]:
    """Read a file of rules; None means the shipped ones.

    Raises:
        Usage: ``bad_rules``, with the place of the first mistake.
    """
    file = path or SHIPPED_RULES
    try:
        return tuple(_File.model_validate(tomllib.loads(file.read_text("utf-8"))).rule)
    except OSError as error:
        raise Usage("bad_rules", f"The rules {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage("bad_rules", f"The rules {file} are no TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Usage("bad_rules", f"The rules {file} are wrong at {place}: {first['msg']}.") from error


def route(stack: Stack, rules: tuple[Rule, ...]) -> Routed:
    """Return the first rule all of whose conditions hold, or why the nearest one does not.

    Nearest is the rule of which the greatest share of conditions holds; what is told is the first that does not.
    Where a problem of the images hides their place in the patient, and nothing that is known speaks against a rule,
    the problem is what their sender must hear of.
    """
    nearest, reason = -1.0, "there are no rules"
    hidden = bool(stack.problem) and not stack.planes
    for rule in rules:
        failures = rule.failures(stack.features)
        if not failures or (hidden and all(failure.unknown(stack.features) for failure in failures)):
            code, problem = stack.problem or ("", "")
            return Routed(rule, problem, code)
        share = 1 - len(failures) / len(rule.conditions)
        if share > nearest:
            nearest, reason = share, failures[0].complaint(stack.features)
    return Routed(None, reason, "no_rule")
