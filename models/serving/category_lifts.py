"""How far categories are bought together: two items with few baskets say nothing about each other, their categories do.

The bought-together weights of all rows are added up by the categories of both items, as the policy compares them:

    lift = together * total / (of the one * of the other)

all decayed to one time, and shrunk towards 1 where little was seen (`models.cooccurrence.association`). A category has
the same lift with another one as the other with it.

Before a batch the next `CELLS` cells are added up, unless there have been fewer than `QUERIES` queries since they last
were. When all rows have been added up, the new sums replace those before, and the next pass begins: a change is seen
after as many of these steps as two passes take. Sums depend on rows as they were seen, and not on how many cells a step
adds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.association import shrunk_lift
from models.cooccurrence.index import Rows
from models.elementary import log
from models.jit import cached_njit, forward_njit
from models.serving.rules import ANCHORS, MAX_COMPARED, SERIAL, QueryState, Rules
from models.shop.catalog import KNOWN, Catalog
from models.shop.events import BOUGHT_WITH
from models.shop.items import Items

CELLS = 2048
"""Cells and items added up in one step."""

QUERIES = 32
"""Queries after which the next step is due: one alone does not pay for it."""

MOST = 1024
"""Categories with sums: those with the most baskets, of equals those numbered first. 8 MB, twice: those in force, and
the next ones."""

STRENGTH = 5.0
"""What the prior of a lift is worth, in pairs of items."""


class PairSums(NamedTuple):
    """Weights of pairs of items that were bought together, by their categories."""

    slots: NDArray[np.int32]  # (nodes,): place of a compared category in the sums, -1: it has none
    used: NDArray[np.int64]  # (1,): places given
    together: NDArray[np.float64]  # (room, room), symmetric
    of_one: NDArray[np.float64]  # (room,): sums of its rows
    total: NDArray[np.float64]  # (1,): ... of all
    baskets: NDArray[np.float64]  # (nodes,): with items of a category, each counted


class CategoryLifts:
    """Keeps the sums of a catalogue's categories, compared to a depth as the policy's `category_depth`.

    Attributes:
        sums: those in force.
    """

    def __init__(self, items: Items, catalog: Catalog, depth: int) -> None:
        self.depth = depth
        self._items = items
        self._catalog = catalog
        self.sums = self._coming = _no_sums(0)
        self._next = self._pause = 0
        self._queries = QUERIES  # since the last step
        self._at = 0.0

    def refresh(self, queries: int, rows: Rows, rules: Rules) -> None:
        """Add up the next cells, if that is due; called before each batch of so many queries."""
        self._queries += queries
        if self._queries < QUERIES:
            return
        self._queries = 0
        if self._pause:
            self._pause -= 1
            return
        if self._next == 0:
            self._coming, self._at = self._begun(), rows.baskets_at
        end = min(len(self._items), len(rows.at))
        self._next = add_up(self._next, end, CELLS, self._at, rows, rules, self._coming)
        if self._next >= end:
            self.sums, self._next = self._coming, 0
            # Clearing the next sums is work, too: as much as many cells in a shop of many categories and few rows.
            self._pause = (int(self.sums.used[0]) ** 2 + len(self.sums.slots)) // (8 * CELLS)

    @property
    def nbytes(self) -> int:
        """Memory that it takes; what was never used of it counts, too."""
        return sum(array.nbytes for sums in (self.sums, self._coming) for array in sums)

    def held(self) -> NDArray[np.int64]:
        """Numbers of the categories that it has sums of."""
        return np.concatenate([np.flatnonzero(sums.slots >= 0) for sums in (self.sums, self._coming)])

    def _begun(self) -> PairSums:
        """Sums to begin a pass with. If the pass before saw more categories than have room, this one's are chosen."""
        sums, baskets = _no_sums(len(self._catalog.categories)), self.sums.baskets
        if np.count_nonzero(baskets) > MOST:
            least = np.partition(baskets, -MOST)[-MOST]
            chosen = np.concatenate([np.flatnonzero(baskets > least), np.flatnonzero(baskets == least)])[:MOST]
            sums.slots[chosen] = np.arange(MOST)
            sums.used[0] = MOST
        return sums


def _no_sums(nodes: int) -> PairSums:
    room = min(nodes, MOST)
    return PairSums(
        np.full(nodes, -1, np.int32),
        np.zeros(1, np.int64),
        np.zeros((room, room)),
        np.zeros(room),
        np.zeros(1),
        np.zeros(nodes),
    )


@cached_njit()
def add_up(first: int, end: int, cells: int, at: float, rows: Rows, rules: Rules, sums: PairSums) -> int:
    """Add rows from item `first` on, as of a time, until they have had so many cells; returns the item after them.

    Both items of a pair have it in their rows, so each row adds half of it; rows that are full may lack the other half.
    """
    item = first
    while item < end and cells > 0:
        fact, length = rules.facts[item], rows.length[item]
        cells -= 1 + length
        if fact.state & KNOWN and rules.group[fact.category] < len(sums.slots):
            group = rules.group[fact.category]
            fade = 2.0 ** min(0.0, (rows.at[item] - at) / rows.half_life_s)
            sums.baskets[group] += fade * rows.own[item, 1]
            start = rows.start[item]
            for cell in range(start, start + length):
                weight = 0.5 * fade * rows.weights[cell, BOUGHT_WITH]
                other = rules.facts[rows.ids[cell]]
                if weight > 0.0 and other.state & KNOWN:
                    _add(_given(group, sums), _given(rules.group[other.category], sums), weight, sums)
        item += 1
    return item


@forward_njit
def _given(group: int, sums: PairSums) -> int:
    """Slot of a category; it gets one if there is room."""
    slot = _slot_of(group, sums)
    if slot < 0 and group < len(sums.slots) and sums.used[0] < len(sums.of_one):
        slot = sums.used[0]
        sums.slots[group] = slot
        sums.used[0] += 1
    return int(slot)


@forward_njit
def _add(slot: int, other: int, weight: float, sums: PairSums) -> None:
    """Add a pair of items, in both orders."""
    if slot >= 0 and other >= 0:
        sums.together[slot, other] += weight
        sums.together[other, slot] += weight
        sums.of_one[slot] += weight
        sums.of_one[other] += weight
        sums.total[0] += 2.0 * weight


@forward_njit
def _slot_of(group: int, sums: PairSums) -> int:
    return int(sums.slots[group]) if group < len(sums.slots) else -1


@forward_njit
def compare_anchors(rules: Rules, query: QueryState, sums: PairSums) -> None:
    """Find the categories of a query's anchors, for `log_lift`."""
    for place in range(min(query.now[ANCHORS], MAX_COMPARED)):
        category = rules.facts[query.anchors[place]].category
        query.compared[place] = _slot_of(rules.group[category], sums)


@forward_njit
def log_lift(group: int, query: QueryState, sums: PairSums) -> float:
    """Logarithm of the mean lift of a category with those of the query's anchors; without sums a lift is 1."""
    slot = _slot_of(group, sums)
    if slot < 0:
        return 0.0
    if query.lifted[group] == query.now[SERIAL]:
        return float(query.lift[group])
    total, anchors = 0.0, min(query.now[ANCHORS], MAX_COMPARED)
    for place in range(anchors):
        anchor, lift = query.compared[place], 1.0
        if anchor >= 0:
            together = sums.together[anchor, slot]
            lift = shrunk_lift(together, sums.of_one[anchor], sums.of_one[slot], sums.total[0], STRENGTH)
        total += lift
    query.lifted[group] = query.now[SERIAL]
    query.lift[group] = log(total / anchors)
    return float(query.lift[group])
