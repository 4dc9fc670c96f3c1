"""The compiled functions on clicks: they find shoppers and items, know repeated clicks, and write the steps of looks.

What concerns carts and answers is left to the caller, as a list of what is to do.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.hash_table import NOWHERE, empty_hashes, find, is_empty, place_of, places_for, take_out
from models.jit import cached_njit, inline_njit
from models.name_hash import hash_of
from models.name_table import NamedNumbers
from models.sessions.click_columns import ADD_TO_CART, NOT_PLAIN
from models.sessions.look_kernel import CLEAR, LOOK, QUERY, LookPool, give_slot_back, take_slot

FORGOTTEN, REPEATED, BACKFILLED, NO_TRIGGER, TOO_OLD, ASKING = range(6)
"""What becomes of a click: it is not used, is ignored, is applied and not answered for one of three reasons, asks."""

OUTCOMES = 6

ALL_DONE, UNUSUAL, UNKNOWN_ITEM, JOINS_DUE, TOO_MANY_PAIRS = range(5)
"""Why `collect` has come to an end: the next click is not plain, names an item without an index, comes after joins that
have to be finished first; or there are as many looks as may be."""

Limits: TypeAlias = tuple[float, int, bool, int, float]
"""What `collect` minds: append time after which a click has to wait for joins, most looks to be made, whether they make
pairs, bits of the actions that are answered, append time (in milliseconds) before which nothing is answered."""

SWEPT = 4
"""Places of the table of shoppers that are looked at for each event, to find those who have left memory."""

TODO = np.dtype(
    [
        ("at", np.float64),  # event time
        ("clicks_s", np.float64),  # greatest append time of the clicks so far
        ("offset", np.int64),
        ("number", np.int64),  # of the click's row
        ("slot", np.int64),  # of the shopper
        ("item", np.int64),
        ("action", np.int64),  # as of `CLICK`: the cart changes from ADD_TO_CART on
        ("asks", np.int64),  # whether it asks for suggestions
    ]
)


class EventIds(NamedTuple):
    """When each event id was last seen. 32 bytes a place; a sixth to a half of the places count."""

    hashes: NDArray[np.uint64]  # of the id, with the hash of its shopper and a term as the key
    appended_s: NDArray[np.float64]
    at: NDArray[np.float64]


class Work(NamedTuple):
    """What `collect` and `sweep` leave behind."""

    counts: NDArray[np.int64]  # (2,) shoppers and event ids in the tables
    place: NDArray[np.int64]  # (1,) where the next sweep begins
    clicks_s: NDArray[np.float64]  # (1,) greatest append time of the clicks so far
    outcomes: NDArray[np.int64]  # (OUTCOMES,) how many clicks, added up
    made: NDArray[np.int64]  # (5,) of the last call: steps, queries, looks, things to do, the last click's outcome


class Clicks(NamedTuple):
    """All that clicks are collected with."""

    items: NamedNumbers
    marks: NDArray[np.uint8]  # of items that are in use
    key: NDArray[np.uint64]
    shoppers: NamedNumbers  # slots by ids
    refused: NamedNumbers  # event times until which events must not be used, by shoppers' ids
    event_ids: EventIds
    pool: LookPool
    work: Work
    memory_s: float  # append time after which a shopper's clicks have left memory
    margin_s: float  # ... and an event id


def no_event_ids(count: int = 0) -> EventIds:
    """A table with room for so many ids."""
    places = places_for(count)
    return EventIds(empty_hashes(places), np.full(places, -np.inf), np.zeros(places))


@cached_njit()
def collect(
    buffer: NDArray[np.uint8],
    rows: NDArray[Any],
    first: int,
    end: int,
    limits: Limits,
    steps: NDArray[Any],
    count: int,
    todo: NDArray[Any],
    box: Any,
) -> tuple[int, int]:
    """Apply the clicks of `CLICK` rows from `first` on, up to `end`, with the `Clicks` in a box.

    There must be room for all of them: slots, places of tables, two steps behind the `count` that wait, things to do.
    It does not release the GIL, as other threads may number items.

    Returns:
        The number of the next click, and why it is not applied.
    """
    _, _, learns, triggers, oldest_ms = limits
    items, marks, key, shoppers, refused, event_ids, pool, work, _, margin_s = box.held
    clicks_s = work.clicks_s[0]
    made = count
    queries = looks = doing = 0
    number, reason, outcome = first, ALL_DONE, ASKING
    while number < end:
        row = rows[number]
        reason = _reason_to_stop(row, looks, limits)
        if reason != ALL_DONE:
            break
        clicks_s = max(clicks_s, row.appended_s)
        words = hash_of(buffer, row.user_start, row.user_end, key[0], key[1])
        until = find(refused.hashes, words[0], words[1])
        if until != NOWHERE and row.at <= refused.numbers[until]:
            outcome = FORGOTTEN
            work.outcomes[outcome] += 1
            number += 1
            continue
        named = hash_of(buffer, row.item_start, row.item_end, key[0], key[1])
        known = find(items.hashes, named[0], named[1])
        slot = _slot_of(words, shoppers)
        event, event_place, is_repeated = words, NOWHERE, False
        if row.event_end:
            event = _event_hash(buffer, row, words, slot, pool)
            event_place = place_of(event_ids.hashes, event[0], event[1])
            is_repeated = _counts(event_place, slot, clicks_s - margin_s, event_ids, pool)
        if known == NOWHERE and not is_repeated:
            reason = UNKNOWN_ITEM
            break
        if slot == NOWHERE:
            slot = _add_shopper(words, shoppers, pool, work)
        pool.slots[slot].clicked_s = clicks_s
        if row.event_end:
            work.counts[1] += _see(event, event_place, row.at, clicks_s, event_ids)
        number += 1
        if is_repeated:
            outcome = REPEATED
            work.outcomes[outcome] += 1
            continue
        item = items.numbers[known]
        marks[item] = 1
        if row.action <= ADD_TO_CART:
            _write_step(steps[made], LOOK, row, slot, item, clicks_s, learns)
            made += 1
            looks += 1
        outcome = _outcome(row, triggers, oldest_ms)
        work.outcomes[outcome] += 1
        if outcome == ASKING:
            _write_step(steps[made], QUERY, row, slot, 0, clicks_s, False)
            made += 1
            queries += 1
        if outcome == ASKING or row.action >= ADD_TO_CART:
            _write_todo(todo[doing], number - 1, row, slot, item, clicks_s, outcome)
            doing += 1
    work.clicks_s[0] = clicks_s
    work.made[0], work.made[1], work.made[2], work.made[3] = made - count, queries, looks, doing
    work.made[4] = outcome
    return number, reason


@inline_njit
def _reason_to_stop(row: Any, looks: int, limits: Limits) -> int:
    if row.action == NOT_PLAIN:
        return UNUSUAL
    if row.appended_s > limits[0]:
        return JOINS_DUE
    return TOO_MANY_PAIRS if looks >= limits[1] else ALL_DONE


@inline_njit
def _slot_of(words: tuple[np.uint64, np.uint64], shoppers: NamedNumbers) -> int:
    place = find(shoppers.hashes, words[0], words[1])
    return NOWHERE if place == NOWHERE else int(shoppers.numbers[place])


@inline_njit
def _event_hash(
    buffer: NDArray[np.uint8], row: Any, words: tuple[np.uint64, np.uint64], slot: int, pool: LookPool
) -> tuple[np.uint64, np.uint64]:
    """Hash of a shopper's event id in the present term."""
    term = np.uint64(0) if slot == NOWHERE else np.uint64(pool.slots[slot].term)
    return hash_of(buffer, row.event_start, row.event_end, words[0] ^ term, words[1])


