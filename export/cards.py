"""What stands beside released weights in words: the model card and the terms of the data they were trained on."""

from dataclasses import dataclass

from contracts.model_contract import ModelContract
from contracts.tasks import Task


@dataclass(frozen=True)
class DataSet:
    """A data set on which students are trained: its name, licence, citation and a sentence on where it comes from."""

    name: str
    licence: str
    citation: str
    origin: str


DATA_SETS: dict[Task, DataSet] = {
    Task.CARDIAC: DataSet(
        name="ACDC (Automated Cardiac Diagnosis Challenge)",
        licence="CC BY-NC-SA 4.0",
        citation=(
            "O. Bernard, A. Lalande, C. Zotti, F. Cervenansky et al., Deep Learning Techniques for Automatic MRI "
            "Cardiac Multi-structures Segmentation and Diagnosis: Is the Problem Solved?, IEEE Transactions on Medical "
            "Imaging 37(11):2514-2525, 2018, doi 10.1109/TMI.2018.2837502"
        ),
        origin="University Hospital of Dijon and CREATIS; short-axis cine MR at end-diastole and end-systole",
    ),
}


def terms_line(task: Task) -> str:
    """Return the terms of a task's weights in one line, as the contract states them."""
    data = DATA_SETS[task]
    return f"{data.licence}, non-commercial research only; cite: {data.citation}"


def terms_text(task: Task) -> str:
    """Return ``TERMS.md`` of a model."""
    data = DATA_SETS[task]
    return (
        f"# Terms of these weights\n\n"
        f"The weights in this folder were trained on {data.name}, which is licensed {data.licence}. They are released\n"
        f"under the same licence: {data.licence} (https://creativecommons.org/licenses/by-nc-sa/4.0/), for\n"
        f"non-commercial research, share alike. The licence of the source code does not cover them.\n\n"
        f"Every use must cite:\n\n> {data.citation}\n"
    )


def card_text(contract: ModelContract, seen: int) -> str:
    """Return ``card.md`` of a model; ``seen`` counts the patients of its training data."""
    data = DATA_SETS[contract.task]
    labels = "\n".join(
        f"| {entry.value} | {entry.meaning} | {entry.scheme} {entry.code} |" for entry in contract.labels
    )
    scores = "\n".join(f"| {name} | {value:.3f} |" for name, value in contract.scores.items())
    prepare = contract.prepare
    return f"""# {contract.name}, version {contract.version}

**Research use only. Not a medical device; no figure here is evidence of clinical fitness.**

## What it is

A 2-D UNet (1.8 million parameters). Input: one slice, {prepare.input_side} x {prepare.input_side}; output: labels on a
grid of {prepare.output_side} x {prepare.output_side}. It is run twice: over the whole slice to find the organ, then
over a square around it. `contract.json` in the version's folder has every number.

| value | structure | code |
|---|---|---|
{labels}

## What it was trained on

{seen} patients of {data.name}: {data.origin}. `training.json` names each of them, the preset, the seed and the code.

## What it scores

Dice on validation patients that it was not trained on (mean over volumes; the code is `training/evaluation`):

| figure | value |
|---|---|
{scores}

## What it is not for

Diagnosis or treatment; long-axis views, late enhancement, perfusion, flow or maps; other organs; children and
congenital disease, which the training data does not hold; scanners and sequences unlike a balanced steady-state cine.
Expect more errors in basal and apical slices, and in the right ventricle more than in the left.

## Terms

{terms_line(contract.task)}. See `TERMS.md`.
"""
