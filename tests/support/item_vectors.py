"""A sequence model of given item vectors and random weights, which needs no torch; and answers to compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.sequence.config import NetworkConfig
from models.sequence.features import ACTIONS, GAPS, Contents
from models.sequence.predictor import Expected
from models.sequence.scorer import Scorer
from models.sequence.vocabulary import NOBODY


def scorer_of(vectors: NDArray[np.float32], seed: int = 3) -> Scorer:
    """A network of random weights over items 0 to n, which have these vectors."""
    chance, units = np.random.default_rng(seed), vectors.shape[1]
    shapes = {"actions": ACTIONS, "gaps": GAPS} | {f"content.{table}": 1 for table in range(3)}
    weights = {f"{name}.weight": 0.3 * chance.normal(size=(rows, units)) for name, rows in shapes.items()}
    for name in ("lstm.weight_ih_l0", "lstm.weight_hh_l0"):
        weights[name] = chance.normal(size=(4 * units, units)) / np.sqrt(units)
    for name in ("lstm.bias_ih_l0", "lstm.bias_hh_l0"):
        weights[name] = 0.1 * chance.normal(size=4 * units)
    weights["items.weight"] = np.concatenate([np.zeros((1, units), np.float32), vectors])
    slots = np.arange(NOBODY, len(vectors))
    return Scorer(weights, slots, Contents(), NetworkConfig().scale)


def answers(found: Expected) -> list[tuple[list[int], list[float]]]:
    rows = zip(found.ends[:-1].tolist(), found.ends[1:].tolist(), strict=True)
    return [(found.items[first:end].tolist(), found.shares[first:end].tolist()) for first, end in rows]
