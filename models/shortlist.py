"""From candidates to a list: best first, capped by kind, brand and category, with a place for chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.candidates import EVIDENCE, Pool, Rows, Weights, settle
from models.catalog import NONE
from models.rules import CROSS_SELL, NEITHER, Rules

_CROSS, _UP = 0, 1
"""Heaps of a pool, and counts of a list, by kind."""


class Limits(NamedTuple):
    """How much of what a list may have; 0 for brand and category: any number."""

    items: int
    cross_sell: int
    upsell: int
    per_brand: int
    per_category: int
    explore: float


@njit()
def line_up(tier: int, order: NDArray[np.uint64], pool: Pool) -> None:
    """Let the candidates of a tier wait for their turn, in a heap of each kind."""
    pool.waiting[:] = 0
    for place in range(pool.size[0]):
        one = pool.candidates[place]
        if one.tier == tier:
            heap = _CROSS if one.kind == CROSS_SELL else _UP
            pool.heaps[heap, pool.waiting[heap]] = place
            pool.waiting[heap] += 1
    for heap in range(2):
        for place in range(pool.waiting[heap] // 2 - 1, -1, -1):
            _sink(heap, place, order, pool)


@njit()
def take_best(
    at: float,
    chosen: NDArray[np.int32],
    size: int,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    limits: Limits,
    order: NDArray[np.uint64],
    pool: Pool,
) -> int:
    """Go on with a list from those that wait, best first, as long as the caps let any in.

    Args:
        at: time of the query, epoch seconds.
        chosen: (limits.items,): the list, as places of candidates; is filled.
        size: of the list so far.
        rows: of neighbours.
        weights: of evidence.
        rules: for groups and brands.
        limits: of the list.
        order: (items, 2) of the ids.
        pool: of the candidates.

    Returns:
        Size of the list.
    """
    room = np.array([limits.cross_sell, limits.upsell])
    for index in range(size):
        room[_CROSS if pool.candidates[chosen[index]].kind == CROSS_SELL else _UP] -= 1
    while size < limits.items:
        best = -1
        for heap in range(2):
            if room[heap] > 0 and pool.waiting[heap]:
                leader = _leader(heap, at, rows, weights, order, pool)
                if best < 0 or _ahead(leader, pool.heaps[best, 0], order, pool):
                    best = heap
        if best < 0:
            break
        place = pool.heaps[best, 0]
        _drop_leader(best, order, pool)
        if _fits_caps(place, chosen, size, rules, limits, pool):
            pool.candidates[place].chosen = size
            chosen[size] = place
            size += 1
            room[best] -= 1
    return size


@njit()
def leave_last_to_chance(
    at: float,
    seed: np.uint64,
    chosen: NDArray[np.int32],
    size: int,
    rows: Rows,
    weights: Weights,
    rules: Rules,
    limits: Limits,
    order: NDArray[np.uint64],
    pool: Pool,
) -> float:
    """With probability `limits.explore` put a candidate drawn from all beyond the list in place of its last.

    Those are all that the caps let in there, each as likely as the others: the one with the least hash of seed and id
    is drawn, so that equal queries draw alike. The list stays in order: whoever the caps let in at the last place has
    come behind the last.

    Returns:
        Probability with which the last of the list has come to be there.
    """
    beyond, drawn, least = 0, -1, seed
    last = pool.candidates[chosen[size - 1]]
    crosses = 0
    for index in range(size - 1):
        crosses += pool.candidates[chosen[index]].kind == CROSS_SELL
    for place in range(pool.size[0]):
        one = pool.candidates[place]
        if one.kind == NEITHER or one.tier == 0 or one.chosen >= 0:
            continue
        if one.kind == CROSS_SELL:
            room = limits.cross_sell - crosses
        else:
            room = limits.upsell - (size - 1 - crosses)
        if room > 0 and _fits_caps(place, chosen, size - 1, rules, limits, pool):
            lot = _mixed(_mixed(seed ^ order[one.item, 0]) ^ order[one.item, 1])
            if beyond == 0 or lot < least:
                drawn, least = place, lot
            beyond += 1
    if beyond == 0:
        return 1.0
    if not (_mixed(seed) >> np.uint64(11)) * 2.0**-53 < limits.explore:
        return 1.0 - limits.explore
    settle(drawn, at, rows, weights, pool)
    last.chosen = -1
    pool.candidates[drawn].chosen = size - 1
    chosen[size - 1] = drawn
    return limits.explore / beyond


@njit()
def weakest_evidence(chosen: NDArray[np.int32], size: int, weights: Weights, pool: Pool) -> float:
    """Score below which fall-backs have to stay."""
    for index in range(size - 1, -1, -1):
        one = pool.candidates[chosen[index]]
        if one.tier == EVIDENCE:
            return float(one.score)
    return weights.fall_back


@njit()
def _fits_caps(place: int, chosen: NDArray[np.int32], size: int, rules: Rules, limits: Limits, pool: Pool) -> bool:
    """Whether the list so far has room for one more of a candidate's brand and category."""
    fact = rules.facts[pool.candidates[place].item]
    of_brand, of_category = 0, 0
    for index in range(size):
        other = rules.facts[pool.candidates[chosen[index]].item]
        of_brand += fact.brand != NONE and other.brand == fact.brand
        of_category += rules.group[other.category] == rules.group[fact.category]
    if limits.per_brand and of_brand >= limits.per_brand:
        return False
    return not (limits.per_category and of_category >= limits.per_category)


@njit()
def _leader(heap: int, at: float, rows: Rows, weights: Weights, order: NDArray[np.uint64], pool: Pool) -> int:
    """The best that waits in a heap. Scores are bounds from above until settled, so the first exact one is the best."""
    while not pool.candidates[pool.heaps[heap, 0]].exact:
        settle(pool.heaps[heap, 0], at, rows, weights, pool)
        _sink(heap, 0, order, pool)
    return int(pool.heaps[heap, 0])


@njit()
def _drop_leader(heap: int, order: NDArray[np.uint64], pool: Pool) -> None:
    pool.waiting[heap] -= 1
    pool.heaps[heap, 0] = pool.heaps[heap, pool.waiting[heap]]
    _sink(heap, 0, order, pool)


@njit()
def _sink(heap: int, place: int, order: NDArray[np.uint64], pool: Pool) -> None:
    """Let one that may be too high in a heap sink to where it belongs."""
    size, queue = pool.waiting[heap], pool.heaps[heap]
    while True:
        below = 2 * place + 1
        if below >= size:
            return
        if below + 1 < size and _ahead(queue[below + 1], queue[below], order, pool):
            below += 1
        if not _ahead(queue[below], queue[place], order, pool):
            return
        queue[below], queue[place] = queue[place], queue[below]
        place = below


@njit()
def _ahead(place: int, other: int, order: NDArray[np.uint64], pool: Pool) -> bool:
    """Whether a candidate comes before another one: better first, among equals who may yet get worse, then by id."""
    one, two = pool.candidates[place], pool.candidates[other]
    if one.score != two.score:
        return bool(one.score > two.score)
    if one.exact != two.exact:
        return not one.exact
    if order[one.item, 0] != order[two.item, 0]:
        return bool(order[one.item, 0] < order[two.item, 0])
    return bool(order[one.item, 1] < order[two.item, 1])


@njit()
def _mixed(bits: np.uint64) -> np.uint64:
    """64 bits in which each depends on all of the given ones (the finalizer of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
