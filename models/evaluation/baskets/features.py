"""Candidates for a basket that is being filled, and a row of features for each.

Candidates are what the household has bought before, what was bought with the items of the cart, what is popular and
what is often bought for the first time; only of categories that the cart has nothing of. Features are logarithms, so
that a regression over them multiplies:

* of the cart: bought together with its items (weights divided by the square root of the source's baskets), the same
  against the candidate's popularity, the lift of its category with the cart's;
* of the item: baskets, first purchases (two half-lives), its share of its category's first purchases;
* of the household with its category: purchases and distinct items per basket, share of first purchases in it;
* of the household with the item: baskets with it per basket, two decayed counts, days since.

All are as of the newest event learnt. As of the time of the query they would all fade between two updates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Rows
from models.jit import cached_njit, inline_njit
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
"""Features of every candidate, by column. Kind: the whole category path; group: its first parts."""

OF_BOUGHT = ("habit-share", "habit-fast", "habit-slow", "habit-age", "habit")
"""Further features, which tell something only of items that the household has bought before."""

FEATURES = (*OF_ANY, *OF_BOUGHT)

WIDTH = len(FEATURES)

NEVER_DAYS = 400.0
"""Days since the last purchase of an item that was never bought."""


class Cart(NamedTuple):
    """The basket so far."""

    items: NDArray[np.int32]  # (n,)
    taken: NDArray[np.bool_]  # (groups,): whether it has an item of the group
    lifts: NDArray[np.float64]  # (groups,): lift of each with the groups of the cart


class Household(NamedTuple):
    """What the household has bought before."""

    habits: NDArray[Any]  # (m,) of `models.evaluation.baskets.purchase_history.HABIT`
    baskets: float
    fast_s: float  # half-lives of the habits' counts
    slow_s: float


class ItemStats(NamedTuple):
    """Counts of all items, as of the newest event learnt."""

    at: float  # epoch seconds of that event
    group: NDArray[np.int32]  # (items,): 0: not in the catalogue
    kind: NDArray[np.int32]  # (items,)
    baskets: NDArray[np.float64]  # (items,): decayed
    firsts: NDArray[np.float64]  # (items, 2): first purchases, fast and slow
    kind_baskets: NDArray[np.float64]  # (kinds,)
    kind_firsts: NDArray[np.float64]  # (kinds,)
    drawn: NDArray[np.int32]  # candidates for every basket: most popular, and most often bought for the first time


class Scratch(NamedTuple):
    """Memory that calls share; all zero but for serials of earlier calls."""

    serial: NDArray[np.int64]  # (1,)
    marked: NDArray[np.int64]  # (items,): serial of the last call with the item among the candidates
    place: NDArray[np.int32]  # (items,)
    sums: NDArray[np.float64]  # (items,)
    kind_count: NDArray[np.float64]  # (kinds,)
    kind_items: NDArray[np.float64]  # (kinds,)
    group_count: NDArray[np.float64]  # (groups,)


def scratch_for(items: int, groups: int) -> Scratch:
    """Memory for a number of items and of categories."""
    by_item = np.zeros(items, np.int64), np.zeros(items, np.int32), np.zeros(items)
    return Scratch(np.zeros(1, np.int64), *by_item, np.zeros(groups), np.zeros(groups), np.zeros(groups))


@cached_njit()
def basket_features(
    cart: Cart, household: Household, stats: ItemStats, rows: Rows, scratch: Scratch
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Candidates for a cart, and their features.

    Returns:
        (c,) distinct items, (c, WIDTH) features.
    """
    found = _candidates(cart, household, stats, rows, scratch)
    for habit in household.habits:
        scratch.kind_count[stats.kind[habit.item]] += habit.count
        scratch.kind_items[stats.kind[habit.item]] += 1.0
        scratch.group_count[stats.group[habit.item]] += habit.count
    features = np.empty((len(found), WIDTH))
    per = household.baskets + 5.0
    for place in range(len(found)):
        _describe(found[place], per, cart, stats, scratch, features[place])
    for habit in household.habits:
        if scratch.marked[habit.item] == scratch.serial[0]:
            row, age_s = features[scratch.place[habit.item]], max(0.0, stats.at - habit.last)
            row[12] = np.log((habit.count + 0.05) / per)
            row[13] = np.log(habit.fast * 2.0 ** (-age_s / household.fast_s) + 0.02)
            row[14] = np.log(habit.slow * 2.0 ** (-age_s / household.slow_s) + 0.02)
            row[15] = np.log(min(NEVER_DAYS, age_s / 86_400.0) + 1.0)
            row[16] = 1.0
        scratch.kind_count[stats.kind[habit.item]] = 0.0
        scratch.kind_items[stats.kind[habit.item]] = 0.0
        scratch.group_count[stats.group[habit.item]] = 0.0
    return found, features


