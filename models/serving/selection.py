"""From candidates to a list: best first, capped by kind, brand and category; the last place may be drawn at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Rows
from models.jit import forward_njit
from models.serving.candidates import make_exact
from models.serving.queues import first, pop, precedes, rescore
from models.serving.rules import Rules
from models.serving.state import CROSS_SELLS, JOINED, UPSELLS, Limits, Pool, ServingState, Weights
from models.shop.catalog import NONE
from models.shop.kinds import CROSS_SELL, NEITHER


@forward_njit
def take_best(at: float, chosen: NDArray[np.int32], size: int, state: ServingState) -> int:
    """Extend a list of `size` candidates (by place) from the queues, best first, within the caps; returns its size."""
    limits, queues = state.limits, state.pool.queues
    crosses = count_cross_sells(chosen, size, state.pool)
    while size < limits.items:
        queue, at_queue = CROSS_SELLS, -1
        if crosses < limits.cross_sell:
            at_queue = exact_first(CROSS_SELLS, at, state.rows, state.weights, state.pool, state.id_order)
        if size - crosses < limits.upsell:
            upsell = first(UPSELLS, state.pool, state.id_order)
            if upsell >= 0:
                place = queues.places[UPSELLS, upsell]
                if at_queue < 0 or precedes(place, queues.places[CROSS_SELLS, at_queue], state.pool, state.id_order):
                    queue, at_queue = UPSELLS, upsell
        if at_queue < 0:
            break
        place = queues.places[queue, at_queue]
        pop(queue, at_queue, state.pool, state.id_order)
        if _fits_caps(place, chosen, size, state.rules, limits, state.pool):
            state.pool.candidates[place].chosen = size
            chosen[size] = place
            size += 1
            crosses += queue == CROSS_SELLS
    return size


@forward_njit
def explore_last(at: float, seed: np.uint64, chosen: NDArray[np.int32], size: int, state: ServingState) -> float:
    """With probability `limits.explore` replace the last of a list by a candidate drawn from all beyond it.

    Every candidate that the caps allow at the last place is equally likely: the least hash of seed and id is drawn, so
    that equal queries draw alike. The list stays in order, since all of these rank behind the last. Returns the
    probability with which the last of the list has come to be there.
    """
    limits, candidates, order = state.limits, state.pool.candidates, state.id_order
    beyond, drawn, least = 0, -1, seed
    last = candidates[chosen[size - 1]]
    crosses = count_cross_sells(chosen, size - 1, state.pool)
    for place in range(state.pool.size[0]):
        candidate = candidates[place]
        if candidate.kind == NEITHER or candidate.tier in (0, JOINED) or candidate.chosen >= 0:
            continue
        if candidate.kind == CROSS_SELL:
            room = limits.cross_sell - crosses
        else:
            room = limits.upsell - (size - 1 - crosses)
        if room > 0 and _fits_caps(place, chosen, size - 1, state.rules, limits, state.pool):
            lot = _mixed(_mixed(seed ^ order[candidate.item, 0]) ^ order[candidate.item, 1])
            if beyond == 0 or lot < least:
                drawn, least = place, lot
            beyond += 1
    if beyond == 0:
        return 1.0
    if not (_mixed(seed) >> np.uint64(11)) * 2.0**-53 < limits.explore:
        return 1.0 - limits.explore
    make_exact(drawn, at, state.rows, state.weights, state.pool)
    candidates[drawn].score = min(candidates[drawn].score, last.score)  # the last's may be a learnt score
    if size > 1 and precedes(drawn, chosen[size - 2], state.pool, order):
        candidates[drawn].score = np.nextafter(candidates[drawn].score, 0.0)
    last.chosen = -1
    candidates[drawn].chosen = size - 1
    chosen[size - 1] = drawn
    return limits.explore / beyond


@forward_njit
def count_cross_sells(chosen: NDArray[np.int32], size: int, pool: Pool) -> int:
    """Number of cross-sells in a list."""
    number = 0
    for index in range(size):
        number += pool.candidates[chosen[index]].kind == CROSS_SELL
    return number


@forward_njit
def weakest(chosen: NDArray[np.int32], size: int, weights: Weights, pool: Pool) -> float:
    """Score below which fallbacks have to stay."""
    return float(pool.candidates[chosen[size - 1]].score) if size else weights.fall_back


@forward_njit
def _fits_caps(place: int, chosen: NDArray[np.int32], size: int, rules: Rules, limits: Limits, pool: Pool) -> bool:
    """Whether the caps of brand and category allow another candidate in the list so far."""
    fact = rules.facts[pool.candidates[place].item]
    of_brand, of_category = 0, 0
    for index in range(size):
        other = rules.facts[pool.candidates[chosen[index]].item]
        of_brand += fact.brand != NONE and other.brand == fact.brand
        of_category += rules.group[other.category] == rules.group[fact.category]
    if limits.per_brand and of_brand >= limits.per_brand:
        return False
    return not (limits.per_category and of_category >= limits.per_category)


@forward_njit
def exact_first(queue: int, at: float, rows: Rows, weights: Weights, pool: Pool, id_order: NDArray[np.uint64]) -> int:
    """Place in a queue of its best, -1 if it is empty. Scores are upper bounds, so the first exact one is the best."""
    while True:
        best = first(queue, pool, id_order)
        if best < 0:
            return best
        candidate = pool.candidates[pool.queues.places[queue, best]]
        if candidate.exact and candidate.score == pool.queues.scores[queue, best]:
            return best
        make_exact(pool.queues.places[queue, best], at, rows, weights, pool)
        rescore(queue, best, pool, id_order)


@forward_njit
def _mixed(bits: np.uint64) -> np.uint64:
    """64 bits in which each depends on all of the given ones (the finalizer of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
