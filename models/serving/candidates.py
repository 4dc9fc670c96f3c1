"""Candidates from the neighbours of a whole visit, and how likely each is to be accepted.

A source is an item of the trigger, the cart or the visit. Its row says how often it and each neighbour were looked at
together, bought together, or the neighbour bought after a look at it. As shares of the source's own views or baskets,
shrunk where those are few, these estimate how likely a shopper who looks at the source takes the neighbour:

    share = weight / (own + shrinkage)         all decayed to the query's time

The baskets that shrink a bought-together share are taken to be like all baskets of the shop, so each item has its part
of them: otherwise one basket shared by chance outdoes what everybody buys. That part counts `chance`.

Shares are weighed by recency of the source and by kinds of co-occurrence and suggestion, and added over sources and
kinds. The sequence model's prediction is one more share. The sum is read as odds, `sum / (1 + sum)`, so that evidence
of many sources adds up and never exceeds certainty. Two items that many buy are bought together by chance: how much of
a bought-together share counts depends on how far and how surely it exceeds chance (`significance`). An upsell's
acceptance is multiplied by a power of its step in price.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.association import STRENGTH, log_likelihood_ratio, shrunk_lift
from models.cooccurrence.index import Rows
from models.jit import inline_njit
from models.serving.queues import push
from models.serving.rules import ANCHORS, QueryState, Rules, classify, fits
from models.serving.state import CROSS_SELLS, EVIDENCE, MAX_SOURCES, UPSELLS, Pool, ServingState, Weights
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH
from models.shop.kinds import CROSS_SELL, NEITHER, UPSELL

FEWEST = 1e-200
"""Decayed baskets of the shop; fewer count as none, as shares of them would exceed all numbers."""


@inline_njit
def find_sources(
    trigger: NDArray[np.int32],
    cart: NDArray[np.int32],
    visit: NDArray[np.int32],
    ages_s: NDArray[np.float64],
    state: ServingState,
) -> None:
    """List the sources with their recency: 1 for the trigger's, less the further back; the more of cart and visit.

    The cart's latest item is its last, the visit's its first.
    """
    weights = state.weights
    state.pool.size[1] = 0
    for item in trigger:
        _add_source(item, 1.0, state.query, state.pool)
    recency = weights.cart
    for place in range(len(cart) - 1, -1, -1):
        _add_source(cart[place], recency, state.query, state.pool)
        recency *= weights.cart_back
    own_look = 0 if len(visit) and len(trigger) and visit[0] == trigger[0] else 1  # the triggering look is not back
    for place in range(len(visit)):
        age = 2.0 ** (-ages_s[place] / weights.age_half_life_s)
        _add_source(visit[place], math.exp(-weights.back * (place + own_look)) * age, state.query, state.pool)


@inline_njit
def _add_source(item: int, recency: float, query: QueryState, pool: Pool) -> None:
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
    for place in range(query.now[ANCHORS]):
        if query.anchors[place] == item:
            pool.anchor_of[sources] = place
            break
    pool.size[1] += 1


@inline_njit
def place_of(item: int, rules: Rules, query: QueryState, pool: Pool) -> int:
    """Place of an item among the candidates. A new one is classified, here and nowhere else, and keeps its kind."""
    place, size = pool.where[item], pool.size[0]
    if place < size and pool.candidates[place].item == item:
        return int(place)
    kind, anchor = classify(item, rules, query)
    pool.where[item] = size
    candidate = pool.candidates[size]
    candidate.item = item
    candidate.kind = kind
    candidate.tier = 0
    pool.size[0] = size + 1
    if kind != NEITHER:
        candidate.anchor = anchor
        candidate.viewed = candidate.bought = candidate.joined = candidate.expected = candidate.base = 0.0
        candidate.strongest = candidate.direct = candidate.score = candidate.evidence = 0.0
        candidate.significance = 0.0
        candidate.source = candidate.kin = candidate.chosen = -1
        candidate.relation = 0
        candidate.own = -1
        candidate.exact = candidate.seen = candidate.pooled = False
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
    """Weight of a kind in a cell, 0 where too few events are behind it."""
    return float(rows.weights[cell, kind]) if rows.counts[cell, kind] >= weights.min_support else 0.0


@inline_njit
def collect(at: float, state: ServingState) -> None:
    """Add up the evidence of all sources for all their neighbours, as of a time in epoch seconds."""
    rows, weights, rules, query, pool = state.rows, state.weights, state.rules, state.query, state.pool
    for place in range(pool.size[1]):
        source = pool.sources[place]
        if source >= len(rows.length) or rows.length[source] == 0:
            continue
        per_view, per_basket = share_factors(source, pool.recency[place], at, rows, weights)
        anchor = pool.anchor_of[place]
        start = rows.start[source]
        for cell in range(start, start + rows.length[source]):
            item = rows.ids[cell]
            known = pool.where[item]
            if known >= pool.size[0] or pool.candidates[known].item != item:
                known = place_of(item, rules, query, pool)
            candidate = pool.candidates[known]
            if candidate.kind == NEITHER:
                continue
            viewed = per_view * supported(cell, VIEWED_WITH, rows, weights)
            joined = per_view * supported(cell, VIEWED_THEN_BOUGHT, rows, weights)
            bought = per_basket * supported(cell, BOUGHT_WITH, rows, weights)
            candidate.viewed += viewed
            candidate.joined += joined
            candidate.bought += bought
            if bought > candidate.strongest:
                candidate.strongest = bought
                candidate.source = place
            if candidate.kind == CROSS_SELL:
                direct = weights.cross_viewed * viewed + weights.cross_joined * joined + weights.cross_bought * bought
            else:
                direct = weights.upsell_viewed * viewed + weights.upsell_joined * joined
            if anchor >= 0 and direct > candidate.direct and fits(item, candidate.kind, anchor, rules, query):
                candidate.direct = direct
                candidate.anchor = anchor


@inline_njit
def expect(items: NDArray[np.int32], shares: NDArray[np.float64], state: ServingState) -> None:
    """Add what the sequence model expects next: (n,) distinct items, and (n,) probabilities of a look at them."""
    for place in range(len(items)):
        candidate = state.pool.candidates[place_of(items[place], state.rules, state.query, state.pool)]
        if candidate.kind != NEITHER:
            candidate.expected = shares[place]


@inline_njit
def bought_by_chance(source: int, item: int, at: float, rows: Rows) -> tuple[float, float]:
    """Shrunk lift and log-likelihood ratio of two items in all baskets, as of the newest event behind any of them.

    (NaN, 0) where the lift is not defined: an item, or the shop, has no baskets yet, or the pair none.
    """
    if item >= len(rows.at) or source >= len(rows.at):
        return math.nan, 0.0
    together = 0.0
    first = rows.start[source]
    for cell in range(first, first + rows.length[source]):
        if rows.ids[cell] == item:
            together = rows.weights[cell, BOUGHT_WITH]
            break
    now = max(at, rows.at[source], rows.at[item])
    fade_source = 2.0 ** ((rows.at[source] - now) / rows.half_life_s)
    fade_item = 2.0 ** ((rows.at[item] - now) / rows.half_life_s)
    together *= fade_source
    with_source, with_item = rows.own[source, 1] * fade_source, rows.own[item, 1] * fade_item
    baskets = rows.baskets * 2.0 ** ((rows.baskets_at - now) / rows.half_life_s)
    if not (together > 0.0 and with_source > 0.0 and with_item > 0.0 and baskets > 0.0):
        return math.nan, 0.0
    lift = shrunk_lift(together, with_source, with_item, baskets, STRENGTH)
    neither = baskets - with_source - with_item + together
    return lift, log_likelihood_ratio(together, with_source - together, with_item - together, neither)


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
    """By what share of its anchor's price an upsell is more expensive, at least `least_step`."""
    return float(max(weights.least_step, rules.facts[item].price / rules.facts[anchor].price - 1.0))


