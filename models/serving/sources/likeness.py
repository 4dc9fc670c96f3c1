"""Likeness: how far an item goes with the whole visit, whatever the order and the distance.

    share = mean over the items of the context: looks with both / sqrt(looks at the one * looks at the other)

the cosine of two items (B. Sarwar et al., Item-based collaborative filtering recommendation algorithms, 2001), by plain
numbers: they do not fade, and looks far apart count as much as neighbouring ones. Items without neighbours are left out
of the mean. Where visits are long and in no order, that says more than shares weighted by recency. Each look at either
item with the other counts, so where shoppers go to and fro between two items the share may exceed 1.

It describes candidates that other sources bring. Its worth is 0: the learnt order finds out how far a shop needs it.
The reason of what it counts is that of what was viewed together.
"""

from __future__ import annotations

import math

from models.jit import forward_njit
from models.ranking.features import SOURCES
from models.serving.batch import Batch
from models.serving.pooling import clear_linked, list_pooled, slot_of
from models.serving.sources.neighbours import has_neighbours
from models.serving.sources.source import Source, Worth
from models.serving.state import ServingState
from models.shop.events import VIEWED_WITH

NAME = "likeness"

_SHARE = SOURCES.index(NAME)


@forward_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Describe the candidates of the pool; none joins."""
    rows, weights, pool, items = state.rows, state.weights, state.pool, 0
    clear_linked(pool)
    for place in range(pool.size[1]):
        about = pool.context[place]
        if not has_neighbours(about, rows):
            continue
        items += 1
        factor = 1.0 / math.sqrt(max(1, rows.own_count[about, 0]))
        for index in range(list_pooled(about, rows, pool)):
            cell = pool.ranked[index]
            looks = rows.counts[cell, VIEWED_WITH]
            if looks >= weights.min_support:
                pool.linked[pool.slots[rows.ids[cell]]] += factor * looks
    for queue in range(len(pool.top_sizes)):
        for number in range(pool.top_sizes[queue]):
            place, share = pool.top[queue, number], pool.linked[slot_of(queue, number)]
            if share > 0.0:
                item = pool.candidates[place].item
                views = rows.own_count[item, 0] if item < len(rows.at) else 0
                pool.shares[place, _SHARE] = share / (max(1, items) * math.sqrt(max(1, views)))


SOURCE = Source(worth={NAME: Worth(cross_sell=0.0, upsell=0.0)}, join=join)
