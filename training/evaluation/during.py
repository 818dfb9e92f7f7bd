"""What is measured and drawn while a run trains: figures on the validation cases, and pictures for the eyes."""

import logging
import math

import torch
from torch import Tensor

from contracts.cases import Case
from contracts.model_contract import draft_contract
from contracts.prepare import Masks
from training.data.streams import Batch
from training.evaluation.overlay import save_overlay, save_views
from training.evaluation.volumes import evaluate_cases, summary
from training.networks.student import runner
from training.run import Training

log = logging.getLogger(__name__)


def judge(run: Training) -> None:
    """Score the averaged weights on the validation cases; draw the worst of them, and what a step learns from.

    Of several processes the first does so.
    """
    if not run.fabric.is_global_zero:
        return
    predicted: dict[str, tuple[Case, Masks]] = {}

    def keep(case: Case, labels: Masks) -> None:
        predicted[case.name] = (case, labels)

    contract = draft_contract(run.preset.task, run.preset.prepare)
    network = runner(run.student, contract.output.shape[0])
    scores = evaluate_cases(run.source.validation, contract, network, seen=keep)
    figures = summary(scores)
    run.scores = {"mean_dice": _number(figures["mean_dice"]), **_numbers(figures["dice"])}
    run.fabric.log_dict({f"validation/{k}": v for k, v in run.scores.items()}, step=run.iteration)
    worst = min(scores, key=lambda score: score.mean)
    log.info("iteration %d: validation %s; worst %s %.3f", run.iteration, _rounded(run.scores), worst.name, worst.mean)
    case, labels = predicted[worst.case]
    save_overlay(run.out / f"worst-{run.iteration:06d}.png", case, labels)
    save_views(run.out / f"views-{run.iteration:06d}.png", *views_of(run, run.streams.draw(run.iteration)))


def views_of(run: Training, batch: Batch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return what a step learns from: rows of images, of their labels, and of the averaged network's confidence.

    Labelled views with their truth; unlabelled weak views with the pseudo-label; each beside the network's confidence.
    """
    images, labels, sure = [batch.images], [batch.labels], [_shares(run, batch.images)]
    if batch.unlabelled:
        weak = batch.unlabelled.weak
        shares = _shares(run, weak)
        frozen = run.preset.consistency.teacher == "frozen"
        images += [weak, batch.unlabelled.strong[0]]
        pseudo = batch.unlabelled.stored if frozen else shares.argmax(dim=1)
        labels += [pseudo, batch.unlabelled.mixes[0](pseudo[:, None])[:, 0]]
        sure += [shares, batch.unlabelled.mixes[0](shares)]
    return images, labels, [shares.amax(dim=1) for shares in sure]


def _shares(run: Training, images: Tensor) -> Tensor:
    with torch.inference_mode():
        shares: Tensor = run.student(images.to(run.fabric.device)).float().softmax(dim=1).cpu()
    return shares


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _numbers(value: object) -> dict[str, float]:
    return {str(k): _number(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _rounded(values: dict[str, float]) -> str:
    return " ".join(f"{key} {value:.3f}" for key, value in values.items())
