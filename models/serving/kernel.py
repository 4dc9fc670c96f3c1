"""A batch of queries as arrays, and the one compiled function that answers it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from models.ranking.candidate_pool import MOST
from models.ranking.features import WIDTH
from models.sequence.predictor import Expected
from models.serving.candidates import collect, expect, find_sources, place_of, score
from models.serving.category_lifts import compare_anchors
from models.serving.explanations import Reasons, explain
from models.serving.fallbacks import add_most_popular, fall_back
from models.serving.pooling import Situation, clear_own, describe, gather, rerank, situation_of, sum_own
from models.serving.rules import ANCHORS, begin
from models.serving.selection import count_cross_sells, explore_last, take_best, weakest
from models.serving.state import ServingState
from models.shop.policy import FIXED, POPULAR


class Joined(NamedTuple):
    """Lists of items one after the other: that of query `q` is from `ends[q]` to `ends[q + 1]`."""

    items: NDArray[np.int32]
    ends: NDArray[np.int64]  # (queries + 1,)


class Batch(NamedTuple):
    """Queries as arrays."""

    serial: int  # of the first
    at: NDArray[np.float64]  # (queries,) epoch seconds
    seeds: NDArray[np.uint64]  # (queries,)
    upsells: NDArray[np.bool_]  # (queries,): whether the action may have any
    trigger: Joined
    cart: Joined  # latest last
    bought: Joined
    visit: Joined  # latest first
    ages_s: NDArray[np.float64]  # of the visits' items
    expected: Expected
    arms: NDArray[np.int8]  # (queries,): indices into `models.shop.policy.ARMS`
    own: NDArray[Any]  # of `models.sessions.histories.CELL`: what the shoppers have bought, one after the other
    own_ends: NDArray[np.int64]  # (queries + 1,)
    own_baskets: NDArray[np.float64]  # (queries,)
    logged: NDArray[np.int64]  # (queries,): row of `Answers` for the query's pool, -1: it is not wanted


class Answers(NamedTuple):
    """Lists of suggestions, best first."""

    size: NDArray[np.int64]  # (queries,)
    item: NDArray[np.int32]  # (queries, places)
    kind: NDArray[np.int8]  # (queries, places)
    anchor: NDArray[np.int32]  # (queries, places): item
    score: NDArray[np.float64]  # (queries, places)
    propensity: NDArray[np.float64]  # (queries, places)
    pool_size: NDArray[np.int64]  # (pools,): candidates of each pool that is logged
    pool_item: NDArray[np.int32]  # (pools, MOST)
    pool_kind: NDArray[np.int8]  # (pools, MOST)
    pool_features: NDArray[np.float64]  # (pools, MOST, WIDTH): as `models.serving.pooling` describes them


def empty_answers(queries: int, places: int, pools: int) -> Answers:
    """Arrays for the lists of a batch, and for so many pools."""
    shape = (queries, places)
    return Answers(
        np.zeros(queries, np.int64),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int32),
        np.zeros(shape),
        np.ones(shape),
        np.zeros(pools, np.int64),
        np.empty((pools, MOST), np.int32),
        np.empty((pools, MOST), np.int8),
        np.empty((pools, MOST, WIDTH)),
    )


@inline_njit
def _answer(
    query: int,
    batch: Batch,
    state: ServingState,
    chosen: NDArray[np.int32],
    features: NDArray[np.float64],
    out: Answers,
    why: Reasons,
) -> None:
    """Answer one query of a batch; `chosen` (limits.items,) and `features` (WIDTH,) are working memory."""
    at, limits, pool = batch.at[query], state.limits, state.pool
    trigger = batch.trigger.items[batch.trigger.ends[query] : batch.trigger.ends[query + 1]]
    cart = batch.cart.items[batch.cart.ends[query] : batch.cart.ends[query + 1]]
    bought = batch.bought.items[batch.bought.ends[query] : batch.bought.ends[query + 1]]
    visit = batch.visit.items[batch.visit.ends[query] : batch.visit.ends[query + 1]]
    ages_s = batch.ages_s[batch.visit.ends[query] : batch.visit.ends[query + 1]]
    begin(batch.serial + query, trigger, cart, bought, batch.upsells[query], state.rules, state.query)
    if state.query.now[ANCHORS] == 0 or limits.items == 0:
        return
    pool.size[0] = 0
    pool.queues.length[:] = 0
    if batch.arms[query] == POPULAR:
        add_most_popular(at, state)
        size = take_best(at, chosen, 0, state)
    else:
        find_sources(trigger, cart, visit, ages_s, state)
        for item in visit:
            pool.candidates[place_of(item, state.rules, state.query, pool)].seen = True
        collect(at, state)
        first, end = batch.expected.ends[query], batch.expected.ends[query + 1]
        expect(batch.expected.items[first:end], batch.expected.shares[first:end], state)
        score(at, state)
        logged = batch.logged[query]
        learnt = bool(state.learnt.serves.any()) and batch.arms[query] != FIXED
        if learnt or logged >= 0:
            own = batch.own[batch.own_ends[query] : batch.own_ends[query + 1]]
            situation = situation_of(at, own, batch.own_baskets[query], state)
            compare_anchors(state.rules, state.query, state.category_pairs)
            gather(situation, state)
            sum_own(situation, state)
            if logged >= 0:
                _log(logged, situation, state, out)
            rerank(situation, learnt, state, features)
            clear_own(situation, state)
        size = take_best(at, chosen, 0, state)
        exploring = limits.explore > 0.0
        crosses = count_cross_sells(chosen, size, pool)
        need_crosses = exploring or (size < limits.items and crosses < limits.cross_sell)
        need_upsells = exploring or (size < limits.items and size - crosses < limits.upsell)
        if need_crosses or need_upsells:
            below = weakest(chosen, size, state.weights, pool)
            pool.queues.length[:] = 0
            fall_back(at, below, need_crosses, need_upsells, state)
            size = take_best(at, chosen, size, state)
        if exploring and size:
            out.propensity[query, size - 1] = explore_last(at, batch.seeds[query], chosen, size, state)
    out.size[query] = size
    for place in range(size):
        candidate = pool.candidates[chosen[place]]
        out.item[query, place] = candidate.item
        out.kind[query, place] = candidate.kind
        out.anchor[query, place] = state.query.anchors[candidate.anchor]
        out.score[query, place] = candidate.score
    found = Reasons(
        why.source[query],
        why.anchor[query],
        why.events[query],
        why.of_views[query],
        why.whose[query],
        why.lift[query],
        why.strength[query],
    )
    explain(at, chosen, size, batch.own[batch.own_ends[query] : batch.own_ends[query + 1]], state, found)


@inline_njit
def _log(row: int, situation: Situation, state: ServingState, out: Answers) -> None:
    """Write the pool to a row of the answers."""
    pool, size = state.pool, 0
    for queue in range(len(pool.top_sizes)):
        for number in range(pool.top_sizes[queue]):
            place = pool.top[queue, number]
            out.pool_item[row, size] = pool.candidates[place].item
            out.pool_kind[row, size] = pool.candidates[place].kind
            describe(place, situation, state, out.pool_features[row, size])
            size += 1
    out.pool_size[row] = size


@cached_njit()
def answer(batch: Batch, state: ServingState, out: Answers, why: Reasons) -> None:
    """Answer a batch; fills `out` and `why`. `models.serving.rules` classifies every candidate as of this call."""
    chosen, features = np.empty(state.limits.items, np.int32), np.empty(WIDTH)
    for query in range(len(batch.at)):
        _answer(query, batch, state, chosen, features, out, why)
