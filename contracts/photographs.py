"""Photographs: pictures in colour that lie nowhere in the patient. Each is a world of its own.

A photograph is its own plane: the first pixel is the origin, x runs along a row, y down a column, in millimetres where
the header gives a pixel spacing, else one unit a pixel. These axes say nothing of the patient (LPS is only a form), so
photographs are never put together with anything, and a mask of one belongs to its pixels alone.
"""

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    VLPhotographicImageStorage,
)

from contracts.instances import Cosines, Plane, Vector
from contracts.values import count_of, first_item, numbers_of, text_of, whole_of

DERMOSCOPIC_PHOTOGRAPHY = UID("1.2.840.10008.5.1.4.1.1.77.1.7")
CAMERAS = frozenset({DERMOSCOPIC_PHOTOGRAPHY, VLPhotographicImageStorage})
CAPTURES = frozenset({SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage})
"""Pictures of any kind; those in colour are photographs, the others may be images of a scanner."""

ORIGIN: Vector = (0.0, 0.0, 0.0)
AXES: Cosines = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ONE_UNIT_A_PIXEL = (1.0, 1.0)

LARGEST_PHOTOGRAPH = 2**25
"""Pixels of the largest photograph that is ever decoded (32 million), whatever its header claims."""

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
"""Photometric interpretations that are read; the last two occur in JPEG 2000 only."""

FINEST_MM, COARSEST_MM = 1e-4, 1e2
"""Pixel spacings beyond these are none of a photograph of the skin."""


def is_photograph(header: Dataset) -> bool:
    """Whether an image is a photograph: by its SOP class, a secondary capture by its colours."""
    kind, grey = text_of(header, "SOPClassUID"), text_of(header, "PhotometricInterpretation") in GREY
    return kind in CAMERAS or (kind in CAPTURES and not grey and _colours(header))


def colour_problem(header: Dataset) -> tuple[str, str] | None:
    """Return (code, sentence) where the colours of a photograph cannot be read, or there are none."""
    space = text_of(header, "PhotometricInterpretation")
    if space == "PALETTE COLOR":
        return "palette_colours", "The photograph has its colours in a palette; send it with RGB or YBR_FULL pixels."
    if space in GREY or count_of(header, "SamplesPerPixel", 1) == 1:
        return "no_colours", "The photograph is grey, and what is asked of it needs its colours; send the original."
    if space not in COLOURS or count_of(header, "SamplesPerPixel") != 3:
        return (
            "colour_space",
            f"Pixels in {space[:16] or 'an unnamed colour space'} are not read; send RGB or YBR_FULL.",
        )
    bits = {count_of(header, "BitsAllocated"), count_of(header, "BitsStored", count_of(header, "BitsAllocated"))}
    if bits != {8} or whole_of(header, "PixelRepresentation"):
        return "unusual_bits", "Photographs are read with 8 unsigned bits a colour; send it converted to these."
    return None


def photograph_planes(header: Dataset, frames: int) -> tuple[Plane, ...]:
    """Return the planes of the first ``frames`` frames of a photograph, in its own coordinates."""
    return tuple(
        Plane(
            sop_uid=text_of(header, "SOPInstanceUID"),
            series_uid=text_of(header, "SeriesInstanceUID"),
            frame=frame,
            position=ORIGIN,
            orientation=AXES,
            spacing=pixel_spacing(header) or ONE_UNIT_A_PIXEL,
            thickness=None,
            trigger_time=None,
            temporal_position=None,
            instance_number=whole_of(header, "InstanceNumber"),
            acquired_s=None,
        )
        for frame in range(1, frames + 1)
    )


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Return (between rows, between columns) in mm on the skin, None where the header does not say.

    Only PixelSpacing is asked (PS3.17 section TTTT.1): NominalScannedPixelSpacing is that of a film or a sheet of
    paper, ImagerPixelSpacing that of the sensor.
    """
    measures = first_item(first_item(header, "SharedFunctionalGroupsSequence"), "PixelMeasuresSequence")
    found = numbers_of(header.get("PixelSpacing"), 2) or numbers_of(measures.get("PixelSpacing"), 2)
    if found is None or not all(FINEST_MM <= value <= COARSEST_MM for value in found):
        return None
    return found[0], found[1]


def _colours(header: Dataset) -> bool:
    return count_of(header, "SamplesPerPixel", 1) > 1 or text_of(header, "PhotometricInterpretation") == "PALETTE COLOR"
