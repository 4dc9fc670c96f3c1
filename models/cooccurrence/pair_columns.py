"""Pairs of items that events have made, in flat columns, and their parts by partition of items.

A pair is (a, b, kind, weight), as in `models.sessions.pairs`. Pairs are kept in the order of their events. To be sent,
they are grouped by the partition of item `a`, and the items of each group are numbered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.count_kernel import TOTAL
from models.jit import cached_njit, inline_njit
from models.shop.events import PAIR_KINDS


class Pairs(NamedTuple):
    """Pairs in columns, with the events that made them."""

    a: NDArray[np.int32]  # (pairs,) whose row
    b: NDArray[np.int32]  # (pairs,) neighbour, TOTAL: the weight counts towards the baskets
    kind: NDArray[np.int8]  # (pairs,)
    weight: NDArray[np.float64]  # (pairs,)
    offset: NDArray[np.int64]  # (events,) ascending
    at: NDArray[np.float64]  # (events,) event time, epoch seconds
    length: NDArray[np.int32]  # (events,) pairs of each


class Groups(NamedTuple):
    """Pairs by partition: those of partition `p` from `pair_ends[p]` to `pair_ends[p + 1]`, and so on.

    Items are numbers within their group: 0 is TOTAL, 1 the first of its `items`, in the order of their first pair.
    """

    a: NDArray[np.int32]  # (pairs,)
    b: NDArray[np.int32]  # (pairs,)
    kind: NDArray[np.int8]  # (pairs,)
    weight: NDArray[np.float64]  # (pairs,)
    pair_ends: NDArray[np.int64]  # (partitions + 1,)
    items: NDArray[np.int32]  # indices
    item_ends: NDArray[np.int64]  # (partitions + 1,)
    event: NDArray[np.int32]  # number of each event of a group, ascending
    length: NDArray[np.int32]  # ... and its pairs there
    event_ends: NDArray[np.int64]  # (partitions + 1,)


@inline_njit
def _numbered(
    item: int, group: int, known: NDArray[np.int32], item_ends: NDArray[np.int64], number_of: NDArray[np.int32]
) -> int:
    """Number of an item in its group; a new one is added to those known."""
    if number_of[item] == 0:
        known[item_ends[group + 1]] = item
        item_ends[group + 1] += 1
        number_of[item] = item_ends[group + 1] - item_ends[group]
    return int(number_of[item])


@cached_njit(nogil=True)
def grouped(pairs: Pairs, partition: NDArray[np.int16], partitions: int, items: int) -> Groups:
    """Group pairs by the partition (pairs,) of item `a`; `items` is the number of indices. Their order is kept."""
    count = len(pairs.a)
    pair_ends, item_ends = np.zeros(partitions + 1, np.int64), np.zeros(partitions + 1, np.int64)
    event_ends = np.zeros(partitions + 1, np.int64)
    for place in range(count):
        pair_ends[partition[place] + 1] += 1
    pair_ends = np.cumsum(pair_ends)
    order, made_by = np.empty(count, np.int64), np.empty(count, np.int32)
    free, first = pair_ends[:-1].copy(), 0
    for event in range(len(pairs.length)):
        for place in range(first, first + pairs.length[event]):
            group = partition[place]
            order[free[group]], made_by[free[group]] = place, event
            free[group] += 1
        first += pairs.length[event]
    a, b = np.empty(count, np.int32), np.empty(count, np.int32)
    kind, weight = np.empty(count, np.int8), np.empty(count)
    known, number_of = np.empty(2 * count, np.int32), np.zeros(items, np.int32)
    events, length = np.empty(count, np.int32), np.empty(count, np.int32)
    for group in range(partitions):
        item_ends[group + 1], event_ends[group + 1] = item_ends[group], event_ends[group]
        for to in range(pair_ends[group], pair_ends[group + 1]):
            place = order[to]
            kind[to], weight[to] = pairs.kind[place], pairs.weight[place]
            a[to] = _numbered(pairs.a[place], group, known, item_ends, number_of)
            b[to] = _numbered(pairs.b[place], group, known, item_ends, number_of) if pairs.b[place] != TOTAL else 0
            if to == pair_ends[group] or made_by[to] != made_by[to - 1]:
                events[event_ends[group + 1]], length[event_ends[group + 1]] = made_by[to], 0
                event_ends[group + 1] += 1
            length[event_ends[group + 1] - 1] += 1
        for place in range(item_ends[group], item_ends[group + 1]):
            number_of[known[place]] = 0
    last = event_ends[partitions]
    return Groups(
        a,
        b,
        kind,
        weight,
        pair_ends,
        known[: item_ends[partitions]],
        item_ends,
        events[:last],
        length[:last],
        event_ends,
    )


@cached_njit(nogil=True)
def received(pairs: Pairs, groups: Groups) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Columns a, b and at of pairs in groups, as `unnumbered` gives them to the receivers of the groups."""
    count = len(groups.a)
    a, b, at = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count)
    for group in range(len(groups.pair_ends) - 1):
        before, place = groups.item_ends[group] - 1, groups.pair_ends[group]
        for event in range(groups.event_ends[group], groups.event_ends[group + 1]):
            for _ in range(groups.length[event]):
                other = groups.b[place]
                a[place] = groups.items[before + groups.a[place]]
                b[place] = groups.items[before + other] if other > 0 else TOTAL
                at[place] = pairs.at[groups.event[event]]
                place += 1
    return a, b, at


