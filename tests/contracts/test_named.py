"""Words that name an organ are found in any language and kept nowhere."""

import json
from typing import Any

import pytest
from pydicom.dataset import Dataset

from contracts.describe import describe
from contracts.instances import to_json
from contracts.named import organs_named
from tests.builders import Exam


def header(**attributes: Any) -> Dataset:
    """A header with nothing but some attributes."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def coded(meaning: str) -> Dataset:
    """An item of a code sequence."""
    return header(CodeValue="1", CodingSchemeDesignator="SCT", CodeMeaning=meaning)


PROSTATE = [
    {"BodyPartExamined": "PROSTATE"},
    {"StudyDescription": "MRI Prostate w/wo contrast"},
    {"StudyDescription": "MR prostaat kanker detectie"},
    {"SeriesDescription": "t2_tse_tra_Prostata"},
    {"ProtocolName": "RM PRÓSTATA multiparamétrica"},
    {"RequestedProcedureDescription": "Prostate, after prostatectomy?"},
    {"PerformedProcedureStepDescription": "mpMRI PI-RADS"},
    {"StudyDescription": "前列腺MRI"},
    {"StudyDescription": "전립선"},
    {"StudyDescription": "МРТ простаты"},
    {"AnatomicRegionSequence": [coded("Prostate")]},
    {"ProcedureCodeSequence": [coded("MRI of prostate")]},
]
NO_PROSTATE = [
    {},
    {"BodyPartExamined": "PELVIS", "SeriesDescription": "t2_tse_tra"},
    {"StudyDescription": "Pelvis post prostatectomy"},
    {"StudyDescription": "Z.n. Prostatektomie"},
    {"StudyDescription": "prostaglandin trial"},
    {"PatientName": "Prostate^Test"},
]


@pytest.mark.parametrize("attributes", PROSTATE)
def test_the_prostate_is_named(attributes: dict[str, Any]) -> None:
    assert organs_named(header(**attributes)) == {"ProstateNamed": True, "SkinNamed": False}


@pytest.mark.parametrize("attributes", NO_PROSTATE)
def test_the_prostate_is_not_named(attributes: dict[str, Any]) -> None:
    assert not organs_named(header(**attributes))["ProstateNamed"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"Modality": "DMS"},
        {"Modality": "XC"},
        {"BodyPartExamined": "SKIN"},
        {"StudyDescription": "Teledermatologie"},
        {"SeriesDescription": "dermatoscopy_left_arm"},
        {"SeriesDescription": "V.a. Melanom"},
        {"SeriesDescription": "Nävus Rücken"},
        {"AnatomicRegionSequence": [coded("Skin of forearm")]},
    ],
)
def test_the_skin_is_named(attributes: dict[str, Any]) -> None:
    assert organs_named(header(**attributes)) == {"ProstateNamed": False, "SkinNamed": True}


@pytest.mark.parametrize("attributes", [{}, {"Modality": "OT", "SeriesDescription": "dose report"}, *PROSTATE])
def test_the_skin_is_not_named(attributes: dict[str, Any]) -> None:
    assert not organs_named(header(**attributes))["SkinNamed"]


def test_no_word_of_a_description_is_kept() -> None:
    image = Exam().prostate(slices=1)[0]
    image.SeriesDescription, image.StudyDescription = "prostate of John Doe", "born 1950"
    kept = json.dumps(to_json(describe(image)))
    assert '"ProstateNamed": true' in kept
    assert "Doe" not in kept
    assert "1950" not in kept
