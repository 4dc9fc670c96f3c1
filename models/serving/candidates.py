"""Candidates out of the neighbours of a whole visit, each source kept apart, and how likely each is to be taken up.

Beside the rows stands what the sequence model expects next, as a share of its own (`expect`).

A source is an item of the trigger, the cart or the visit. Of each of its neighbours the row says how often the two were
looked at together, bought together, or the one bought after a look at the other. As shares of the source's own views or
baskets, shrunk where those are few, these estimate how likely a shopper who is about the source takes the neighbour:

    share = weight / (own + shrinkage)         all decayed to the query's time

Of a bought-together share the baskets that shrink it are taken to be such as all are, so that an item has a part of
them by how often it is bought at all: else one basket that was shared by chance outdoes what everybody buys. That part
counts as what chance explains does (`chance`).

Shares are weighed by recency of the source and by what the kind of co-occurrence says of the kind of suggestion, and
added over sources and kinds; the sum is read as odds, `sum / (1 + sum)`, so that evidence of many sources adds up and
never exceeds certainty. Two items that many buy are bought together by chance: what a bought-together share exceeds
chance by, and how surely, says how much of it counts (`significance`). An upsell is worth its step in price, so its
acceptance is multiplied by that.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.association import STRENGTH, log_likelihood_ratio, shrunk_lift
from models.jit import inline_njit
from models.serving.queues import CROSS_SELLS, UPSELLS, Queues, empty_queues, push
from models.serving.rules import ANCHORS, QueryState, Rules, classify, fits
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH
from models.shop.kinds import CROSS_SELL, NEITHER, UPSELL

MAX_SOURCES = 64
"""Sources a query at most: those of the trigger, then of the cart, then of the visit, latest first."""

TOP = 16
"""Best candidates of each kind by the sum of their evidence: of these a learnt order chooses, and ranks are theirs."""

EVIDENCE, FALL_BACK = 1, 2
"""Tiers of candidates, the better first; 0: neither yet."""

CANDIDATE = np.dtype(
    [
        ("score", np.float64),  # at least what it will be once `exact`
        ("evidence", np.float64),  # the score by its evidence alone, without the step of an upsell
        ("accepted", np.float64),  # ... by what was learnt from outcomes
        ("viewed", np.float64),  # sum of looked-at-together shares of all sources
        ("bought", np.float64),  # ... of bought-together shares
        ("joined", np.float64),  # ... of those bought after a look
        ("expected", np.float64),  # share of the sequence model
        ("base", np.float64),  # share of the baskets that are not known of the sources: those of the shop
        ("strongest", np.float64),  # greatest bought-together share
        ("direct", np.float64),  # greatest sum of one source that is an anchor the item fits
        ("item", np.int32),
        ("anchor", np.int32),  # place of the anchor of `direct`, or of the first that the item fits
        ("source", np.int8),  # place of the source of `strongest`
        ("kin", np.int8),  # fall-back: place of the anchor that it is related to, -1: none
        ("kind", np.int8),
        ("tier", np.int8),
        ("relation", np.int8),  # fall-back
        ("exact", np.bool_),
        ("seen", np.bool_),  # in the visit
        ("chosen", np.int8),  # place in the list, -1: not in it
    ],
    align=True,
)


class Rows(NamedTuple):
    """The mirror's arrays; see `models.cooccurrence.index.Neighbours`."""

    start: NDArray[np.int64]
    length: NDArray[np.int32]
    own: NDArray[np.float64]
    own_count: NDArray[np.int64]
    at: NDArray[np.float64]
    ids: NDArray[np.int32]
    weights: NDArray[np.float64]
    counts: NDArray[np.int32]
    half_life_s: float
    baskets: float  # of the shop, as of `baskets_at`
    baskets_at: float


class Weights(NamedTuple):
    """How evidence is weighed; `models.serving.recommender.RecommenderConfig` says why."""

    back: float
    age_half_life_s: float
    cart: float
    cart_back: float
    view_shrinkage: float
    basket_shrinkage: float
    cross_viewed: float
    cross_bought: float
    cross_joined: float
    upsell_viewed: float
    upsell_joined: float
    cross_expected: float
    upsell_expected: float
    chance: float
    seen: float
    least_step: float
    fall_back: float
    min_support: int


