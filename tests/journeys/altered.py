"""Copies of the sample cine that are awkward or wrong in one way each; every function takes and returns images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from contracts.dicom import quiet
from contracts.identifiers import derive_uid
from tests.builders import Exam, set_pixels

Images = list[FileDataset]
Alteration = Callable[[Images], Images]

SLICES, PHASES = 8, 2
LOCALIZER_PLANES = ((1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1))
AWKWARD_IN_THE_WEST = "leading-zero UIDs, impossible dates, latin-1"
AWKWARD_IN_THE_EAST = "group lengths, tilted by 1e-6, ISO 2022"


def study_uid(case: str) -> str:
    """The Study Instance UID of a case."""
    return "1.2.840.09.0001.01" if case == AWKWARD_IN_THE_WEST else derive_uid("bad input", case)


def renamed(paths: tuple[Path, ...], case: str) -> Images:
    """Read images and give them study, series and instance UIDs of the case's own."""
    images = []
    for number, path in enumerate(paths):
        image = pydicom.dcmread(path)
        own = [study_uid(case), derive_uid("bad input", case, "series"), derive_uid("bad input", case, str(number))]
        if case == AWKWARD_IN_THE_WEST:
            own[1:] = ["1.2.840.09.0001.02", f"1.2.840.09.0001.03.{number:04d}"]
        with quiet():
            image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = own
        images.append(image)
    return images


def stored(image: Dataset) -> NDArray[np.int64]:
    """Stored values [row, column] of an image of 16 bits."""
    kind = "<i2" if image.PixelRepresentation else "<u2"
    return np.frombuffer(image.PixelData, kind).reshape(image.Rows, image.Columns).astype(np.int64)


def at_slice(images: Images, place: int) -> Images:
    """The images of a slice, counted from 0 in the order of the sample, from apex to base."""
    return images[place::SLICES]


def normal(image: Dataset) -> NDArray[np.float64]:
    """Unit normal of the plane of an image (LPS)."""
    cosines = np.array(image.ImageOrientationPatient, np.float64)
    return np.cross(cosines[:3], cosines[3:])


def moved(images: Images, place: int, mm: NDArray[np.float64]) -> Images:
    """Move one slice by a vector in mm (LPS)."""
    for image in at_slice(images, place):
        there = np.array(image.ImagePositionPatient, np.float64) + mm
        image.ImagePositionPatient = [f"{value:.6f}" for value in there]
    return images


def each(change: Callable[[FileDataset, int], None]) -> Alteration:
    """Change every image; the function also gets the number of the image."""

    def change_all(images: Images) -> Images:
        with quiet():
            for number, image in enumerate(images):
                change(image, number)
        return images

    return change_all


def one(change: Callable[[FileDataset], None], index: int = 5) -> Alteration:
    """Change one image."""

    def change_one(images: Images) -> Images:
        with quiet():
            change(images[index])
        return images

    return change_one


def monochrome1(image: FileDataset, _: int) -> None:
    """Turn stored values round, and say so."""
    image.PixelData = (2**image.BitsStored - 1 - stored(image)).astype("<u2").tobytes()
    image.PhotometricInterpretation = "MONOCHROME1"


def signed(image: FileDataset, _: int) -> None:
    """Store signed numbers around a middle value."""
    image.PixelData = (stored(image) - 2048).astype("<i2").tobytes()
    image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 2048
    image.BitsStored, image.HighBit = 16, 15


def rescaled(image: FileDataset, _: int) -> None:
    """Store other numbers that mean the same by slope and intercept."""
    image.PixelData = (2 * (stored(image) + 100)).astype("<u2").tobytes()
    image.RescaleSlope, image.RescaleIntercept = "0.5", "-100"
    image.BitsStored, image.HighBit = 16, 15


def awkward_in_the_west(image: FileDataset, _: int) -> None:
    """Dates and times that no calendar and no clock has, texts in latin-1."""
    image.StudyDate, image.PatientBirthDate, image.StudyTime = "20240231", "19700000", "256199"
    image.SpecificCharacterSet, image.PatientName = "ISO_IR 100", "Grün^Änne"
    image.StudyDescription = "Größe des Herzens"


def awkward_in_the_east(image: FileDataset, number: int) -> None:
    """Names in three scripts, an orientation whose last digit differs from file to file."""
    image.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    image.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    image.ImageOrientationPatient = [
        f"{float(value) + (number % 3 - 1) * 1e-6:.7f}" for value in image.ImageOrientationPatient
    ]


def in_floats(image: FileDataset, _: int) -> None:
    """Floating-point pixels."""
    image.FloatPixelData = stored(image).astype("<f4").tobytes()
    del image.PixelData
    image.BitsAllocated = 32


