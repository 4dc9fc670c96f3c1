"""The best candidates of a list described by numbers, and put in another order by what was learnt from outcomes.

The sum of the evidence chooses `TOP` cross-sells and as many upsells. What each source says of each of them, how it
ranks them, and what the list is for are its features: the same ones whoever reads the suggestions learns from. A learnt
order is linear in them,

    acceptance = 1 / (1 + exp(-(bias + sum over features: weight * feature)))

whatever blend it was learnt by (`models.ranking.ranker`). Without one the order stays that of the sum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit
from models.ranking.features import FEATURES, FLOOR, SOURCES, WIDTH, Order
from models.serving.candidates import EVIDENCE, TOP, Pool, Rows, Weights, baskets_with, step_of
from models.serving.queues import CROSS_SELLS, UPSELLS, pop, push
from models.serving.rules import QueryState, Rules
from models.serving.selection import exact_first
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
def find_top(at: float, rows: Rows, weights: Weights, order: NDArray[np.uint64], pool: Pool) -> None:
    """Find the best of both queues and make their scores exact. They stay queued.

    Args:
        at: time of the query, epoch seconds.
        rows: of neighbours.
        weights: of evidence.
        order: (items, 2) of the ids.
        pool: has the candidates waiting, gets the leaders.
    """
    for queue in (CROSS_SELLS, UPSELLS):
        pool.top_sizes[queue] = 0
        while pool.top_sizes[queue] < TOP:
            best = exact_first(queue, at, rows, weights, order, pool)
            if best < 0:
                break
            pool.top[queue, pool.top_sizes[queue]] = pool.queues.places[queue, best]
            pool.top_sizes[queue] += 1
            pop(queue, best, pool.queues, pool.candidates, order)
        for number in range(pool.top_sizes[queue]):
            push(queue, pool.top[queue, number], pool.queues, pool.candidates, order)


@inline_njit
def rerank(
    situation: Situation,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    learnt: Order,
    order: NDArray[np.uint64],
    query_state: QueryState,
    pool: Pool,
    features: NDArray[np.float64],
) -> None:
    """Let the leaders wait by the learnt order, and nobody else of their kind.

    Args:
        situation: of the query.
        rows: of neighbours.
        weights: of evidence.
        rules: for prices.
        learnt: the order.
        order: (items, 2) of the ids.
        query_state: for anchors.
        pool: has the leaders.
        features: (WIDTH,), room.
    """
    for queue in (CROSS_SELLS, UPSELLS):
        kind = UPSELL if queue == UPSELLS else CROSS_SELL
        if not learnt.learnt[kind] or pool.top_sizes[queue] == 0:
            continue
        for number in range(pool.top_sizes[queue]):  # all are described before the first is scored anew
            one = pool.candidates[pool.top[queue, number]]
            describe(pool.top[queue, number], situation, rows, rules, query_state, pool, features)
            total = learnt.bias[kind]
            for place in range(WIDTH):
                total += learnt.weights[kind, place] * features[place]
            for source in range(len(SOURCES)):
                total += learnt.by_looks[kind, source] * features[source] * features[_LOOKS]
            one.accepted = 1.0 / (1.0 + math.exp(-total))
        pool.queues.length[queue] = 0
        for number in range(pool.top_sizes[queue]):
            place = pool.top[queue, number]
            one = pool.candidates[place]
            one.score = one.accepted
            if kind == UPSELL:
                one.score *= step_of(one.item, query_state.anchors[one.anchor], weights, rules)
            push(queue, place, pool.queues, pool.candidates, order)


@inline_njit
def describe(
    place: int,
    situation: Situation,
    rows: Rows,
    rules: Rules,
    query_state: QueryState,
    pool: Pool,
    features: NDArray[np.float64],
) -> None:
    """Describe a candidate.

    Args:
        place: of the candidate; one without evidence is not described.
        situation: of the query.
        rows: of neighbours.
        rules: for prices.
        query_state: for anchors.
        pool: has the candidates and the leaders.
        features: (WIDTH,), gets what `FEATURES` says; NaN throughout where there is no evidence.
    """
    one = pool.candidates[place]
    if one.tier != EVIDENCE:
        features[:] = math.nan
        return
    features[0], features[1] = math.log(one.viewed + FLOOR), math.log(one.bought + FLOOR)
    features[2], features[3] = math.log(one.joined + FLOOR), math.log(one.expected + FLOOR)
    queue = UPSELLS if one.kind == UPSELL else CROSS_SELLS
    viewed, bought, joined, expected = 1, 1, 1, 1
    for number in range(pool.top_sizes[queue]):
        other = pool.candidates[pool.top[queue, number]]
        viewed += other.viewed > one.viewed
        bought += other.bought > one.bought
        joined += other.joined > one.joined
        expected += other.expected > one.expected
    features[4], features[5] = math.log(viewed), math.log(bought)
    features[6], features[7] = math.log(joined), math.log(expected)
    features[8] = math.log(one.evidence)
    views = 0.0
    if one.item < len(rows.at):
        views = rows.own[one.item, 0] * 2.0 ** min(0.0, (rows.at[one.item] - situation.at) / rows.half_life_s)
    now = max(situation.at, rows.baskets_at)
    baskets = decayed(rows.baskets, rows.baskets_at, now, rows.half_life_s)
    base = min(1.0, baskets_with(one.item, now, rows) / baskets) if baskets > 0.0 else 0.0
    features[9], features[10] = math.log(1.0 + views), math.log(base + FLOOR)
    features[11] = 1.0 if one.seen else 0.0
    price, anchor_price = rules.facts[one.item].price, rules.facts[query_state.anchors[one.anchor]].price
    step = math.log(price / anchor_price) if price > 0.0 and anchor_price > 0.0 else 0.0
    features[12] = min(_STEEPEST, max(-_STEEPEST, step))
    features[13], features[14] = math.log(1.0 + situation.looks), math.log(1.0 + situation.cart)
    features[15] = 1.0 if situation.purchase else 0.0
