"""A walk of two steps: what goes with items that go with the context.

    share = sum over items a of the context, and neighbours m of a: recency(a) * share(m of a) * share(item of m)

A share is the viewed-with share of the neighbours source, of the views of `a` or of `m`. The walk starts at the first
`ITEMS` of the context, and goes over the first `BETWEEN` neighbours of each, which are its strongest: more would cost
much and add little. So two items that were never viewed together, because they are new or rare, are related if they
share neighbours (C. Cooper et al., Random walks in recommender systems, 2014).

It describes candidates that other sources bring. Its worth is 0: the learnt order finds out how far a shop needs it.
"""

from __future__ import annotations

from models.elementary import exp2
from models.jit import forward_njit
from models.ranking.features import SOURCES
from models.serving.batch import Batch
from models.serving.candidates import half_lives
from models.serving.pooling import clear_linked, list_pooled, slot_of
from models.serving.sources.neighbours import has_neighbours, share_factors, supported
from models.serving.sources.source import Source, Worth
from models.serving.state import ServingState
from models.shop.events import VIEWED_WITH

NAME = "walk"

ITEMS, BETWEEN = 3, 8
"""Items of the context that the walk starts at, and neighbours of each that it goes over."""

_SHARE = SOURCES.index(NAME)


@forward_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Describe the candidates of the pool; none joins."""
    at, rows, weights, pool = batch.at[query], state.rows, state.weights, state.pool
    clear_linked(pool)
    steps = 0
    for place in range(min(ITEMS, pool.size[1])):
        about = pool.context[place]
        if not has_neighbours(about, rows):
            continue
        for step in range(rows.start[about], rows.start[about] + min(BETWEEN, rows.length[about])):
            between = rows.ids[step]
            share = pool.per_view[place] * supported(step, VIEWED_WITH, rows, weights)
            if not share > 0.0 or not has_neighbours(between, rows):
                continue
            pool.due_for[steps] = between
            pool.due[steps] = share
            pool.totals[steps] = half_lives(between, at, rows)
            steps += 1
    for step in range(steps):
        pool.totals[step] = exp2(pool.totals[step])
    for step in range(steps):
        between = pool.due_for[step]
        factor, _ = share_factors(between, pool.due[step], pool.totals[step], rows, weights)
        for index in range(list_pooled(between, rows, pool)):
            cell = pool.ranked[index]
            pool.linked[pool.slots[rows.ids[cell]]] += factor * supported(cell, VIEWED_WITH, rows, weights)
    for queue in range(len(pool.top_sizes)):
        for number in range(pool.top_sizes[queue]):
            pool.shares[pool.top[queue, number], _SHARE] = pool.linked[slot_of(queue, number)]


SOURCE = Source(worth={NAME: Worth(cross_sell=0.0, upsell=0.0)}, join=join)
