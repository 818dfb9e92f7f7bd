"""Headers whose values are asked for by keyword over and over: of the images of a series most values are the same.

pydicom converts a value when it is first asked for, 20 microseconds each, and takes half as long to say that there is
none. Receiving an image, loading it and describing it ask for a hundred, so both are remembered here.
"""

from functools import cache, lru_cache
from typing import Any, TypeGuard

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag, Tag

REMEMBERED = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "SL", "SS", "TM", "UI", "UL", "US"})
"""VRs whose value depends on nothing but its bytes: no character set, no other element."""

LONGEST = 128
"""Longer values are converted each time: memory is bounded whatever is sent."""


class Header(FileDataset):
    """A data set that answers :meth:`get` and ``in`` faster. Values that it gives are not to be changed."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Return as :meth:`pydicom.Dataset.get` does."""
        tag = _tag(key) if isinstance(key, str) else None
        if tag is None:
            return super().get(key, default)
        element = self._dict.get(tag)
        if element is None:
            return default
        value = remembered(element)
        return self[tag].value if value is None else value

    def __contains__(self, name: Any) -> bool:
        tag = _tag(name) if isinstance(name, str) else None
        return super().__contains__(name) if tag is None else tag in self._dict


def stands_alone(element: object) -> TypeGuard[RawDataElement]:
    """Whether an element is as it was read, not empty, and its value depends on nothing but its bytes."""
    if not isinstance(element, RawDataElement) or element.VR not in REMEMBERED:
        return False
    return bool(element.value) and len(element.value or b"") <= LONGEST


def remembered(element: object) -> Any:
    """Return the value of an element that stands alone, None for others."""
    if not stands_alone(element):
        return None
    return convert(element.tag, str(element.VR), element.value or b"", element.is_little_endian).value


@cache
def _tag(keyword: str) -> BaseTag | None:
    number = tag_for_keyword(keyword)
    return None if number is None else Tag(number)


@lru_cache(maxsize=4096)
def convert(tag: BaseTag, vr: str, value: bytes, little_endian: bool) -> DataElement:
    """Return the element that stands alone with those bytes; it is shared, so nobody may change it."""
    raw = RawDataElement(tag, vr, len(value), value, 0, False, little_endian, True)
    return convert_raw_data_element(raw)