@inline_njit
def _counts(place: int, slot: int, horizon_s: float, event_ids: EventIds, pool: LookPool) -> bool:
    """Whether an event id has been seen within memory, and was not forgotten."""
    if slot == NOWHERE or is_empty(event_ids.hashes, place) or event_ids.appended_s[place] < horizon_s:
        return False
    return bool(event_ids.at[place] > pool.slots[slot].forgotten_s)


@inline_njit
def _see(event: tuple[np.uint64, np.uint64], place: int, at: float, clicks_s: float, event_ids: EventIds) -> int:
    """Note an event id; returns how many are new in the table: 0 or 1."""
    new = 1 if is_empty(event_ids.hashes, place) else 0
    event_ids.hashes[place, 0], event_ids.hashes[place, 1] = event
    event_ids.appended_s[place], event_ids.at[place] = clicks_s, at
    return new


@inline_njit
def _outcome(row: Any, triggers: int, oldest_ms: float) -> int:
    """What becomes of a click that is applied."""
    if row.backfilled:
        return BACKFILLED
    if not triggers >> row.action & 1:
        return NO_TRIGGER
    return TOO_OLD if row.appended_ms < oldest_ms else ASKING


@inline_njit
def _write_step(step: Any, kind: int, row: Any, slot: int, item: int, clicks_s: float, learns: bool) -> None:
    step.at, step.appended_s, step.slot, step.offset = row.at, clicks_s, slot, row.offset
    step.first = step.count = 0
    step.item, step.kind, step.action, step.learns = item, kind, row.action, learns


