"""A folder of short-axis cine images to one DICOM SEG a phase: what a competent engineer writes within an hour.

``python -m tests.bench.plain FOLDER OUT MODEL THREADS``; MODEL is a version's folder in the model repository.

pydicom reads, ONNX Runtime computes, highdicom writes. The mathematics between (prepare, restore, component filter) are
those of ``contracts.segment``, as in the gateway, because the benchmark is about everything around them. This is the
measure: it was written before the gateway was tuned, and its digest in ``bench.json`` says that it is the same still.
"""

import json
import os
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

STARTED = time.perf_counter()

import highdicom as hd  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
import pydicom  # noqa: E402
from pydicom.sr.codedict import codes  # noqa: E402

from contracts.model_contract import read_contract  # noqa: E402
from contracts.segment import segment  # noqa: E402
from contracts.tasks import LABELS, Task  # noqa: E402


def read(folder: Path) -> list[list[pydicom.FileDataset]]:
    """Return the images of a folder, [phase][slice]: slices along their normal, phases by trigger time."""
    images = [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    orientation = np.array(images[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    slices = defaultdict(list)
    for image in images:
        slices[round(float(normal @ np.array(image.ImagePositionPatient, dtype=float)), 2)].append(image)
    ordered = [sorted(slices[place], key=lambda image: float(image.TriggerTime)) for place in sorted(slices)]
    return [list(phase) for phase in zip(*ordered, strict=True)]


def predict(phases: list[list[pydicom.FileDataset]], model: Path, threads: int) -> np.ndarray:
    """Return labels uint8 [phase, slice, row, column]."""
    volume = np.stack([[image.pixel_array for image in phase] for phase in phases])
    contract = read_contract(model / "contract.json")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])
    return segment(volume, contract, lambda batch: session.run(None, {contract.input.name: batch})[0]).labels


def descriptions() -> list[hd.seg.SegmentDescription]:
    """Return what each label means."""
    return [
        hd.seg.SegmentDescription(
            segment_number=label.value,
            segment_label=label.title,
            segmented_property_category=hd.sr.CodedConcept(
                label.category.value, label.category.scheme, label.category.meaning
            ),
            segmented_property_type=hd.sr.CodedConcept(label.type.value, label.type.scheme, label.type.meaning),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="plain", version="1", family=codes.DCM.ArtificialIntelligence
            ),
        )
        for label in LABELS[Task.CARDIAC]
    ]


def write(phases: list[list[pydicom.FileDataset]], labels: np.ndarray, out: Path) -> None:
    """Write one SEG for each phase that has any label, and bring all of them to the disk."""
    out.mkdir(parents=True, exist_ok=True)
    series_uid = hd.UID()
    for number, (images, mask) in enumerate(zip(phases, labels, strict=True), start=1):
        if not mask.any():
            continue
        seg = hd.seg.Segmentation(
            source_images=images,
            pixel_array=mask,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions(),
            series_instance_uid=series_uid,
            series_number=900,
            sop_instance_uid=hd.UID(),
            instance_number=number,
            manufacturer="plain",
            manufacturer_model_name="plain",
            software_versions="1",
            device_serial_number="1",
        )
        with (out / f"seg-{number}.dcm").open("wb") as file:
            seg.save_as(file)
            file.flush()
            os.fsync(file.fileno())
    folder = os.open(out, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def main(folder: Path, out: Path, model: Path, threads: int) -> None:
    """Do it, and print how many seconds each part took."""
    times = [STARTED, time.perf_counter()]
    phases = read(folder)
    times.append(time.perf_counter())
    labels = predict(phases, model, threads)
    times.append(time.perf_counter())
    write(phases, labels, out)
    times.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(times)]
    print(json.dumps(dict(zip(("imports", "read", "predict", "write"), seconds, strict=True))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
