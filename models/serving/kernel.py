"""The one compiled function that answers a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.boxes import Box
from models.jit import cached_njit, forward_njit
from models.ranking.features import EVIDENCE as EVIDENCE_SERVES
from models.ranking.features import WIDTH
from models.serving.batch import Answers, Batch
from models.serving.candidates import place_of, score
from models.serving.category_lifts import compare_anchors
from models.serving.context import find_context
from models.serving.explanations import Reasons, clear, put_in_order
from models.serving.pooling import (
    begin_pool,
    clear_own,
    clear_slots,
    describe,
    drop_joined,
    rerank,
    situation_of,
    sum_own,
)
from models.serving.prefetching import AHEAD, fetch_ahead, fetch_shelves, fetch_walk
from models.serving.rules import ANCHORS, begin
from models.serving.selection import count_cross_sells, explore_last, take_best, weakest
from models.serving.sources import add_candidates, explain, join_candidates
from models.serving.sources.fallbacks import add_most_popular, fall_back
from models.serving.state import CROSS_SELLS, UPSELLS, ServingState
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import FIXED, POPULAR


@forward_njit
def _answer(
    query: int,
    batch: Batch,
    state: ServingState,
    chosen: NDArray[np.int32],
    out: Answers,
    why: Reasons,
) -> None:
    """Answer one query of a batch; `chosen` (limits.items,) is working memory."""
    at, limits, pool = batch.at[query], state.limits, state.pool
    trigger = batch.trigger.items[batch.trigger.ends[query] : batch.trigger.ends[query + 1]]
    cart = batch.cart.items[batch.cart.ends[query] : batch.cart.ends[query + 1]]
    bought = batch.bought.items[batch.bought.ends[query] : batch.bought.ends[query + 1]]
    visit = batch.visit.items[batch.visit.ends[query] : batch.visit.ends[query + 1]]
    ages_s = batch.ages_s[batch.visit.ends[query] : batch.visit.ends[query + 1]]
    out.size[query] = 0
    if batch.logged[query] >= 0:
        out.pool_size[batch.logged[query]] = 0
    begin(batch.serial + query, trigger, cart, bought, batch.upsells[query], state.rules, state.query)
    if state.query.now[ANCHORS] == 0 or limits.items == 0:
        return
    pool.size[0] = 0
    pool.queues.length[:] = 0
    propensity = 1.0
    if batch.arms[query] == POPULAR:
        add_most_popular(at, state)
        size = take_best(at, chosen, 0, state)
    else:
        find_context(trigger, cart, visit, ages_s, state)
        for item in visit:
            pool.candidates[place_of(item, state.rules, state.query, pool)].seen = True
        logged = batch.logged[query]
        learnt = bool(state.learnt.serves.any()) and batch.arms[query] != FIXED
        has_pool = learnt or logged >= 0
        if has_pool:
            fetch_walk(state)
        add_candidates(query, batch, state)
        if has_pool:
            fetch_shelves(state)
        score(at, state)
        if has_pool:
            _rank(query, learnt, batch, state, out)
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
            propensity = explore_last(at, batch.seeds[query], chosen, size, state)
    _write(query, chosen, size, propensity, batch, state, out, why)


@forward_njit
def _rank(query: int, learnt: bool, batch: Batch, state: ServingState, out: Answers) -> None:
    """Describe the pool of a query, log it if that is wanted, and queue it in the learnt order if `learnt`."""
    at, logged, pool = batch.at[query], batch.logged[query], state.pool
    own = batch.own[batch.own_ends[query] : batch.own_ends[query + 1]]
    situation = situation_of(at, own, batch.own_baskets[query], state)
    compare_anchors(state.rules, state.query, state.category_pairs)
    begin_pool(at, logged >= 0, state)
    join_candidates(query, batch, state)
    sum_own(situation, state)
    for queue, kind in ((CROSS_SELLS, CROSS_SELL), (UPSELLS, UPSELL)):
        if logged >= 0 or state.learnt.serves[kind] != EVIDENCE_SERVES:
            describe(queue, situation, state)
        if logged >= 0:
            _log(queue, logged, state, out)
        if learnt:
            rerank(queue, state)
        else:
            drop_joined(queue, pool)
    clear_own(situation, state)
    clear_slots(pool)


@forward_njit
def _write(
    query: int,
    chosen: NDArray[np.int32],
    size: int,
    propensity: float,
    batch: Batch,
    state: ServingState,
    out: Answers,
    why: Reasons,
) -> None:
    """Write a list, whose last item has come there with some probability, and its reasons."""
    out.size[query] = size
    for place in range(size):
        candidate = state.pool.candidates[chosen[place]]
        out.item[query, place] = candidate.item
        out.kind[query, place] = candidate.kind
        out.anchor[query, place] = state.query.anchors[candidate.anchor]
        out.score[query, place] = candidate.score
        out.propensity[query, place] = propensity if place == size - 1 else 1.0
    found = Reasons(
        why.source[query],
        why.anchor[query],
        why.events[query],
        why.of_views[query],
        why.whose[query],
        why.lift[query],
        why.strength[query],
    )
    clear(size, found)
    explain(chosen, size, query, batch, state, found)
    put_in_order(chosen, size, state.pool, found)


@forward_njit
def _log(queue: int, row: int, state: ServingState, out: Answers) -> None:
    """Write the described candidates of a queue after those of the queues before, to a row of the answers."""
    pool, size = state.pool, out.pool_size[row]
    for number in range(pool.top_sizes[queue]):
        candidate = pool.candidates[pool.top[queue, number]]
        out.pool_item[row, size + number] = candidate.item
        out.pool_kind[row, size + number] = candidate.kind
        for column in range(WIDTH):
            out.pool_features[row, size + number, column] = pool.features[column, number]
    out.pool_size[row] = size + pool.top_sizes[queue]


@cached_njit(nogil=True)
def answer(batch: Batch, shared: Box, memory: Box, output: Box) -> None:
    """Answer a batch. `models.serving.rules` classifies every candidate as of this call.

    The boxes hold a `Shared`, a `Memory` and an `Output`, whose answers and reasons are filled. Several threads may
    answer batches at once, each with its own memory and output.
    """
    read, written, (out, why) = shared.held, memory.held, output.held
    state = ServingState(
        read.rows,
        read.weights,
        read.rules,
        read.limits,
        read.by_category,
        read.by_brand,
        read.most_bought,
        read.category_pairs,
        read.parent,
        read.learnt,
        read.id_order,
        written.query,
        written.pool,
    )
    chosen = np.empty(state.limits.items, np.int32)
    for query in range(-AHEAD, len(batch.at)):
        fetch_ahead(query, batch, state)
        if query >= 0:
            _answer(query, batch, state, chosen, out, why)
