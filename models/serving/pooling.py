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

from models.cooccurrence.index import Rows
from models.elementary import exp, exp2, log
from models.jit import forward_njit
from models.ranking.candidate_pool import MOST
from models.ranking.features import (
    BASE_UNIT,
    FEATURES,
    LEARNT,
    OWN_UNIT,
    POPULAR_WEIGHTS,
    PRIOR_BASKETS,
    SHARE_UNIT,
    UNSEEN_BASKETS,
    WIDTH,
)
from models.ranking.features import EVIDENCE as EVIDENCE_SERVES
from models.serving.candidates import (
    half_lives,
    in_vectors,
    make_each_exact,
    make_exact,
    own_counts,
    place_of,
    power,
    relate,
    step_of,
)
from models.serving.category_lifts import log_lift
from models.serving.popularity import TopItems
from models.serving.queues import push, put_first, put_in_order
from models.serving.rules import CATEGORY_FEATURE, GROUP_FEATURE, LOG_PRICES, MEAN_LOG, OF_CATEGORY, OF_GROUP, PRICED
from models.serving.state import (
    COUNTS,
    CROSS_SELLS,
    EVIDENCE,
    JOINED,
    POPULAR,
    SHARES,
    TOP,
    UPSELLS,
    Pool,
    ServingState,
)
from models.sessions.histories import DAY_S
from models.shop.catalog import NONE
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH
from models.shop.kinds import CROSS_SELL, UPSELL

LEAST_BASKETS = 100.0
"""Of the shop; fewer count as so many. Otherwise every item of a shop without orders would be one that everybody buys,
and no taking would be earned."""

_STEEPEST = 3.0

_BITS = 8
_NUMBER = 2**_BITS - 1
"""Last bits of a place in the features, which are the number of the candidate; those before them are the column."""

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
_SPARSE = (_LIFT, _SIGNIFICANCE, _STEP, _STEP_SQUARED, *range(_HAD, _HAD + 6), _CATEGORY_LIFT, _LEARNT)
"""Features that some candidates do not have, and the one that is added up."""
_PASS = 4
"""Features that are weighed in one pass."""


class Situation(NamedTuple):
    """What all candidates of a query share."""

    at: float  # time of the query, epoch seconds
    baskets: float  # of the shop, decayed to it, at least `LEAST_BASKETS`
    own: NDArray[Any]  # (n,) of `models.sessions.histories.CELL`: what the shopper has bought
    own_baskets: float  # how often
    fast_s: float  # half-lives of the counts of `own`
    slow_s: float


@forward_njit
def situation_of(at: float, own: NDArray[Any], own_baskets: float, state: ServingState) -> Situation:
    """The situation of a query at a time, of a shopper with a history."""
    rows = state.rows
    baskets = decayed(rows.baskets, rows.baskets_at, max(at, rows.baskets_at), rows.half_life_s)
    return Situation(at, max(LEAST_BASKETS, baskets), own, own_baskets, state.weights.fast_s, state.weights.slow_s)


@forward_njit
def begin_pool(at: float, in_order: bool, state: ServingState) -> None:
    """Let the best candidates of both queues be the pool, exactly scored; the best first if `in_order`.

    They stay queued. Scores are upper bounds: what may be one of the best is what has a greater one than the least of
    as many exact scores.
    """
    pool, ranked = state.pool, state.pool.ranked
    pool.aged[0] = math.nan
    pool.counted[:] = math.nan
    for queue in (CROSS_SELLS, UPSELLS):
        length = pool.queues.length[queue]
        for number in range(length):
            ranked[number] = pool.queues.places[queue, number]
        size, least = min(TOP, length), math.inf
        if size < length:
            put_first(size, ranked[:length], pool, state.id_order)
        make_each_exact(ranked[:size], at, state.rows, state.weights, pool)
        for number in range(size):
            least = min(least, pool.candidates[ranked[number]].score)
        best = size
        for number in range(best, length):
            place = ranked[number]
            if pool.candidates[place].score >= least:
                ranked[number], ranked[size] = ranked[size], place
                size += 1
        make_each_exact(ranked[best:size], at, state.rows, state.weights, pool)
        if size > TOP:
            put_first(TOP, ranked[:size], pool, state.id_order)
        size = min(TOP, size)
        if in_order:
            put_in_order(ranked[:size], pool, state.id_order)
        pool.top_sizes[queue] = 0
        for number in range(size):
            _let_in(ranked[number], queue, pool)


