"""The best candidates of a query described by numbers, and ordered by what was learnt from outcomes.

The sum of the evidence chooses `TOP` cross-sells and as many upsells. Their features are what each source says of each
of them, how it ranks them, and what the list is for; a suggestion carries the same numbers to the trainer. A learnt
order is linear in them, whichever blend it was learnt by (`models.ranking.ranker`):

    acceptance = 1 / (1 + exp(-(bias + sum over features: weight * feature)))

Without one the order stays that of the sum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit
from models.ranking.features import FEATURES, FLOOR, SOURCES, WIDTH
from models.serving.candidates import baskets_with, step_of
from models.serving.queues import pop, push
from models.serving.selection import exact_first
from models.serving.state import CROSS_SELLS, EVIDENCE, TOP, UPSELLS, ServingState
from models.shop.decay import decayed
from models.shop.kinds import CROSS_SELL, UPSELL

_LOOKS = FEATURES.index("looks")
_STEEPEST = 3.0


class Situation(NamedTuple):
    """What a list is for."""

    at: float  # time of the query, epoch seconds
    looks: int  # items of the visit
    cart: int  # ... of the cart
    purchase: bool  # whether the trigger is one


@inline_njit
def find_top(at: float, state: ServingState) -> None:
    """Find the top candidates of both queues as of a time, and make their scores exact. They stay queued."""
    pool = state.pool
    for queue in (CROSS_SELLS, UPSELLS):
        pool.top_sizes[queue] = 0
        while pool.top_sizes[queue] < TOP:
            best = exact_first(queue, at, state.rows, state.weights, pool, state.id_order)
            if best < 0:
                break
            pool.top[queue, pool.top_sizes[queue]] = pool.queues.places[queue, best]
            pool.top_sizes[queue] += 1
            pop(queue, best, state.pool, state.id_order)
        for number in range(pool.top_sizes[queue]):
            push(queue, pool.top[queue, number], state.pool, state.id_order)


@inline_njit
def rerank(situation: Situation, state: ServingState, features: NDArray[np.float64]) -> None:
    """Queue the top candidates by the learnt order, and no others, for each kind that has one.

    `features` (WIDTH,) is working memory.
    """
    learnt, pool = state.learnt, state.pool
    for queue in (CROSS_SELLS, UPSELLS):
        kind = UPSELL if queue == UPSELLS else CROSS_SELL
        if not learnt.learnt[kind] or pool.top_sizes[queue] == 0:
            continue
        for number in range(pool.top_sizes[queue]):  # all are described before the first is given a new score
            describe(pool.top[queue, number], situation, state, features)
            total = learnt.bias[kind]
            for place in range(WIDTH):
                total += learnt.weights[kind, place] * features[place]
            for source in range(len(SOURCES)):
                total += learnt.by_looks[kind, source] * features[source] * features[_LOOKS]
            pool.candidates[pool.top[queue, number]].accepted = 1.0 / (1.0 + math.exp(-total))
        pool.queues.length[queue] = 0
        for number in range(pool.top_sizes[queue]):
            place = pool.top[queue, number]
            candidate = pool.candidates[place]
            candidate.score = candidate.accepted
            if kind == UPSELL:
                anchor = state.query.anchors[candidate.anchor]
                candidate.score *= step_of(candidate.item, anchor, state.weights, state.rules)
            push(queue, place, state.pool, state.id_order)


@inline_njit
def describe(place: int, situation: Situation, state: ServingState, features: NDArray[np.float64]) -> None:
    """Describe a candidate by the `FEATURES`, (WIDTH,); NaN throughout where there is no evidence."""
    rows, pool, facts = state.rows, state.pool, state.rules.facts
    candidate = pool.candidates[place]
    if candidate.tier != EVIDENCE:
        features[:] = math.nan
        return
    features[0], features[1] = math.log(candidate.viewed + FLOOR), math.log(candidate.bought + FLOOR)
    features[2], features[3] = math.log(candidate.joined + FLOOR), math.log(candidate.expected + FLOOR)
    queue = UPSELLS if candidate.kind == UPSELL else CROSS_SELLS
    viewed, bought, joined, expected = 1, 1, 1, 1
    for number in range(pool.top_sizes[queue]):
        other = pool.candidates[pool.top[queue, number]]
        viewed += other.viewed > candidate.viewed
        bought += other.bought > candidate.bought
        joined += other.joined > candidate.joined
        expected += other.expected > candidate.expected
    features[4], features[5] = math.log(viewed), math.log(bought)
    features[6], features[7] = math.log(joined), math.log(expected)
    features[8] = math.log(candidate.evidence)
    item, at = candidate.item, situation.at
    views = 0.0
    if item < len(rows.at):
        views = rows.own[item, 0] * 2.0 ** min(0.0, (rows.at[item] - at) / rows.half_life_s)
    now = max(at, rows.baskets_at)
    baskets = decayed(rows.baskets, rows.baskets_at, now, rows.half_life_s)
    base = min(1.0, baskets_with(item, now, rows) / baskets) if baskets > 0.0 else 0.0
    features[9], features[10] = math.log(1.0 + views), math.log(base + FLOOR)
    features[11] = 1.0 if candidate.seen else 0.0
    price, anchor_price = facts[item].price, facts[state.query.anchors[candidate.anchor]].price
    step = math.log(price / anchor_price) if price > 0.0 and anchor_price > 0.0 else 0.0
    features[12] = min(_STEEPEST, max(-_STEEPEST, step))
    features[13], features[14] = math.log(1.0 + situation.looks), math.log(1.0 + situation.cart)
    features[15] = 1.0 if situation.purchase else 0.0
