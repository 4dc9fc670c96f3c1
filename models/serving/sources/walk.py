"""A walk of two steps: what goes with items that go with the context.

    share = sum over items a of the context, and neighbours m of a: recency(a) * share(m of a) * share(item of m)

The shares are those of the views of `a` and of `m` after or before which the other was viewed, shrunk as those of
neighbours are. Of the context the first `ITEMS` are walked from, and of each the first `BETWEEN` neighbours, which are
its strongest: the rest costs much and adds little. Two items that were never viewed together, as both are new or rare,
are related if they share neighbours (random walks with restart: C. Cooper et al., Random walks in recommender systems,
2014).

It describes candidates that other sources bring. Its worth is 0: the learnt order finds out how far a shop needs it.
"""

from __future__ import annotations

from models.jit import inline_njit
from models.ranking.features import SOURCES
from models.serving.batch import Batch
from models.serving.sources.neighbours import share_factors
from models.serving.sources.source import Source, Worth
from models.serving.state import ServingState
from models.shop.events import VIEWED_WITH
from models.shop.kinds import NEITHER

NAME = "walk"

ITEMS, BETWEEN = 3, 8
"""Items of the context that are walked from, and neighbours of each that are walked over."""

_SHARE = SOURCES.index(NAME)


@inline_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Describe the candidates of the pool; none joins."""
    at, rows, weights, pool = batch.at[query], state.rows, state.weights, state.pool
    for place in range(min(ITEMS, pool.size[1])):
        about = pool.context[place]
        if about >= len(rows.length) or rows.length[about] == 0:
            continue
        per_view, _ = share_factors(about, pool.recency[place], at, rows, weights)
        for step in range(rows.start[about], rows.start[about] + min(BETWEEN, rows.length[about])):
            between = rows.ids[step]
            share = per_view * rows.weights[step, VIEWED_WITH]
            if not share > 0.0 or between >= len(rows.length) or rows.length[between] == 0:
                continue
            factor, _ = share_factors(between, share, at, rows, weights)
            for cell in range(rows.start[between], rows.start[between] + rows.length[between]):
                item = rows.ids[cell]
                known = pool.where[item]
                candidate = pool.candidates[known]
                if known < pool.size[0] and candidate.item == item and candidate.kind != NEITHER and candidate.pooled:
                    pool.shares[known, _SHARE] += factor * rows.weights[cell, VIEWED_WITH]


SOURCE = Source(worth={NAME: Worth(cross_sell=0.0, upsell=0.0)}, join=join)
