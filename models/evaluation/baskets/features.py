"""What a basket that is being filled says of every item that may complete it: candidates, and a row of features each.

Candidates are what the shopper has bought before, what was bought with the items of his cart, what is popular and what
is being tried; of categories that the cart has none of. Features are logarithms, so that a regression over them
multiplies what they say:

* of the cart: bought together with its items (weights as shares of the source's baskets to the power of 0.5), the same
  against the candidate's own popularity, the lift of its category with the cart's;
* of the item: baskets, first purchases (two half-lives), its share of its category's first purchases;
* of the shopper with its category: purchases and distinct items per basket, how much is new in it to anybody;
* of the shopper with the item: baskets with it per basket, two decayed counts, days since.

Everything is as of the newest event that was learnt, so that what is asked later sees the same features, and not all of
them fading.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.shop.events import BOUGHT_WITH

OF_ANY = (
    "bought-with",
    "against-popularity",
    "popularity",
    "category-lift",
    "firsts-fast",
    "firsts-slow",
    "firsts-share",
    "firsts-rate",
    "kind-share",
    "group-share",
    "kind-items",
    "frequency",
)
"""Features of every candidate, in the order of the columns. Kind: the whole category path; group: its first parts."""

OF_BOUGHT = ("habit-share", "habit-fast", "habit-slow", "habit-age", "habit")
"""... and those that say something of what the shopper has bought before only."""

FEATURES = (*OF_ANY, *OF_BOUGHT)

WIDTH = len(FEATURES)

NEVER_DAYS = 400.0
"""Days since an item was bought that never was."""


class Shelf(NamedTuple):
    """What is known of all items, as of the newest event learnt."""

    group: NDArray[np.int32]  # (items,): 0: not in the catalogue
    kind: NDArray[np.int32]  # (items,)
    baskets: NDArray[np.float64]  # (items,): decayed
    firsts: NDArray[np.float64]  # (items, 2): fast, slow
    kind_baskets: NDArray[np.float64]  # (kinds,)
    kind_firsts: NDArray[np.float64]  # (kinds,)
    drawn: NDArray[np.int32]  # most popular and most tried items, candidates of everybody


class Pairs(NamedTuple):
    """Rows of neighbours; see [`models.cooccurrence.index.Neighbours`][]."""

    start: NDArray[np.int64]
    length: NDArray[np.int32]
    own: NDArray[np.float64]
    at: NDArray[np.float64]
    ids: NDArray[np.int32]
    weights: NDArray[np.float64]
    half_life_s: float


class Room(NamedTuple):
    """Room that is used again; all zero, or serials of earlier calls."""

    serial: NDArray[np.int64]  # (1,)
    marked: NDArray[np.int64]  # (items,): serial of the last call with the item among the candidates
    place: NDArray[np.int32]  # (items,)
    sums: NDArray[np.float64]  # (items,)
    kind_count: NDArray[np.float64]  # (kinds,)
    kind_items: NDArray[np.float64]  # (kinds,)
    group_count: NDArray[np.float64]  # (groups,)


def room(items: int, groups: int) -> Room:
    """Room for so many items and categories."""
    return Room(
        np.zeros(1, np.int64),
        np.zeros(items, np.int64),
        np.zeros(items, np.int32),
        np.zeros(items),
        np.zeros(groups),
        np.zeros(groups),
        np.zeros(groups),
    )


@cached_njit()
def basket_features(
    cart: NDArray[np.int32],
    taken: NDArray[np.bool_],
    lifts: NDArray[np.float64],
    habits: NDArray[Any],
    baskets: float,
    at: float,
    fast_s: float,
    slow_s: float,
    shelf: Shelf,
    pairs: Pairs,
    room: Room,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Candidates for a cart, and their features.

    Args:
        cart: (n,) items of the cart.
        taken: (groups,) whether the cart has something of a category.
        lifts: (groups,) of each category with the cart's.
        habits: (m,) of `models.evaluation.baskets.habits.HABIT`: what the shopper has bought.
        baskets: how many baskets he had.
        at: newest event learnt, epoch seconds.
        fast_s: half-life of the fast counts of `habits`.
        slow_s: ... of the slow ones.
        shelf: all items.
        pairs: rows of neighbours.
        room: is used.

    Returns:
        (c,) distinct items, (c, len(FEATURES)) features.
    """
    room.serial[0] += 1
    serial, items = room.serial[0], len(shelf.group)
    most = len(habits) + len(shelf.drawn)
    for item in cart:
        if item < len(pairs.length):
            most += pairs.length[item]
    found, used = np.empty(most, np.int32), 0
    for row in habits:
        item = row.item
        room.kind_count[shelf.kind[item]] += row.count
        room.kind_items[shelf.kind[item]] += 1.0
        room.group_count[shelf.group[item]] += row.count
    for source in range(2):
        drawn = len(habits) if source == 0 else len(shelf.drawn)
        for number in range(drawn):
            item = habits[number].item if source == 0 else shelf.drawn[number]
            if not taken[shelf.group[item]] and room.marked[item] != serial:
                room.marked[item], room.place[item], room.sums[item] = serial, used, 0.0
                found[used] = item
                used += 1
    for item in cart:
        if item >= len(pairs.length) or pairs.length[item] == 0:
            continue
        fade = 2.0 ** ((pairs.at[item] - at) / pairs.half_life_s)
        factor = fade / np.sqrt(pairs.own[item, 1] * fade + 1.0)
        for cell in range(pairs.start[item], pairs.start[item] + pairs.length[item]):
            other, weight = pairs.ids[cell], pairs.weights[cell, BOUGHT_WITH]
            if weight == 0.0 or other >= items or taken[shelf.group[other]]:
                continue
            if room.marked[other] != serial:
                room.marked[other], room.place[other], room.sums[other] = serial, used, 0.0
                found[used] = other
                used += 1
            room.sums[other] += factor * weight
    rows = np.empty((used, WIDTH))
    per = baskets + 5.0
    for place in range(used):
        item = found[place]
        kind, group, row = shelf.kind[item], shelf.group[item], rows[place]
        row[0] = np.log(room.sums[item] + 0.01)
        row[1] = np.log(room.sums[item] / np.sqrt(shelf.baskets[item] + 5.0) + 0.001)
        row[2] = np.log(shelf.baskets[item] + 0.3)
        row[3] = np.log(lifts[group] + 0.05)
        row[4] = np.log(shelf.firsts[item, 0] + 0.3)
        row[5] = np.log(shelf.firsts[item, 1] + 0.3)
        row[6] = np.log((shelf.firsts[item, 1] + 0.3) / (shelf.kind_firsts[kind] + 3.0))
        row[7] = np.log((shelf.kind_firsts[kind] + 2.0) / (shelf.kind_baskets[kind] + 10.0))
        row[8] = np.log((room.kind_count[kind] + 0.1) / per)
        row[9] = np.log((room.group_count[group] + 0.3) / per)
        row[10] = np.log(room.kind_items[kind] + 0.3)
        row[11] = np.log(per)
        row[12] = np.log(0.05 / per)
        row[13] = row[14] = np.log(0.02)
        row[15] = np.log(NEVER_DAYS)
        row[16] = 0.0
    for habit in habits:
        item = habit.item
        if room.marked[item] == serial:
            row, age_s = rows[room.place[item]], max(0.0, at - habit.last)
            row[12] = np.log((habit.count + 0.05) / per)
            row[13] = np.log(habit.fast * 2.0 ** (-age_s / fast_s) + 0.02)
            row[14] = np.log(habit.slow * 2.0 ** (-age_s / slow_s) + 0.02)
            row[15] = np.log(min(NEVER_DAYS, age_s / 86_400.0) + 1.0)
            row[16] = 1.0
        room.kind_count[shelf.kind[item]] = 0.0
        room.kind_items[shelf.kind[item]] = 0.0
        room.group_count[shelf.group[item]] = 0.0
    return found[:used], rows
