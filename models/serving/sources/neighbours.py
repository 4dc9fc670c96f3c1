"""Neighbours of the visit: what was looked at with its items, bought with them, or bought after a look at them.

The row of an item says how often it and each neighbour were looked at together, bought together, or the neighbour
bought after a look at the item. As shares of the item's own views or baskets, shrunk where those are few, these
estimate how likely a shopper who looks at the item takes the neighbour:

    share = weight / (own + shrinkage)         all decayed to the query's time

Shares are weighed by the item's recency, and added over the items of the context. Each kind of co-occurrence is a share
of its own, and a reason of its own: it counts the events of that kind with both items, for the item of the context that
says most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Rows
from models.elementary import exp2
from models.jit import forward_njit
from models.serving.batch import Batch
from models.serving.candidates import gather_pair, half_lives, lift_of_pair, place_of, weigh_pairs
from models.serving.explanations import OF_AN_ANCHOR, OF_OWN_ANCHOR, OF_VISIT, Reasons
from models.serving.rules import fits
from models.serving.sources.sentence import Sentence
from models.serving.sources.source import Source, Worth
from models.serving.state import EVIDENCE, Pool, ServingState, Weights
from models.shop.events import (
    BOUGHT_WITH,
    PAIR_KIND_NAMES,
    PAIR_KINDS,
    VIEWED_THEN_BOUGHT,
    VIEWED_WITH,
)


@forward_njit
def has_neighbours(item: int, rows: Rows) -> bool:
    """Whether an item has a row, and anything in it."""
    return bool(item < len(rows.length) and rows.length[item] > 0)


@forward_njit
def share_factors(item: int, recency: float, fade: float, rows: Rows, weights: Weights) -> tuple[float, float]:
    """What a weight in an item's row is multiplied by to be a weighed share of its views, and of its baskets.

    `fade` is what the row's counts have faded to: 2 to the power of `half_lives`.
    """
    views = rows.own[item, 0] * fade + weights.view_shrinkage
    baskets = rows.own[item, 1] * fade + weights.basket_shrinkage
    return recency * fade / views, recency * fade / baskets


@forward_njit
def supported(cell: int, kind: int, rows: Rows, weights: Weights) -> float:
    """Weight of a kind in a cell, 0 where too few events are behind it."""
    weight = rows.weights[cell, kind]  # read in any case: no branch
    return float(weight if rows.counts[cell, kind] >= weights.min_support else 0.0)


@forward_njit
def add(query: int, batch: Batch, state: ServingState) -> None:
    """Add all neighbours of all items of the context, with their shares; anchors are those of the greatest shares.

    Those that may not be suggested have shares, too, which are worth nothing: most branches here would be guesses.
    """
    at = batch.at[query]
    rows, weights, rules, pool = state.rows, state.weights, state.rules, state.pool
    for place in range(pool.size[1]):
        about = pool.context[place]
        if has_neighbours(about, rows):
            fade = exp2(half_lives(about, at, rows))
            factors = share_factors(about, pool.recency[place], fade, rows, weights)
            pool.per_view[place], pool.per_basket[place] = factors
    for place in range(pool.size[1]):
        about = pool.context[place]
        if not has_neighbours(about, rows):
            continue
        per_view, per_basket, anchor = pool.per_view[place], pool.per_basket[place], pool.anchor_of[place]
        start = rows.start[about]
        for cell in range(np.uint64(start), np.uint64(start + rows.length[about])):  # unsigned: never from the end
            item = rows.ids[cell]
            known = np.uint32(pool.where[np.uint32(item)])
            if known >= pool.size[0] or pool.candidates[known].item != item:
                known = np.uint32(place_of(item, rules, state.query, pool))
            candidate = pool.candidates[known]
            viewed = per_view * supported(cell, VIEWED_WITH, rows, weights)
            joined = per_view * supported(cell, VIEWED_THEN_BOUGHT, rows, weights)
            bought = per_basket * supported(cell, BOUGHT_WITH, rows, weights)
            pool.shares[known, VIEWED_WITH] += viewed
            pool.shares[known, VIEWED_THEN_BOUGHT] += joined
            pool.shares[known, BOUGHT_WITH] += bought
            stronger = bought > candidate.strongest
            candidate.strongest = bought if stronger else candidate.strongest
            candidate.partner = place if stronger else candidate.partner
            candidate.cell = cell if stronger else candidate.cell
            worth = weights.worth[candidate.kind]
            direct = worth[VIEWED_WITH] * viewed + worth[VIEWED_THEN_BOUGHT] * joined + worth[BOUGHT_WITH] * bought
            if anchor >= 0 and direct > candidate.direct and fits(item, candidate.kind, anchor, rules, state.query):
                candidate.direct = direct
                candidate.anchor = anchor


@forward_njit
def explain(
    chosen: NDArray[np.int32], size: int, query: int, batch: Batch, state: ServingState, found: Reasons
) -> None:
    """Walk the rows of the context again, for the few items that are listed, and keep the strongest of each kind.

    That of the anchor which the item is for goes before that of other anchors, and theirs before that of other items of
    the visit.
    """
    at, rows, pool = batch.at[query], state.rows, state.pool
    marks = np.uint64(0)  # of items with evidence: most neighbours are told from them by their last six bits
    for index in range(size):
        candidate = pool.candidates[chosen[index]]
        if candidate.tier == EVIDENCE:
            marks |= np.uint64(1) << np.uint64(candidate.item & 63)
    for place in range(pool.size[1] if marks else 0):
        _explain_neighbours(place, marks, rows, state.weights, pool, found)
    most = pool.features.shape[1]
    for first in range(0, size, most):
        _weigh_bought(chosen, first, min(first + most, size), at, state, found)


@forward_njit
def _weigh_bought(
    chosen: NDArray[np.int32], first: int, end: int, at: float, state: ServingState, found: Reasons
) -> None:
    """Give the bought-together reasons of a part of a list their lifts, and count what chance does not explain."""
    rows, pool, pairs = state.rows, state.pool, 0
    for index in range(first, end):
        if found.source[index, BOUGHT_WITH] == BOUGHT_WITH:
            item = pool.candidates[chosen[index]].item
            gather_pair(pairs, found.anchor[index, BOUGHT_WITH], item, pool.due_for[index], at, rows, pool)
            pool.ranked[pairs] = index
            pairs += 1
    weigh_pairs(pairs, rows, state.weights, pool)
    for number in range(pairs):
        index = pool.ranked[number]
        found.lift[index, BOUGHT_WITH] = lift_of_pair(number, rows, pool)
        found.strength[index, BOUGHT_WITH] *= pool.due[number]


@forward_njit
def _explain_neighbours(place: int, marks: np.uint64, rows: Rows, weights: Weights, pool: Pool, found: Reasons) -> None:
    """Keep what the row of an item of the context says of the marked items, where it is the strongest so far."""
    about = pool.context[place]
    if not has_neighbours(about, rows):
        return
    per_view, per_basket, anchor = pool.per_view[place], pool.per_basket[place], pool.anchor_of[place]
    start = rows.start[about]
    for cell in range(start, start + rows.length[about]):
        item = rows.ids[cell]
        if not (marks >> np.uint64(item & 63)) & np.uint64(1):
            continue
        candidate = pool.candidates[pool.where[item]]  # all neighbours are candidates
        index = candidate.chosen
        if candidate.tier != EVIDENCE or index < 0:
            continue
        whose = OF_VISIT if anchor < 0 else OF_OWN_ANCHOR if anchor == candidate.anchor else OF_AN_ANCHOR
        for kind in range(PAIR_KINDS):
            strength = weights.worth[candidate.kind, kind] * (per_basket if kind == BOUGHT_WITH else per_view)
            strength *= supported(cell, kind, rows, weights)
            if not strength > 0.0 or whose < found.whose[index, kind]:
                continue
            if whose > found.whose[index, kind] or strength > found.strength[index, kind]:
                found.whose[index, kind] = whose
                found.strength[index, kind] = strength
                found.source[index, kind] = kind
                found.anchor[index, kind] = about
                found.events[index, kind] = rows.counts[cell, kind]
                if kind == BOUGHT_WITH:
                    pool.due_for[index] = cell


_WORTH = {
    # people look at what they compare, rarely at what completes it: more fills lists of cross-sells with what is merely
    # popular in the visit's surroundings; what is compared is considered as an upsell, and often not taken
    VIEWED_WITH: Worth(cross_sell=0.1, upsell=0.3),
    BOUGHT_WITH: Worth(cross_sell=1.0, upsell=0.0),
    VIEWED_THEN_BOUGHT: Worth(cross_sell=1.0, upsell=1.0),  # for an upsell the comparison's outcome
}

_TEXTS = {
    VIEWED_WITH: "Viewed or added to the cart together with {title} {times}",
    BOUGHT_WITH: "Bought together with {title} in {baskets}",
    VIEWED_THEN_BOUGHT: "Bought {times} after {title} was viewed or added to the cart",
}

SOURCE = Source(
    worth={PAIR_KIND_NAMES[kind]: worth for kind, worth in _WORTH.items()},
    add=add,
    explain=explain,
    sentences={kind: Sentence(PAIR_KIND_NAMES[kind], text) for kind, text in _TEXTS.items()},
)
