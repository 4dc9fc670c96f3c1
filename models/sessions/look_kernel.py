"""The compiled functions on shoppers' looks: they keep the looks, make pairs, and write snapshots.

The looks of a shopper lie in a block of [`block_pool`][models.block_pool], in the order of the log, as a ring: the
oldest is anywhere in the block. So dropping the oldest for a new one moves nothing.

The looks that count are the last `kept` of the log, by event time; of two with the same time the later one of the log
is the newer. They are sorted when they are needed: nearly always they are in order already.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.block_pool import NOWHERE, block_size, release, take
from models.jit import cached_njit, inline_njit
from models.sessions.pairs import TOTAL
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH

LOOK, BASKET, JOIN, QUERY, FORGET, CLEAR = range(6)
"""Kinds of steps."""

NOBODY = -1
"""Slot of a shopper of whom nothing is known."""

STEP = np.dtype(
    [
        ("at", np.float64),  # event time; of FORGET, up to which it forgets
        ("appended_s", np.float64),  # of LOOK and QUERY, the greatest of the clicks so far
        ("slot", np.int64),
        ("offset", np.int64),  # of LOOK, BASKET and JOIN: of the event
        ("first", np.int32),  # of BASKET and JOIN: where the purchase begins in the list of items
        ("count", np.int32),  # ... and how many items it has
        ("item", np.int32),
        ("kind", np.int8),
        ("action", np.int8),
        ("learns", np.int8),  # of LOOK: whether it makes pairs
    ],
    align=True,
)
STEP_FORMAT = "=ddqqiiibbbx"
"""Of `STEP`, for `struct`."""

SLOT = np.dtype(
    [
        ("start", np.int64),  # where the shopper's looks are: the block,
        ("first", np.int32),  # the place of the oldest in it,
        ("length", np.int32),  # and their number
        ("first_word", np.uint64),  # of the hash of the shopper's id
        ("second_word", np.uint64),
        ("clicked_s", np.float64),  # append time of the last click, -inf: none is remembered
        ("bought_s", np.float64),  # likewise of the last purchase
        ("forgotten_s", np.float64),  # event ids of an event time up to this one do not count
        ("term", np.int32),  # event ids of earlier terms do not count
        ("has_part", np.int32),  # whether there is a cart, or are purchases
    ],
    align=True,
)
"""What is kept of a shopper, besides carts and purchases."""

PAIR = np.dtype([("a", np.int32), ("b", np.int32), ("kind", np.int8), ("weight", np.float64)], align=True)
"""As `models.sessions.pairs.Pair`."""


class Rules(NamedTuple):
    """What a visit is, and what pairs weigh; see `VisitConfig`."""

    items: int
    kept: int
    reach: int
    most_viewed: int  # items viewed before a purchase that it is joined with
    window_s: float
    look_memory_s: float
    join_memory_s: float
    join_grace_s: float
    forward: NDArray[np.float64]  # (items + 1, reach) by length of the window and distance
    backward: NDArray[np.float64]  # likewise
    basket: NDArray[np.float64]  # (max_pair_items + 1,) by size of the basket
    joined: NDArray[np.float64]  # (most_viewed, max_pair_items + 1) by rank of the view and size of the basket


class LookPool(NamedTuple):
    """All looks, and working memory."""

    at: NDArray[np.float64]  # (room,) event time
    appended_s: NDArray[np.float64]  # (room,)
    item: NDArray[np.int32]  # (room,)
    action: NDArray[np.int8]  # (room,)
    heads: NDArray[np.int64]  # of the blocks; `item` links the free ones
    slots: NDArray[Any]  # of SLOT
    free: NDArray[np.int64]  # slots to be given, the last first; as long as `slots`
    given: NDArray[np.int64]  # (2,) slots ever given, and those of them that are free
    places: NDArray[np.int64]  # (kept,) of the looks that are being sorted
    times: NDArray[np.float64]  # (kept,) their event times
    seen: NDArray[np.int32]  # items met so far


class MadePairs(NamedTuple):
    """Pairs of steps: those of the `n`-th step that makes any are from `ends[n]` to `ends[n + 1]`."""

    steps: NDArray[np.int64]  # (1,): how many
    pairs: NDArray[Any]  # of PAIR
    ends: NDArray[np.int64]
    offsets: NDArray[np.int64]  # of their events
    ats: NDArray[np.float64]  # ... and their event times


class Snapshots(NamedTuple):
    """Shoppers at one moment each. The visit of query `q` is from `ends[q]` to `ends[q + 1]`, its looks likewise."""

    queries: NDArray[np.int64]  # (1,): how many
    items: NDArray[np.int32]  # looked at within the window, newest first, each once
    ages_s: NDArray[np.float64]  # of these looks
    actions: NDArray[np.int8]  # of these looks
    ends: NDArray[np.int64]
    look_items: NDArray[np.int32]  # all looks of the window, oldest first
    look_actions: NDArray[np.int8]
    look_ats: NDArray[np.float64]
    look_ends: NDArray[np.int64]


class Table(NamedTuple):
    """All that steps are applied with."""

    rules: Rules
    pool: LookPool
    made: MadePairs
    snapshots: Snapshots


@cached_njit(nogil=True)
def apply_steps(steps: NDArray[Any], first: int, bought: NDArray[np.int32], box: Any) -> int:
    """Apply steps in order, from the `first` on, to the `Table` in a box; `bought` has the items of all purchases.

    There must be room for all pairs and snapshots that they may give. Returns the number of the next step to apply:
    all, or fewer where the pool has to grow first.
    """
    rules, pool, made, snapshots = box.held
    most = 2 * block_size(2 * rules.kept)  # a step takes at most two blocks
    for number in range(first, len(steps)):
        if pool.heads[0] + most > len(pool.item):
            return number
        step = steps[number]
        items = bought[step.first : step.first + step.count]
        if step.kind == LOOK:
            _add_look(step, rules, pool, made)
        elif step.kind == QUERY:
            _write_snapshot(step, rules, pool, snapshots)
        elif step.kind == BASKET:
            _bought_with(step, items, rules, made)
        elif step.kind == JOIN:
            _viewed_then_bought(step, items, rules, pool, made)
        elif step.kind == FORGET:
            _forget(step.slot, step.at, pool)
        else:
            _clear(step.slot, pool)
    return len(steps)


# -- slots -------------------------------------------------------------------------------------------------------------


@cached_njit()
def take_slot(slots: NDArray[Any], free: NDArray[np.int64], given: NDArray[np.int64]) -> int:
    """A free slot; there must be one. Its last owner's looks may still wait to be dropped."""
    if given[1]:
        given[1] -= 1
        slot = free[given[1]]
    else:
        slot = given[0]
        given[0] += 1
    slots[slot].clicked_s = slots[slot].bought_s = slots[slot].forgotten_s = -np.inf
    slots[slot].term = slots[slot].has_part = 0
    return int(slot)


