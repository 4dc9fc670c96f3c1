"""The `stacked` blend: river's online logistic regression over what the sources say, learnt from outcomes.

    odds(taken) = exp(bias + sum over features: weight * (feature - mean) / deviation)

(D. Wolpert, Stacked generalization, 1992; river: `StandardScaler | LogisticRegression`.) All candidates are scored at
once with the learnt weights, the scaler's numbers folded into them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ranking.evidence import Evidence


class Folded(NamedTuple):
    """A logistic regression with its scaler folded into it."""

    weights: NDArray[np.float64]
    """(features,)."""
    bias: float

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) probabilities out of (n, features)."""
        probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-(features @ self.weights + self.bias)))
        return probabilities


def fold(scaler: Any, regression: Any, names: Sequence[str]) -> Folded:
    """River's regression with the `StandardScaler` before it folded in; the names are in the order of the columns."""
    learnt: dict[Any, float] = dict(regression.weights)
    means = np.array([scaler.means[name] for name in names])
    deviations = np.sqrt(np.array([scaler.vars[name] for name in names]))
    raw = np.array([learnt.get(name, 0.0) for name in names])
    weights = np.divide(raw, deviations, out=np.zeros_like(raw), where=deviations > 0.0)
    return Folded(weights, float(regression.intercept) - math.fsum(weights * means))


class OnlineRegression:
    """River's `StandardScaler | LogisticRegression` over named features, with Adam; `learnt` counts outcomes."""

    def __init__(self, rate: float, l2: float, seed: int, names: Sequence[str] = ()) -> None:
        from river import compose, linear_model, optim, preprocessing

        self._names = list(names)
        self._chance = np.random.default_rng(seed)
        self._scaler = preprocessing.StandardScaler()
        self._regression = linear_model.LogisticRegression(optimizer=optim.Adam(rate), l2=l2, intercept_lr=rate)
        self.pipeline = compose.Pipeline(self._scaler, self._regression)
        self._folded: Folded | None = None
        self.learnt = 0

    def _learn_row(self, row: NDArray[np.float64], taken: bool, weight: float = 1.0) -> None:
        self.pipeline.learn_one(dict(zip(self._names, row.tolist(), strict=True)), taken, w=weight)
        self._folded = None

    def folded(self) -> Folded:
        """The current regression."""
        if self._folded is None:
            self._folded = fold(self._scaler, self._regression, self._names)
        return self._folded


def features(evidence: Evidence) -> NDArray[np.float64]:
    """(n, features) of all candidates.

    Each source's and each other number, the logarithm of its rank, and its product with each number of the context:
    how far to trust a source depends on what it knew.
    """
    logs = np.concatenate([evidence.logs, evidence.more], axis=1)
    ranks = np.empty_like(logs)
    for source in range(logs.shape[1]):
        ranks[np.argsort(-logs[:, source], kind="stable"), source] = np.log(np.arange(1, len(logs) + 1))
    return np.concatenate([logs, ranks, *(logs * number for number in evidence.context)], axis=1)


@dataclass(frozen=True)
class StackedConfig:
    """How the regression is learnt."""

    rate: float = 0.003
    """Of Adam."""
    l2: float = 1e-6
    """Pull of the weights towards 0."""
    nearest: int = 20
    """Candidates not taken that are learnt with the one taken: the first so many of the pool, which it competes with
    for the list."""
    others: int = 10
    """... and so many of the rest, by chance, each of which counts for all that were not drawn: else what is far ahead
    would look like what is not taken."""


class Stacked(OnlineRegression):
    """Learns from outcomes; `folded` gives its weights."""

    def __init__(self, config: StackedConfig, seed: int) -> None:
        super().__init__(config.rate, config.l2, seed)
        self._config = config

    def learn_one(self, evidence: Evidence, taken: int) -> None:
        """Learn that the candidate at a place was taken, and others were not."""
        rows = features(evidence)
        if not self._names:
            self._names = [f"{place:03d}" for place in range(rows.shape[1])]
        order = np.argsort(-evidence.logs.sum(axis=1), kind="stable")
        order = order[order != taken]
        near, far = order[: self._config.nearest], order[self._config.nearest :]
        drawn = self._chance.choice(far, min(len(far), self._config.others), replace=False) if len(far) else far
        counts = np.concatenate([np.ones(1 + len(near)), np.full(len(drawn), len(far) / max(1, len(drawn)))])
        learnt = np.concatenate([[taken], near, drawn])
        for number in self._chance.permutation(len(learnt)):
            self._learn_row(rows[learnt[number]], bool(number == 0), float(counts[number]))
        self.learnt += 1

    def predict(self, evidence: Evidence) -> NDArray[np.float64]:
        """(n,) probabilities that each candidate is taken."""
        return self.folded().predict(features(evidence))
