"""The `stacked` blend: river's online logistic regression over what the sources say, learnt from outcomes.

    odds(taken) = exp(bias + sum over features: weight * (feature - mean) / deviation)

(D. Wolpert, Stacked generalization, 1992; river: `StandardScaler | LogisticRegression`.) All candidates are scored at
once with the learnt weights, the scaler's numbers folded into them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ranking.evidence import Evidence


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


class Stacked:
    """River's `StandardScaler | LogisticRegression` with Adam; `learnt` counts outcomes."""

    def __init__(self, config: StackedConfig, seed: int) -> None:
        from river import compose, linear_model, optim, preprocessing

        self._config = config
        self._names: list[str] = []
        self._chance = np.random.default_rng(seed)
        self._scaler = preprocessing.StandardScaler()
        self._regression = linear_model.LogisticRegression(
            optimizer=optim.Adam(config.rate), l2=config.l2, intercept_lr=config.rate
        )
        self.pipeline = compose.Pipeline(self._scaler, self._regression)
        self._folded: tuple[NDArray[np.float64], float] | None = None
        self.learnt = 0

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
            row = dict(zip(self._names, rows[learnt[number]].tolist(), strict=True))
            self.pipeline.learn_one(row, bool(number == 0), w=float(counts[number]))
        self._folded = None
        self.learnt += 1

    def predict(self, evidence: Evidence) -> NDArray[np.float64]:
        """(n,) probabilities that each candidate is taken."""
        if self._folded is None:
            self._folded = self._fold()
        weights, bias = self._folded
        probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-(features(evidence) @ weights + bias)))
        return probabilities

    def _fold(self) -> tuple[NDArray[np.float64], float]:
        """(features,) weights and the bias of the regression with its scaler folded in."""
        learnt: dict[str, float] = dict(self._regression.weights)
        means = np.array([self._scaler.means[name] for name in self._names])
        deviations = np.sqrt(np.array([self._scaler.vars[name] for name in self._names]))
        raw = np.array([learnt.get(name, 0.0) for name in self._names])
        weights = np.divide(raw, deviations, out=np.zeros_like(raw), where=deviations > 0.0)
        return weights, float(self._regression.intercept) - math.fsum(weights * means)