def in_colour(image: FileDataset, _: int) -> None:
    """Pixels in colour."""
    set_pixels(image, np.repeat((stored(image) // 16).astype(np.uint8)[..., None], 3, axis=2))


def huge(image: FileDataset, _: int) -> None:
    """A header that claims 60000 x 60000 pixels."""
    image.Rows = image.Columns = 60000


def without_phases(image: FileDataset, _: int) -> None:
    """Several images a position and nothing that tells them apart: their times are equal."""
    del image.CardiacNumberOfImages
    image.TriggerTime = 100


def without_position(image: FileDataset, _: int) -> None:
    """Nothing says where in the patient the image lies."""
    del image.ImagePositionPatient


def several_bits_stored(image: FileDataset, _: int) -> None:
    """Two values where one number belongs."""
    image.add_new("BitsStored", "US", [12, 12])


def two_frames_of_reference(image: FileDataset, number: int) -> None:
    """Two frames of reference in one series."""
    image.FrameOfReferenceUID = derive_uid("bad input", "half", str(number % 2))


def per_image_frame_of_reference(image: FileDataset, number: int) -> None:
    """A frame of reference for each image."""
    image.FrameOfReferenceUID = derive_uid("bad input", "each", str(number))


def with_localizer(images: Images) -> Images:
    """Mix three planes of other orientations into the series."""
    for number, plane in enumerate(LOCALIZER_PLANES):
        image = pydicom.dcmread(images[0].filename)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            setattr(image, keyword, getattr(images[0], keyword))
        image.SOPInstanceUID = derive_uid("bad input", "localizer", str(number))
        image.ImageOrientationPatient, image.InstanceNumber = list(plane), 900 + number
        del image.TriggerTime
        images.insert(1 + 3 * number, image)
    return images


def two_matrices(images: Images) -> Images:
    """The two basal slices have more columns than the others."""
    for place in (6, 7):
        for image in at_slice(images, place):
            image.PixelData = np.pad(stored(image), ((0, 0), (0, 8))).astype("<u2").tobytes()
            image.Columns += 8
    return images


def no_pixels(image: FileDataset) -> None:
    """An image without its pixels."""
    del image.PixelData


def enhanced(images: Images) -> Images:
    """The same cine as one enhanced multi-frame object, frames phase by phase and from base to apex."""
    made = Exam("enhanced").enhanced(SLICES, PHASES, rows=images[0].Rows, columns=images[0].Columns)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "StudyDate"):
        setattr(made, keyword, getattr(images[0], keyword))
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing, measures.SliceThickness = images[0].PixelSpacing, images[0].SliceThickness
    sources = [images[phase * SLICES + place] for phase in range(PHASES) for place in reversed(range(SLICES))]
    for frame, source in zip(made.PerFrameFunctionalGroupsSequence, sources, strict=True):
        frame.PlanePositionSequence[0].ImagePositionPatient = source.ImagePositionPatient
        frame.PlaneOrientationSequence[0].ImageOrientationPatient = source.ImageOrientationPatient
        frame.CardiacSynchronizationSequence[0].NominalCardiacTriggerDelayTime = float(source.TriggerTime)
    made.PixelData = b"".join(source.PixelData for source in sources)
    return [made]


ALIKE: dict[str, Alteration] = {
    "plain": lambda images: images,
    "MONOCHROME1": each(monochrome1),
    "signed": each(signed),
    "rescale slope": each(rescaled),
    AWKWARD_IN_THE_WEST: each(awkward_in_the_west),
    AWKWARD_IN_THE_EAST: each(awkward_in_the_east),  # DCMTK adds the group lengths: pydicom does not write them
    "a localizer in the series": with_localizer,
    "enhanced": enhanced,
}
"""The answer to these is that to the plain cine, voxel by voxel."""

WARNED: dict[str, Alteration] = {
    "a missing slice": lambda images: [image for number, image in enumerate(images) if number % SLICES != 3],
    "irregular gaps": lambda images: moved(images, 6, 2.5 * normal(images[0])),
    "other matrices": two_matrices,
}

REFUSED: dict[str, tuple[Alteration, str, str]] = {
    "no pixel data": (one(no_pixels), "no_pixel_data", "send the complete images"),
    "two frames of reference": (each(two_frames_of_reference), "frame_of_reference_split", "series of its own"),
    "a frame of reference each": (
        each(per_image_frame_of_reference),
        "frame_of_reference_per_instance",
        "accept_per_instance_frame_of_reference",
    ),
    "a displaced slice": (
        lambda images: moved(images, 4, np.array(images[0].ImageOrientationPatient[:3], float) * 6),
        "displaced_slice",
        "Slice 5 of 8",
    ),
    "no way to tell phases": (each(without_phases), "duplicate_positions", "TriggerTime"),
    "a missing image": (lambda images: images[:5] + images[6:], "unequal_phases", "slice 6 has 1"),
    "float pixels": (each(in_floats), "float_pixels", "integer images"),
    "colour pixels": (each(in_colour), "colour_pixels", "originals"),
    "60 000 x 60 000": (each(huge), "too_large", "60000 x 60000"),
    "no place in the patient": (each(without_position), "no_geometry", "ImagePositionPatient"),
    "a senseless spacing": (
        each(lambda image, _: setattr(image, "PixelSpacing", ["1.9", "1e300"])),
        "no_geometry",
        "PixelSpacing",
    ),
    "several bits stored": (each(several_bits_stored), "bad_header", "repaired copy"),
    "half the pixels": (
        one(lambda image: setattr(image, "PixelData", image.PixelData[: len(image.PixelData) // 2])),
        "pixel_data_short",
        "complete image",
    ),
}
"""Case -> what was done, the code of the refusal, and words of its reason that tell the sender what to do."""

CODECS = {
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", "-xt"),
    "JPEG 2000": ("1.2.840.10008.1.2.4.90", "-xv"),
    "RLE": ("1.2.840.10008.1.2.5", "-xr"),
    "JPEG lossless": ("1.2.840.10008.1.2.4.70", "-xs"),
}
"""Codec -> transfer syntax, and the option with which ``storescu`` proposes it."""
MORE_CODECS = {
    "implicit VR": "1.2.840.10008.1.2",
    "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "JPEG 2000, irreversible": "1.2.840.10008.1.2.4.91",
    "JPEG-LS, near-lossless": "1.2.840.10008.1.2.4.81",
}
