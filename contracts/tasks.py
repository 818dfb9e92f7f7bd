"""The four tasks, their label sets in SNOMED CT, and recommended display colours.

Codes and their meanings are those of DICOM PS3.16. Categories: CID 7150 (Segmentation Property Category). Types, all
but one in CID 7151 (Segmentation Property Type): the ventricles in CID 7152 (Cardiac Structure), the prostate in
CID 7160 (Pelvic Organ), the lesion in CID 7159 (Lesion). The myocardium of the left ventricle stands in no group of
segmentation types, which may be extended; CID 12305 has its code. For the glands of a tissue section PS3.16 has no
concept, so they carry the code for tissue. Label values are those of the masks, 0 is background everywhere.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Code:
    """A coded concept (DICOM PS3.3 section 8.8): value, scheme and meaning."""

    value: str
    scheme: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")


@dataclass(frozen=True)
class Label:
    """One structure of a task: value in a mask, short name, segment category and type, recommended sRGB colour."""

    value: int
    name: str
    title: str
    category: Code
    type: Code
    rgb: tuple[int, int, int]


class Task(StrEnum):
    """What a student was trained for. The value names its folder in the model repository."""

    CARDIAC = "cardiac"
    PROSTATE = "prostate"
    SKIN = "skin"
    GLAND = "gland"


LABELS: dict[Task, tuple[Label, ...]] = {
    Task.CARDIAC: (
        Label(
            1, "rv", "Right ventricle", ANATOMICAL_STRUCTURE, Code("53085002", "SCT", "Right ventricle"), (86, 180, 233)
        ),
        Label(
            2,
            "myo",
            "Left ventricular myocardium",
            ANATOMICAL_STRUCTURE,
            Code("49848007", "SCT", "Left Ventricle Myocardium"),
            (230, 159, 0),
        ),
        Label(
            3,
            "lv",
            "Left ventricle cavity",
            ANATOMICAL_STRUCTURE,
            Code("87878005", "SCT", "Left ventricle"),
            (204, 121, 167),
        ),
    ),
    Task.PROSTATE: (
        Label(1, "prostate", "Prostate", ANATOMICAL_STRUCTURE, Code("41216001", "SCT", "Prostate"), (86, 180, 233)),
    ),
    Task.SKIN: (
        Label(1, "lesion", "Lesion", MORPHOLOGICALLY_ABNORMAL, Code("52988006", "SCT", "Lesion"), (230, 159, 0)),
    ),
    Task.GLAND: (Label(1, "gland", "Gland", TISSUE, Code("85756007", "SCT", "Tissue"), (86, 180, 233)),),
}


def label_names(task: Task) -> tuple[str, ...]:
    """Return the short names of a task's labels in the order of their values."""
    return tuple(label.name for label in LABELS[task])