class Pool(NamedTuple):
    """Candidates and sources of the query under way; room that is used again for the next one."""

    size: NDArray[np.int64]  # (2,): candidates, sources
    candidates: NDArray[Any]  # (items,) of `CANDIDATE`
    where: NDArray[np.int32]  # (items,): place of the item among the candidates, if that is the item's
    sources: NDArray[np.int32]  # (MAX_SOURCES,): items
    recency: NDArray[np.float64]  # (MAX_SOURCES,)
    anchor_of: NDArray[np.int32]  # (MAX_SOURCES,): place among the anchors, -1: none
    queues: Queues  # for a place in the list
    top: NDArray[np.int32]  # (2, TOP): places of the best candidates of each queue by what they were scored
    top_sizes: NDArray[np.int64]  # (2,): how many of them


def pool(items: int) -> Pool:
    """Room for queries over so many items. Memory is taken only as far as it is used."""
    return Pool(
        np.zeros(2, np.int64),
        np.empty(items, CANDIDATE),
        np.zeros(items, np.int32),
        np.zeros(MAX_SOURCES, np.int32),
        np.zeros(MAX_SOURCES),
        np.zeros(MAX_SOURCES, np.int32),
        empty_queues(items + TOP),
        np.zeros((2, TOP), np.int32),
        np.zeros(2, np.int64),
    )


@inline_njit
def find_sources(
    trigger: NDArray[np.int32],
    cart: NDArray[np.int32],
    visit: NDArray[np.int32],
    ages_s: NDArray[np.float64],
    weights: Weights,
    query_state: QueryState,
    pool: Pool,
) -> None:
    """List the sources with their recency: 1 for the trigger's, less the further back; the more of cart and visit.

    Args:
        trigger: indices of the trigger's items.
        cart: of the items in the cart, latest last.
        visit: of the items of the visit, latest first.
        ages_s: of the looks at those.
        weights: of evidence.
        query_state: as `models.serving.rules.begin` left it.
        pool: gets the sources.
    """
    pool.size[1] = 0
    for item in trigger:
        _add_source(item, 1.0, query_state, pool)
    recency = weights.cart
    for place in range(len(cart) - 1, -1, -1):
        _add_source(cart[place], recency, query_state, pool)
        recency *= weights.cart_back
    own_look = 0 if len(visit) and len(trigger) and visit[0] == trigger[0] else 1  # the look that asks is not back
    for place in range(len(visit)):
        age = 2.0 ** (-ages_s[place] / weights.age_half_life_s)
        _add_source(visit[place], math.exp(-weights.back * (place + own_look)) * age, query_state, pool)


@inline_njit
def _add_source(item: int, recency: float, query_state: QueryState, pool: Pool) -> None:
    sources = pool.size[1]
    for place in range(sources):
        if pool.sources[place] == item:
            pool.recency[place] = max(pool.recency[place], recency)
            return
    if sources == MAX_SOURCES:
        return
    pool.sources[sources] = item
    pool.recency[sources] = recency
    pool.anchor_of[sources] = -1
    for place in range(query_state.now[ANCHORS]):
        if query_state.anchors[place] == item:
            pool.anchor_of[sources] = place
            break
    pool.size[1] += 1


@inline_njit
def candidate(item: int, rules: Rules, query_state: QueryState, pool: Pool) -> int:
    """Place of an item among the candidates. A new one is judged, here and nowhere else, and keeps its verdict."""
    place = pool.where[item]
    size = pool.size[0]
    if place < size and pool.candidates[place].item == item:
        return int(place)
    kind, anchor = classify(item, rules, query_state)
    pool.where[item] = size
    one = pool.candidates[size]
    one.item = item
    one.kind = kind
    pool.size[0] = size + 1
    if kind == NEITHER:
        one.tier = 0
        return int(size)
    one.anchor = anchor
    one.viewed = one.bought = one.joined = one.expected = one.base = one.strongest = one.direct = one.score = 0.0
    one.source = one.kin = one.chosen = -1
    one.tier = one.relation = 0
    one.exact = one.seen = False
    return int(size)


@inline_njit
def baskets_with(item: int, at: float, rows: Rows) -> float:
    """Baskets with an item, decayed to a time unless they are of a later one; 0 where it has no row."""
    if item >= len(rows.at):
        return 0.0
    return float(decayed(rows.own[item, 1], rows.at[item], max(at, rows.at[item]), rows.half_life_s))


