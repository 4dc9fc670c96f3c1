"""Popular items as candidates where there is too little evidence: a cold shopper, a cold item, a list that is not full.

By relation to the anchor, the closest first: of its brand, of a category with the same parent, of its category
(upsells) or of any other (cross-sells). They pass the same rules, and score below the weakest evidence of the list. The
reason counts in how many baskets the item was bought, or if in none, how often it was viewed or added to a cart. It is
also that of an item that joined the pool without a reason of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Rows
from models.jit import forward_njit
from models.serving.batch import Batch
from models.serving.candidates import place_of, relate, step_factor
from models.serving.explanations import Reasons, explain_relation
from models.serving.popularity import BASKETS, MAX_ANCHORS, VIEWS, TopItems
from models.serving.queues import push
from models.serving.rules import ANCHORS, MAY_UPSELL
from models.serving.sources.sentence import Sentence
from models.serving.sources.source import Source
from models.serving.state import (
    BRAND,
    CROSS_SELLS,
    EVIDENCE,
    FALL_BACK,
    JOINED,
    NEAR,
    POPULAR,
    UPSELLS,
    ServingState,
)
from models.shop.catalog import NONE
from models.shop.categories import ROOT
from models.shop.kinds import CROSS_SELL, NEITHER, UPSELL

_CLOSENESS = np.array([1.0, 0.7, 0.5])
"""By relation, from `BRAND` on: of two items equally popular the one closer to the anchor is shown."""

PER_ANCHOR = 8
"""Candidates taken from one list of top items: more than a record has places, so that caps leave a choice."""

BELOW = 0.9
"""Best score of a fallback, as a share of the weakest evidence in the list."""

_HALF_WAY = 10.0
"""Decayed views (or a quarter of the baskets) at which popularity is worth half of what it can be."""


@forward_njit
def fall_back(at: float, weakest: float, cross_sells: bool, upsells: bool, state: ServingState) -> None:
    """Queue top items that are related to the first anchors, with scores below the weakest evidence.

    `cross_sells` and `upsells` say whether the list has places for any.
    """
    rules, query = state.rules, state.query
    anchors = min(query.now[ANCHORS], MAX_ANCHORS)
    for place in range(anchors):
        fact = rules.facts[query.anchors[place]]
        if upsells and query.now[MAY_UPSELL]:
            _add(state.by_category, rules.group[fact.category], UPSELL, POPULAR, place, at, weakest, state)
        if cross_sells and fact.brand != NONE:
            _add(state.by_brand, fact.brand, CROSS_SELL, BRAND, place, at, weakest, state)
    if not cross_sells:
        return
    for place in range(anchors):
        above = state.parent[rules.group[rules.facts[query.anchors[place]].category]]
        if above != ROOT:
            _add(state.by_category, above, CROSS_SELL, NEAR, place, at, weakest, state)
    _add(state.by_category, ROOT, CROSS_SELL, POPULAR, -1, at, weakest, state)


@forward_njit
def _add(
    top: TopItems,
    row: int,
    kind: int,
    relation: int,
    anchor: int,
    at: float,
    weakest: float,
    state: ServingState,
) -> None:
    """Queue the first items of a row of `top` that are of a kind."""
    rules, query, candidates = state.rules, state.query, state.pool.candidates
    taken = 0
    for index in range(top.length[row]):
        item = top.items[row, index]
        place = place_of(item, rules, query, state.pool)
        candidate = candidates[place]
        if candidate.kind != kind or candidate.tier in (EVIDENCE, JOINED):
            continue
        taken += 1
        if candidate.tier == 0:
            relate(candidate, FALL_BACK, relation, anchor, state)
            candidate.score = (
                weakest * BELOW * _CLOSENESS[candidate.relation - BRAND] * _popularity(item, at, state.rows)
            )
            if candidate.seen:
                candidate.score *= state.weights.seen
            if kind == UPSELL:
                candidate.score *= min(1.0, step_factor(item, query.anchors[candidate.anchor], state.weights, rules))
            push(UPSELLS if kind == UPSELL else CROSS_SELLS, place, state.pool, state.id_order)
        if taken == PER_ANCHOR:
            return


@forward_njit
def add_most_popular(at: float, state: ServingState) -> None:
    """Queue the top items of the shop and of the first anchors' categories, and all above these, by popularity alone.

    The whole shop's list has a few items of each branch only, so those nearer to the anchors complete it.
    """
    rules, query = state.rules, state.query
    for place in range(min(query.now[ANCHORS], MAX_ANCHORS)):
        node = rules.group[rules.facts[query.anchors[place]].category]
        while node != ROOT:
            _add_popular(node, at, state)
            node = state.parent[node]
    _add_popular(ROOT, at, state)


@forward_njit
def _add_popular(row: int, at: float, state: ServingState) -> None:
    """Queue the items of a node's list, cross-sells and upsells."""
    top = state.by_category
    for index in range(top.length[row]):
        item = top.items[row, index]
        place = place_of(item, state.rules, state.query, state.pool)
        candidate = state.pool.candidates[place]
        if candidate.kind == NEITHER or candidate.tier != 0:
            continue
        candidate.tier = FALL_BACK
        candidate.exact = True
        candidate.relation = POPULAR
        if candidate.kind == UPSELL:
            candidate.kin = candidate.anchor
        candidate.score = _popularity(item, at, state.rows)
        push(UPSELLS if candidate.kind == UPSELL else CROSS_SELLS, place, state.pool, state.id_order)


@forward_njit
def _popularity(item: int, at: float, rows: Rows) -> float:
    """From 0.1 for an item that nobody has looked at, towards 1."""
    weight = 0.0
    if item < len(rows.at):
        weight = VIEWS * rows.own[item, 0] + BASKETS * rows.own[item, 1]
        weight *= 2.0 ** min(0.0, (rows.at[item] - at) / rows.half_life_s)
    return (weight + 1.0) / (weight + _HALF_WAY)


@forward_njit
def explain(
    chosen: NDArray[np.int32], size: int, query: int, batch: Batch, state: ServingState, found: Reasons
) -> None:
    """Explain the items that are related to an anchor by brand or category, or popular."""
    rows = state.rows
    for index in range(size):
        candidate = state.pool.candidates[chosen[index]]
        if candidate.relation == BRAND or candidate.relation == NEAR or candidate.relation == POPULAR:
            views = purchases = 0
            if candidate.item < len(rows.at):
                views, purchases = rows.own_count[candidate.item, 0], rows.own_count[candidate.item, 1]
            explain_relation(candidate, index, purchases or views, purchases == 0, state.query, found)


_OF_BRAND = "From {brand}, like {title}"
_NEAR = "From {category}, close to {title}"
_ALTERNATIVE = "{category}, an alternative to {title}"

SOURCE = Source(
    explain=explain,
    sentences={
        BRAND: Sentence("content", f"{_OF_BRAND}: {{known}}", uncounted=_OF_BRAND),
        NEAR: Sentence("content", f"{_NEAR}: {{known}}", uncounted=_NEAR),
        POPULAR: Sentence(
            "popularity",
            f"From {_ALTERNATIVE}: {{known}}",
            uncounted=f"New in {_ALTERNATIVE}",
            alone="From {category}: {known}",
            uncounted_alone="New in {category}",
        ),
    },
)
