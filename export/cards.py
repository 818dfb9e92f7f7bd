"""What stands beside released weights in words: the model card and the terms of the data they were trained on."""

from contracts.model_contract import ModelContract
from contracts.tasks import Task
from export.data_sets import DATA_SETS

_VIEWS = {
    "heart": "It is run twice: over the whole slice to find the organ, then\nover a square around it.",
    "centre": "It looks at\na square of {millimetres:g} mm around the centre of the slice.",
    "photograph": "The\nwhole photograph is squashed to a square, and the answer stretched back to its pixels.",
}


def terms_line(task: Task) -> str:
    """Return the terms of a task's weights in one line, as the contract states them."""
    data = DATA_SETS[task]
    return f"{data.licence}, non-commercial research only; cite: {data.citation}"


def terms_text(task: Task) -> str:
    """Return ``TERMS.md`` of a model."""
    data = DATA_SETS[task]
    told = data.terms.format(name=data.name, licence=data.licence)
    return f"# Terms of these weights\n\n{told}\nEvery use must cite:\n\n> {data.citation}\n"


def card_text(contract: ModelContract, seen: int) -> str:
    """Return ``card.md`` of a model; ``seen`` counts the cases of its training data."""
    data = DATA_SETS[contract.task]
    labels = "\n".join(
        f"| {entry.value} | {entry.meaning} | {entry.scheme} {entry.code} |" for entry in contract.labels
    )
    scores = "\n".join(f"| {name} | {value:.3f} |" for name, value in contract.scores.items())
    prepare = contract.prepare
    side, finer = prepare.input_side, prepare.output_side
    trained_on = f"{seen} {data.cases} of {data.name}: {data.origin}"
    picture = "photograph" if prepare.channels == 3 else "slice"
    view = _VIEWS[prepare.view].format(millimetres=prepare.centre_mm)
    return f"""# {contract.name}, version {contract.version}

**Research use only. Not a medical device; no figure here is evidence of clinical fitness.**

## What it is

A 2-D UNet (1.8 million parameters). Input: one {picture}, {side} x {side}; output: labels on a
grid of {finer} x {finer}. {view} `contract.json` in the version's folder has every number.

| value | structure | code |
|---|---|---|
{labels}

## What it was trained on

{trained_on}. `training.json` names each of them, the preset, the seed and the code.

## What it scores

Dice on validation {data.cases} that it was not trained on (mean over {data.scored}; the code is `training/evaluation`):

| figure | value |
|---|---|
{scores}

## What it is not for

{data.limits}

## Terms

{terms_line(contract.task)}. See `TERMS.md`.
"""
