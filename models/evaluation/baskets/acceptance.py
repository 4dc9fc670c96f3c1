"""Probability that each candidate is taken, where a shopper may take many at once: a regression and an item bias.

    odds(taken) = exp(bias + sum over features: weight * (feature - mean) / deviation) * item_bias(item)

The regression is river's `StandardScaler | LogisticRegression`, as in [`models.ranking.stacked`][]. It learns every
candidate that was taken and a sample of the others. Sampling shifts the bias by the logarithm of the sampled share and
changes no weight (G. King and L. Zeng, Logistic Regression in Rare Events Data, 2001); predictions correct the bias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baskets.item_bias import ItemBias, ItemBiasConfig
from models.ranking.stacked import Folded, OnlineRegression


@dataclass(frozen=True)
class AcceptanceConfig:
    """Parameters of the learning."""

    rate: float = 0.003
    """Of Adam."""
    l2: float = 1e-6
    """Pull of the weights towards 0."""
    share: float = 0.03
    """Share of the candidates not taken that is learnt: about ten for each that was taken."""
    settled: int = 1_000
    """Outcomes before predictions are good enough to learn item biases from them."""
    item_bias: ItemBiasConfig = field(default_factory=ItemBiasConfig)


class Acceptance(OnlineRegression):
    """Learns from outcomes, and scores all candidates at once; the features come by `names`."""

    def __init__(self, names: Sequence[str], config: AcceptanceConfig, seed: int) -> None:
        super().__init__(config.rate, config.l2, seed, names)
        self._config = config
        self._item_bias = ItemBias(config.item_bias)

    def learn_one(self, items: NDArray[np.int32], features: NDArray[np.float64], taken: NDArray[np.bool_]) -> None:
        """Learn which candidates were taken: (n,) distinct items, (n, features), (n,) whether each was taken."""
        if self.learnt >= self._config.settled:
            self._item_bias.update(items, self.predict(features), taken)
        drawn = np.flatnonzero(taken | (self._chance.random(len(items)) < self._config.share))
        for place in self._chance.permutation(drawn).tolist():
            self._learn_row(features[place], bool(taken[place]))
        self.learnt += 1

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) probabilities of (n, features) by the regression alone."""
        folded = self.folded()
        return Folded(folded.weights, folded.bias + math.log(self._config.share)).predict(features)

    def scores(self, items: NDArray[np.int32], features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) log odds that each candidate is taken, with the item bias."""
        folded = self.folded()
        odds: NDArray[np.float64] = features @ folded.weights + folded.bias + math.log(self._config.share)
        return odds + self._item_bias.logs(items)