@cached_njit()
def give_slot_back(slot: int, free: NDArray[np.int64], given: NDArray[np.int64]) -> None:
    """The slot may be given to another."""
    free[given[1]] = slot
    given[1] += 1


# -- the ring ----------------------------------------------------------------------------------------------------------


@inline_njit
def _place(slot: int, number: int, room: int, pool: LookPool) -> int:
    """Where a look of a shopper lies, by its number in the order of the log."""
    held = pool.slots[slot]
    return int(held.start + ((held.first + number) & (room - 1)))


@inline_njit
def _expire(slot: int, horizon_s: float, pool: LookPool) -> None:
    """Drop what was appended before a time; the block stays the same."""
    room = block_size(pool.slots[slot].length)
    while pool.slots[slot].length and pool.appended_s[_place(slot, 0, room, pool)] < horizon_s:
        _drop_oldest(slot, room, pool)


@inline_njit
def _drop_oldest(slot: int, room: int, pool: LookPool) -> None:
    pool.slots[slot].first = (pool.slots[slot].first + 1) & (room - 1)
    pool.slots[slot].length -= 1


@inline_njit
def _fit(slot: int, room: int, length: int, pool: LookPool) -> None:
    """Move a shopper's looks from a block of `room` to the one for a length, unless that is the same."""
    size = block_size(length)
    if size == room:
        return
    start = NOWHERE
    if size:
        start = take(pool.heads, pool.item, size)
        for number in range(pool.slots[slot].length):
            _move(_place(slot, number, room, pool), start + number, pool)
    if room:
        release(pool.heads, pool.item, pool.slots[slot].start, room)
    pool.slots[slot].start = start
    pool.slots[slot].first = 0


