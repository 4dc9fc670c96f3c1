"""What comes next in a visit, by what was looked at together: the ranking before rules.

    score(b) = sum over items a of the visit: recency(a) * weight(a, b) / (views(a) + shrinkage) ** normalisation

Each item counts once, where it was looked at last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Neighbours
from models.evaluation.next_item.sums import sums_by_item
from models.jit import cached_njit
from models.shop.events import VIEWED_WITH


@dataclass(frozen=True)
class NextItemConfig:
    """How looks of a visit are weighed."""

    back: float = 0.7
    """A look `n` looks back counts `exp(-back * n)`: see `models.serving.recommender.RecommenderConfig`."""
    age_half_life_s: float = 1800.0
    """... and half as much after half an hour."""
    shrinkage: float = 5.0
    """Views that an item is taken to have had without any neighbour."""
    normalisation: float = 0.5
    """Power of the views that a weight is divided by: 1 takes shares, 0 plain weights."""


def next_items(
    latest: NDArray[np.int32], ages_s: NDArray[np.float64], at: float, neighbours: Neighbours, config: NextItemConfig
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Items that may come next, and their scores, in the order of their numbers.

    Args:
        latest: (n,) items of the visit, latest first.
        ages_s: (n,) how long ago each was looked at.
        at: now, epoch seconds.
        neighbours: the rows.
        config: how looks are weighed.

    Returns:
        (m,) distinct items, (m,) scores above 0.
    """
    found, scores = _next_items(
        latest,
        ages_s,
        at,
        neighbours.start,
        neighbours.length,
        neighbours.own,
        neighbours.at,
        neighbours.ids,
        neighbours.weights,
        float(neighbours.half_life_s),
        float(config.back),
        float(config.age_half_life_s),
        float(config.shrinkage),
        float(config.normalisation),
    )
    return sums_by_item(found, scores)


@cached_njit()
def _next_items(
    latest: NDArray[np.int32],
    ages_s: NDArray[np.float64],
    at: float,
    start: NDArray[np.int64],
    length: NDArray[np.int32],
    own: NDArray[np.float64],
    row_at: NDArray[np.float64],
    ids: NDArray[np.int32],
    weights: NDArray[np.float64],
    half_life_s: float,
    back: float,
    age_half_life_s: float,
    shrinkage: float,
    normalisation: float,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """What each look adds to each of its neighbours, one after the other."""
    room = 0
    for item in latest:
        room += length[item] if item < len(length) else 0
    found, scores = np.empty(room, np.int32), np.empty(room)
    used = 0
    for place in range(len(latest)):
        item = latest[place]
        again = False
        for other in range(place):
            if latest[other] == item:
                again = True
                break
        if again or item >= len(length) or length[item] == 0:
            continue
        fade = 2.0 ** min(0.0, (row_at[item] - at) / half_life_s)
        recency = math.exp(-back * place) * 2.0 ** (-ages_s[place] / age_half_life_s)
        factor = recency * fade / (own[item, 0] * fade + shrinkage) ** normalisation
        for cell in range(start[item], start[item] + length[item]):
            weight = weights[cell, VIEWED_WITH]
            if weight > 0.0:
                found[used] = ids[cell]
                scores[used] = factor * weight
                used += 1
    return found[:used], scores[:used]
