"""The training record of a version: what it was made from, so that nobody is judged on what it has seen."""

import hashlib
import json
from typing import Any

from export.data_sets import DATA_SETS
from training.networks.trained import Trained


def training_record(trained: Trained) -> dict[str, Any]:
    """Return ``training.json``: preset, seed, code version, and every patient or image seen, labelled or not."""
    return {
        "preset": trained.preset,
        "seed": trained.preset["seed"],
        "iterations": trained.iteration,
        "code_version": trained.code_version,
        "weights": f"exponential average of the weights ({trained.preset['ema']}) after the last iteration",
        "data": {
            "set": DATA_SETS[trained.contract.task].key,
            "list": trained.preset["train_list"],
            "patients": sorted(trained.patients),
        },
    }


def snapshot_sha256(record: dict[str, Any]) -> str:
    """Return the digest of the data that a record names."""
    return hashlib.sha256(json.dumps(record["data"], sort_keys=True).encode()).hexdigest()
