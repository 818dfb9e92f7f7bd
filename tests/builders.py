"""DICOM made in memory for tests: the series of a cardiac exam, classic and enhanced, and what else comes along.

Everything is deterministic: UIDs derive from an exam's name and a running count. Pixels are an ellipse whose size goes
with the phase on a gradient, so that orientation, slice and phase can be told from them.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from contracts.dicom import settle

Vector = tuple[float, float, float]
Cosines = tuple[float, float, float, float, float, float]
Pixels = NDArray[np.generic]

ENHANCED_SR_STORAGE = UID("1.2.840.10008.5.1.4.1.1.88.22")
AXIAL: Cosines = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def unit_cosines(row: ArrayLike, column: ArrayLike) -> Cosines:
    """Return the orientation of two directions, made perpendicular and of unit length."""
    a = np.asarray(row, np.float64)
    a /= np.linalg.norm(a)
    b = np.asarray(column, np.float64)
    b -= np.dot(a, b) * a
    b /= np.linalg.norm(b)
    return tuple(round(float(v), 9) for v in (*a, *b))  # type: ignore[return-value]


SHORT_AXIS = unit_cosines((0.74, 0.62, 0.28), (-0.09, 0.5, -0.86))
"""Short-axis planes of an average heart; the normal points along (-0.67, 0.61, 0.42), from apex to base."""
_NORMAL = np.cross(SHORT_AXIS[:3], SHORT_AXIS[3:])
FOUR_CHAMBER = unit_cosines(_NORMAL, SHORT_AXIS[:3])
TWO_CHAMBER = unit_cosines(_NORMAL, SHORT_AXIS[3:])
PROSTATE = unit_cosines((1, 0, 0.05), (0, 0.98, -0.2))


def axis_aligned() -> Iterator[Cosines]:
    """Yield the 24 orientations whose row and column directions run along axes of the patient."""
    for (i, j), signs in product(permutations(range(3), 2), product((1.0, -1.0), repeat=2)):
        row, column = [0.0] * 3, [0.0] * 3
        row[i], column[j] = signs
        yield (*row, *column)  # type: ignore[misc]


def heart(rows: int, columns: int, place: int, phase: int, phases: int) -> NDArray[np.uint16]:
    """Return one slice ``[row, column]`` of an ellipse that beats, brighter by slice."""
    y, x = np.mgrid[0:rows, 0:columns]
    radius = 0.2 + 0.05 * math.cos(2 * math.pi * phase / max(phases, 1))
    inside = ((y / rows - 0.45) / radius) ** 2 + ((x / columns - 0.55) / (0.8 * radius)) ** 2 < 1
    return np.asarray(100 + 2 * x + y + 600 * inside + 10 * place, np.uint16)


@dataclass
class Exam:
    """One study of one made-up patient; its methods make series."""

    name: str = "exam"
    series_count: int = field(default=0, init=False)
    instance_count: int = field(default=0, init=False)

    def uid(self, what: str) -> str:
        """Return a UID that depends on the exam's name and ``what``."""
        number = int.from_bytes(hashlib.sha256(f"{self.name}/{what}".encode()).digest()[:14])
        return f"2.25.{number}"

    @property
    def study_uid(self) -> str:
        """The exam's Study Instance UID."""
        return self.uid("study")

    @property
    def frame_of_reference_uid(self) -> str:
        """The frame of reference of a scanner session."""
        return self.uid("frame of reference")

    def next_series(self) -> tuple[str, int]:
        """Return UID and number of a new series."""
        self.series_count += 1
        return self.uid(f"series {self.series_count}"), self.series_count

    def bare(self, sop_class: str, series: tuple[str, int], number: int = 1, modality: str = "MR") -> FileDataset:
        """Return an object without images: identity, patient and study."""
        self.instance_count += 1
        made = FileDataset("", {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID = sop_class
        made.SOPInstanceUID = self.uid(f"instance {self.instance_count}")
        made.StudyInstanceUID, (made.SeriesInstanceUID, made.SeriesNumber) = self.study_uid, series
        made.Modality, made.InstanceNumber = modality, number
        made.SpecificCharacterSet = "ISO_IR 192"
        made.PatientName, made.PatientID = f"Phantom^{self.name}", f"ID-{self.name}"
        made.PatientBirthDate, made.PatientSex = "19500101", "O"
        made.StudyDate, made.StudyTime, made.StudyID = "20240102", "101500", "1"
        made.AccessionNumber, made.ReferringPhysicianName = "A1", ""
        made.Manufacturer, made.SeriesDescription = "Maker", ""
        return made

    def image(
        self,
        series: tuple[str, int],
        number: int,
        position: ArrayLike,
        pixels: Pixels,
        orientation: Cosines = SHORT_AXIS,
        spacing: tuple[float, float] = (1.5, 1.5),
        sop_class: str = MRImageStorage,
        **attributes: object,
    ) -> FileDataset:
        """Return a classic image; ``attributes`` are set as they are, None takes one away."""
        made = self.bare(sop_class, series, number)
        made.FrameOfReferenceUID, made.PositionReferenceIndicator = self.frame_of_reference_uid, ""
        made.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        made.ScanningSequence, made.SequenceVariant = "GR", "SS"
        made.ScanOptions, made.MRAcquisitionType = "", "2D"
        made.EchoTime, made.RepetitionTime, made.FlipAngle, made.EchoTrainLength = 1.4, 3.0, 50, 1
        made.SliceThickness = 8
        made.ImagePositionPatient = [f"{value:.6g}" for value in np.asarray(position)]
        made.ImageOrientationPatient = [f"{value:.9g}" for value in orientation]
        made.PixelSpacing = [f"{value:.7g}" for value in spacing]
        set_pixels(made, pixels)
        for keyword, value in attributes.items():
            if value is None:
                del made[keyword]
            else:
                setattr(made, keyword, value)
        return made

    def stack(
        self,
        slices: int = 6,
        phases: int = 3,
        *,
        rows: int = 20,
        columns: int = 24,
        distance: float = 8.0,
        origin: Vector = (10.0, -20.0, 30.0),
        orientation: Cosines = SHORT_AXIS,
        interval_ms: float = 40.0,
        series_per_position: bool = False,
        frame_of_reference_per_instance: bool = False,
        **attributes: object,
    ) -> list[FileDataset]:
        """Return parallel slices with several images each, in ascending order, times inside.

        ``attributes`` of :meth:`image`; a trigger time of None leaves the trigger times out.
        """
        normal = np.cross(orientation[:3], orientation[3:])
        series = self.next_series()
        made = []
        for place, phase in product(range(slices), range(phases)):
            if series_per_position and place and not phase:
                series = self.next_series()
            own: dict[str, Any] = {"TriggerTime": round(12.5 + phase * interval_ms, 3)}
            own |= {"CardiacNumberOfImages": phases, "AcquisitionTime": f"1020{place % 60:02d}.5"}
            own |= attributes
            own = {k: v for k, v in own.items() if v is not None}
            position = np.asarray(origin) + place * distance * normal
            number = phase + 1 if series_per_position else place * phases + phase + 1
            image = self.image(
                series,
                number,
                position,
                heart(rows, columns, place, phase, phases),
                orientation,
                **own,
            )
            if frame_of_reference_per_instance:
                image.FrameOfReferenceUID = self.uid(f"frame of reference {image.SOPInstanceUID}")
            made.append(image)
        return made

    def short_axis(self, slices: int = 6, phases: int = 3, **options: Any) -> list[FileDataset]:
        """Return a short-axis cine; ``options`` of :meth:`stack`."""
        return self.stack(slices, phases, **options)

    def enhanced(
        self,
        slices: int = 6,
        phases: int = 3,
        *,
        rows: int = 20,
        columns: int = 24,
        distance: float = 8.0,
        orientations: Sequence[Cosines] = (SHORT_AXIS,),
        slope: float = 1.0,
        intercept: float = 0.0,
    ) -> FileDataset:
        """Return one enhanced multi-frame cine; frames run phase by phase, slices in descending order."""
        made = self.image(
            self.next_series(), 1, (0, 0, 0), heart(rows, columns, 0, 0, 1), sop_class=EnhancedMRImageStorage
        )
        for keyword in (
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "TriggerTime"),
            *("ScanningSequence", "SequenceVariant", "ScanOptions", "EchoTime", "RepetitionTime", "FlipAngle"),
        ):
            made.pop(keyword, None)
        made.ImageType = ["ORIGINAL", "PRIMARY", "CINE", "NONE"]
        made.AcquisitionContrast, made.ComplexImageComponent = "UNKNOWN", "MAGNITUDE"
        made.SharedFunctionalGroupsSequence = [_shared_groups(slope, intercept)]
        frames, pixels = [], []
        for orientation, phase, place in product(orientations, range(phases), reversed(range(slices))):
            normal = np.cross(orientation[:3], orientation[3:])
            frames.append(_frame_groups(place * distance * normal, orientation, phase, place))
            pixels.append(heart(rows, columns, place, phase, phases))
        made.PerFrameFunctionalGroupsSequence = frames
        made.NumberOfFrames = len(frames)
        made.PixelData = np.stack(pixels).tobytes()
        return made

    def long_axis(self, phases: int = 3) -> list[FileDataset]:
        """Return a four-chamber cine: one slice."""
        return self.stack(1, phases, orientation=FOUR_CHAMBER)

    def long_axis_stack(self, slices: int = 6, phases: int = 3) -> list[FileDataset]:
        """Return several parallel four-chamber slices."""
        return self.stack(slices, phases, orientation=FOUR_CHAMBER)

    def perfusion(self, slices: int = 3, times: int = 5, **options: Any) -> list[FileDataset]:
        """Return a first-pass perfusion: one image a heartbeat and slice, over most of a minute."""
        made = self.stack(
            slices, times, TriggerTime=None, CardiacNumberOfImages=None, EchoTime=1.1, FlipAngle=12, **options
        )
        for index, image in enumerate(made):
            image.SequenceVariant = "SP"
            image.AcquisitionTime = f"1025{(index % times) * 55 // max(times - 1, 1):02d}.0"
            image.ContrastBolusAgent = "agent"
            image.TemporalPositionIdentifier, image.NumberOfTemporalPositions = index % times + 1, times
        return made

    def phase_contrast(self, slices: int = 1, phases: int = 3) -> list[FileDataset]:
        """Return the phase images of a flow measurement."""
        made = self.stack(slices, phases, SequenceVariant="SP", SequenceName="*fl2d1_v150in", FlipAngle=20)
        for image in made:
            image.ImageType = ["ORIGINAL", "PRIMARY", "P", "RETRO"]
        return made

    def late_enhancement(self, slices: int = 8, phase_sensitive: bool = True) -> list[FileDataset]:
        """Return late enhancement: with the phase-sensitive image of each slice in the same series."""
        images = 2 if phase_sensitive else 1
        made = self.stack(
            slices,
            images,
            TriggerTime=600.0,
            CardiacNumberOfImages=None,
            InversionTime=300,
            ScanningSequence=["GR", "IR"],
        )
        for index, image in enumerate(made):
            if phase_sensitive and index % 2:
                image.ImageType = ["ORIGINAL", "PRIMARY", "R", "PSIR"]
        return made

    def map_images(self, kind: str = "T1", slices: int = 3) -> list[FileDataset]:
        """Return the images from which a T1, T2 or T2* map is made: several times a slice."""
        made = self.stack(slices, 6, CardiacNumberOfImages=None, interval_ms=1000.0)
        for index, image in enumerate(made):
            step = index % 6
            if kind == "T1":
                image.InversionTime, image.ScanningSequence = 100 + 150 * step, ["GR", "IR"]
            else:
                image.EchoTime = (2.2 if kind == "T2*" else 25.0) * (step + 1)
        return made

    def map_result(self, kind: str = "T1", slices: int = 3) -> list[FileDataset]:
        """Return a T1, T2 or T2* map itself."""
        made = self.stack(slices, 1, TriggerTime=None, CardiacNumberOfImages=None)
        for image in made:
            image.ImageType = ["DERIVED", "PRIMARY", "M", f"{kind} MAP".replace("*", "_STAR")]
        return made

    def localizer(self, series: tuple[str, int] | None = None, rows: int = 20, columns: int = 24) -> list[FileDataset]:
        """Return three planes of three orientations in one series, which may be one that is there already."""
        series = series or self.next_series()
        planes: tuple[Cosines, ...] = (AXIAL, (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1))
        return [
            self.image(series, 900 + i, (-100.0, -100.0, 40.0), heart(rows, columns, i, 0, 1), o, FlipAngle=40)
            for i, o in enumerate(planes)
        ]

    def haste(self, slices: int = 24) -> list[FileDataset]:
        """Return transverse black-blood survey images of the chest."""
        return self.stack(
            slices,
            1,
            orientation=AXIAL,
            TriggerTime=None,
            CardiacNumberOfImages=None,
            ScanningSequence="SE",
            SequenceVariant="SK",
            EchoTime=80.0,
            FlipAngle=150,
        )

    def prostate(self, slices: int = 19, orientation: Cosines = PROSTATE) -> list[FileDataset]:
        """Return T2 images of the prostate, axial ones tilted a little."""
        made = self.stack(
            slices,
            1,
            orientation=orientation,
            distance=3.0,
            TriggerTime=None,
            CardiacNumberOfImages=None,
            ScanningSequence="SE",
            SequenceVariant="SK",
            EchoTime=101.0,
            EchoTrainLength=25,
            BodyPartExamined="PROSTATE",
        )
        for image in made:
            image.PixelSpacing = [0.5, 0.5]
        return made

    def report(self) -> FileDataset:
        """Return a structured report: no images."""
        made = self.bare(ENHANCED_SR_STORAGE, self.next_series(), modality="SR")
        made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
        made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
        return made

    def key_objects(self) -> FileDataset:
        """Return a key object selection: no images."""
        made = self.bare(KeyObjectSelectionDocumentStorage, self.next_series(), modality="KO")
        made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
        return made

    def screenshot(self) -> FileDataset:
        """Return a secondary capture in colour, which has no place in the patient."""
        made = self.bare(SecondaryCaptureImageStorage, self.next_series(), modality="OT")
        made.ConversionType, made.ImageType = "WSD", ["DERIVED", "SECONDARY"]
        set_pixels(made, np.zeros((16, 16, 3), np.uint8))
        return made

    def segmentation(self) -> FileDataset:
        """Return a segmentation by somebody else: one frame of one bit a pixel."""
        made = self.bare(SegmentationStorage, self.next_series(), modality="SEG")
        made.FrameOfReferenceUID = self.frame_of_reference_uid
        made.ImageType, made.SegmentationType = ["DERIVED", "PRIMARY"], "BINARY"
        set_pixels(made, np.zeros((16, 16), np.uint8))
        made.BitsAllocated = made.BitsStored = 1
        made.HighBit, made.NumberOfFrames, made.PixelData = 0, 1, bytes(32)
        return made

    def forty_series(self) -> dict[str, list[FileDataset]]:
        """Return a whole cardiac exam of 40 series, by name; only ``short-axis cine`` is one."""
        made: dict[str, list[FileDataset]] = {}
        for index in range(4):
            made[f"localizer {index}"] = self.localizer()
        made["haste"] = self.haste()
        for index, plane in enumerate((FOUR_CHAMBER, TWO_CHAMBER, unit_cosines(_NORMAL, (0.3, 0.9, 0.2)))):
            for repeat in range(2):
                made[f"long-axis cine {index}.{repeat}"] = self.stack(1, 3, orientation=plane)
        made["outflow tract"] = self.stack(2, 3, orientation=TWO_CHAMBER)
        made["four-chamber stack"] = self.long_axis_stack()
        made["short-axis scout"] = self.stack(3, 1, TriggerTime=None, CardiacNumberOfImages=None)
        made["short-axis cine"] = self.short_axis(slices=9, phases=4)
        for index in range(2):
            made[f"perfusion {index}"] = self.perfusion()
        made["perfusion of many slices"] = self.perfusion(slices=6, origin=(0.0, 0.0, 0.0))
        for index in range(3):
            made[f"flow, phase {index}"] = self.phase_contrast()
            made[f"flow, magnitude {index}"] = [_magnitude(image) for image in self.phase_contrast()]
        made["flow of many slices"] = self.phase_contrast(slices=8)
        made["late enhancement, phase sensitive"] = self.late_enhancement()
        made["late enhancement, magnitude"] = self.late_enhancement(phase_sensitive=False)
        made["late enhancement, long axis"] = [
            self.image(self.next_series(), 1, (0, 0, 0), heart(20, 24, 0, 0, 1), FOUR_CHAMBER, InversionTime=300)
        ]
        for kind in ("T1", "T2", "T2*"):
            made[f"{kind} images"] = self.map_images(kind)
            made[f"{kind} map"] = self.map_result(kind)
        made["T1 images of many slices"] = self.map_images("T1", slices=6)
        made["T2 images of many slices"] = self.map_images("T2", slices=6)
        made["report"], made["key objects"] = [self.report()], [self.key_objects()]
        made["screenshot"], made["segmentation"] = [self.screenshot()], [self.segmentation()]
        return made


def _magnitude(image: FileDataset) -> FileDataset:
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "RETRO"]
    return image


