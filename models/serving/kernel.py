"""A batch of queries as arrays, and the one compiled function that answers it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from models.ranking.features import WIDTH, Order
from models.serving.candidates import Pool, Rows, Weights, candidate, collect, expect, find_sources, score
from models.serving.explanations import Reasons, explain
from models.serving.fallbacks import fall_back
from models.serving.popularity import TopItems
from models.serving.reranking import Situation, describe, find_top, rerank
from models.serving.rules import ANCHORS, QueryState, Rules, begin
from models.serving.selection import Limits, count_cross_sells, leave_last_to_chance, take_best, weakest_evidence


class Batch(NamedTuple):
    """Queries one after the other; those of query `q` are at `ends[q - 1]` up to `ends[q]` of each list of items."""

    serial: int  # of the first
    at: NDArray[np.float64]  # (queries,)
    seeds: NDArray[np.uint64]  # (queries,)
    upsells: NDArray[np.bool_]  # (queries,)
    trigger: NDArray[np.int32]
    trigger_ends: NDArray[np.int64]
    cart: NDArray[np.int32]
    cart_ends: NDArray[np.int64]
    bought: NDArray[np.int32]
    bought_ends: NDArray[np.int64]
    visit: NDArray[np.int32]
    ages_s: NDArray[np.float64]
    visit_ends: NDArray[np.int64]
    expected: NDArray[np.int32]
    shares: NDArray[np.float64]
    expected_ends: NDArray[np.int64]


class Answers(NamedTuple):
    """Lists of suggestions, best first."""

    size: NDArray[np.int64]  # (queries,)
    item: NDArray[np.int32]  # (queries, places)
    kind: NDArray[np.int8]  # (queries, places)
    anchor: NDArray[np.int32]  # (queries, places): item
    score: NDArray[np.float64]  # (queries, places)
    propensity: NDArray[np.float64]  # (queries, places)
    features: NDArray[np.float64]  # (queries, places, WIDTH): as `models.serving.reranking` describes them


def answers(queries: int, places: int) -> Answers:
    """Room for the lists of a batch."""
    shape = (queries, places)
    return Answers(
        np.zeros(queries, np.int64),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int32),
        np.zeros(shape),
        np.ones(shape),
        np.full((*shape, WIDTH), np.nan),
    )


@inline_njit
def _answer_one(
    query: int,
    batch: Batch,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    limits: Limits,
    by_category: TopItems,
    by_brand: TopItems,
    parent: NDArray[np.int32],
    learnt: Order,
    order: NDArray[np.uint64],
    query_state: QueryState,
    pool: Pool,
    chosen: NDArray[np.int32],
    features: NDArray[np.float64],
    out: Answers,
    why: Reasons,
) -> None:
    """Answer one query of a batch; `chosen` (limits.items,) and `features` (WIDTH,) are room."""
    at = batch.at[query]
    trigger = batch.trigger[batch.trigger_ends[query] : batch.trigger_ends[query + 1]]
    cart = batch.cart[batch.cart_ends[query] : batch.cart_ends[query + 1]]
    bought = batch.bought[batch.bought_ends[query] : batch.bought_ends[query + 1]]
    visit = batch.visit[batch.visit_ends[query] : batch.visit_ends[query + 1]]
    ages_s = batch.ages_s[batch.visit_ends[query] : batch.visit_ends[query + 1]]
    begin(batch.serial + query, trigger, cart, bought, batch.upsells[query], rules, query_state)
    if query_state.now[ANCHORS] == 0 or limits.items == 0:
        return
    pool.size[0] = 0
    pool.queues.length[:] = 0
    find_sources(trigger, cart, visit, ages_s, weights, query_state, pool)
    for item in visit:
        pool.candidates[candidate(item, rules, query_state, pool)].seen = True
    collect(at, rows, weights, rules, query_state, pool)
    first, end = batch.expected_ends[query], batch.expected_ends[query + 1]
    expect(batch.expected[first:end], batch.shares[first:end], rules, query_state, pool)
    score(at, rows, weights, rules, order, query_state, pool)
    situation = Situation(at, len(visit), len(cart), not batch.upsells[query])
    find_top(at, rows, weights, order, pool)
    rerank(situation, rows, weights, rules, learnt, order, query_state, pool, features)
    size = take_best(at, chosen, 0, rows, weights, rules, limits, order, pool)
    exploring = limits.explore > 0.0
    crosses = count_cross_sells(chosen, size, pool)
    need_crosses = exploring or (size < limits.items and crosses < limits.cross_sell)
    need_upsells = exploring or (size < limits.items and size - crosses < limits.upsell)
    if need_crosses or need_upsells:
        weakest = weakest_evidence(chosen, size, weights, pool)
        pool.queues.length[:] = 0
        fall_back(at, weakest, need_crosses, need_upsells, rows, weights, rules, query_state, pool, by_category, by_brand, parent, order)  # fmt: skip  # noqa: E501
        size = take_best(at, chosen, size, rows, weights, rules, limits, order, pool)
    if exploring and size:
        out.propensity[query, size - 1] = leave_last_to_chance(
            at, batch.seeds[query], chosen, size, rows, weights, rules, limits, order, pool
        )
    out.size[query] = size
    for place in range(size):
        one = pool.candidates[chosen[place]]
        out.item[query, place] = one.item
        out.kind[query, place] = one.kind
        out.anchor[query, place] = query_state.anchors[one.anchor]
        out.score[query, place] = one.score
        describe(chosen[place], situation, rows, rules, query_state, pool, out.features[query, place])
    found = Reasons(
        why.source[query],
        why.anchor[query],
        why.events[query],
        why.of_views[query],
        why.of_anchor[query],
        why.lift[query],
        why.strength[query],
    )
    explain(at, chosen, size, rows, weights, query_state, pool, found)


@cached_njit()
def answer(
    batch: Batch,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    limits: Limits,
    by_category: TopItems,
    by_brand: TopItems,
    parent: NDArray[np.int32],
    learnt: Order,
    order: NDArray[np.uint64],
    query_state: QueryState,
    pool: Pool,
    out: Answers,
    why: Reasons,
) -> None:
    """Answer a batch; fills `out` and `why`. Everything is judged by `models.serving.rules` as of this call."""
    chosen, features = np.empty(limits.items, np.int32), np.empty(WIDTH)
    for query in range(len(batch.at)):
        _answer_one(query, batch, rows, weights, rules, limits, by_category, by_brand, parent, learnt, order, query_state, pool, chosen, features, out, why)  # fmt: skip  # noqa: E501
