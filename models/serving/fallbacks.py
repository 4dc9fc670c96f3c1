"""Candidates where there is too little evidence: a cold shopper, a cold item, a list that is not full.

In this order of relation: the anchor's brand, a category near the anchor's (one that shares the node above), what is
popular in the anchor's category (upsells) or in any other (cross-sells). They pass the same rules, and score below the
weakest evidence of the list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit
from models.serving.candidates import EVIDENCE, FALL_BACK, Pool, Rows, Weights, candidate, step_of
from models.serving.popularity import BASKETS, VIEWS, TopItems
from models.serving.queues import CROSS_SELLS, UPSELLS, push
from models.serving.rules import ANCHORS, MAY_UPSELL, QueryState, Rules, fits
from models.shop.catalog import NONE
from models.shop.categories import ROOT
from models.shop.kinds import CROSS_SELL, UPSELL

BRAND, NEAR, POPULAR = 1, 2, 3
"""Relations of a fall-back to an anchor, the closest first."""

WORTH = np.array([0.0, 1.0, 0.7, 0.5])
"""By relation: of two items equally popular the one closer to the anchor is shown."""

ANCHORS_ASKED = 4
"""Anchors whose shelves are looked at: the trigger's first."""

PER_SHELF = 8
"""Candidates taken from a shelf: more than a record has places, so that caps leave a choice."""

BELOW = 0.9
"""Best score of a fall-back, as a share of the weakest evidence in the list."""

_HALF_WAY = 10.0
"""Decayed views (or a quarter of the baskets) at which popularity is worth half of what it can be."""


@inline_njit
def fall_back(
    at: float,
    weakest: float,
    cross_sells: bool,
    upsells: bool,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    query_state: QueryState,
    pool: Pool,
    by_category: TopItems,
    by_brand: TopItems,
    parent: NDArray[np.int32],
    order: NDArray[np.uint64],
) -> None:
    """Let candidates from the shelves of the first anchors wait.

    Args:
        at: time of the query, epoch seconds.
        weakest: score of evidence below which these have to stay.
        cross_sells: whether the list can use any.
        upsells: whether it can use any of these.
        rows: for the items' own counts.
        weights: of evidence.
        rules: that every candidate passes.
        query_state: by whom.
        pool: gets the candidates.
        by_category: popular items.
        by_brand: popular items.
        parent: (nodes,) of the category tree.
        order: (items, 2) of the ids.
    """
    anchors = min(query_state.now[ANCHORS], ANCHORS_ASKED)
    for place in range(anchors):
        fact = rules.facts[query_state.anchors[place]]
        if upsells and query_state.now[MAY_UPSELL]:
            group = rules.group[fact.category]
            _add(
                by_category, group, UPSELL, POPULAR, place, at, weakest, rows, weights, rules, query_state, pool, order
            )
        if cross_sells and fact.brand != NONE:
            _add(
                by_brand,
                fact.brand,
                CROSS_SELL,
                BRAND,
                place,
                at,
                weakest,
                rows,
                weights,
                rules,
                query_state,
                pool,
                order,
            )
    if not cross_sells:
        return
    for place in range(anchors):
        above = parent[rules.group[rules.facts[query_state.anchors[place]].category]]
        if above != ROOT:
            _add(
                by_category, above, CROSS_SELL, NEAR, place, at, weakest, rows, weights, rules, query_state, pool, order
            )
    _add(by_category, ROOT, CROSS_SELL, POPULAR, -1, at, weakest, rows, weights, rules, query_state, pool, order)


@inline_njit
def _add(
    shelves: TopItems,
    shelf: int,
    kind: int,
    relation: int,
    anchor: int,
    at: float,
    weakest: float,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    query_state: QueryState,
    pool: Pool,
    order: NDArray[np.uint64],
) -> None:
    """Add the first fitting items of a shelf."""
    taken = 0
    for index in range(shelves.length[shelf]):
        item = shelves.items[shelf, index]
        place = candidate(item, rules, query_state, pool)
        one = pool.candidates[place]
        if one.kind != kind or one.tier == EVIDENCE:
            continue
        taken += 1
        if one.tier == 0:
            one.tier = FALL_BACK
            one.exact = True
            one.relation = relation
            if anchor >= 0:
                one.kin = anchor
                if fits(item, kind, anchor, rules, query_state):
                    one.anchor = anchor
                brand = rules.facts[item].brand
                if brand != NONE and brand == rules.facts[query_state.anchors[anchor]].brand:
                    one.relation = BRAND
            one.score = weakest * BELOW * WORTH[one.relation] * _popularity(item, at, rows)
            if one.seen:
                one.score *= weights.seen
            if kind == UPSELL:
                one.score *= min(1.0, step_of(item, query_state.anchors[one.anchor], weights, rules))
            push(UPSELLS if kind == UPSELL else CROSS_SELLS, place, pool.queues, pool.candidates, order)
        if taken == PER_SHELF:
            return


@inline_njit
def _popularity(item: int, at: float, rows: Rows) -> float:
    """From 0.1 for an item that nobody has looked at, towards 1."""
    weight = 0.0
    if item < len(rows.at):
        weight = VIEWS * rows.own[item, 0] + BASKETS * rows.own[item, 1]
        weight *= 2.0 ** min(0.0, (rows.at[item] - at) / rows.half_life_s)
    return (weight + 1.0) / (weight + _HALF_WAY)