OFFSETS, TIMES, LENGTHS, A, B, KIND, WEIGHT, RIGHT = range(8)
"""Columns of a message that may be wrong, in the order in which they are checked; RIGHT: none is."""


@inline_njit
def _within(column: NDArray[Any], least: float, most: float) -> bool:
    """Whether all values, none of which is NaN then, are within bounds."""
    for value in column:
        if not least <= value <= most:
            return False
    return True


@cached_njit(nogil=True)
def wrong_column(pairs: Pairs, items: int, newest_s: float, most: float, after: int) -> tuple[int, int]:
    """The first wrong column of a message of pairs whose items are numbers up to `items`: see `Groups`.

    Its times must not exceed `newest_s`, nor its weights `most`. If all are right, also the number of events with
    offsets up to `after`, which come first.
    """
    events, count = len(pairs.offset), len(pairs.a)
    if events == 0 or pairs.offset[0] < 0 or (pairs.offset[1:] < pairs.offset[:-1]).any():
        return OFFSETS, 0
    if len(pairs.at) != events or not _within(pairs.at, 0.0, newest_s):
        return TIMES, 0
    if len(pairs.length) != events or not _within(pairs.length, 1, count):
        return LENGTHS, 0
    if pairs.length.sum() != count or not _within(pairs.a, 1, items):
        return A, 0
    if len(pairs.b) != count or not _within(pairs.b, 0, items):
        return B, 0
    if len(pairs.kind) != count or not _within(pairs.kind, 0, PAIR_KINDS - 1):
        return KIND, 0
    if len(pairs.weight) != count or not _within(pairs.weight, 0.0, most):
        return WEIGHT, 0
    before = 0
    while before < events and pairs.offset[before] <= after:
        before += 1
    return RIGHT, before


@cached_njit(nogil=True)
def unnumbered(
    pairs: Pairs, events: int, items: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    """Columns a, b, kind, weight and at of the pairs behind the first events; `items`: index of each number but 0."""
    skip = 0
    for event in range(events):
        skip += pairs.length[event]
    count = len(pairs.a) - skip
    a, b, at = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count)
    kind, weight, to = np.empty(count, np.int8), np.empty(count), 0
    for event in range(events, len(pairs.length)):
        for _ in range(pairs.length[event]):
            other = pairs.b[skip + to]
            a[to], b[to] = items[pairs.a[skip + to] - 1], items[other - 1] if other > 0 else TOTAL
            kind[to], weight[to], at[to] = pairs.kind[skip + to], pairs.weight[skip + to], pairs.at[event]
            to += 1
    return a, b, kind, weight, at


def warm() -> None:
    """Compile, or load what was compiled before: as pairs are sent, and as they are read."""
    one = np.ones(1, np.int32)
    sent = Pairs(one - 1, one - 1, np.zeros(1, np.int8), np.zeros(1), np.zeros(1, np.int64), np.zeros(1), one)
    received(sent, grouped(sent, np.zeros(1, np.int16), 1, 1))
    read = Pairs._make([one, one, *(np.frombuffer(column.tobytes(), column.dtype) for column in sent[2:])])
    wrong_column(read, 1, 0.0, 1.0, -1)
    unnumbered(read, 0, np.zeros(1, np.int32))
