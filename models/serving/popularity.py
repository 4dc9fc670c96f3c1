"""What is popular where: the strongest items below every node of the category tree and of every brand.

Popularity is an item's own views and baskets as the mirror has them, decayed to a common time. As all weights fade at
one rate, their order does not change as time goes by: the logarithm of a weight plus its age in half-lives is a key
that holds until the item's row, stock, category or brand change.

Nobody tells of such changes. Every batch looks at `SLICE` items in turn, in no more time than a few suggestions take,
and puts those that have changed in their places. A change is therefore seen after at most `items / SLICE` batches, in
a shop of up to `SLICE` items at once; where an item leaves a full shelf, the next one comes in within as many more.
(That an item is on a shelf does not mean that it is suggested: the rules look at stock and price as they are now.) When
the items have doubled, as after a start, one batch looks at them all, which
takes about 0.1 s a million. What the shelves hold is a function of catalogue and rows as they were seen, not of the
order in which they came.
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
"""Items looked at each batch: 15 us when none has changed; a million items take 245 batches."""

PLACES = 64
"""Items a shelf: what is out of stock, bought or barred by policy leaves enough over."""

SHARE = 8
"""Places of a shelf that one branch below may take, so that one large category does not hide its neighbours."""

VIEWS, BASKETS = 1.0, 4.0
"""Worth of a view and of a basket, as when neighbours compete for their places in a row."""

_COLD = -1e300
"""Key of an item that nobody has looked at: behind all others, in the order of ids."""

_NOWHERE = -1


class TopItems(NamedTuple):
    """Strongest items first, ties by id; a row a node of the category tree, or a brand."""

    items: NDArray[np.int32]  # (rows, PLACES)
    keys: NDArray[np.float64]  # (rows, PLACES)
    branches: NDArray[np.int32]  # (rows, PLACES): the node below the shelf's through which the item comes
    length: NDArray[np.int32]  # (rows,)
    thin: NDArray[np.int64]  # (rows,): one that was cut takes in items again until so many have been looked at


class Seen(NamedTuple):
    """What an item was like when it was put on its shelves."""

    at: NDArray[np.float64]  # (items,)
    weight: NDArray[np.float64]  # (items,)
    node: NDArray[np.int32]  # (items,): _NOWHERE if it is on none
    brand: NDArray[np.int32]  # (items,)
    clock: NDArray[np.int64]  # (2,): items looked at so far; no shelf is thin after so many


class Popularity:
    """Keeps the shelves of a catalogue.

    Args:
        items: what the indices mean.
        catalog: what is offered.
        neighbours: whose own counts say what is popular.

    Attributes:
        by_category: a shelf for each node; the root's is the whole shop's.
        by_brand: a shelf for each brand.
    """

    def __init__(self, items: Items, catalog: Catalog, neighbours: Neighbours) -> None:
        self._items = items
        self._catalog = catalog
        self._neighbours = neighbours
        self.by_category = _shelves(0)
        self.by_brand = _shelves(0)
        self._seen = Seen(np.zeros(0), np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(2, np.int64))
        self._next = 0
        self._whole = 0

    def refresh(self) -> None:
        """Look at the next items; called before each batch."""
        items = len(self._items)
        self._catalog.make_room()
        self._make_room()
        first, number = self._next, min(SLICE, items)
        if items > 2 * self._whole:
            self._whole, first, number = items, 0, items
        if not number:
            return
        self._look(first, number)
        if number == items and self._seen.clock[1] > self._seen.clock[0]:
            self._look(first, number)  # who follows where some have left
        self._next = (first + number) % items

    def _look(self, first: int, number: int) -> None:
        catalog, neighbours = self._catalog, self._neighbours
        look(
            first,
            number,
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
        )

    def warm(self) -> None:
        """Compile, or load what was compiled before; looks at nothing."""
        self._look(0, 0)

    def popular(self, path: str) -> list[str]:
        """Ids of the most popular items below a category path; all of the shop's for the empty path.

        >>> from models.shop.events import CatalogItem
        >>> items = Items()
        >>> catalog = Catalog(items)
        >>> for name, category in [("mug", "Tea/Mugs"), ("cup", "Tea/Mugs"), ("kettle", "Tea/Kettles")]:
        ...     catalog.put(CatalogItem(name, name, category, 8.0))
        >>> popularity = Popularity(items, catalog, Neighbours(items, 86400.0))
        >>> popularity.refresh()
        >>> popularity.popular("Tea/Mugs"), popularity.popular("Tea")
        (['cup', 'mug'], ['cup', 'kettle', 'mug'])
        """
        node = self._catalog.categories.node(path) if path else ROOT
        self._make_room()
        shelf = self.by_category.items[node, : self.by_category.length[node]]
        return [self._items.name(index) for index in shelf.tolist()]

    def _make_room(self) -> None:
        """Cover all nodes, brands and items there are."""
        catalog = self._catalog
        nodes, brands, items = len(catalog.categories), len(catalog.brands), len(catalog.facts)
        if len(self.by_category.length) < nodes:
            self.by_category = _wider(self.by_category, _shelves(2 * nodes))
        if len(self.by_brand.length) < brands:
            self.by_brand = _wider(self.by_brand, _shelves(2 * brands))
        if len(self._seen.at) < items:
            fresh = np.zeros(items), np.zeros(items), np.full(items, _NOWHERE, np.int32), np.zeros(items, np.int32)
            self._seen = _wider(self._seen, Seen(*fresh, self._seen.clock.copy()))


def _shelves(rows: int) -> TopItems:
    """Empty ones."""
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


@cached_njit()
def look(
    first: int,
    number: int,
    items: int,
    facts: NDArray[Any],
    parent: NDArray[np.int32],
    own: NDArray[np.float64],
    at: NDArray[np.float64],
    half_life_s: float,
    order: NDArray[np.uint64],
    seen: Seen,
    by_category: TopItems,
    by_brand: TopItems,
) -> None:
    """Put what has changed in its places.

    Args:
        first: index of the first item to look at.
        number: how many to look at, going on from the first one after the last.
        items: how many there are.
        facts: (items,) of the catalogue.
        parent: (nodes,) of the category tree.
        own: (rows, 2) of the mirror; items beyond have no counts.
        at: (rows,) of the mirror.
        half_life_s: of the counts.
        order: (items, 2) of the ids.
        seen: is brought up to date.
        by_category: is brought up to date.
        by_brand: is brought up to date.
    """
    for step in range(number):
        item = (first + step) % items
        seen.clock[0] += 1
        fact = facts[item]
        node = fact.category if fact.state == OFFERED else _NOWHERE
        weight, when = 0.0, 0.0
        if item < len(at):
            weight, when = VIEWS * own[item, 0] + BASKETS * own[item, 1], at[item]
        was = seen.node[item]
        if node == was and weight == seen.weight[item] and when == seen.at[item] and fact.brand == seen.brand[item]:
            if node != _NOWHERE and seen.clock[1] > seen.clock[0]:
                _shelve(item, node, fact.brand, _key(weight, when, half_life_s), True, parent, order, seen, by_category, by_brand)  # fmt: skip  # noqa: E501
            continue
        key = _key(weight, when, half_life_s)
        if was != _NOWHERE:
            rises = node == was and fact.brand == seen.brand[item]
            rises = rises and key >= _key(seen.weight[item], seen.at[item], half_life_s)
            _unshelve(item, was, seen.brand[item], not rises, items, parent, seen, by_category, by_brand)
        if node != _NOWHERE:
            _shelve(item, node, fact.brand, key, False, parent, order, seen, by_category, by_brand)
        seen.node[item] = node
        seen.brand[item] = fact.brand
        seen.weight[item] = weight
        seen.at[item] = when


@njit()
def _key(weight: float, at: float, half_life_s: float) -> float:
    """Weight as of any common time, up to a constant, as a logarithm."""
    return math.log2(weight) + at / half_life_s if weight > 0.0 else _COLD


@njit()
def _shelve(
    item: int,
    node: int,
    brand: int,
    key: float,
    only_thin: bool,
    parent: NDArray[np.int32],
    order: NDArray[np.uint64],
    seen: Seen,
    by_category: TopItems,
    by_brand: TopItems,
) -> None:
    """Put an item on the shelves of its category, of all above it, and of its brand, where it is strong enough."""
    now = seen.clock[0]
    here, branch = node, node
    while True:
        if not only_thin or by_category.thin[here] > now:
            _put(by_category, here, item, key, branch, 0 if branch == here else SHARE, order)
        if here == ROOT:
            break
        branch, here = here, parent[here]
    if brand and (not only_thin or by_brand.thin[brand] > now):
        _put(by_brand, brand, item, key, node, SHARE, order)


@njit()
def _unshelve(
    item: int,
    node: int,
    brand: int,
    cut: bool,
    items: int,
    parent: NDArray[np.int32],
    seen: Seen,
    by_category: TopItems,
    by_brand: TopItems,
) -> None:
    """Take an item off its shelves; where it leaves a place, others may come in within the next round."""
    until = seen.clock[0] + items
    here = node
    while True:
        if _take(by_category, here, item) and cut:
            by_category.thin[here] = seen.clock[1] = until
        if here == ROOT:
            break
        here = parent[here]
    if brand and _take(by_brand, brand, item) and cut:
        by_brand.thin[brand] = seen.clock[1] = until


@njit()
def _put(
    shelves: TopItems, row: int, item: int, key: float, branch: int, share: int, order: NDArray[np.uint64]
) -> None:
    """Give an item its place on a shelf, if it deserves one."""
    length = shelves.length[row]
    if length == PLACES and not _ahead(key, item, shelves.keys[row, PLACES - 1], shelves.items[row, PLACES - 1], order):
        return
    of_branch, weakest = 0, -1
    for place in range(length):
        if shelves.items[row, place] == item:
            return
        if shelves.branches[row, place] == branch:
            of_branch += 1
            weakest = place
    if share and of_branch >= share:
        if not _ahead(key, item, shelves.keys[row, weakest], shelves.items[row, weakest], order):
            return
        gap = weakest
    elif length == PLACES:
        gap = PLACES - 1
    else:
        gap = length
        shelves.length[row] += 1
    while gap > 0 and _ahead(key, item, shelves.keys[row, gap - 1], shelves.items[row, gap - 1], order):
        shelves.items[row, gap] = shelves.items[row, gap - 1]
        shelves.keys[row, gap] = shelves.keys[row, gap - 1]
        shelves.branches[row, gap] = shelves.branches[row, gap - 1]
        gap -= 1
    shelves.items[row, gap] = item
    shelves.keys[row, gap] = key
    shelves.branches[row, gap] = branch


@njit()
def _take(shelves: TopItems, row: int, item: int) -> bool:
    """Take an item off a shelf; whether it was there."""
    length = shelves.length[row]
    for place in range(length):
        if shelves.items[row, place] == item:
            for left in range(place, length - 1):
                shelves.items[row, left] = shelves.items[row, left + 1]
                shelves.keys[row, left] = shelves.keys[row, left + 1]
                shelves.branches[row, left] = shelves.branches[row, left + 1]
            shelves.length[row] -= 1
            return True
    return False


@njit()
def _ahead(key: float, item: int, other_key: float, other: int, order: NDArray[np.uint64]) -> bool:
    """Whether an item comes before another one: the stronger first, ties by id."""
    if key != other_key:
        return key > other_key
    if order[item, 0] != order[other, 0]:
        return bool(order[item, 0] < order[other, 0])
    return bool(order[item, 1] < order[other, 1])
