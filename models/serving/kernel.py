"""The one compiled function that answers a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from models.ranking.features import WIDTH
from models.serving.batch import Answers, Batch
from models.serving.candidates import place_of, score
from models.serving.category_lifts import compare_anchors
from models.serving.context import find_context
from models.serving.explanations import Reasons, put_in_order
from models.serving.pooling import Situation, begin_pool, clear_own, describe, rerank, situation_of, sum_own
from models.serving.rules import ANCHORS, begin
from models.serving.selection import count_cross_sells, explore_last, take_best, weakest
from models.serving.sources import add_candidates, explain, join_candidates
from models.serving.sources.fallbacks import add_most_popular, fall_back
from models.serving.state import ServingState
from models.shop.policy import FIXED, POPULAR


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
        find_context(trigger, cart, visit, ages_s, state)
        for item in visit:
            pool.candidates[place_of(item, state.rules, state.query, pool)].seen = True
        add_candidates(query, batch, state)
        score(at, state)
        logged = batch.logged[query]
        learnt = bool(state.learnt.serves.any()) and batch.arms[query] != FIXED
        if learnt or logged >= 0:
            own = batch.own[batch.own_ends[query] : batch.own_ends[query + 1]]
            situation = situation_of(at, own, batch.own_baskets[query], state)
            compare_anchors(state.rules, state.query, state.category_pairs)
            begin_pool(at, state)
            join_candidates(query, batch, state)
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
    explain(chosen, size, query, batch, state, found)
    put_in_order(chosen, size, pool, found)


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
