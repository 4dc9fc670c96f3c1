"""Item bias: how much more or less often an item is taken than predicted.

Of two items with equal features, one may be taken ten times as often. The ratio of takings to predicted takings of an
item, shrunk towards 1 where few were predicted, corrects the odds of later predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ItemBiasConfig:
    """How far an item's own outcomes are trusted."""

    prior: float = 5.0
    """Predicted takings, all of them true, that each item starts with."""
    trust: float = 0.6
    """Power of the ratio that multiplies the odds: 1 would assume that the past repeats itself."""


class ItemBias:
    """Ratios of takings to predicted takings, by item.

    >>> bias = ItemBias(ItemBiasConfig(prior=1.0, trust=1.0))
    >>> for taken in (True, True, False, True):
    ...     bias.update(np.array([5, 6]), np.array([0.25, 0.25]), np.array([taken, False]))
    >>> bias.logs(np.array([5, 6, 7])).round(3).tolist()  # (3 + 1) / (1 + 1), (0 + 1) / (1 + 1), nothing known
    [0.693, -0.693, 0.0]
    """

    def __init__(self, config: ItemBiasConfig) -> None:
        self._config = config
        self._expected = np.zeros(1024)
        self._taken = np.zeros(1024)

    def update(self, items: NDArray[np.int32], expected: NDArray[np.float64], taken: NDArray[np.bool_]) -> None:
        """Learn an outcome: (n,) distinct candidates, their probabilities without the bias, and which were taken."""
        if len(items) and (most := int(items.max())) >= len(self._expected):
            more = np.zeros(2 * (most + 1) - len(self._expected))
            self._expected, self._taken = (np.concatenate([old, more]) for old in (self._expected, self._taken))
        self._expected[items] += expected
        self._taken[items] += taken

    def logs(self, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) logarithms of the factors on each item's odds."""
        logs, known = np.zeros(len(items)), items < len(self._expected)
        found, prior = items[known], self._config.prior
        logs[known] = np.log((self._taken[found] + prior) / (self._expected[found] + prior))
        corrected: NDArray[np.float64] = self._config.trust * logs
        return corrected
