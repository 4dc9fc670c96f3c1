"""Figures of lists of suggestions: how many of their items are taken, how diverse lists are, how exposure is spread.

A list has up to k places. Its *targets* are the items that the shopper took and that could have been in it; a *hit* is
a target that was in it.

| figure | of one list | mean over |
|---|---|---|
| HR@k | 1 if it has a hit | all lists, empty ones too |
| MRR@k | 1 / place of its first hit, 0 without one | all lists |
| precision@k | hits / items | lists with items |
| recall@k | hits / targets | lists with targets |
| F1@k | 2 hits / (items + targets) | lists with targets |
| NDCG@k | sum of 1 / log2(1 + place) of the hits, over that of all targets in the first places | lists with targets |

Hits may weigh less than 1, as takings do that are credited (`models.evaluation.purchases`): sums then add up weights,
HR is the greatest weight, and MRR the greatest weight / place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FIGURES = ("hr", "mrr", "precision", "recall", "f1", "ndcg")
"""Names, in the order of `gains`."""

ALL, WITH_ITEMS, WITH_TARGETS = range(3)
"""What a figure is a mean over: see the module."""

MEAN_OVER = (ALL, ALL, WITH_ITEMS, WITH_TARGETS, WITH_TARGETS, WITH_TARGETS)
"""By figure."""


class Place(NamedTuple):
    """An item of a list."""

    item: int
    kind: int
    """`models.shop.kinds.CROSS_SELL` or `UPSELL`."""
    anchor: int
    """Item of the trigger or the cart that it is suggested for."""
    score: float = math.nan
    """Estimated acceptance, if the method has one."""
    falls_back: bool = False
    """Whether it was suggested without evidence about the visit or the shopper."""


def gains(hits: Sequence[float], targets: int, k: int) -> tuple[float, float, float, float, float, float]:
    """What a list of up to k places adds to each of FIGURES; `targets` counts all, hits included.

    `hits` has the weight of each place: 1 (True) for a hit, 0 for none, or anything between.

    >>> [round(gain, 3) for gain in gains([False, True, True], targets=4, k=3)]  # places 2 and 3
    [1.0, 0.5, 0.667, 0.5, 0.571, 0.531]
    >>> gains([], targets=2, k=3)
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    >>> [round(gain, 3) for gain in gains([0.0, 0.4, 0.9], targets=4, k=3)[:3]]
    [0.9, 0.3, 0.433]
    """
    hit = sum(hits)
    if not hit:
        return (0.0,) * 6
    first = max(weight / place for place, weight in enumerate(hits, 1))
    gained = sum(weight / math.log2(1 + place) for place, weight in enumerate(hits, 1))
    ideal = sum(1.0 / math.log2(1 + place) for place in range(1, min(targets, k) + 1))
    most = float(max(hits))
    return most, first, hit / len(hits), hit / targets, 2.0 * hit / (len(hits) + targets), gained / ideal


def diversity(traits: Sequence[Hashable]) -> float:
    """Share of the pairs of a list whose items differ, by two or more traits such as categories or brands.

    >>> round(diversity(["Mugs", "Mugs", "Pots", "Pans"]), 3)  # five of six pairs differ
    0.833
    """
    n = len(traits)
    if len(set(traits)) == n:
        return 1.0
    return 1.0 - sum(count * (count - 1) for count in Counter(traits).values()) / (n * (n - 1))


def gini(exposure: NDArray[np.int64]) -> float:
    """How unequally items are shown: 0 if all equally often, towards 1 if one item has all places; NaN if none is.

    The exposure is (items,): how often each was shown, 0 included.

    >>> round(gini(np.array([0, 0, 0, 8])), 3), gini(np.array([2, 2])), round(gini(np.array([1, 3])), 3)
    (0.75, 0.0, 0.25)
    """
    shown, n = np.sort(exposure).astype(np.float64), len(exposure)
    if not shown.sum() > 0.0:
        return math.nan
    return float(((2 * np.arange(1, n + 1) - n - 1) * shown).sum() / (n * shown.sum()))


def coverage(exposure: NDArray[np.int64]) -> float:
    """Share of the items that were shown at least once.

    >>> coverage(np.array([0, 5, 1, 0]))
    0.5
    """
    return float((exposure > 0).mean()) if len(exposure) else math.nan


def decile_shares(exposure: NDArray[np.int64], popularity: NDArray[np.int64]) -> list[float]:
    """Share of all places by decile of popularity, the most popular tenth of the items first.

    Both arrays are (items,); items of equal popularity keep their order.

    >>> decile_shares(np.array([5, 0, 3, 2, 0, 0, 0, 0, 0, 0]), np.arange(10)[::-1])
    [0.5, 0.0, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    ranked = exposure[np.argsort(-popularity, kind="stable")]
    total = float(ranked.sum())
    return [float(part.sum()) / total if total else math.nan for part in np.array_split(ranked, 10)]
