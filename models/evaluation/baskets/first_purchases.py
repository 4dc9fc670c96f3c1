"""First purchases: how often an item was bought by a shopper who had never bought it before.

They tell what is likely to be new in a basket, which sales do not: milk is bought daily, but rarely for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.shop.decay import landmark

DAY_S = 86_400.0


@dataclass(frozen=True)
class FirstPurchasesConfig:
    """How long a first purchase counts."""

    fast_s: float = 30 * DAY_S
    """Half-life of the fast count, of what is tried now."""
    slow_s: float = 90 * DAY_S
    """Half-life of the slow count, for items that few try."""
    after: int = 8
    """Baskets of a shopper before first purchases count: to a new shopper everything is new."""


class FirstPurchases:
    """Decayed numbers of first purchases by item.

    >>> firsts = FirstPurchases(FirstPurchasesConfig(fast_s=100.0, slow_s=200.0))
    >>> firsts.learn_one([3], 1000.0)
    >>> firsts.learn_one([3, 1], 1100.0)
    >>> firsts.counts(4, 1100.0).round(3).tolist()  # fast and slow, items 0 to 3
    [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.5, 1.707]]
    """

    def __init__(self, config: FirstPurchasesConfig) -> None:
        self.config = config
        self._half_lives_s = np.array([config.fast_s, config.slow_s])
        self._landmarks = np.zeros(2)
        self._weights = np.zeros((1024, 2))  # as of the landmarks

    def learn_one(self, items: Sequence[int], at: float) -> None:
        """Learn the first purchases of a basket, distinct items; baskets may come in any order of time."""
        if not items:
            return
        if (most := max(items)) >= len(self._weights):
            more = np.zeros((2 * (most + 1) - len(self._weights), 2))
            self._weights = np.concatenate([self._weights, more])
        for column, half_life_s in enumerate(self._half_lives_s.tolist()):
            mark, growth = landmark(at, half_life_s)
            if mark > self._landmarks[column]:
                self._weights[:, column] *= 2.0 ** (self._landmarks[column] - mark)
                self._landmarks[column] = mark
            self._weights[items, column] += growth * 2.0 ** (mark - self._landmarks[column])

    def counts(self, items: int, at: float) -> NDArray[np.float64]:
        """(items, 2) fast and slow numbers of items 0 to `items` - 1, as of a time in epoch seconds."""
        counts = np.zeros((items, 2))
        known = min(items, len(self._weights))
        counts[:known] = self._weights[:known] * 2.0 ** (self._landmarks - at / self._half_lives_s)
        return counts
