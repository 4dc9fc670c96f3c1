"""What sources cannot see of an item: how much more, or less, often it is taken than they said it would be.

A salad in a bag and a salad that is weighed may look alike to every source, and one is tried ten times as often. Each
outcome is compared with its prediction, item by item; the ratio of both sums, drawn towards 1 where little was
expected, corrects the odds of the next prediction. One number pair an item, learnt from outcomes as a click-through
rate is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ItemBiasConfig:
    """How far an item's own outcomes are believed."""

    prior: float = 5.0
    """Takings, as many as expected, that each item is credited with: it needs about so many to speak for itself."""
    trust: float = 0.6
    """Power of the ratio by which odds are multiplied: 1 would believe that tomorrow is as the past was."""


class ItemBias:
    """Ratios of takings to predicted takings, by item.

    Args:
        config: how far they are believed.

    >>> uptake = ItemBias(ItemBiasConfig(prior=1.0, trust=1.0))
    >>> for taken in (True, True, False, True):
    ...     uptake.update(np.array([5, 6]), np.array([0.25, 0.25]), np.array([taken, False]))
    >>> uptake.logs(np.array([5, 6, 7])).round(3).tolist()  # (3 + 1) / (1 + 1), (0 + 1) / (1 + 1), nothing known
    [0.693, -0.693, 0.0]
    """

    def __init__(self, config: ItemBiasConfig) -> None:
        self._config = config
        self._expected = np.zeros(1024)
        self._taken = np.zeros(1024)

    def update(self, items: NDArray[np.int32], expected: NDArray[np.float64], taken: NDArray[np.bool_]) -> None:
        """Learn an outcome.

        Args:
            items: (n,) distinct candidates.
            expected: (n,) probabilities that were predicted without this correction.
            taken: (n,) whether each was taken.
        """
        if len(items) and (most := int(items.max())) >= len(self._expected):
            more = np.zeros(2 * (most + 1) - len(self._expected))
            self._expected, self._taken = (np.concatenate([old, more]) for old in (self._expected, self._taken))
        self._expected[items] += expected
        self._taken[items] += taken

    def logs(self, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) what is added to the logarithm of each item's odds."""
        logs, known = np.zeros(len(items)), items < len(self._expected)
        found, prior = items[known], self._config.prior
        logs[known] = np.log((self._taken[found] + prior) / (self._expected[found] + prior))
        corrected: NDArray[np.float64] = self._config.trust * logs
        return corrected
