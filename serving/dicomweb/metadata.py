"""Headers as DICOM JSON (PS3.18 Annex F); pixels and large values by address."""

import math
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from contracts.dicom import PIXEL_KEYWORDS, pixel_element, quiet, read_header
from serving.dicomweb import frames

LARGEST_INLINE = 1 << 16
BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})


def metadata(path: Path, address: str) -> dict[str, Any]:
    """Return the attributes of one stored object; ``address`` is where it is retrieved.

    A value that JSON cannot hold (text where a number must stand) is left out, a number that is none (NaN, infinity)
    is null. Compressed colour images are described as their frames are decoded: RGB by pixel.
    """
    header = read_header(path)
    pixels = pixel_element(header)
    with quiet():
        found = _json(header, address)
        if pixels is not None:
            tag = next(tag for tag, keyword in PIXEL_KEYWORDS.items() if keyword == pixels.keyword)
            vr = "OB" if header.get("BitsAllocated") in (None, 1, 8) else "OW"
            vr = {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, vr)
            found[f"{tag:08X}"] = {"vr": vr, "BulkDataURI": f"{address}/bulkdata/{tag:08X}"}
    compressed = not frames.is_native(str(header.file_meta.TransferSyntaxUID))
    if compressed and header.get("SamplesPerPixel") == 3:
        found["00280004"] = {"vr": "CS", "Value": ["RGB"]}
        found["00280006"] = {"vr": "US", "Value": [0]}
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found


def _json(header: Dataset, address: str) -> dict[str, Any]:
    by_address = {}
    for tag in list(header.keys()):
        try:
            element = header[tag]
        except Exception:  # a damaged sequence, half a number
            del header[tag]
            continue
        if element.VR in BINARY and isinstance(element.value, bytes) and len(element.value) > LARGEST_INLINE:
            by_address[f"{tag:08X}"] = {"vr": element.VR, "BulkDataURI": f"{address}/bulkdata/{tag:08X}"}
            del header[tag]
    whole: dict[str, Any] = _finite(header.to_json_dict(suppress_invalid_tags=True))
    return {tag: value for tag, value in whole.items() if not tag.endswith("0000")} | by_address


def _finite(value: Any) -> Any:
    """A JSON value whose numbers are numbers: what JSON has no word for becomes null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
