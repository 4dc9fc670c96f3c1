"""The pool of a query: its candidates described by numbers, and ordered by what was learnt from outcomes.

The sum of the evidence chooses `TOP` cross-sells and as many upsells. Much of what shoppers take is no neighbour of
anything in their visit, or a weak one, so the pool also has what the shopper has bought before, the most bought items
of the shop as cross-sells, and for upsells the top items of the anchors' categories. What workers log of a pool
(`models.ranking.candidate_pool`) is what a learnt order ranks, with the same numbers. The order is linear in them:

    acceptance = 1 / (1 + exp(-(bias + sum over features: weight * feature + uptake of the item)))

Where the sum of the evidence serves both kinds, nothing is reranked; where it serves one, only its candidates with
evidence have a place in the order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit
from models.ranking.features import (
    BASE_UNIT,
    FEATURES,
    LEARNT,
    OWN_UNIT,
    POPULAR_WEIGHTS,
    POPULARITY,
    PRIOR_BASKETS,
    SHARE_UNIT,
    UNSEEN_BASKETS,
    WIDTH,
)
from models.ranking.features import EVIDENCE as EVIDENCE_SERVES
from models.serving.candidates import baskets_with, make_exact, place_of, relate, step_factor, step_of
from models.serving.category_lifts import log_lift
from models.serving.popularity import TopItems
from models.serving.queues import pop, push
from models.serving.rules import LOG_PRICES, OF_CATEGORY, OF_GROUP, PRICED
from models.serving.selection import exact_first
from models.serving.state import CROSS_SELLS, EVIDENCE, JOINED, POPULAR, SHARES, TOP, UPSELLS, Pool, ServingState
from models.sessions.histories import DAY_S
from models.shop.catalog import NONE
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH
from models.shop.kinds import CROSS_SELL, NEITHER, UPSELL

LEAST_BASKETS = 100.0
"""Of the shop; fewer count as so many. Otherwise every item of a shop without orders would be one that everybody buys,
and no taking would be earned."""

_STEEPEST = 3.0

_EVIDENCE, _VIEWS, _BASE, _LIFT, _SIGNIFICANCE, _SEEN, _COUNTED, _STEP, _STEP_SQUARED, _PRICE, _BRAND, _NEAR, _HAD = (
    range(SHARES, SHARES + 13)
)
"""Features after the shares. Those after the last of them are of the shopper's purchases of the item: count, fast,
slow, age, due."""
_OWN_GROUP, _OWN_CATEGORY, _OWN_BRAND, _OWN_PRICE = map(
    FEATURES.index, ("own group", "own category", "own brand", "own price")
)
_CATEGORY_LIFT = FEATURES.index("category lift")
_LEARNT = FEATURES.index("learnt")
"""The last feature."""


class Situation(NamedTuple):
    """What all candidates of a query share."""

    at: float  # time of the query, epoch seconds
    baskets: float  # of the shop, decayed to it, at least `LEAST_BASKETS`
    own: NDArray[Any]  # (n,) of `models.sessions.histories.CELL`: what the shopper has bought
    own_baskets: float  # how often
    fast_s: float  # half-lives of the counts of `own`
    slow_s: float


@inline_njit
def situation_of(at: float, own: NDArray[Any], own_baskets: float, state: ServingState) -> Situation:
    """The situation of a query at a time, of a shopper with a history."""
    rows = state.rows
    baskets = decayed(rows.baskets, rows.baskets_at, max(at, rows.baskets_at), rows.half_life_s)
    return Situation(at, max(LEAST_BASKETS, baskets), own, own_baskets, state.weights.fast_s, state.weights.slow_s)


@inline_njit
def begin_pool(at: float, state: ServingState) -> None:
    """Let the best candidates of both queues be the pool, exactly scored. They stay queued."""
    pool = state.pool
    for queue in (CROSS_SELLS, UPSELLS):
        pool.top_sizes[queue] = 0
        while pool.top_sizes[queue] < TOP:
            best = exact_first(queue, at, state.rows, state.weights, pool, state.id_order)
            if best < 0:
                break
            place = pool.queues.places[queue, best]
            pool.candidates[place].pooled = True
            pool.top[queue, pool.top_sizes[queue]] = place
            pool.top_sizes[queue] += 1
            pop(queue, best, state.pool, state.id_order)
        for number in range(pool.top_sizes[queue]):
            push(queue, pool.top[queue, number], state.pool, state.id_order)


@inline_njit
def join_top(top: TopItems, row: int, kind: int, anchor: int, most: int, at: float, state: ServingState) -> None:
    """Let the first items of a row of `top` that are of a kind join the pool, unless they are in it."""
    pool, considered = state.pool, 0
    for index in range(top.length[row]):
        if considered == most:
            return
        place = place_of(top.items[row, index], state.rules, state.query, pool)
        candidate = pool.candidates[place]
        if candidate.kind != kind:
            continue
        considered += 1
        join_pool(place, anchor, at, state)


@inline_njit
def join_pool(place: int, anchor: int, at: float, state: ServingState) -> None:
    """Let a candidate join the pool, if it is not in it and there is room, for the anchor at a place; -1: its own."""
    pool = state.pool
    candidate = pool.candidates[place]
    queue = UPSELLS if candidate.kind == UPSELL else CROSS_SELLS
    if candidate.pooled or pool.top_sizes[queue] == pool.top.shape[1]:
        return
    if candidate.tier == EVIDENCE:
        make_exact(place, at, state.rows, state.weights, pool)
    else:
        relate(candidate, JOINED, POPULAR, candidate.anchor if anchor < 0 and queue == UPSELLS else anchor, state)
    candidate.pooled = True
    pool.top[queue, pool.top_sizes[queue]] = place
    pool.top_sizes[queue] += 1


@inline_njit
def place_in_pool(item: int, pool: Pool) -> int:
    """Place of an item among the candidates, if it is one of the pool; else -1."""
    place = pool.where[item]
    if place >= pool.size[0] or pool.candidates[place].item != item:
        return -1
    candidate = pool.candidates[place]
    return int(place) if candidate.kind != NEITHER and candidate.pooled else -1


@inline_njit
def sum_own(situation: Situation, state: ServingState) -> None:
    """Sum up what the shopper has bought by category and brand; `clear_own` puts the sums back to zero."""
    sums, rules = state.query.own, state.rules
    for index in range(len(situation.own)):
        bought = situation.own[index]
        fact = rules.facts[bought.item]
        group = rules.group[fact.category]
        sums[group, OF_GROUP] += bought.count
        sums[fact.category, OF_CATEGORY] += bought.count
        state.query.own_brand[fact.brand] += bought.count
        if fact.price > 0.0:
            sums[group, PRICED] += bought.count
            sums[group, LOG_PRICES] += bought.count * math.log(fact.price)


@inline_njit
def clear_own(situation: Situation, state: ServingState) -> None:
    """Put the sums of `sum_own` back to zero."""
    for index in range(len(situation.own)):
        fact = state.rules.facts[situation.own[index].item]
        state.query.own[fact.category, :] = 0.0
        state.query.own[state.rules.group[fact.category], :] = 0.0
        state.query.own_brand[fact.brand] = 0.0


@inline_njit
def rerank(situation: Situation, by_learnt: bool, state: ServingState, features: NDArray[np.float64]) -> None:
    """Queue the pool, and nothing else, by the order that serves for each kind.

    Of a kind that is served by its evidence only those with evidence are queued, with acceptances that compare with the
    other kind's. If nothing is to be reranked (not `by_learnt`), the queues stay, and those that joined leave the pool.
    `features` (WIDTH,) is working memory.
    """
    learnt, pool = state.learnt, state.pool
    for queue in (CROSS_SELLS, UPSELLS):
        kind = UPSELL if queue == UPSELLS else CROSS_SELL
        order = learnt.serves[kind]
        if not by_learnt or order == EVIDENCE_SERVES:
            for number in range(pool.top_sizes[queue]):
                candidate = pool.candidates[pool.top[queue, number]]
                if candidate.tier == JOINED:
                    candidate.tier = 0
        if not by_learnt:
            continue
        pool.queues.length[queue] = 0
        for number in range(pool.top_sizes[queue]):
            place = pool.top[queue, number]
            if pool.candidates[place].tier == 0:
                continue
            describe(place, situation, state, features)
            total = features[_LEARNT] if order == LEARNT else features[_EVIDENCE]
            if order == POPULARITY:
                total = 0.0
                for column in range(WIDTH):
                    total += POPULAR_WEIGHTS[column] * features[column]
            candidate = pool.candidates[place]
            candidate.score = 1.0 / (1.0 + math.exp(-total - learnt.bias[kind, order]))
            if kind == UPSELL:
                anchor = state.query.anchors[candidate.anchor]
                candidate.score *= step_factor(candidate.item, anchor, state.weights, state.rules)
            push(queue, place, state.pool, state.id_order)


@inline_njit
def describe(place: int, situation: Situation, state: ServingState, features: NDArray[np.float64]) -> None:
    """Describe a candidate of the pool by the `FEATURES`, (WIDTH,)."""
    rows, facts, at = state.rows, state.rules.facts, situation.at
    candidate = state.pool.candidates[place]
    item, upsell = candidate.item, candidate.kind == UPSELL
    fact, anchor = facts[item], facts[state.query.anchors[candidate.anchor]]
    shares = state.pool.shares[place]
    for column in range(SHARES):
        features[column] = math.log(1.0 + shares[column] / SHARE_UNIT)
    features[_EVIDENCE] = math.log(1.0 + candidate.evidence / BASE_UNIT)
    views = 0.0
    if item < len(rows.at):
        views = rows.own[item, 0] * 2.0 ** min(0.0, (rows.at[item] - at) / rows.half_life_s)
    share = (baskets_with(item, at, rows) + UNSEEN_BASKETS) / situation.baskets
    features[_VIEWS], features[_BASE] = math.log(1.0 + views), math.log(1.0 + share / BASE_UNIT)
    features[_LIFT] = (
        math.log((shares[BOUGHT_WITH] + BASE_UNIT) / (share + BASE_UNIT)) if shares[BOUGHT_WITH] > 0.0 else 0.0
    )
    features[_SIGNIFICANCE] = candidate.significance
    if upsell:
        features[_LIFT] = features[_SIGNIFICANCE] = 0.0
    features[_SEEN] = 1.0 if candidate.seen else 0.0
    features[_COUNTED] = 1.0 if candidate.tier == EVIDENCE else 0.0
    features[_STEP] = features[_STEP_SQUARED] = 0.0
    if upsell:
        step = math.log(step_of(item, state.query.anchors[candidate.anchor], state.weights, state.rules))
        features[_STEP], features[_STEP_SQUARED] = step, step * step
    price = math.log(fact.price / anchor.price) if fact.price > 0.0 and anchor.price > 0.0 else 0.0
    features[_PRICE] = min(_STEEPEST, max(-_STEEPEST, price))
    features[_BRAND] = 1.0 if fact.brand != NONE and fact.brand == anchor.brand else 0.0
    features[_NEAR] = 1.0 if state.parent[fact.category] == state.parent[anchor.category] else 0.0
    features[_HAD:_LEARNT] = 0.0
    own_baskets, sums = situation.own_baskets + PRIOR_BASKETS, state.query.own
    group = state.rules.group[fact.category]
    of_group = sums[group]
    features[_OWN_GROUP] = math.log(1.0 + of_group[OF_GROUP] / own_baskets / OWN_UNIT)
    features[_OWN_CATEGORY] = math.log(1.0 + sums[fact.category, OF_CATEGORY] / own_baskets / OWN_UNIT)
    if fact.brand != NONE:
        features[_OWN_BRAND] = math.log(1.0 + state.query.own_brand[fact.brand] / own_baskets / OWN_UNIT)
    if of_group[PRICED] > 0.0 and fact.price > 0.0:
        over = math.log(fact.price) - of_group[LOG_PRICES] / of_group[PRICED]
        features[_OWN_PRICE] = min(_STEEPEST, max(-_STEEPEST, over))
    if not upsell:
        features[_CATEGORY_LIFT] = log_lift(group, state.query, state.category_pairs)
    if candidate.own >= 0:
        own = situation.own[candidate.own]
        age_s = max(0.0, at - own.last)
        features[_HAD] = 1.0
        features[_HAD + 1] = math.log(1.0 + own.count / own_baskets / OWN_UNIT)
        features[_HAD + 2] = math.log(1.0 + own.fast * 2.0 ** (-age_s / situation.fast_s) / OWN_UNIT)
        features[_HAD + 3] = math.log(1.0 + own.slow * 2.0 ** (-age_s / situation.slow_s) / OWN_UNIT)
        features[_HAD + 4] = math.log(1.0 + age_s / DAY_S)
        if own.count > 1:
            gap_s = (own.last - own.first) / (own.count - 1)
            features[_HAD + 5] = min(_STEEPEST, max(-_STEEPEST, math.log((age_s + DAY_S) / (gap_s + DAY_S))))
    learnt, kind, had = state.learnt, UPSELL if upsell else CROSS_SELL, 1 if candidate.own >= 0 else 0
    total = 0.0
    for column in range(_LEARNT):
        total += learnt.weights[kind, had, column] * features[column]
    if item < learnt.uptake.shape[2]:
        total += learnt.uptake[UPSELLS if upsell else CROSS_SELLS, had, item]
    features[_LEARNT] = total