@cached_njit()
def _candidates(cart: Cart, household: Household, stats: ItemStats, rows: Rows, scratch: Scratch) -> NDArray[np.int32]:
    """(c,) candidates; `scratch.sums` of each is how much it is bought together with the cart."""
    scratch.serial[0] += 1
    most = len(household.habits) + len(stats.drawn)
    for item in cart.items:
        if item < len(rows.length):
            most += rows.length[item]
    found, used = np.empty(most, np.int32), 0
    for habit in household.habits:
        used = _add(habit.item, used, found, cart, stats, scratch)
    for item in stats.drawn:
        used = _add(item, used, found, cart, stats, scratch)
    for item in cart.items:
        if item >= len(rows.length) or rows.length[item] == 0:
            continue
        fade = 2.0 ** ((rows.at[item] - stats.at) / rows.half_life_s)
        factor = fade / np.sqrt(rows.own[item, 1] * fade + 1.0)
        for cell in range(rows.start[item], rows.start[item] + rows.length[item]):
            other, weight = rows.ids[cell], rows.weights[cell, BOUGHT_WITH]
            if weight != 0.0 and other < len(stats.group):
                used = _add(other, used, found, cart, stats, scratch)
                scratch.sums[other] += factor * weight
    return found[:used]


@inline_njit
def _add(item: int, used: int, found: NDArray[np.int32], cart: Cart, stats: ItemStats, scratch: Scratch) -> int:
    """Add a candidate to the `used` ones, unless it is one or the cart has its category; returns their number."""
    if cart.taken[stats.group[item]] or scratch.marked[item] == scratch.serial[0]:
        return used
    scratch.marked[item], scratch.place[item], scratch.sums[item] = scratch.serial[0], used, 0.0
    found[used] = item
    return used + 1


@inline_njit
def _describe(item: int, per: float, cart: Cart, stats: ItemStats, scratch: Scratch, row: NDArray[np.float64]) -> None:
    """Fill a row as for an item that the household has never bought; `per` is its number of baskets, smoothed."""
    kind, group = stats.kind[item], stats.group[item]
    row[0] = np.log(scratch.sums[item] + 0.01)
    row[1] = np.log(scratch.sums[item] / np.sqrt(stats.baskets[item] + 5.0) + 0.001)
    row[2] = np.log(stats.baskets[item] + 0.3)
    row[3] = np.log(cart.lifts[group] + 0.05)
    row[4] = np.log(stats.firsts[item, 0] + 0.3)
    row[5] = np.log(stats.firsts[item, 1] + 0.3)
    row[6] = np.log((stats.firsts[item, 1] + 0.3) / (stats.kind_firsts[kind] + 3.0))
    row[7] = np.log((stats.kind_firsts[kind] + 2.0) / (stats.kind_baskets[kind] + 10.0))
    row[8] = np.log((scratch.kind_count[kind] + 0.1) / per)
    row[9] = np.log((scratch.group_count[group] + 0.3) / per)
    row[10] = np.log(scratch.kind_items[kind] + 0.3)
    row[11] = np.log(per)
    row[12] = np.log(0.05 / per)
    row[13] = row[14] = np.log(0.02)
    row[15] = np.log(NEVER_DAYS)
    row[16] = 0.0