@inline_njit
def step_factor(item: int, anchor: int, weights: Weights, rules: Rules) -> float:
    """What an upsell's acceptance is multiplied by: the power of its step that the policy says."""
    return float(step_of(item, anchor, weights, rules) ** weights.step_power)


@inline_njit
def _weighed(candidate: Any, significant: float, weights: Weights) -> float:
    """Sum of a candidate's shares by their weights; of its bought-together share the significant part counts."""
    if candidate.kind == CROSS_SELL:
        total = weights.cross_viewed * candidate.viewed + weights.cross_joined * candidate.joined
        bought = candidate.bought * significant + weights.chance * candidate.base
        return float(total + weights.cross_bought * bought + weights.cross_expected * candidate.expected)
    total = weights.upsell_viewed * candidate.viewed + weights.upsell_joined * candidate.joined
    return float(total + weights.upsell_expected * candidate.expected)


@inline_njit
def _unknown_baskets(at: float, rows: Rows, weights: Weights, pool: Pool) -> float:
    """Share of the sources' baskets that is shrinkage, weighed by recency and added, for each basket of the shop."""
    baskets = decayed(rows.baskets, rows.baskets_at, max(at, rows.baskets_at), rows.half_life_s)
    if not baskets > FEWEST:
        return 0.0
    total = 0.0
    for place in range(pool.size[1]):
        known = baskets_with(pool.sources[place], at, rows)
        total += pool.recency[place] * weights.basket_shrinkage / (known + weights.basket_shrinkage)
    return float(total / baskets)


@inline_njit
def score(at: float, state: ServingState) -> None:
    """Score and queue the candidates with evidence, as of a time; cross-sells as if all of it were significant."""
    rows, weights, pool = state.rows, state.weights, state.pool
    unknown = _unknown_baskets(at, rows, weights, pool)
    for place in range(pool.size[0]):
        candidate = pool.candidates[place]
        if candidate.kind == NEITHER:
            continue
        total = _weighed(candidate, 1.0, weights)
        if not total > 0.0:
            continue
        upsell = candidate.kind == UPSELL
        if not upsell:
            candidate.base = unknown * baskets_with(candidate.item, at, rows)
            total = _weighed(candidate, 1.0, weights)
        candidate.tier = EVIDENCE
        candidate.score = candidate.evidence = total / (1.0 + total) * (weights.seen if candidate.seen else 1.0)
        if upsell:
            candidate.score *= step_factor(candidate.item, state.query.anchors[candidate.anchor], weights, state.rules)
        candidate.exact = upsell or candidate.bought == 0.0
        push(UPSELLS if upsell else CROSS_SELLS, place, state.pool, state.id_order)


@inline_njit
def make_exact(place: int, at: float, rows: Rows, weights: Weights, pool: Pool) -> None:
    """Make a candidate's score exact. Costs a look into a row and some logarithms, so only the best few pay it."""
    candidate = pool.candidates[place]
    if candidate.exact:
        return
    lift, log_likelihood = bought_by_chance(pool.sources[candidate.source], candidate.item, at, rows)
    candidate.significance = significance(lift, log_likelihood, weights.chance)
    total = _weighed(candidate, candidate.significance, weights)
    candidate.score = candidate.evidence = total / (1.0 + total) * (weights.seen if candidate.seen else 1.0)
    candidate.exact = True
