"""What a run says of itself while it runs: means of losses and counters, and terms that do nothing."""

import logging
from dataclasses import dataclass, field

import numpy as np

log = logging.getLogger(__name__)

PATIENCE = 200
"""Iterations in a row after which a term that was 0 in all of them is warned about."""


@dataclass
class Watch:
    """Collects figures between two log lines."""

    recent: dict[str, list[float]] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)

    def see(self, figures: dict[str, float]) -> None:
        """Take the figures of one step by name."""
        for name, value in figures.items():
            self.recent.setdefault(name, []).append(value)
            self.idle[name] = self.idle.get(name, 0) + 1 if value == 0 else 0
            if self.idle[name] == PATIENCE:
                log.warning(
                    "'%s' was exactly 0 for %d iterations: this term trains nothing. Look at its threshold and its "
                    "temperature, or switch it off.", name, PATIENCE,
                )  # fmt: skip

    def means(self) -> dict[str, float]:
        """Return the means since the last call."""
        means = {name: float(np.mean(values)) for name, values in self.recent.items()}
        self.recent.clear()
        return means
