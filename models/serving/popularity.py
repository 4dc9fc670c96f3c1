"""Top items: the most popular ones below every node of the category tree and of every brand, and the most bought.

Popularity is an item's own views and baskets in its row, decayed to a common time. All weights fade at one rate, so
their order does not change with time: the logarithm of a weight plus its time in half-lives is a key that holds until
the item's row, stock, category or brand change.

Every batch moves the items that have changed since the last one. Where an item leaves a full list, or more have changed
than change logs keep, every batch scans the next `SLICE` items, too, until all have been scanned since: the next one
comes in after at most `items / SLICE` batches. (The rules check stock and price as they are now before a top item is
suggested.) When the number of items has doubled, as after a start, one batch scans them all. The lists depend on
catalogue and rows as they were seen, not on the order of changes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.cooccurrence.index import Neighbours
from models.jit import cached_njit
from models.shop.catalog import OFFERED, Catalog
from models.shop.categories import ROOT
from models.shop.items import Items

SLICE = 4096
"""Items scanned by each batch: 15 us when none has changed; a million items take 245 batches."""

PLACES = 64
"""Items a list: enough are left when some are out of stock, bought or barred by policy."""

MAX_ANCHORS = 4
"""Anchors of a query whose top items are considered: the trigger's first."""

SHARE = 8
"""Places of a list that one branch below may take, so that one large category does not hide its neighbours."""

VIEWS, BASKETS = 1.0, 4.0
"""Worth of a view and of a basket, as when neighbours compete for their places in a row."""

BOUGHT_VIEWS = 0.01
"""Worth of a view, in baskets, on the list of the most bought items: it settles ties, and serves a shop that has sold
nothing yet."""

_COLD = -1e300
"""Key of an item that nobody has looked at: behind all others, in the order of ids."""

_NOWHERE = -1


class TopItems(NamedTuple):
    """Strongest items first, ties by id; a row for each node of the category tree, or for each brand."""

    items: NDArray[np.int32]  # (rows, PLACES)
    keys: NDArray[np.float64]  # (rows, PLACES)
    branches: NDArray[np.int32]  # (rows, PLACES): the node below the row's through which the item comes
    length: NDArray[np.int32]  # (rows,)
    thin: NDArray[np.int64]  # (rows,): a list that lost an item accepts others until so many items have been scanned


class Seen(NamedTuple):
    """What an item was like when it was put on its lists."""

    at: NDArray[np.float64]  # (items,)
    weight: NDArray[np.float64]  # (items,)
    node: NDArray[np.int32]  # (items,): _NOWHERE if it is on none
    brand: NDArray[np.int32]  # (items,)
    clock: NDArray[np.int64]  # (2,): items scanned so far; no list is thin after so many


class ScanState(NamedTuple):
    """What a scan reads, and the lists that it brings up to date."""

    items: int  # how many there are
    facts: NDArray[Any]  # (items,) of the catalogue
    parent: NDArray[np.int32]  # (nodes,) of the category tree
    own: NDArray[np.float64]  # (rows, 2) of the neighbours; items beyond have no counts
    at: NDArray[np.float64]  # (rows,) of the neighbours
    half_life_s: float  # of the counts
    id_order: NDArray[np.uint64]  # (items, 2): settles ties by item id
    seen: Seen
    by_category: TopItems
    by_brand: TopItems
    most_bought: TopItems