@inline_njit
def share_factors(source: int, recency: float, at: float, rows: Rows, weights: Weights) -> tuple[float, float]:
    """What a weight in a source's row is multiplied by to be a weighed share of its views, and of its baskets."""
    fade = 2.0 ** min(0.0, (rows.at[source] - at) / rows.half_life_s)
    views = rows.own[source, 0] * fade + weights.view_shrinkage
    baskets = rows.own[source, 1] * fade + weights.basket_shrinkage
    return recency * fade / views, recency * fade / baskets


@inline_njit
def supported(cell: int, kind: int, rows: Rows, weights: Weights) -> float:
    """Weight of a kind in a cell, 0 where too few events stand behind it."""
    return float(rows.weights[cell, kind]) if rows.counts[cell, kind] >= weights.min_support else 0.0


@inline_njit
def collect(at: float, rows: Rows, weights: Weights, rules: Rules, query_state: QueryState, pool: Pool) -> None:
    """Add up the evidence of all sources for all their neighbours.

    Args:
        at: time of the query, epoch seconds.
        rows: of neighbours.
        weights: of evidence.
        rules: that every candidate passes.
        query_state: by whom.
        pool: has the sources, gets the candidates.
    """
    for place in range(pool.size[1]):
        source = pool.sources[place]
        if source >= len(rows.length) or rows.length[source] == 0:
            continue
        per_view, per_basket = share_factors(source, pool.recency[place], at, rows, weights)
        anchor = pool.anchor_of[place]
        first = rows.start[source]
        for cell in range(first, first + rows.length[source]):
            item = rows.ids[cell]
            known = pool.where[item]
            if known >= pool.size[0] or pool.candidates[known].item != item:
                known = candidate(item, rules, query_state, pool)
            one = pool.candidates[known]
            if one.kind == NEITHER:
                continue
            viewed = per_view * supported(cell, VIEWED_WITH, rows, weights)
            joined = per_view * supported(cell, VIEWED_THEN_BOUGHT, rows, weights)
            bought = per_basket * supported(cell, BOUGHT_WITH, rows, weights)
            one.viewed += viewed
            one.joined += joined
            one.bought += bought
            if bought > one.strongest:
                one.strongest = bought
                one.source = place
            if one.kind == CROSS_SELL:
                direct = weights.cross_viewed * viewed + weights.cross_joined * joined + weights.cross_bought * bought
            else:
                direct = weights.upsell_viewed * viewed + weights.upsell_joined * joined
            if anchor >= 0 and direct > one.direct and fits(item, one.kind, anchor, rules, query_state):
                one.direct = direct
                one.anchor = anchor


@inline_njit
def expect(
    items: NDArray[np.int32], shares: NDArray[np.float64], rules: Rules, query_state: QueryState, pool: Pool
) -> None:
    """Add what the sequence model expects next to the evidence.

    Args:
        items: (n,) distinct indices.
        shares: (n,) probabilities that they are looked at next.
        rules: that every candidate passes.
        query_state: by whom.
        pool: gets the candidates.
    """
    for place in range(len(items)):
        one = pool.candidates[candidate(items[place], rules, query_state, pool)]
        if one.kind != NEITHER:
            one.expected = shares[place]


@inline_njit
def bought_by_chance(source: int, item: int, at: float, rows: Rows) -> tuple[float, float]:
    """Shrunk lift and log-likelihood ratio of two items in the baskets of all shoppers, as of the newest behind them.

    Returns:
        (NaN, 0) where the lift is not defined: an item, or the shop, has no baskets yet, or the pair none.
    """
    if item >= len(rows.at) or source >= len(rows.at):
        return math.nan, 0.0
    max_batch = 0.0
    first = rows.start[source]
    for cell in range(first, first + rows.length[source]):
        if rows.ids[cell] == item:
            max_batch = rows.weights[cell, BOUGHT_WITH]
            break
    now = max(at, rows.at[source], rows.at[item])
    fade_source = 2.0 ** ((rows.at[source] - now) / rows.half_life_s)
    fade_item = 2.0 ** ((rows.at[item] - now) / rows.half_life_s)
    max_batch *= fade_source
    with_source, with_item = rows.own[source, 1] * fade_source, rows.own[item, 1] * fade_item
    baskets = rows.baskets * 2.0 ** ((rows.baskets_at - now) / rows.half_life_s)
    if not (max_batch > 0.0 and with_source > 0.0 and with_item > 0.0 and baskets > 0.0):
        return math.nan, 0.0
    lift = shrunk_lift(max_batch, with_source, with_item, baskets, STRENGTH)
    neither = baskets - with_source - with_item + max_batch
    return lift, log_likelihood_ratio(max_batch, with_source - max_batch, with_item - max_batch, neither)