@inline_njit
def _write_todo(todo: Any, number: int, row: Any, slot: int, item: int, clicks_s: float, outcome: int) -> None:
    todo.at, todo.clicks_s, todo.offset, todo.number = row.at, clicks_s, row.offset, number
    todo.slot, todo.item, todo.action, todo.asks = slot, item, row.action, outcome == ASKING


@inline_njit
def _add_shopper(words: tuple[np.uint64, np.uint64], shoppers: NamedNumbers, pool: LookPool, work: Work) -> int:
    """A slot for a new shopper."""
    place = place_of(shoppers.hashes, words[0], words[1])
    slot = take_slot(pool.slots, pool.free, pool.given)
    shoppers.hashes[place, 0], shoppers.hashes[place, 1] = words
    shoppers.numbers[place] = slot
    pool.slots[slot].first_word, pool.slots[slot].second_word = words
    work.counts[0] += 1
    return slot


@cached_njit()
def slot_of(name: NDArray[np.uint8], box: Any, adds: bool) -> int:
    """Slot of a shopper; a new one gets one if `adds`, for which there must be room, else NOWHERE."""
    _, _, key, shoppers, _, _, pool, work, _, _ = box.held
    words = hash_of(name, 0, len(name), key[0], key[1])
    slot = _slot_of(words, shoppers)
    return _add_shopper(words, shoppers, pool, work) if adds and slot == NOWHERE else slot


@cached_njit()
def sweep(events: int, purchases_s: float, steps: NDArray[Any], count: int, left: NDArray[np.int64], box: Any) -> int:
    """Drop shoppers who have left memory: `SWEPT` places of the table are looked at for each of some events.

    `purchases_s` is the append time since when purchases are remembered. There must be room for as many steps and in
    `left`: the slots of those who have a cart or purchases, of which some have left memory. Returns their number.
    """
    _, _, _, shoppers, _, _, pool, work, memory_s, _ = box.held
    places = len(shoppers.hashes)
    place = work.place[0] & (places - 1)
    horizon_s = work.clicks_s[0] - memory_s
    leaving = 0
    made = count
    for _ in range(min(SWEPT * events, places)):
        if is_empty(shoppers.hashes, place):
            place = (place + 1) & (places - 1)
            continue
        slot = shoppers.numbers[place]
        clicked_s, bought_s = pool.slots[slot].clicked_s, pool.slots[slot].bought_s
        has_left = -np.inf < clicked_s < horizon_s
        if pool.slots[slot].has_part:
            if has_left or -np.inf < bought_s < purchases_s:
                left[leaving] = slot
                leaving += 1
        elif has_left:
            take_out(shoppers.hashes, shoppers.numbers, place)
            work.counts[0] -= 1
            give_slot_back(slot, pool.free, pool.given)
            step = steps[made]
            step.at = step.appended_s = 0.0
            step.slot, step.kind = slot, CLEAR
            step.offset = step.first = step.count = step.item = step.action = step.learns = 0
            made += 1
            continue  # another may have come to this place
        place = (place + 1) & (places - 1)
    work.place[0] = place
    work.made[0] = made - count
    return leaving


@cached_njit()
def leave(slot: int, box: Any) -> None:
    """Take the shopper of a slot out of the table, if it has one. The slot is the caller's to give back."""
    if slot == NOWHERE:
        return
    _, _, _, shoppers, _, _, pool, work, _, _ = box.held
    place = find(shoppers.hashes, pool.slots[slot].first_word, pool.slots[slot].second_word)
    if place != NOWHERE:
        take_out(shoppers.hashes, shoppers.numbers, place)
        work.counts[0] -= 1


@cached_njit()
def copy_event_ids(
    hashes: NDArray[np.uint64],
    appended_s: NDArray[np.float64],
    at: NDArray[np.float64],
    horizon_s: float,
    to_hashes: NDArray[np.uint64],
    to_appended_s: NDArray[np.float64],
    to_at: NDArray[np.float64],
) -> int:
    """Put the event ids seen since a time into an empty table; returns how many there are."""
    count = 0
    for place in range(len(hashes)):
        if not is_empty(hashes, place) and appended_s[place] >= horizon_s:
            to = place_of(to_hashes, hashes[place, 0], hashes[place, 1])
            to_hashes[to, 0], to_hashes[to, 1] = hashes[place, 0], hashes[place, 1]
            to_appended_s[to], to_at[to] = appended_s[place], at[place]
            count += 1
    return count
