"""The two queues of candidates, best first.

A list takes six of a thousand candidates, so a heap would order too much. A queue is cut into blocks that know their
best: a push costs one comparison, a pop a look at all bests and one block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import forward_njit
from models.serving.state import BLOCK, Pool

_NONE = -1


@forward_njit
def push(queue: int, place: int, pool: Pool, id_order: NDArray[np.uint64]) -> None:
    """Queue a candidate that has a score."""
    queues = pool.queues
    at = queues.length[queue]
    queues.length[queue] = at + 1
    queues.places[queue, at] = place
    queues.scores[queue, at] = pool.candidates[place].score
    block = at // BLOCK
    best = _NONE if at % BLOCK == 0 else queues.best[queue, block]
    if best == _NONE or _before(queue, at, best, pool, id_order):
        queues.best[queue, block] = at


@forward_njit
def first(queue: int, pool: Pool, id_order: NDArray[np.uint64]) -> int:
    """Place in a queue of its best candidate, -1 if it is empty."""
    queues = pool.queues
    best = _NONE
    for block in range((queues.length[queue] + BLOCK - 1) // BLOCK):
        at = queues.best[queue, block]
        if at != _NONE and (best == _NONE or _before(queue, at, best, pool, id_order)):
            best = at
    return int(best)


@forward_njit
def pop(queue: int, at: int, pool: Pool, id_order: NDArray[np.uint64]) -> None:
    """Take a candidate out of a queue, by its place there."""
    pool.queues.places[queue, at] = _NONE
    _find_best(queue, at // BLOCK, pool, id_order)


@forward_njit
def rescore(queue: int, at: int, pool: Pool, id_order: NDArray[np.uint64]) -> None:
    """Move a queued candidate whose score has changed to its place in the order."""
    queues = pool.queues
    queues.scores[queue, at] = pool.candidates[queues.places[queue, at]].score
    _find_best(queue, at // BLOCK, pool, id_order)


@forward_njit
def _find_best(queue: int, block: int, pool: Pool, id_order: NDArray[np.uint64]) -> None:
    queues = pool.queues
    best = _NONE
    for at in range(block * BLOCK, min((block + 1) * BLOCK, queues.length[queue])):
        if queues.places[queue, at] != _NONE and (best == _NONE or _before(queue, at, best, pool, id_order)):
            best = at
    queues.best[queue, block] = best


@forward_njit
def _before(queue: int, at: int, other: int, pool: Pool, id_order: NDArray[np.uint64]) -> bool:
    """Whether one place of a queue comes before another."""
    queues = pool.queues
    if queues.scores[queue, at] != queues.scores[queue, other]:
        return bool(queues.scores[queue, at] > queues.scores[queue, other])
    return bool(precedes(queues.places[queue, at], queues.places[queue, other], pool, id_order))


@forward_njit
def precedes(place: int, other: int, pool: Pool, id_order: NDArray[np.uint64]) -> bool:
    """Whether a candidate comes before another: by score; of equal scores a bound before an exact one, then by id."""
    mine, its = pool.candidates[place], pool.candidates[other]
    if mine.score != its.score:
        return bool(mine.score > its.score)
    if mine.exact != its.exact:
        return not mine.exact
    if id_order[mine.item, 0] != id_order[its.item, 0]:
        return bool(id_order[mine.item, 0] < id_order[its.item, 0])
    return bool(id_order[mine.item, 1] < id_order[its.item, 1])


@forward_njit
def put_first(most: int, places: NDArray[np.int32], pool: Pool, id_order: NDArray[np.uint64]) -> None:
    """Put the best `most` of more candidates before the others, in no order (C. A. R. Hoare's Find, 1961)."""
    low, high = 0, len(places) - 1
    while low < high:
        pivot, left, right = places[(low + high) // 2], low, high
        while left <= right:
            while precedes(places[left], pivot, pool, id_order):
                left += 1
            while precedes(pivot, places[right], pool, id_order):
                right -= 1
            if left <= right:
                places[left], places[right] = places[right], places[left]
                left += 1
                right -= 1
        if most <= right:
            high = right
        elif most > left:
            low = left
        else:
            break


@forward_njit
def put_in_order(places: NDArray[np.int32], pool: Pool, id_order: NDArray[np.uint64]) -> None:
    """Put a few candidates in order, the best first."""
    for number in range(1, len(places)):
        place, gap = places[number], number
        while gap > 0 and precedes(place, places[gap - 1], pool, id_order):
            places[gap] = places[gap - 1]
            gap -= 1
        places[gap] = place