class Popularity:
    """Keeps the top items of a catalogue, by the own counts of the neighbours.

    Attributes:
        by_category: a list for each node; the root's is the whole shop's.
        by_brand: a list for each brand.
        most_bought: one list of the whole shop, by baskets, whatever the branch.
    """

    def __init__(self, items: Items, catalog: Catalog, neighbours: Neighbours) -> None:
        self._items = items
        self._catalog = catalog
        self._neighbours = neighbours
        self.by_category = _empty_lists(0)
        self.by_brand = _empty_lists(0)
        self.most_bought = _empty_lists(1)
        self._seen = Seen(np.zeros(0), np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(2, np.int64))
        self._next = 0
        self._whole = 0
        self._followed = [0, 0]  # changes of the catalogue and of the rows that were seen
        self._due = 0  # items to scan until all have been since more changed than could be followed

    def refresh(self) -> None:
        """Look at what has changed, and scan the next items where that is due; called before each batch."""
        items = len(self._items)
        self._catalog.make_room()
        self._make_room()
        whole = items > 2 * self._whole
        for follows, changes in enumerate((self._catalog.changes, self._neighbours.changes)):
            before, self._followed[follows] = self._followed[follows], changes.count
            if whole or changes.count == before:
                continue
            if (changed := changes.since(before)) is None:
                self._due = items
            else:
                scan_some(changed, self._state())
        first, number = self._next, min(SLICE, items)
        if whole:
            self._whole, first, number = items, 0, items
        if not whole and self._due <= 0 and not self._is_thin:
            return
        self._next = (first + number) % items
        self._due -= number
        scan(first, number, self._state())
        if number == items and self._is_thin:
            scan(first, number, self._state())  # fills the places that some have left

    @property
    def _is_thin(self) -> bool:
        """Whether a list may have a place for an item that has not been scanned since it was left."""
        return bool(self._seen.clock[1] > self._seen.clock[0])

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        tables = (self.by_category, self.by_brand, self.most_bought, self._seen)
        return sum(array.nbytes for table in tables for array in table)

    def held(self) -> NDArray[np.int64]:
        """Indices that it keeps: of the items on its lists."""
        return np.flatnonzero(self._seen.node != _NOWHERE)

    def words_held(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Numbers of the categories and brands on whose lists it has items."""
        on_lists = self._seen.node != _NOWHERE
        return self._seen.node[on_lists], self._seen.brand[on_lists]

    def _state(self) -> ScanState:
        catalog, neighbours = self._catalog, self._neighbours
        return ScanState(
            len(self._items),
            catalog.facts,
            catalog.categories.parent,
            neighbours.own,
            neighbours.at,
            float(neighbours.half_life_s),
            self._items.order,
            self._seen,
            self.by_category,
            self.by_brand,
            self.most_bought,
        )

    def warm(self) -> None:
        """Compile, or load what was compiled before; scans nothing."""
        scan(0, 0, self._state())
        scan_some(np.empty(0, np.int32), self._state())

    def _make_room(self) -> None:
        """Cover all nodes, brands and items there are."""
        catalog = self._catalog
        nodes, brands, items = len(catalog.categories), len(catalog.brands), len(catalog.facts)
        if len(self.by_category.length) < nodes:
            self.by_category = _wider(self.by_category, _empty_lists(2 * nodes))
        if len(self.by_brand.length) < brands:
            self.by_brand = _wider(self.by_brand, _empty_lists(2 * brands))
        if len(self._seen.at) < items:
            fresh = np.zeros(items), np.zeros(items), np.full(items, _NOWHERE, np.int32), np.zeros(items, np.int32)
            self._seen = _wider(self._seen, Seen(*fresh, self._seen.clock.copy()))


def _empty_lists(rows: int) -> TopItems:
    table = (rows, PLACES)
    return TopItems(
        np.zeros(table, np.int32),
        np.zeros(table),
        np.zeros(table, np.int32),
        np.zeros(rows, np.int32),
        np.zeros(rows, np.int64),
    )


def _wider(old: Any, new: Any) -> Any:
    """The larger arrays with what the smaller ones held."""
    for before, after in zip(old, new, strict=True):
        after[: len(before)] = before
    return new


@cached_njit(nogil=True)
def scan(first: int, number: int, state: ScanState) -> None:
    """Put so many items from index `first` on, going round, where they belong now."""
    for step in range(number):
        state.seen.clock[0] += 1
        _place(int((first + step) % state.items), state)


@cached_njit()
def scan_some(items: NDArray[np.int32], state: ScanState) -> None:
    """Put some items where they belong now."""
    for item in items:
        _place(int(item), state)


@njit()
def _place(item: int, state: ScanState) -> None:
    """Put an item where it belongs now."""
    own, at, seen, fact = state.own, state.at, state.seen, state.facts[item]
    node = fact.category if fact.state == OFFERED else _NOWHERE
    weight, bought, when = 0.0, 0.0, 0.0
    if item < len(at):
        weight, when = VIEWS * own[item, 0] + BASKETS * own[item, 1], at[item]
        bought = own[item, 1] + BOUGHT_VIEWS * own[item, 0]
    was = seen.node[item]
    if node == was and weight == seen.weight[item] and when == seen.at[item] and fact.brand == seen.brand[item]:
        if node != _NOWHERE and seen.clock[1] > seen.clock[0]:
            _insert(item, node, fact.brand, _key(weight, when, state.half_life_s), True, state)
            if state.most_bought.thin[0] > seen.clock[0]:
                key = _key(bought, when, state.half_life_s)
                _insert_into(state.most_bought, 0, item, key, node, 0, state.id_order)
        return
    key = _key(weight, when, state.half_life_s)
    if was != _NOWHERE:
        rises = node == was and fact.brand == seen.brand[item]
        rises = rises and key >= _key(seen.weight[item], seen.at[item], state.half_life_s)
        _remove(item, was, seen.brand[item], not rises, state)
    if node != _NOWHERE:
        _insert(item, node, fact.brand, key, False, state)
        _insert_into(state.most_bought, 0, item, _key(bought, when, state.half_life_s), node, 0, state.id_order)
    seen.node[item] = node
    seen.brand[item] = fact.brand
    seen.weight[item] = weight
    seen.at[item] = when


@njit()
def _key(weight: float, at: float, half_life_s: float) -> float:
    """Weight as of any common time, up to a constant, as a logarithm."""
    return math.log2(weight) + at / half_life_s if weight > 0.0 else _COLD


@njit()
def _insert(item: int, node: int, brand: int, key: float, only_thin: bool, state: ScanState) -> None:
    """Put an item on the lists of its category, of all above it, and of its brand, where it is strong enough."""
    by_category, by_brand, now = state.by_category, state.by_brand, state.seen.clock[0]
    here, branch = node, node
    while True:
        if not only_thin or by_category.thin[here] > now:
            _insert_into(by_category, here, item, key, branch, 0 if branch == here else SHARE, state.id_order)
        if here == ROOT:
            break
        branch, here = here, state.parent[here]
    if brand and (not only_thin or by_brand.thin[brand] > now):
        _insert_into(by_brand, brand, item, key, node, SHARE, state.id_order)


@njit()
def _remove(item: int, node: int, brand: int, refill: bool, state: ScanState) -> None:
    """Take an item off its lists; where it leaves a place to refill, others may come in within the next round."""
    by_category, by_brand, clock = state.by_category, state.by_brand, state.seen.clock
    until = clock[0] + state.items
    here = node
    while True:
        if _remove_from(by_category, here, item) and refill:
            by_category.thin[here] = clock[1] = until
        if here == ROOT:
            break
        here = state.parent[here]
    if brand and _remove_from(by_brand, brand, item) and refill:
        by_brand.thin[brand] = clock[1] = until
    if _remove_from(state.most_bought, 0, item) and refill:
        state.most_bought.thin[0] = clock[1] = until


@njit()
def _insert_into(
    top: TopItems, row: int, item: int, key: float, branch: int, share: int, id_order: NDArray[np.uint64]
) -> None:
    """Give an item its place on a list, if it is strong enough; a branch gets `share` places at most, 0: any number."""
    length = top.length[row]
    if length == PLACES and not _precedes(key, item, top.keys[row, -1], top.items[row, -1], id_order):
        return
    of_branch, weakest = 0, -1
    for place in range(length):
        if top.items[row, place] == item:
            return
        if top.branches[row, place] == branch:
            of_branch += 1
            weakest = place
    if share and of_branch >= share:
        if not _precedes(key, item, top.keys[row, weakest], top.items[row, weakest], id_order):
            return
        gap = weakest
    elif length == PLACES:
        gap = PLACES - 1
    else:
        gap = length
        top.length[row] += 1
    while gap > 0 and _precedes(key, item, top.keys[row, gap - 1], top.items[row, gap - 1], id_order):
        _copy(top, row, gap - 1, gap)
        gap -= 1
    top.items[row, gap] = item
    top.keys[row, gap] = key
    top.branches[row, gap] = branch


@njit()
def _remove_from(top: TopItems, row: int, item: int) -> bool:
    """Take an item off a list; whether it was on it."""
    length = top.length[row]
    for place in range(length):
        if top.items[row, place] == item:
            for left in range(place, length - 1):
                _copy(top, row, left + 1, left)
            top.length[row] -= 1
            return True
    return False


@njit()
def _copy(top: TopItems, row: int, place: int, to: int) -> None:
    top.items[row, to] = top.items[row, place]
    top.keys[row, to] = top.keys[row, place]
    top.branches[row, to] = top.branches[row, place]


@njit()
def _precedes(key: float, item: int, other_key: float, other: int, id_order: NDArray[np.uint64]) -> bool:
    """Whether an item comes before another one: the stronger first, ties by id."""
    if key != other_key:
        return key > other_key
    if id_order[item, 0] != id_order[other, 0]:
        return bool(id_order[item, 0] < id_order[other, 0])
    return bool(id_order[item, 1] < id_order[other, 1])
