"""Deltas of co-occurrence, and how they are counted into rows: the compiled part of `models.cooccurrence.counter`.

A delta is (a, b, kind, weight, at): in the row of item `a`, the neighbour `b` gets a weight of an event at `at`. Where
`b` is `a` it is the item's own marginal, where it is TOTAL the partition's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.block_pool import NOWHERE, block_size, release, take
from models.cooccurrence.cell_pool import MOST
from models.jit import cached_njit, inline_njit
from models.shop.decay import landmark
from models.shop.events import BOUGHT_WITH, PAIR_KINDS, VIEWED_WITH

TOTAL = -1
"""In place of a delta's second item: the weight belongs to the partition's total of baskets."""

ROW = np.dtype(
    [
        ("item", np.int32),  # whose row it is
        ("length", np.int32),  # cells in use
        ("start", np.int64),  # of its block of cells
        ("floor", np.int64),  # messages with lower offsets were in the row when it was adopted
        ("at", np.float64),  # newest event, epoch seconds
        ("landmark", np.float64),  # the one before `at`: all weights of the row are as of there
        ("views", np.float64),  # the item's own marginals: two weights, two numbers
        ("baskets", np.float64),
        ("view_count", np.int64),
        ("basket_count", np.int64),
    ],
    align=True,
)
"""What is kept of a row besides its cells: 80 bytes, so that a delta finds it in one or two lines of the cache."""


class Deltas(NamedTuple):
    """The deltas of one message, in columns of (n,)."""

    a: NDArray[np.int32]  # whose row
    b: NDArray[np.int32]  # neighbour
    kind: NDArray[np.int8]
    weight: NDArray[np.float64]
    at: NDArray[np.float64]  # epoch seconds


class CountState(NamedTuple):
    """What is counted into, and how."""

    rows: NDArray[np.void]  # (capacity,) ROW
    used: NDArray[np.int64]  # (1,): rows in use
    row_of: NDArray[np.int32]  # (items,): row of each item, NOWHERE where it has none
    dirty_since: NDArray[np.int64]  # (capacity,): the call that changed a row first since it was published; 0: none
    total: NDArray[np.void]  # (1,) ROW, of which `baskets`, `at` and `landmark` are the partition's
    heads: NDArray[np.int64]  # of the pool of cells, see `models.cooccurrence.cell_pool`
    ids: NDArray[np.int32]  # ... and the next two
    weights: NDArray[np.float64]
    counts: NDArray[np.int32]
    id_order: NDArray[np.uint64]  # (items, 2): settles ties by item id
    half_life_s: float  # in which a weight falls to a half
    importance: NDArray[np.float64]  # (3,) of each kind, where a cell has to give way
    limit: int  # cells a row may have


class CutRows(NamedTuple):
    """Rows as they are published, by index of the items, strongest neighbours first, ties by item id.

    The cells of row `r` are from `ends[r]` to `ends[r + 1]`. Weights are as of the row's `at`.
    """

    items: NDArray[np.int32]  # (rows,)
    at: NDArray[np.float64]  # (rows,) newest event behind each, in epoch seconds
    own: NDArray[np.float64]  # (rows, 2) views and baskets
    own_count: NDArray[np.int64]  # (rows, 2)
    ends: NDArray[np.int64]  # (rows + 1,)
    neighbours: NDArray[np.int32]  # (cells,)
    weights: NDArray[np.float64]  # (cells, 3)
    counts: NDArray[np.int32]  # (cells, 3)


@cached_njit(nogil=True)
def first_wrong(deltas: Deltas, known: int) -> int:
    """Number of the first delta that is invalid, or how many there are.

    Compiled functions do not check indices, and one weight that is not finite would spoil its row.
    """
    a, b, kind, weight, at = deltas
    for i in range(len(a)):
        if not (0 <= a[i] < known and TOTAL <= b[i] < known and 0 <= kind[i] < PAIR_KINDS):
            return i
        if not (0.0 <= weight[i] < math.inf and abs(at[i]) < math.inf):
            return i
    return len(a)


@cached_njit(nogil=True)
def count(box: Any, deltas: Deltas, first: int, offset: int, call: int) -> int:
    """Count the deltas of the message at an offset, from the `first` on; `call` numbers the calls, from 1.

    The box holds a `CountState`, with room for one more row a delta. Returns the number of the next delta to count: n,
    or less where the pool has to grow first.
    """
    a, b, kind, weight, at = deltas
    state = box.held
    rows, weights = state.rows, state.weights
    mark, growth, last_at = 0.0, 1.0, math.nan
    for i in range(first, len(a)):
        if at[i] != last_at:  # deltas of one event have one time
            mark, growth = landmark(at[i], state.half_life_s)
            last_at = at[i]
        if b[i] == TOTAL:
            scale = growth * _move_on(state.total, 0, at[i], mark, weights)
            state.total[0].baskets += weight[i] * scale
            continue
        if b[i] == a[i] and kind[i] != VIEWED_WITH and kind[i] != BOUGHT_WITH:
            continue  # an item has no marginal of that kind
        slot = _slot_of(a[i], at[i], mark, state)
        if offset < rows[slot].floor:
            continue
        cell = NOWHERE
        if b[i] != a[i]:
            cell = _cell_of(slot, b[i], state)
            if cell == NOWHERE:
                return i
        worth = weight[i] * growth * _move_on(rows, slot, at[i], mark, weights)
        if cell != NOWHERE:
            weights[cell, kind[i]] += worth
            if state.counts[cell, kind[i]] < MOST:
                state.counts[cell, kind[i]] += 1
        elif kind[i] == VIEWED_WITH:
            rows[slot].views += worth
            rows[slot].view_count += 1
        else:
            rows[slot].baskets += worth
            rows[slot].basket_count += 1
        if state.dirty_since[slot] == 0:
            state.dirty_since[slot] = call
    return len(a)


@inline_njit
def _slot_of(item: int, at: float, mark: float, state: CountState) -> int:
    """The row of an item; a new one where it has none."""
    slot = int(state.row_of[item])
    if slot == NOWHERE:
        slot = int(state.used[0])
        state.used[0] += 1
        state.row_of[item] = slot
        row = state.rows[slot]
        row.item = item
        row.start = NOWHERE
        row.at = at
        row.landmark = mark
    return slot


@inline_njit
def _move_on(rows: NDArray[np.void], slot: int, at: float, mark: float, weights: NDArray[np.float64]) -> float:
    """Move a row on to an event at `at` after landmark `mark`; its weights then are as of the later landmark.

    Returns the factor from the event's landmark to the row's: a power of two, 1 or less.
    """
    row = rows[slot]
    if at > row.at:
        row.at = at
    if mark <= row.landmark:
        return 1.0 if mark == row.landmark else 2.0 ** (mark - row.landmark)
    scale = 2.0 ** (row.landmark - mark)
    row.landmark = mark
    row.views *= scale
    row.baskets *= scale
    for cell in range(row.start, row.start + row.length):
        for kind in range(PAIR_KINDS):
            weights[cell, kind] *= scale
    return 1.0


@inline_njit
def _cell_of(slot: int, neighbour: int, state: CountState) -> int:
    """The neighbour's cell: the one it has, a new one, or that of the weakest. NOWHERE: the pool has to grow first."""
    heads, ids, weights, counts = state.heads, state.ids, state.weights, state.counts
    row = state.rows[slot]
    start, length = int(row.start), int(row.length)
    found, held = np.int32(NOWHERE), ids[start : start + length]
    for number in range(len(held)):  # always to the end, so that eight ids are compared a step
        found = np.int32(number) if held[number] == neighbour else found
    if found != NOWHERE:
        return start + int(found)
    if length == state.limit:
        cell = _weakest(start, length, ids, weights, state.id_order, state.importance)
    else:
        if length == block_size(length):
            moved = take(heads, ids, block_size(length + 1))
            if moved == NOWHERE:
                return NOWHERE
            for number in range(length):
                ids[moved + number] = ids[start + number]
                for kind in range(PAIR_KINDS):
                    weights[moved + number, kind] = weights[start + number, kind]
                    counts[moved + number, kind] = counts[start + number, kind]
            if length:
                release(heads, ids, start, length)
            row.start = start = moved
        row.length += 1
        cell = start + length
    ids[cell] = neighbour
    for kind in range(PAIR_KINDS):
        weights[cell, kind], counts[cell, kind] = 0.0, 0
    return cell