@inline_njit
def _move(source: int, target: int, pool: LookPool) -> None:
    pool.at[target] = pool.at[source]
    pool.appended_s[target] = pool.appended_s[source]
    pool.item[target] = pool.item[source]
    pool.action[target] = pool.action[source]


@inline_njit
def _forget(slot: int, before: float, pool: LookPool) -> None:
    """Drop what happened at or before an event time."""
    length = pool.slots[slot].length
    room = block_size(length)
    left = 0
    for number in range(length):
        source = _place(slot, number, room, pool)
        if pool.at[source] > before:
            _move(source, _place(slot, left, room, pool), pool)
            left += 1
    pool.slots[slot].length = left
    _fit(slot, room, left, pool)


@inline_njit
def _clear(slot: int, pool: LookPool) -> None:
    """Drop all looks of a shopper."""
    room = block_size(pool.slots[slot].length)
    pool.slots[slot].length = 0
    _fit(slot, room, 0, pool)


@inline_njit
def _sort(slot: int, begin: int, end: int, pool: LookPool) -> None:
    """Put some looks of a shopper, by their numbers, in the order of event time: into `places` and `times`."""
    room = block_size(pool.slots[slot].length)
    for number in range(begin, end):
        place = _place(slot, number, room, pool)
        at, to = pool.at[place], number - begin
        while to > 0 and at < pool.times[to - 1]:
            pool.times[to], pool.places[to] = pool.times[to - 1], pool.places[to - 1]
            to -= 1
        pool.times[to], pool.places[to] = at, place


@inline_njit
def _sort_recent(slot: int, rules: Rules, pool: LookPool) -> int:
    """Put the looks that count in order; returns how many they are."""
    length = pool.slots[slot].length
    count = int(min(length, rules.kept))
    _sort(slot, length - count, length, pool)
    return count


# -- pairs -------------------------------------------------------------------------------------------------------------


@inline_njit
def _add_look(step: Any, rules: Rules, pool: LookPool, made: MadePairs) -> None:
    """Make the pairs of a look, then add it."""
    slot = step.slot
    room = block_size(pool.slots[slot].length)
    _expire(slot, step.appended_s - rules.look_memory_s, pool)
    _fit(slot, room, pool.slots[slot].length, pool)
    if step.learns:
        count = _sort_recent(slot, rules, pool)
        _pair(step.item, step.item, VIEWED_WITH, 1.0, made)
        _viewed_with(step.item, step.at, count, rules, pool, made)
        _finish(step, made)
    room = block_size(pool.slots[slot].length)
    if pool.slots[slot].length == 2 * rules.kept:
        _drop_oldest(slot, room, pool)
    length = pool.slots[slot].length
    _fit(slot, room, length + 1, pool)
    place = _place(slot, length, block_size(length + 1), pool)
    pool.at[place], pool.appended_s[place] = step.at, step.appended_s
    pool.item[place], pool.action[place] = step.item, step.action
    pool.slots[slot].length = length + 1


@inline_njit
def _viewed_with(item: int, at: float, count: int, rules: Rules, pool: LookPool, made: MadePairs) -> None:
    """Pairs of a look with those around it in the window, each other item once; `count` looks are in order."""
    if count == 0:
        return
    times = pool.times
    newest = times[count - 1]
    oldest = max(at, newest) - rules.window_s
    first = max(0, count - rules.items)
    while first < count and times[first] < oldest:
        first += 1
    place = count
    while place > 0 and at < times[place - 1]:
        place -= 1
    if first == count or place < first or at < oldest:
        return
    length = count - first
    seen = 1
    pool.seen[0] = item
    for step in range(rules.reach):
        ahead, back = rules.forward[length, step], rules.backward[length, step]
        if place - 1 - step >= first:
            seen = _meet(place - 1 - step, item, ahead, back, seen, pool, made)
        if place + step < count:
            seen = _meet(place + step, item, back, ahead, seen, pool, made)


@inline_njit
def _meet(number: int, item: int, to_item: float, from_item: float, seen: int, pool: LookPool, made: MadePairs) -> int:
    """Pair an item with a look in order, unless its item was met before; returns how many items have been met."""
    other = int(pool.item[pool.places[number]])
    if _has(pool.seen, seen, other):
        return seen
    pool.seen[seen] = other
    _pair(other, item, VIEWED_WITH, to_item, made)
    _pair(item, other, VIEWED_WITH, from_item, made)
    return seen + 1


