"""The four tasks, their label sets in SNOMED CT, and recommended display colours.

Codes come from the context groups of DICOM PS3.16: cardiac structures from CID 7191 and CID 7166 relatives as used in
the segmentation categories of CID 7150, anatomy of the prostate from CID 6300 relatives, lesions from CID 7159.
Label values are those of the masks, 0 is background everywhere.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Code:
    """A coded concept (DICOM PS3.3 section 8.8): value, scheme and meaning."""

    value: str
    scheme: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Altered Structure")


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
            Code("70822001", "SCT", "Myocardium of left ventricle"),
            (230, 159, 0),
        ),
        Label(
            3, "lv", "Left ventricle", ANATOMICAL_STRUCTURE, Code("87878005", "SCT", "Left ventricle"), (204, 121, 167)
        ),
    ),
    Task.PROSTATE: (
        Label(1, "prostate", "Prostate", ANATOMICAL_STRUCTURE, Code("41216001", "SCT", "Prostate"), (86, 180, 233)),
    ),
    Task.SKIN: (
        Label(1, "lesion", "Lesion", MORPHOLOGICALLY_ABNORMAL, Code("52988006", "SCT", "Lesion"), (230, 159, 0)),
    ),
    Task.GLAND: (
        Label(
            1, "gland", "Gland", ANATOMICAL_STRUCTURE, Code("362884007", "SCT", "Entire gland"), (86, 180, 233)
        ),
    ),
}


def label_names(task: Task) -> tuple[str, ...]:
    """Return the short names of a task's labels in the order of their values."""
    return tuple(label.name for label in LABELS[task])