@forward_njit
def _let_in(place: int, queue: int, pool: Pool) -> None:
    """Make a candidate one of the pool, which has room for it."""
    number = pool.top_sizes[queue]
    pool.slots[pool.candidates[place].item] = slot_of(queue, number)
    pool.top[queue, number] = place
    pool.top_sizes[queue] = number + 1


@forward_njit
def slot_of(queue: int, number: int) -> int:
    """Slot of a candidate of the pool, by its queue and its number there."""
    return 1 + queue * (MOST // 2) + number


@forward_njit
def give_slots(pool: Pool) -> None:
    """Let the items that were of the pool be of it again."""
    for queue in range(len(pool.top_sizes)):
        for number in range(pool.top_sizes[queue]):
            pool.slots[pool.candidates[pool.top[queue, number]].item] = slot_of(queue, number)


@forward_njit
def clear_slots(pool: Pool) -> None:
    """Let no item be of the pool any more."""
    for queue in range(len(pool.top_sizes)):
        for number in range(pool.top_sizes[queue]):
            pool.slots[pool.candidates[pool.top[queue, number]].item] = 0


@forward_njit
def clear_linked(pool: Pool) -> None:
    """Let the sums of the pool's candidates, which sources add to by slot, be 0."""
    for queue in range(len(pool.top_sizes)):
        first = slot_of(queue, 0)
        pool.linked[first : first + pool.top_sizes[queue]] = 0.0


@forward_njit
def list_pooled(item: int, rows: Rows, pool: Pool) -> int:
    """List the cells of an item's row that are about candidates of the pool in `pool.ranked`; returns how many.

    Without a branch, as few are and nothing tells which.
    """
    pooled, start = 0, rows.start[item]
    for cell in range(np.uint64(start), np.uint64(start + rows.length[item])):  # unsigned: never from the end
        pool.ranked[pooled] = cell
        pooled += pool.slots[np.uint32(rows.ids[cell])] != 0
    return pooled


@forward_njit
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


@forward_njit
def join_pool(place: int, anchor: int, at: float, state: ServingState) -> None:
    """Let a candidate join the pool, if it is not in it and there is room, for the anchor at a place; -1: its own."""
    pool = state.pool
    candidate = pool.candidates[place]
    queue = UPSELLS if candidate.kind == UPSELL else CROSS_SELLS
    if pool.slots[candidate.item] or pool.top_sizes[queue] == pool.top.shape[1]:
        return
    if candidate.tier == EVIDENCE:
        make_exact(place, at, state.rows, state.weights, pool)
    else:
        relate(candidate, JOINED, POPULAR, candidate.anchor if anchor < 0 and queue == UPSELLS else anchor, state)
    _let_in(place, queue, pool)


@forward_njit
def sum_own(situation: Situation, state: ServingState) -> None:
    """Sum up what the shopper has bought by category and brand, and describe it; `clear_own` puts all back to zero."""
    sums, rules = state.query.own, state.rules
    for index in range(len(situation.own)):
        bought = situation.own[index]
        fact = rules.facts[bought.item]
        group = rules.group[fact.category]
        sums[group, OF_GROUP] += bought.count
        sums[fact.category, OF_CATEGORY] += bought.count
        state.query.own_brand[fact.brand, 0] += bought.count
        if fact.price > 0.0:
            sums[group, PRICED] += bought.count
            sums[group, LOG_PRICES] += bought.count * log(fact.price)
    own_baskets = situation.own_baskets + PRIOR_BASKETS
    for index in range(len(situation.own)):
        fact = rules.facts[situation.own[index].item]
        of_group, of_category = sums[rules.group[fact.category]], sums[fact.category]
        of_brand = state.query.own_brand[fact.brand]
        if of_group[GROUP_FEATURE] == 0.0:
            of_group[GROUP_FEATURE] = log(1.0 + of_group[OF_GROUP] / own_baskets / OWN_UNIT)
            if of_group[PRICED] > 0.0:
                of_group[MEAN_LOG] = of_group[LOG_PRICES] / of_group[PRICED]
        if of_category[CATEGORY_FEATURE] == 0.0:
            of_category[CATEGORY_FEATURE] = log(1.0 + of_category[OF_CATEGORY] / own_baskets / OWN_UNIT)
        if fact.brand != NONE and of_brand[1] == 0.0:
            of_brand[1] = log(1.0 + of_brand[0] / own_baskets / OWN_UNIT)


@forward_njit
def clear_own(situation: Situation, state: ServingState) -> None:
    """Put the sums of `sum_own` back to zero."""
    for index in range(len(situation.own)):
        fact = state.rules.facts[situation.own[index].item]
        state.query.own[fact.category, :] = 0.0
        state.query.own[state.rules.group[fact.category], :] = 0.0
        state.query.own_brand[fact.brand, :] = 0.0


@forward_njit
def rerank(queue: int, state: ServingState) -> None:
    """Queue the pool's candidates of a queue, and nothing else, by the order that serves for their kind.

    They have been described, unless they are served by their evidence: of those only the ones with evidence are queued,
    with acceptances that compare with the other kind's.
    """
    learnt, pool, kind = state.learnt, state.pool, UPSELL if queue == UPSELLS else CROSS_SELL
    order = learnt.serves[kind]
    if order == EVIDENCE_SERVES:
        drop_joined(queue, pool)
    pool.queues.length[queue] = 0
    size, totals, bias = pool.top_sizes[queue], pool.totals, learnt.bias[kind, order]
    for number in range(size):
        if order == EVIDENCE_SERVES:
            totals[number] = log(1.0 + pool.candidates[pool.top[queue, number]].evidence / BASE_UNIT)
        elif order == LEARNT:
            totals[number] = pool.features[_LEARNT, number]
        else:
            totals[number] = 0.0
            for column in range(WIDTH):
                totals[number] += POPULAR_WEIGHTS[column] * pool.features[column, number]
    for number in range(in_vectors(size)):
        totals[number] = 1.0 / (1.0 + exp(-totals[number] - bias))
    if kind == UPSELL:
        _weigh_steps(size, state)
    for number in range(size):
        place = pool.top[queue, number]
        candidate = pool.candidates[place]
        if candidate.tier == 0:
            continue
        candidate.score = totals[number]
        push(queue, place, state.pool, state.id_order)


@forward_njit
def _weigh_steps(size: int, state: ServingState) -> None:
    """Multiply the acceptances of the pool's upsells by what their steps in price are worth."""
    pool = state.pool
    for number in range(size):
        candidate = pool.candidates[pool.top[UPSELLS, number]]
        anchor = state.query.anchors[candidate.anchor]
        pool.due[number] = step_of(candidate.item, anchor, state.weights, state.rules)
    for number in range(in_vectors(size)):
        pool.totals[number] *= power(pool.due[number], state.weights.step_power)


@forward_njit
def drop_joined(queue: int, pool: Pool) -> None:
    """Let the candidates of a queue's pool that have joined it be none of those that are queued."""
    for number in range(pool.top_sizes[queue]):
        candidate = pool.candidates[pool.top[queue, number]]
        if candidate.tier == JOINED:
            candidate.tier = 0


@forward_njit
def describe(queue: int, situation: Situation, state: ServingState) -> None:
    """Describe the pool's candidates of a queue by the `FEATURES`, a column each of `state.pool.features`.

    What most candidates have the logarithm of is put into the feature's column first. Most have not been bought before:
    what the features of those that were are the logarithms of is listed in `state.pool.due`.
    """
    pool, features, upsell = state.pool, state.pool.features, queue == UPSELLS
    size, due = pool.top_sizes[queue], 0
    _describe_shares(queue, pool)
    for column in _SPARSE:
        features[column, :size] = 0.0
    for number in range(size):
        item = pool.candidates[pool.top[queue, number]].item
        pool.totals[number] = half_lives(item, situation.at, state.rows)
    for number in range(in_vectors(size)):
        pool.totals[number] = exp2(pool.totals[number])
    for number in range(size):
        place = pool.top[queue, number]
        _describe_evidence(number, place, upsell, state)
        _describe_item(number, place, upsell, state)
        if pool.candidates[place].own >= 0:
            due = _describe_purchases(number, place, situation, state, due)
    _log(pool.due[: in_vectors(due)])
    _put_due(due, pool)
    _take_logs(in_vectors(size), upsell, situation.baskets, pool)
    _weigh(queue, state)


@forward_njit
def _take_logs(size: int, upsell: bool, baskets: float, pool: Pool) -> None:
    """Make features of the numbers in the columns of features that most candidates have."""
    base, own_price = pool.features[_BASE, :size], pool.features[_OWN_PRICE, :size]
    _log_shares(pool.features[_EVIDENCE, :size], BASE_UNIT)
    _log_shares(pool.features[_VIEWS, :size], 1.0)
    for number in range(size):
        base[number] = (base[number] + UNSEEN_BASKETS) / baskets
    if upsell:
        step, squared = pool.features[_STEP], pool.features[_STEP_SQUARED]
        _log(pool.features[_STEP, :size])
        for number in range(size):
            squared[number] = step[number] * step[number]
    else:
        lift = pool.features[_LIFT]
        for number in range(size):
            if lift[number] > 0.0:
                lift[number] = log((lift[number] + BASE_UNIT) / (base[number] + BASE_UNIT))
    _log_shares(base, BASE_UNIT)
    _log(pool.features[_PRICE, :size])
    _bound(pool.features[_PRICE, :size])
    _log(own_price)
    for number in range(size):
        own_price[number] -= pool.totals[number]
    _bound(own_price)
    _bound(pool.features[_HAD + 5, :size])


@forward_njit
def _log(values: NDArray[np.float64]) -> None:
    """Take the logarithms of numbers."""
    for number in range(len(values)):
        values[number] = log(values[number])


@forward_njit
def _log_shares(values: NDArray[np.float64], unit: float) -> None:
    """Take the logarithms of 1 and each number in a unit."""
    for number in range(len(values)):
        values[number] = log(1.0 + values[number] / unit)


@forward_njit
def _bound(values: NDArray[np.float64]) -> None:
    """Bound logarithms of prices and of times."""
    for number in range(len(values)):
        values[number] = min(_STEEPEST, max(-_STEEPEST, values[number]))


@forward_njit
def _add_log(column: int, number: int, value: float, due: int, pool: Pool) -> int:
    """Let the logarithm of a value be a feature of a candidate; returns how many are due now."""
    pool.due[due] = value
    pool.due_for[due] = (column << _BITS) + number
    return due + 1


@forward_njit
def _put_due(due: int, pool: Pool) -> None:
    """Put so many logarithms where they are due."""
    for index in range(due):
        pool.features[pool.due_for[index] >> _BITS, pool.due_for[index] & _NUMBER] = pool.due[index]


@forward_njit
def _describe_shares(queue: int, pool: Pool) -> None:
    """Describe the candidates of a queue by their shares. Most have few of them, and none tells which."""
    size, due = pool.top_sizes[queue], 0
    for column in range(SHARES):
        pool.features[column, :size] = 0.0
    for number in range(size):
        shares = pool.shares[pool.top[queue, number]]
        for column in range(SHARES):
            pool.due[due] = shares[column]
            pool.due_for[due] = (column << _BITS) + number
            due += shares[column] > 0.0
    _log_shares(pool.due[: in_vectors(due)], SHARE_UNIT)
    _put_due(due, pool)


@forward_njit
def _describe_evidence(number: int, place: int, upsell: bool, state: ServingState) -> None:
    """What was counted about a candidate."""
    pool, features = state.pool, state.pool.features
    candidate, shares = pool.candidates[place], pool.shares[place]
    views, baskets = own_counts(candidate.item, pool.totals[number], state.rows)
    features[_EVIDENCE, number] = candidate.evidence
    features[_VIEWS, number] = views
    features[_BASE, number] = baskets
    if not upsell:
        features[_LIFT, number] = shares[BOUGHT_WITH]
        features[_SIGNIFICANCE, number] = candidate.significance
    features[_SEEN, number] = candidate.seen
    features[_COUNTED, number] = candidate.tier == EVIDENCE


@forward_njit
def _describe_item(number: int, place: int, upsell: bool, state: ServingState) -> None:
    """What a candidate is, beside its anchor and what the shopper has bought."""
    pool, features, query = state.pool, state.pool.features, state.query
    item, compared = pool.candidates[place].item, query.anchors[pool.candidates[place].anchor]
    fact, anchor = state.rules.facts[item], state.rules.facts[compared]
    price, brand, category = fact.price, fact.brand, fact.category
    group = state.rules.group[category]
    features[_PRICE, number] = price / anchor.price if (price > 0.0) & (anchor.price > 0.0) else 1.0
    features[_BRAND, number] = (brand != NONE) & (brand == anchor.brand)
    features[_NEAR, number] = state.parent[category] == state.parent[anchor.category]
    if upsell:
        features[_STEP, number] = step_of(item, compared, state.weights, state.rules)
    else:
        features[_CATEGORY_LIFT, number] = log_lift(group, query, state.category_pairs)
    of_group = query.own[group]
    features[_OWN_GROUP, number] = of_group[GROUP_FEATURE]
    features[_OWN_CATEGORY, number] = query.own[category, CATEGORY_FEATURE]
    features[_OWN_BRAND, number] = query.own_brand[brand, 1]
    priced = (of_group[PRICED] > 0.0) & (price > 0.0)
    features[_OWN_PRICE, number] = price if priced else 1.0
    pool.totals[number] = of_group[MEAN_LOG] if priced else 0.0


@forward_njit
def _describe_purchases(number: int, place: int, situation: Situation, state: ServingState, due: int) -> int:
    """How often and when the shopper has bought a candidate.

    What depends on the last time or on the plain count only is computed once for items that share it.
    """
    pool, features, own_baskets = state.pool, state.pool.features, situation.own_baskets + PRIOR_BASKETS
    own = situation.own[pool.candidates[place].own]
    age_s = max(0.0, situation.at - own.last)
    if pool.aged[0] != own.last:
        pool.aged[0] = own.last
        pool.aged[1] = exp2(-age_s / situation.fast_s)
        pool.aged[2] = exp2(-age_s / situation.slow_s)
        pool.aged[3] = log(1.0 + age_s / DAY_S)
    if own.count >= COUNTS:
        of_count = log(1.0 + own.count / own_baskets / OWN_UNIT)
    else:
        if math.isnan(pool.counted[own.count]):
            pool.counted[own.count] = log(1.0 + own.count / own_baskets / OWN_UNIT)
        of_count = pool.counted[own.count]
    features[_HAD, number] = 1.0
    features[_HAD + 1, number] = of_count
    due = _add_log(_HAD + 2, number, 1.0 + own.fast * pool.aged[1] / OWN_UNIT, due, pool)
    due = _add_log(_HAD + 3, number, 1.0 + own.slow * pool.aged[2] / OWN_UNIT, due, pool)
    features[_HAD + 4, number] = pool.aged[3]
    if own.count > 1:
        gap_s = (own.last - own.first) / (own.count - 1)
        due = _add_log(_HAD + 5, number, (age_s + DAY_S) / (gap_s + DAY_S), due, pool)
    return due


@forward_njit
def _weigh(queue: int, state: ServingState) -> None:
    """Score the described candidates of a queue by the learnt order."""
    learnt, pool, kind = state.learnt, state.pool, UPSELL if queue == UPSELLS else CROSS_SELL
    features, totals, size = pool.features, pool.features[_LEARNT], pool.top_sizes[queue]
    before, padded = features[_HAD], in_vectors(size)
    whole = _LEARNT // _PASS * _PASS
    for column in range(0, whole, _PASS):  # added in the order of the columns, as one by one
        first, second, third, fourth = (
            features[column],
            features[column + 1],
            features[column + 2],
            features[column + 3],
        )
        new, had = learnt.weights[kind, 0, column:], learnt.weights[kind, 1, column:]
        new_1, new_2, new_3, new_4 = new[0], new[1], new[2], new[3]
        had_1, had_2, had_3, had_4 = had[0], had[1], had[2], had[3]
        for number in range(padded):
            bought = before[number] > 0.0
            total = totals[number] + (had_1 if bought else new_1) * first[number]
            total += (had_2 if bought else new_2) * second[number]
            total += (had_3 if bought else new_3) * third[number]
            totals[number] = total + (had_4 if bought else new_4) * fourth[number]
    for column in range(whole, _LEARNT):
        values, of_new, of_had = features[column], learnt.weights[kind, 0, column], learnt.weights[kind, 1, column]
        for number in range(padded):
            totals[number] += (of_had if before[number] > 0.0 else of_new) * values[number]
    for number in range(size):
        item = pool.candidates[pool.top[queue, number]].item
        if item < learnt.uptake.shape[2]:
            totals[number] += learnt.uptake[queue, int(before[number]), item]
