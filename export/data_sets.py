"""The data on which students are trained: what it is, on which terms, and what a student of it is not for."""

from dataclasses import dataclass

from contracts.tasks import Task


@dataclass(frozen=True)
class DataSet:
    """A data set: name of its folder and for people, licence, citation, a sentence on where it comes from.

    ``terms`` are the paragraphs of ``TERMS.md`` between its title and the citation; ``cases`` is what one of its cases
    is called, ``scored`` over what Dice is averaged, ``limits`` what students of it are not for.
    """

    key: str
    name: str
    licence: str
    citation: str
    origin: str
    terms: str
    cases: str
    scored: str
    limits: str


_SHARE_ALIKE = """\
The weights in this folder were trained on {name}, which is licensed {licence}. They are released
under the same licence: {licence} (https://creativecommons.org/licenses/by-nc-sa/4.0/), for
non-commercial research, share alike. The licence of the source code does not cover them.
"""
_UNCONFIRMED = """\
The weights in this folder were trained on {name}. To our knowledge that data is
licensed {licence}; the licence was not confirmed with those who hold it, and single images may have others. The weights
are released for non-commercial research only. The licence of the source code does not cover them.
"""

DATA_SETS: dict[Task, DataSet] = {
    Task.CARDIAC: DataSet(
        key="acdc",
        name="ACDC (Automated Cardiac Diagnosis Challenge)",
        licence="CC BY-NC-SA 4.0",
        citation=(
            "O. Bernard, A. Lalande, C. Zotti, F. Cervenansky et al., Deep Learning Techniques for Automatic MRI "
            "Cardiac Multi-structures Segmentation and Diagnosis: Is the Problem Solved?, IEEE Transactions on Medical "
            "Imaging 37(11):2514-2525, 2018, doi 10.1109/TMI.2018.2837502"
        ),
        origin="University Hospital of Dijon and CREATIS; short-axis cine MR at end-diastole and end-systole",
        terms=_SHARE_ALIKE,
        cases="patients",
        scored="volumes",
        limits="""\
Diagnosis or treatment; long-axis views, late enhancement, perfusion, flow or maps; other organs; children and
congenital disease, which the training data does not hold; scanners and sequences unlike a balanced steady-state cine.
Expect more errors in basal and apical slices, and in the right ventricle more than in the left.""",
    ),
    Task.PROSTATE: DataSet(
        key="prostate",
        name="the Radboud part of the NCI-ISBI 2013 challenge (TCIA Prostate-3T)",
        licence="CC BY 3.0",
        citation=(
            "N. Bloch, A. Madabhushi, H. Huisman et al., NCI-ISBI 2013 Challenge: Automated Segmentation of Prostate "
            "Structures, The Cancer Imaging Archive, 2015, doi 10.7937/K9/TCIA.2015.zF0vlOPv; G. Litjens, J. Futterer, "
            "H. Huisman, Data From Prostate-3T, The Cancer Imaging Archive, 2015"
        ),
        origin="Radboud University Medical Center; axial T2 MR at 3 T without endorectal coil",
        terms=_UNCONFIRMED,
        cases="patients",
        scored="volumes",
        limits="""\
Diagnosis or treatment; planning of biopsies or radiotherapy; images with an endorectal coil, other planes than axial,
other sequences than T2; prostates after surgery. The training data is of one site and one vendor in two protocols
(0.6 mm and 0.5 mm pixels): expect more errors elsewhere. Zones are not told apart. Expect more errors at base and apex.
The gland must lie near the centre of the field of view: a square of 135 mm around it is looked at.""",
    ),
    Task.SKIN: DataSet(
        key="isic",
        name="the ISIC 2017 challenge (Skin Lesion Analysis Toward Melanoma Detection)",
        licence="CC0",
        citation=(
            "N. Codella, D. Gutman, M. E. Celebi et al., Skin Lesion Analysis Toward Melanoma Detection: A Challenge "
            "at the 2017 International Symposium on Biomedical Imaging (ISBI), Hosted by the International Skin "
            "Imaging Collaboration (ISIC), arXiv 1710.05006"
        ),
        origin="centres of the International Skin Imaging Collaboration; dermoscopy, each picture squashed to 256 px",
        terms=_UNCONFIRMED,
        cases="photographs",
        scored="photographs",
        limits="""\
Diagnosis or treatment: an outline says nothing of what a lesion is. Photographs without a dermatoscope, with several
lesions (the largest is kept) or with a lesion that fills the picture; nails and mucosa; skin tones that the training
data hardly holds. Its masks mix tight tracings and loose polygons, and so does the student's outline.""",
    ),
}
