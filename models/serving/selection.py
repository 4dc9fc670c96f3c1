"""From candidates to a list: best first, capped by kind, brand and category, with a place for chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit
from models.serving.candidates import EVIDENCE, Pool, Rows, Weights, make_exact
from models.serving.queues import CROSS_SELLS, UPSELLS, first, pop, precedes, rescore
from models.serving.rules import Rules
from models.shop.catalog import NONE
from models.shop.kinds import CROSS_SELL, NEITHER


class Limits(NamedTuple):
    """How much of what a list may have; 0 for brand and category: any number."""

    items: int
    cross_sell: int
    upsell: int
    per_brand: int
    per_category: int
    explore: float


@inline_njit
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
    crosses = count_cross_sells(chosen, size, pool)
    while size < limits.items:
        queue, at_queue = CROSS_SELLS, -1
        if crosses < limits.cross_sell:
            at_queue = exact_first(CROSS_SELLS, at, rows, weights, order, pool)
        if size - crosses < limits.upsell:
            upsell = first(UPSELLS, pool.queues, pool.candidates, order)
            if upsell >= 0 and (
                at_queue < 0
                or precedes(
                    pool.queues.places[UPSELLS, upsell],
                    pool.queues.places[CROSS_SELLS, at_queue],
                    pool.candidates,
                    order,
                )
            ):
                queue, at_queue = UPSELLS, upsell
        if at_queue < 0:
            break
        place = pool.queues.places[queue, at_queue]
        pop(queue, at_queue, pool.queues, pool.candidates, order)
        if _fits_caps(place, chosen, size, rules, limits, pool):
            pool.candidates[place].chosen = size
            chosen[size] = place
            size += 1
            crosses += queue == CROSS_SELLS
    return size


@inline_njit
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
    crosses = count_cross_sells(chosen, size - 1, pool)
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
    make_exact(drawn, at, rows, weights, pool)
    pool.candidates[drawn].score = min(pool.candidates[drawn].score, last.score)  # the last's may be a learnt one
    last.chosen = -1
    pool.candidates[drawn].chosen = size - 1
    chosen[size - 1] = drawn
    return limits.explore / beyond


@inline_njit
def count_cross_sells(chosen: NDArray[np.int32], size: int, pool: Pool) -> int:
    """How many of the first of a list are cross-sells."""
    number = 0
    for index in range(size):
        number += pool.candidates[chosen[index]].kind == CROSS_SELL
    return number


@inline_njit
def weakest_evidence(chosen: NDArray[np.int32], size: int, weights: Weights, pool: Pool) -> float:
    """Score below which fall-backs have to stay."""
    for index in range(size - 1, -1, -1):
        one = pool.candidates[chosen[index]]
        if one.tier == EVIDENCE:
            return float(one.score)
    return weights.fall_back


@inline_njit
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


@inline_njit
def exact_first(queue: int, at: float, rows: Rows, weights: Weights, order: NDArray[np.uint64], pool: Pool) -> int:
    """Place in a queue of the best. Scores are bounds from above until settled, so the first exact one is the best."""
    while True:
        best = first(queue, pool.queues, pool.candidates, order)
        if best < 0 or pool.candidates[pool.queues.places[queue, best]].exact:
            return best
        make_exact(pool.queues.places[queue, best], at, rows, weights, pool)
        rescore(queue, best, pool.queues, pool.candidates, order)


@inline_njit
def _mixed(bits: np.uint64) -> np.uint64:
    """64 bits in which each depends on all of the given ones (the finalizer of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