@inline_njit
def _strength(weights: NDArray[np.float64], cell: int, importance: NDArray[np.float64]) -> np.float32:
    """What a cell counts for when a row has to choose."""
    return np.float32(
        weights[cell, 0] * importance[0] + weights[cell, 1] * importance[1] + weights[cell, 2] * importance[2]
    )


@inline_njit
def _weakest(
    start: int,
    length: int,
    ids: NDArray[np.int32],
    weights: NDArray[np.float64],
    id_order: NDArray[np.uint64],
    importance: NDArray[np.float64],
) -> int:
    """The cell of least importance, in float32 as in `cut`; of equal ones that of the largest item id."""
    weakest, least = start, np.float32(math.inf)
    for cell in range(start, start + length):
        strength = _strength(weights, cell, importance)
        if strength < least:
            weakest, least = cell, strength
        elif strength == least and _id_precedes(ids[weakest], ids[cell], id_order):
            weakest = cell
    return weakest


@inline_njit
def _id_precedes(item: int, other: int, id_order: NDArray[np.uint64]) -> bool:
    """Whether the id of an item is smaller than that of another."""
    mine, its = id_order[item], id_order[other]
    return bool(mine[0] < its[0] or (mine[0] == its[0] and mine[1] < its[1]))


@cached_njit(nogil=True)
def cut(box: Any, slots: NDArray[np.int32], most: int) -> CutRows:
    """Copy some rows, with the strongest cells of each, `most` at most; the box holds a `CountState`."""
    state = box.held
    ends = np.zeros(len(slots) + 1, np.int64)
    for number in range(len(slots)):
        ends[number + 1] = ends[number] + min(most, int(state.rows[slots[number]].length))
    room = ends[len(slots)]
    ids, weights, counts = (
        np.empty(room, np.int32),
        np.empty((room, PAIR_KINDS)),
        np.empty((room, PAIR_KINDS), np.int32),
    )
    items, ats = np.empty(len(slots), np.int32), np.empty(len(slots))
    own, own_count = np.empty((len(slots), 2)), np.empty((len(slots), 2), np.int64)
    for number in range(len(slots)):
        row = state.rows[slots[number]]
        start, length = int(row.start), int(row.length)
        strengths = np.empty(length, np.float32)
        for place in range(length):
            strengths[place] = -_strength(state.weights, start + place, state.importance)
        order = np.argsort(strengths, kind="mergesort")
        for place in range(1, length):  # among equals, by id
            moved, at = order[place], place
            while (
                at > 0
                and strengths[order[at - 1]] == strengths[moved]
                and _id_precedes(state.ids[start + moved], state.ids[start + order[at - 1]], state.id_order)
            ):
                order[at] = order[at - 1]
                at -= 1
            order[at] = moved
        _, growth = landmark(row.at, state.half_life_s)
        items[number], ats[number] = row.item, row.at
        own[number, 0], own[number, 1] = row.views / growth, row.baskets / growth
        own_count[number, 0], own_count[number, 1] = row.view_count, row.basket_count
        for to in range(ends[number], ends[number + 1]):
            cell = start + order[to - ends[number]]
            ids[to] = state.ids[cell]
            for kind in range(PAIR_KINDS):
                weights[to, kind] = state.weights[cell, kind] / growth
                counts[to, kind] = state.counts[cell, kind]
    return CutRows(items, ats, own, own_count, ends, ids, weights, counts)
