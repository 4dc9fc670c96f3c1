"""Candidates that wait for their turn, best first: two queues, of which only the first few of each are ever called.

A queue is cut into blocks that know their best. Joining costs a comparison and calling one up a look at all bests and
one block, where a heap would be ordered all through: of a thousand candidates a list takes six.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit

CROSS_SELLS, UPSELLS = 0, 1
"""The queues."""

_BLOCK = 32
"""Places of a block: about the root of a thousand."""

_NOBODY = -1


class Queues(NamedTuple):
    """Both queues; room that is used again."""

    length: NDArray[np.int64]  # (2,): those called up included
    places: NDArray[np.int32]  # (2, items): of candidates, _NOBODY where one was called up
    scores: NDArray[np.float64]  # (2, items): theirs
    best: NDArray[np.int32]  # (2, blocks): place in the queue of the best of a block, _NOBODY if none is left


def empty_queues(items: int) -> Queues:
    """Room for so many candidates."""
    return Queues(
        np.zeros(2, np.int64),
        np.empty((2, items), np.int32),
        np.empty((2, items)),
        np.empty((2, items // _BLOCK + 1), np.int32),
    )


@inline_njit
def push(queue: int, place: int, queues: Queues, candidates: NDArray[Any], order: NDArray[np.uint64]) -> None:
    """Let a candidate that has a score wait."""
    at = queues.length[queue]
    queues.length[queue] = at + 1
    queues.places[queue, at] = place
    queues.scores[queue, at] = candidates[place].score
    block = at // _BLOCK
    best = _NOBODY if at % _BLOCK == 0 else queues.best[queue, block]
    if best == _NOBODY or _before(queue, at, best, queues, candidates, order):
        queues.best[queue, block] = at


@inline_njit
def first(queue: int, queues: Queues, candidates: NDArray[Any], order: NDArray[np.uint64]) -> int:
    """Place in a queue of the one whose turn is next, -1 if nobody waits."""
    best = _NOBODY
    for block in range((queues.length[queue] + _BLOCK - 1) // _BLOCK):
        at = queues.best[queue, block]
        if at != _NOBODY and (best == _NOBODY or _before(queue, at, best, queues, candidates, order)):
            best = at
    return int(best)


@inline_njit
def pop(queue: int, at: int, queues: Queues, candidates: NDArray[Any], order: NDArray[np.uint64]) -> None:
    """Take one out of a queue."""
    queues.places[queue, at] = _NOBODY
    _find_best(queue, at // _BLOCK, queues, candidates, order)


@inline_njit
def rescore(queue: int, at: int, queues: Queues, candidates: NDArray[Any], order: NDArray[np.uint64]) -> None:
    """Let one whose score has changed wait where it belongs now."""
    queues.scores[queue, at] = candidates[queues.places[queue, at]].score
    _find_best(queue, at // _BLOCK, queues, candidates, order)


@inline_njit
def _find_best(queue: int, block: int, queues: Queues, candidates: NDArray[Any], order: NDArray[np.uint64]) -> None:
    best = _NOBODY
    for at in range(block * _BLOCK, min((block + 1) * _BLOCK, queues.length[queue])):
        if queues.places[queue, at] != _NOBODY:
            if best == _NOBODY or _before(queue, at, best, queues, candidates, order):
                best = at
    queues.best[queue, block] = best


@inline_njit
def _before(
    queue: int, at: int, other: int, queues: Queues, candidates: NDArray[Any], order: NDArray[np.uint64]
) -> bool:
    """Whether one comes before another of its queue."""
    if queues.scores[queue, at] != queues.scores[queue, other]:
        return bool(queues.scores[queue, at] > queues.scores[queue, other])
    return bool(precedes(queues.places[queue, at], queues.places[queue, other], candidates, order))


@inline_njit
def precedes(place: int, other: int, candidates: NDArray[Any], order: NDArray[np.uint64]) -> bool:
    """Whether a candidate comes before another one: better first, among equals who may yet get worse, then by id."""
    one, two = candidates[place], candidates[other]
    if one.score != two.score:
        return bool(one.score > two.score)
    if one.exact != two.exact:
        return not one.exact
    if order[one.item, 0] != order[two.item, 0]:
        return bool(order[one.item, 0] < order[two.item, 0])
    return bool(order[one.item, 1] < order[two.item, 1])