def _shared_groups(slope: float, intercept: float) -> Dataset:
    shared, measures, timing, echo, values = (Dataset() for _ in range(5))
    measures.PixelSpacing, measures.SliceThickness = [1.5, 1.5], 8
    timing.RepetitionTime, timing.FlipAngle, timing.EchoTrainLength = 3.0, 50.0, 1
    echo.EffectiveEchoTime = 1.4
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, intercept, "US"
    shared.PixelMeasuresSequence, shared.MREchoSequence = [measures], [echo]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    shared.PixelValueTransformationSequence = [values]
    return shared


def _frame_groups(position: ArrayLike, orientation: Cosines, phase: int, place: int) -> Dataset:
    groups, content, where, facing, beat, kind = (Dataset() for _ in range(6))
    content.FrameAcquisitionDateTime = f"202401021020{place:02d}.5"
    content.TemporalPositionIndex, content.InStackPositionNumber = phase + 1, place + 1
    where.ImagePositionPatient = [f"{value:.6g}" for value in np.asarray(position)]
    facing.ImageOrientationPatient = [f"{value:.9g}" for value in orientation]
    beat.NominalCardiacTriggerDelayTime = 12.5 + 40.0 * phase
    kind.FrameType = ["ORIGINAL", "PRIMARY", "CINE", "NONE"]
    groups.FrameContentSequence, groups.PlanePositionSequence = [content], [where]
    groups.PlaneOrientationSequence, groups.CardiacSynchronizationSequence = [facing], [beat]
    groups.MRImageFrameTypeSequence = [kind]
    return groups


def set_pixels(dataset: Dataset, pixels: Pixels, bits_stored: int | None = None) -> None:
    """Give a data set its pixels ``[row, column]`` or ``[row, column, 3]`` and the attributes that describe them."""
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)


def compress(dataset: FileDataset, transfer_syntax: str, folder: Path) -> Path:
    """Write a data set in another transfer syntax; JPEG lossless by GDCM, the rest by pydicom. Returns the file."""
    if transfer_syntax == JPEGLosslessSV1:
        return _compress_with_gdcm(write([dataset], folder)[dataset.SOPInstanceUID])
    if transfer_syntax in (ExplicitVRLittleEndian, "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"):
        dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    else:
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    return write([dataset], folder)[dataset.SOPInstanceUID]


def _compress_with_gdcm(path: Path) -> Path:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def write(datasets: Iterable[FileDataset], folder: Path) -> dict[str, Path]:
    """Write data sets into a folder, as they are; return their files by SOP Instance UID."""
    settle()
    files = {}
    for dataset in datasets:
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        files[dataset.SOPInstanceUID] = folder / f"{len(list(folder.iterdir())):05d}.dcm"
        dcmwrite(files[dataset.SOPInstanceUID], dataset, enforce_file_format=True)
    return files