@inline_njit
def _has(items: NDArray[np.int32], count: int, item: int) -> bool:
    """Whether an item is among the first so many."""
    for place in range(count):
        if items[place] == item:
            return True
    return False


@inline_njit
def _bought_with(step: Any, items: NDArray[np.int32], rules: Rules, made: MadePairs) -> None:
    """The basket's share of the total, its items' own counts, and a pair of every two of them, both ways."""
    weight = rules.basket[len(items)]
    _pair(items[0], TOTAL, BOUGHT_WITH, weight, made)
    for a in items:
        for b in items:
            _pair(a, b, BOUGHT_WITH, weight, made)
    _finish(step, made)


@inline_njit
def _viewed_then_bought(step: Any, items: NDArray[np.int32], rules: Rules, pool: LookPool, made: MadePairs) -> None:
    """Pairs of each item looked at before a purchase, newest first, with each item bought."""
    slot, at = step.slot, step.at
    begin = end = 0
    if slot != NOBODY:
        length = pool.slots[slot].length
        room = block_size(length)
        end = length
        while end > 0 and pool.appended_s[_place(slot, end - 1, room, pool)] > step.appended_s + rules.join_grace_s:
            end -= 1
        while begin < length and (
            pool.appended_s[_place(slot, begin, room, pool)] < step.appended_s - rules.join_memory_s
        ):
            begin += 1
        begin = max(begin, end - rules.kept)
    seen = 0
    if begin < end:
        _sort(slot, begin, end, pool)
    for number in range(end - begin - 1, -1, -1):
        if pool.times[number] <= at - rules.window_s or seen == rules.most_viewed:
            break
        view = pool.item[pool.places[number]]
        if pool.times[number] > at or _has(pool.seen, seen, view):
            continue
        pool.seen[seen] = view
        for b in items:
            if b != view:
                _pair(view, b, VIEWED_THEN_BOUGHT, rules.joined[seen, len(items)], made)
        seen += 1
    _finish(step, made)


@inline_njit
def _pair(a: int, b: int, kind: int, weight: float, made: MadePairs) -> None:
    number = made.ends[made.steps[0] + 1]
    made.pairs[number].a = a
    made.pairs[number].b = b
    made.pairs[number].kind = kind
    made.pairs[number].weight = weight
    made.ends[made.steps[0] + 1] = number + 1


@inline_njit
def _finish(step: Any, made: MadePairs) -> None:
    """The pairs of a step are complete."""
    made.offsets[made.steps[0]], made.ats[made.steps[0]] = step.offset, step.at
    made.steps[0] += 1
    made.ends[made.steps[0] + 1] = made.ends[made.steps[0]]


# -- snapshots ---------------------------------------------------------------------------------------------------------


@inline_njit
def _write_snapshot(step: Any, rules: Rules, pool: LookPool, out: Snapshots) -> None:
    """Write a shopper's looks within the window before an event time."""
    slot, at, query = step.slot, step.at, out.queries[0]
    count = 0
    if slot != NOBODY:
        room = block_size(pool.slots[slot].length)
        _expire(slot, step.appended_s - rules.look_memory_s, pool)
        _fit(slot, room, pool.slots[slot].length, pool)
        count = _sort_recent(slot, rules, pool)
    first = max(0, count - rules.items)
    while first < count and pool.times[first] < at - rules.window_s:
        first += 1
    to = out.look_ends[query]
    for number in range(first, count):
        place = pool.places[number]
        out.look_items[to], out.look_actions[to] = pool.item[place], pool.action[place]
        out.look_ats[to] = pool.at[place]
        to += 1
    out.look_ends[query + 1] = to
    begin = to = out.ends[query]
    for number in range(count - 1, first - 1, -1):
        place = pool.places[number]
        item, looked_at = pool.item[place], pool.at[place]
        if not _has(out.items[begin:], to - begin, item):
            out.items[to], out.actions[to] = item, pool.action[place]
            out.ages_s[to] = at - looked_at if looked_at < at else 0.0
            to += 1
    out.ends[query + 1] = to
    out.queries[0] += 1