@inline_njit
def significance(lift: float, log_likelihood: float, chance: float) -> float:
    """How much of a bought-together share counts, from `chance` for a coincidence to nearly 1.

    `1 - 1 / lift` is the part of the baskets with both that chance does not explain; the error function turns the
    log-likelihood ratio, chi-squared with one degree of freedom, into the probability that chance would have shown
    less. Both are 0 for independent items and rise together, so nothing jumps.

    >>> [round(significance(lift, ratio, 0.2), 2) for lift, ratio in [(1.0, 0.0), (2.0, 3.84), (5.0, 15.0)]]
    [0.2, 0.58, 0.84]
    """
    if not lift > 1.0:
        return chance
    return chance + (1.0 - chance) * (1.0 - 1.0 / lift) * math.erf(math.sqrt(log_likelihood / 2.0))


@inline_njit
def step_of(item: int, anchor: int, weights: Weights, rules: Rules) -> float:
    """By what share of its anchor's price an upsell is dearer, at least `least_step`."""
    return float(max(weights.least_step, rules.facts[item].price / rules.facts[anchor].price - 1.0))


@inline_njit
def weighed(one: Any, significant: float, weights: Weights) -> float:
    """Sum of a candidate's shares, each weighed by what its source says of the kind of suggestion.

    Args:
        one: the candidate.
        significant: how much of its bought-together share counts.
        weights: of evidence.
    """
    if one.kind == CROSS_SELL:
        total = weights.cross_viewed * one.viewed + weights.cross_joined * one.joined
        bought = one.bought * significant + weights.chance * one.base
        return float(total + weights.cross_bought * bought + weights.cross_expected * one.expected)
    total = weights.upsell_viewed * one.viewed + weights.upsell_joined * one.joined
    return float(total + weights.upsell_expected * one.expected)


@inline_njit
def unknown_baskets(at: float, rows: Rows, weights: Weights, pool: Pool) -> float:
    """Share of the sources' baskets that is shrinkage, weighed by recency and added, for each basket of the shop."""
    if not rows.baskets > 0.0:
        return 0.0
    total = 0.0
    for place in range(pool.size[1]):
        known = baskets_with(pool.sources[place], at, rows)
        total += pool.recency[place] * weights.basket_shrinkage / (known + weights.basket_shrinkage)
    return float(total / decayed(rows.baskets, rows.baskets_at, max(at, rows.baskets_at), rows.half_life_s))


@inline_njit
def score(
    at: float,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    order: NDArray[np.uint64],
    query_state: QueryState,
    pool: Pool,
) -> None:
    """Score what there is evidence for, and let it wait: upsells as they stand, cross-sells as if all were significant.

    Args:
        at: time of the query, epoch seconds.
        rows: for how often items are bought at all.
        weights: of evidence.
        rules: for prices.
        order: (items, 2) of the ids.
        query_state: for anchors.
        pool: has the candidates.
    """
    unknown = unknown_baskets(at, rows, weights, pool)
    for place in range(pool.size[0]):
        one = pool.candidates[place]
        if one.kind == NEITHER:
            continue
        total = weighed(one, 1.0, weights)
        if not total > 0.0:
            continue
        if one.kind == CROSS_SELL:
            one.base = unknown * baskets_with(one.item, at, rows)
            total = weighed(one, 1.0, weights)
        one.tier = EVIDENCE
        one.score = one.evidence = total / (1.0 + total) * (weights.seen if one.seen else 1.0)
        if one.kind == UPSELL:
            one.score *= step_of(one.item, query_state.anchors[one.anchor], weights, rules)
        one.exact = one.kind == UPSELL or one.bought == 0.0
        push(UPSELLS if one.kind == UPSELL else CROSS_SELLS, place, pool.queues, pool.candidates, order)


@inline_njit
def make_exact(place: int, at: float, rows: Rows, weights: Weights, pool: Pool) -> None:
    """Make a candidate's score exact. Costs a look into a row and some logarithms, so only leaders pay it."""
    one = pool.candidates[place]
    if one.exact:
        return
    lift, log_likelihood = bought_by_chance(pool.sources[one.source], one.item, at, rows)
    total = weighed(one, significance(lift, log_likelihood, weights.chance), weights)
    one.score = one.evidence = total / (1.0 + total) * (weights.seen if one.seen else 1.0)
    one.exact = True
