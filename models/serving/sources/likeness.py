"""Likeness: how far an item goes with the whole visit, whatever the order and the distance.

    share = mean over the items of the context: events with both / sqrt(events with the one * events with the other)

the cosine of two items (B. Sarwar et al., Item-based collaborative filtering recommendation algorithms, 2001), by plain
numbers of views: they do not fade, and looks far apart count as much as the next one. Where visits are long and in no
order, that says more than shares weighed by recency.

It describes candidates that other sources bring. Its worth is 0: the learnt order finds out how far a shop needs it.
The reason of what it counts is that of what was viewed together.
"""

from __future__ import annotations

import math

from models.jit import inline_njit
from models.ranking.features import SOURCES
from models.serving.batch import Batch
from models.serving.sources.source import Source, Worth
from models.serving.state import ServingState
from models.shop.events import VIEWED_WITH
from models.shop.kinds import NEITHER

NAME = "likeness"

_SHARE = SOURCES.index(NAME)


@inline_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Describe the candidates of the pool; none joins."""
    rows, pool, items = state.rows, state.pool, 0
    for place in range(pool.size[1]):
        about = pool.context[place]
        if about >= len(rows.length) or rows.length[about] == 0:
            continue
        items += 1
        factor = 1.0 / math.sqrt(max(1, rows.own_count[about, 0]))
        for cell in range(rows.start[about], rows.start[about] + rows.length[about]):
            item = rows.ids[cell]
            known = pool.where[item]
            candidate = pool.candidates[known]
            if known < pool.size[0] and candidate.item == item and candidate.kind != NEITHER and candidate.pooled:
                pool.shares[known, _SHARE] += factor * rows.counts[cell, VIEWED_WITH]
    for queue in range(len(pool.top_sizes)):
        for number in range(pool.top_sizes[queue]):
            place = pool.top[queue, number]
            item = pool.candidates[place].item
            views = rows.own_count[item, 0] if item < len(rows.at) else 0
            pool.shares[place, _SHARE] /= max(1, items) * math.sqrt(max(1, views))


SOURCE = Source(worth={NAME: Worth(cross_sell=0.0, upsell=0.0)}, join=join)
