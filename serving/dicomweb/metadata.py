"""Headers as DICOM JSON (PS3.18 Annex F); pixels and large values by address."""

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from contracts.dicom import PIXEL_KEYWORDS, pixel_element, quiet, read_header
from serving.dicomweb import frames

LARGEST_INLINE = 1 << 16
BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})


def metadata(path: Path, address: str) -> dict[str, Any]:
    """Return the attributes of one stored object; ``address`` is where it is retrieved.

    A value that JSON cannot hold (text where a number must stand) is left out. Compressed colour images are
    described as their frames are decoded: RGB by pixel.
    """
    header = read_header(path)
    pixels = pixel_element(header)
    with quiet():
        found = _json(header, address)
        if pixels is not None:
            tag = next(tag for tag, keyword in PIXEL_KEYWORDS.items() if keyword == pixels.keyword)
            vr = "OB" if int(header.get("BitsAllocated") or 8) <= 8 else "OW"
            vr = {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, vr)
            found[f"{tag:08X}"] = {"vr": vr, "BulkDataURI": f"{address}/bulkdata/{tag:08X}"}
    compressed = not frames.is_native(str(header.file_meta.TransferSyntaxUID))
    if compressed and int(header.get("SamplesPerPixel") or 1) == 3:
        found["00280004"] = {"vr": "CS", "Value": ["RGB"]}
        found["00280006"] = {"vr": "US", "Value": [0]}
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found


def _json(header: Dataset, address: str) -> dict[str, Any]:
    large = [
        element.tag
        for element in header
        if element.VR in BINARY and isinstance(element.value, bytes) and len(element.value) > LARGEST_INLINE
    ]
    by_address = {}
    for tag in large:
        by_address[f"{tag:08X}"] = {"vr": header[tag].VR, "BulkDataURI": f"{address}/bulkdata/{tag:08X}"}
        del header[tag]
    whole: dict[str, Any] = header.to_json_dict(suppress_invalid_tags=True)
    return {tag: value for tag, value in whole.items() if not tag.endswith("0000")} | by_address
