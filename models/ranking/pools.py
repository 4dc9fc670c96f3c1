"""Pools of logarithms: `average`, and `weighted` by weights learnt with the exponentiated gradient.

    log p(item) = sum over sources: weight * log p(item of the source) - log of the sum over all candidates

(A logarithmic opinion pool: C. Genest, J. Zidek, Combining probability distributions, 1986.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def pooled(logs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) probabilities out of (n, sources) logarithms and (sources,) weights."""
    sums = logs @ weights
    odds = np.exp(sums - sums.max())
    probabilities: NDArray[np.float64] = odds / odds.sum()
    return probabilities


def average(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) probabilities out of (n, sources) logarithms, every source weighing the same.

    >>> average(np.log([[0.8, 0.2], [0.2, 0.8], [0.4, 0.4]])).round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    return pooled(logs, np.full(logs.shape[1], 1.0 / logs.shape[1]))


@dataclass(frozen=True)
class WeightedConfig:
    """How weights are learnt."""

    rate: float = 0.02
    """Of the exponentiated gradient: an outcome that one source puts at a hundredth of the other moves a weight by a
    tenth, at most."""
    least: float = 0.02
    """Weight below which no source falls, so that one that recovers is heard again soon."""


class Weighted:
    """(sources,) weights that sum to 1, learnt from what was taken.

    (J. Kivinen, M. Warmuth, Exponentiated gradient, 1997.)

    >>> blend = Weighted(2, WeightedConfig())
    >>> for _ in range(200):
    ...     blend.learn_one(np.log([[0.9, 0.1], [0.1, 0.9]]), 0)
    >>> bool(blend.weights[0] > 0.9), round(float(blend.weights.sum()), 9)
    (True, 1.0)
    """

    def __init__(self, sources: int, config: WeightedConfig) -> None:
        self._config = config
        self.weights = np.full(sources, 1.0 / sources)

    def predict(self, logs: NDArray[np.float64], damping: NDArray[np.float64] | float = 1.0) -> NDArray[np.float64]:
        """(n,) probabilities out of (n, sources) logarithms; `damping` of the weights is (sources,) or one factor."""
        weights = self.weights * damping
        return pooled(logs, weights / weights.sum())

    def learn_one(self, logs: NDArray[np.float64], taken: int, faster: NDArray[np.float64] | float = 1.0) -> None:
        """Learn the place taken out of (n, sources) logarithms; `faster` is (sources,) or one factor of the rate."""
        gradient = self.predict(logs) @ logs - logs[taken]
        weights = self.weights * np.exp(np.clip(-self._config.rate * faster * gradient, -0.5, 0.5))
        weights = np.maximum(weights / weights.sum(), self._config.least)
        self.weights = weights / weights.sum()
