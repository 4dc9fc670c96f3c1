"""Ranks the next item of a visit by what was viewed together, before any rule.

    score(b) = sum over items a of the visit: recency(a) * weight(a, b) / (views(a) + shrinkage) ** normalisation

Each item of the visit counts once, at its latest view.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Rows
from models.evaluation.next_item.sums import repeats, sums_by_item
from models.jit import cached_njit
from models.shop.events import VIEWED_WITH


class NextItemConfig(NamedTuple):
    """How the views of a visit are weighed."""

    back: float = 0.7
    """A view `n` views back counts `exp(-back * n)`: see `models.serving.recommender.RecommenderConfig`."""
    age_half_life_s: float = 1800.0
    """Age in seconds at which a view counts half."""
    shrinkage: float = 5.0
    """Views without any neighbour that each item starts with."""
    normalisation: float = 0.5
    """Power of the views that a weight is divided by: 1 takes shares, 0 plain weights."""


def next_items(
    latest: NDArray[np.int32], ages_s: NDArray[np.float64], at: float, rows: Rows, config: NextItemConfig
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(m,) distinct items that may come next, ascending, and (m,) their scores, above 0.

    Args:
        latest: (n,) items of the visit, latest first.
        ages_s: (n,) seconds since each was viewed.
        at: now, epoch seconds.
        rows: the neighbours.
        config: how views are weighed.
    """
    return sums_by_item(*_next_items(latest, ages_s, at, rows, config))


@cached_njit()
def _next_items(
    latest: NDArray[np.int32], ages_s: NDArray[np.float64], at: float, rows: Rows, config: NextItemConfig
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """What each view adds to each of its neighbours, one after the other."""
    room = 0
    for item in latest:
        room += rows.length[item] if item < len(rows.length) else 0
    found, scores = np.empty(room, np.int32), np.empty(room)
    used = 0
    for place in range(len(latest)):
        item = latest[place]
        if repeats(latest, 0, place) or item >= len(rows.length) or rows.length[item] == 0:
            continue
        fade = 2.0 ** min(0.0, (rows.at[item] - at) / rows.half_life_s)
        recency = math.exp(-config.back * place) * 2.0 ** (-ages_s[place] / config.age_half_life_s)
        factor = recency * fade / (rows.own[item, 0] * fade + config.shrinkage) ** config.normalisation
        for cell in range(rows.start[item], rows.start[item] + rows.length[item]):
            weight = rows.weights[cell, VIEWED_WITH]
            if weight > 0.0:
                found[used] = rows.ids[cell]
                scores[used] = factor * weight
                used += 1
    return found[:used], scores[:used]
