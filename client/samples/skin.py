"""Synthetic photographs of skin: a made-up lesion under a made-up dermoscope, and its true masks as SEG."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from scipy import ndimage

from contracts.dicom import quiet
from contracts.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive_uid
from contracts.photographs import DERMOSCOPIC_PHOTOGRAPHY
from contracts.segmentations import Provenance, write_segmentation
from contracts.stacks import describe, stacks_of
from contracts.tasks import Task
from contracts.volumes import arrange

SKIN, BROWN, DARK = (np.array(colour, dtype=np.float32) for colour in ((214, 162, 142), (128, 82, 62), (74, 46, 40)))
PIXEL_MM = 0.025
MADE_AT = 1704103200.0  # 2024-01-01 10:00 UTC

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Photographs:
    """What was written: a file and a mask for each photograph, and the truth: bool [photograph, row, column]."""

    paths: tuple[Path, ...]
    masks: tuple[Path, ...]
    truth: NDArray[np.bool_]
    study_uid: str


def write_skin(
    folder: Path, *, photographs: int = 3, rows: int = 480, columns: int = 640, seed: int = 0
) -> Photographs:
    """Write dermoscopic photographs under ``folder/images`` and their masks under ``folder/masks``.

    The same arguments write the same bytes; ``seed`` draws other lesions.
    """
    names = tuple(repr(value) for value in (photographs, rows, columns, seed))
    paths, masks, truth = [], [], []
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for number in range(1, photographs + 1):
        pixels, lesion = paint(rows, columns, np.random.default_rng([seed, number]))
        with quiet():
            made = _photograph(pixels, names, number)
            paths.append(folder / "images" / f"photograph{number:02}.dcm")
            made.save_as(paths[-1], enforce_file_format=True)
            masks.append(folder / "masks" / f"photograph{number:02}.dcm")
            masks[-1].write_bytes(_mask(made, lesion, names, number))
        truth.append(lesion)
    return Photographs(tuple(paths), tuple(masks), np.stack(truth), derive_uid("sample skin", *names, "study"))


def paint(rows: int, columns: int, draw: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a photograph uint8 [row, column, 3] in red, green, blue, and where its lesion is, bool [row, column]."""
    down, along = np.mgrid[0:rows, 0:columns].astype(np.float32)
    size = min(rows, columns)
    y, x = down - rows * draw.uniform(0.4, 0.6), along - columns * draw.uniform(0.4, 0.6)
    angle, radius = np.arctan2(y, x), np.hypot(y, x) / size
    edge = np.full_like(radius, draw.uniform(0.16, 0.26))
    for waves in range(2, 7):
        edge *= 1 + draw.normal(0, 0.25 / waves) * np.cos(waves * angle + draw.uniform(0, 2 * np.pi))
    lesion = radius < edge
    pigment = 1 / (1 + np.exp((radius - edge) * 90))
    dark = np.clip(_clouds(lesion.shape, size / 14, draw) * 0.5 + 0.35, 0, 1)
    colours = (
        SKIN * (1 + 0.05 * _clouds(lesion.shape, size / 6, draw) + 0.02 * _clouds(lesion.shape, 1.5, draw))[..., None]
    )
    colours += pigment[..., None] * (BROWN + dark[..., None] * (DARK - BROWN) - colours)
    colours *= (1 - 0.75 * _hairs(lesion.shape, draw))[..., None]
    far = np.hypot(down / rows - 0.5, along / columns - 0.5)
    colours *= (1.05 - 0.35 * far**2)[..., None]
    colours += draw.normal(0, 2.5, colours.shape)
    return np.clip(np.round(colours), 0, 255).astype(np.uint8), lesion


def _clouds(shape: tuple[int, ...], size: float, draw: np.random.Generator) -> Field:
    """Return soft spots of a size in pixels, about 0 on average and 1 strong."""
    spots = ndimage.gaussian_filter(draw.standard_normal(shape, dtype=np.float32), size, truncate=2.5)
    return np.asarray(spots / spots.std(), dtype=np.float32)


def _hairs(shape: tuple[int, ...], draw: np.random.Generator) -> Field:
    """Return a few thin bent hairs, 0 to 1."""
    drawn = np.zeros(shape, dtype=np.float32)
    for _ in range(draw.integers(2, 6)):
        way = np.linspace(0, 1, 4 * max(shape))[:, None]
        start, middle, end = draw.uniform(0, 1, (3, 2)) * shape
        points = np.rint((1 - way) ** 2 * start + 2 * way * (1 - way) * middle + way**2 * end).astype(int)
        points = np.minimum(points, np.array(shape) - 1)
        drawn[points[:, 0], points[:, 1]] = 1
    return np.asarray(np.clip(2.2 * ndimage.gaussian_filter(drawn, 0.8), 0, 1), dtype=np.float32)


def _photograph(pixels: NDArray[np.uint8], names: tuple[str, ...], number: int) -> FileDataset:
    """Return a Dermoscopic Photography object (PS3.3 sections A.32.11 and C.8.12.13)."""
    made = FileDataset("", {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    made.SOPClassUID = DERMOSCOPIC_PHOTOGRAPHY
    for keyword, what in (
        ("SOPInstanceUID", str(number)),
        ("StudyInstanceUID", "study"),
        ("SeriesInstanceUID", "series"),
    ):
        setattr(made, keyword, derive_uid("sample skin", *names, what))
    made.PatientName, made.PatientID = "SAMPLE^SKIN", "SAMPLE-SKIN"
    made.PatientBirthDate, made.PatientSex = "19700101", "O"
    made.StudyDate = made.SeriesDate = made.ContentDate = "20240101"
    made.StudyTime = made.SeriesTime = made.ContentTime = "100000"
    made.AccessionNumber, made.StudyID, made.ReferringPhysicianName = "", "1", ""
    made.StudyDescription, made.SeriesDescription = "Synthetic dermoscopy, no patient", "Synthetic lesions"
    made.Modality, made.Manufacturer, made.ManufacturerModelName = "DMS", "segloop sample", "painted"
    made.DeviceSerialNumber = made.SoftwareVersions = "1"
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = derive_uid("sample skin", *names, "frame"), ""
    made.SeriesNumber, made.InstanceNumber, made.Laterality = 1, number, ""
    made.ImageType, made.PatientOrientation = ["ORIGINAL", "PRIMARY"], ""
    made.AcquisitionContextSequence, made.AnatomicRegionSequence = [], [_coded("39937001", "Skin")]
    made.RecognizableVisualFeatures, made.LightSourcePolarization, made.ContactMethod = "NO", "POLARIZED", "NON_CONTACT"
    made.EmitterColorTemperature, made.OpticalMagnificationFactor = None, None
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelSpacing, made.LossyImageCompression = [f"{PIXEL_MM:g}"] * 2, "00"
    made.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    return made


def _coded(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _mask(made: FileDataset, lesion: NDArray[np.bool_], names: tuple[str, ...], number: int) -> bytes:
    (stack,) = stacks_of([describe(made)])
    grid = arrange(stack, accept_per_instance_frame_of_reference=False)
    provenance = Provenance(
        task=Task.SKIN,
        algorithm_name="segloop sample truth",
        algorithm_version="1",
        model_digest="none: drawn with the photograph",
        variant="truth",
        stack_digest=derive_uid("sample skin", *names, "truth", str(number)),
        completed_at=MADE_AT,
        completeness="synthetic",
    )
    labels = lesion[None].astype(np.uint8)
    return write_segmentation(labels, grid, 0, {str(made.SOPInstanceUID): made}, provenance)
