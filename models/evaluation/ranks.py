"""Figures of rankings, from the place of each target, with intervals; all in percent.

HR@k is the share of tests whose target is among the first k (with one target a test it is recall@k, and k times
precision@k). MRR@k is the mean of 1/place, NDCG@k that of 1/log2(1 + place); both count 0 beyond k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSED = np.iinfo(np.int64).max
"""Place of a target that is not ranked at all."""

RESAMPLES = 1_000
"""Resamples of the bootstrap: enough for two digits of a 95 % interval."""

_CHUNK = 50
"""Resamples drawn at once; bounds memory."""


def place_of(target: int, ids: NDArray[np.int32], scores: NDArray[np.float64], without: NDArray[np.int32]) -> int:
    """Place of an item in a ranking, from 1; ties count against it, and items without a score are not ranked.

    The ranking is (n,) distinct ids and scores, leaving out the items of `without`.

    >>> ids, scores = np.array([3, 5, 7], np.int32), np.array([0.5, 0.5, 0.9])
    >>> nothing = np.empty(0, np.int32)
    >>> place_of(3, ids, scores, nothing), place_of(3, ids, scores, np.array([7], np.int32))
    (3, 2)
    >>> place_of(4, ids, scores, nothing) == MISSED
    True
    """
    found = np.flatnonzero(ids == target)
    if not len(found):
        return MISSED
    before = ids[scores >= scores[found[0]]]
    if len(without):
        before = before[~np.isin(before, without)]
    return len(before)


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean in percent with its 95 % bootstrap interval."""

    percent: float
    low: float
    high: float


def figures(places: NDArray[np.int64], groups: NDArray[np.int64], k: int, seed: int) -> dict[str, Figure]:
    """HR, MRR and NDCG at k, by name (`hr@20`), of (n,) places from 1, or MISSED.

    Whole sessions, the groups, are resampled, since tests of one session are not independent (a cluster bootstrap;
    Efron and Tibshirani, 1993).
    """
    return means(gains_at(places, k), groups, seed)


def means(gains: dict[str, NDArray[np.float64]], groups: NDArray[Any], seed: int) -> dict[str, Figure]:
    """The mean of each figure by what each test adds, (n,), with its interval; whole groups are resampled."""
    if not len(groups):
        return dict.fromkeys(gains, Figure(math.nan, math.nan, math.nan))
    _, group = np.unique(groups, return_inverse=True)
    n = int(group.max()) + 1
    sums = np.stack([np.bincount(group, gain, n) for gain in gains.values()], axis=1).astype(np.float64)
    sizes = np.bincount(group, minlength=n).astype(np.float64)
    intervals = intervals_of_sums(sums, sizes[:, None], seed)
    percents = (round(100 * float(gain.mean()), 3) for gain in gains.values())
    return {name: Figure(of, *interval) for name, of, interval in zip(gains, percents, intervals, strict=True)}


def as_json(found: Mapping[str, Figure], n: int) -> dict[str, Any]:
    """Figures of n tests in percent, with their intervals."""
    intervals = {name: [figure.low, figure.high] for name, figure in found.items()}
    return {name: figure.percent for name, figure in found.items()} | {"n": n, "interval": intervals}


def gains_at(places: NDArray[np.int64], k: int) -> dict[str, NDArray[np.float64]]:
    """What each test adds to each figure, 0 to 1.

    >>> {name: gain.round(3).tolist() for name, gain in gains_at(np.array([1, 3, 21, MISSED]), 20).items()}
    {'hr@20': [1.0, 1.0, 0.0, 0.0], 'mrr@20': [1.0, 0.333, 0.0, 0.0], 'ndcg@20': [1.0, 0.5, 0.0, 0.0]}
    """
    hit = places <= k
    at = np.where(hit, places, 1).astype(np.float64)
    return {
        f"hr@{k}": hit.astype(np.float64),
        f"mrr@{k}": np.where(hit, 1.0 / at, 0.0),
        f"ndcg@{k}": np.where(hit, 1.0 / np.log2(1.0 + at), 0.0),
    }


def intervals_of_sums(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> list[tuple[float, float]]:
    """2.5th and 97.5th percentile of each mean over resampled groups, in percent, from sums over the groups.

    Arguments are those of `resampled_means`.

    >>> intervals_of_sums(np.array([[1.0, 0.0], [1.0, 3.0]]), np.array([[1.0, 0.0], [1.0, 4.0]]), seed=1)
    [(100.0, 100.0), (75.0, 75.0)]
    """
    return intervals_of(resampled_means(sums, sizes, seed))


def resampled_means(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(resamples, figures) means over resampled groups; NaN where a resample has no test of a figure.

    Sums and sizes (the number of tests) are (groups, figures); sizes may be (groups, 1). There is at least one group.
    """
    groups = len(sums)
    chance = np.random.default_rng(seed)
    means: list[NDArray[Any]] = []
    with np.errstate(invalid="ignore"):  # 0 / 0 where a resample has no test
        for _ in range(0, RESAMPLES, _CHUNK):
            drawn = chance.integers(0, groups, (_CHUNK, groups))
            times = np.stack([np.bincount(row, minlength=groups) for row in drawn]).astype(np.float64)
            means.append((times @ sums) / (times @ sizes))
    return np.concatenate(means)


def intervals_of(means: NDArray[np.float64]) -> list[tuple[float, float]]:
    """2.5th and 97.5th percentile of each figure in percent, from (resamples, figures) means; NaN is left out."""
    asked = np.isfinite(means)
    low, high = np.full((2, means.shape[1]), math.nan)
    for figure in np.flatnonzero(asked.any(axis=0)).tolist():
        low[figure], high[figure] = np.percentile(means[asked[:, figure], figure], [2.5, 97.5])
    return [(round(100 * a, 3), round(100 * b, 3)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
