"""MetaImage (``.mhd`` with its ``.raw`` or ``.zraw``, or ``.mha``): what PROMISE12 and other challenges hand out.

Source: the MetaIO documentation of ITK (header of ``Key = Value`` lines up to ``ElementDataFile``).
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Missing, Refused

LARGEST = 2**31
"""Bytes of the largest image that is read."""
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONGEST_HEADER = 2**14


def read_metaimage(path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Read a grey image of any number of axes.

    Returns the array with the axis that varies fastest last ([slice, row, column] for a volume) and the spacing in mm
    in the same order. The orientation (``TransformMatrix``) is not applied. Raises ``Missing`` ``no_case`` and
    ``Refused`` ``bad_case``.
    """
    content = _bytes(path)
    try:
        fields, end = _header(content[:_LONGEST_HEADER])
        shape = tuple(int(part) for part in reversed(fields["DimSize"].split()))
        spacing = fields.get("ElementSpacing", fields.get("ElementSize", " ".join(["1"] * len(shape))))
        distances = tuple(float(part) for part in reversed(spacing.split()))
        dtype = np.dtype(_TYPES[fields["ElementType"]]).newbyteorder(">" if _says(fields, "ByteOrderMSB") else "<")
        if (
            not shape
            or min(shape) < 1
            or len(distances) != len(shape)
            or fields.get("ElementNumberOfChannels", "1") != "1"
        ):
            raise ValueError("not a grey image")
        size = math.prod(shape) * dtype.itemsize
        if size > LARGEST:
            raise ValueError("too large")
        pixels = _pixels(path, content[end:], fields, size)
        return np.frombuffer(pixels, dtype).reshape(shape).astype(dtype.newbyteorder("=")), distances
    except (KeyError, ValueError, UnicodeDecodeError, zlib.error) as error:
        raise Refused("bad_case", f"{path.name} is not a grey MetaImage that can be read.") from error


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """Return the fields and where the header ends."""
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line, newline, _ = content[end:].partition(b"\n")
        key, equals, value = line.decode("ascii").partition("=")
        if not equals or (not newline and key.strip() != "ElementDataFile"):
            raise ValueError("no header")
        fields[key.strip()] = value.strip()
        end += len(line) + 1
    return fields, end


def _pixels(path: Path, rest: bytes, fields: dict[str, str], size: int) -> bytes:
    """Return exactly ``size`` bytes of pixels, which follow the header or lie in a file beside it."""
    name = fields["ElementDataFile"]
    if name != "LOCAL":
        if name != Path(name).name or name in ("", ".", "..", "LIST"):
            raise ValueError("pixels must lie beside the header")
        rest = _bytes(path.with_name(name))
        skipped = int(fields.get("HeaderSize", "0"))
        rest = rest[len(rest) - size :] if skipped < 0 else rest[skipped:]
    if _says(fields, "CompressedData"):
        rest = zlib.decompressobj().decompress(rest, size + 1)
    if len(rest) != size:
        raise ValueError("other size")
    return rest


def _says(fields: dict[str, str], ending: str) -> bool:
    return any(key.endswith(ending) and value.lower() == "true" for key, value in fields.items())


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise Missing("no_case", f"There is no file {path}.")
    return path.read_bytes()
