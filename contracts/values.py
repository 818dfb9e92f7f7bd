"""Single values of a DICOM header in plain Python, whatever a sender wrote: what is no value is None, empty or 0."""

import math
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

LONGEST_TEXT = 64


def text_of(header: Dataset, keyword: str) -> str:
    """The value as text without blanks around it, empty where it is absent."""
    value = header.get(keyword)
    return str(value).strip() if value is not None else ""


def number_of(value: object) -> float | None:
    """A finite number, or None for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def numbers_of(value: object, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers, or None."""
    if not isinstance(value, MultiValue | list | tuple) or len(value) != count:
        return None
    numbers = tuple(number for item in value if (number := number_of(item)) is not None)
    return numbers if len(numbers) == count else None


def count_of(header: Dataset, keyword: str, default: int = 0) -> int:
    """A positive whole number, else ``default``."""
    number = number_of(header.get(keyword))
    return int(number) if number is not None and number > 0 else default


def whole_of(header: Dataset, keyword: str) -> int | None:
    """A whole number, or None."""
    number = number_of(header.get(keyword))
    return int(number) if number is not None else None


def plain(value: object) -> object:
    """A DICOM value as a plain JSON value: numbers stay numbers, several values become a list."""
    if isinstance(value, MultiValue | list | tuple):
        return [plain(item) for item in value]
    if value is None or (isinstance(value, bool | str) and not isinstance(value, UID)):
        return value
    number = number_of(value)
    if number is None:
        return str(value)[:LONGEST_TEXT]
    return int(value) if isinstance(value, int) else number


def first_item(header: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence, an empty one where there is none."""
    items = header.get(keyword)
    return items[0] if items else Dataset()


def group_of(groups: Iterable[Dataset], keyword: str) -> Dataset:
    """The functional group of a frame: its own, else the shared one (PS3.3 section C.7.6.16.1)."""
    return next((items[0] for group in groups if (items := group.get(keyword))), Dataset())
