"""Inputs of the network besides the item itself, as numbers of classes.

A look has an action and the time since the look before; an item has a category, a brand and a price. Words are hashed,
so that the weights need no table of words; words of the same hash share a vector.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.shop.catalog import KNOWN, Catalog
from models.shop.events import CatalogItem

GAPS_S = (5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 3600.0, 86_400.0)
"""Bounds of the classes of time between two looks."""

FIRST_GAP = len(GAPS_S) + 1
"""Class of a look with none before it."""

GAPS = FIRST_GAP + 1
"""Classes of time."""

ACTIONS = 3
"""Classes of actions: `models.sessions.visits.ACTION_CODES`."""

CATEGORIES = 4_096
"""Classes of categories, 0 for none: a few times what a large shop has."""

BRANDS = 4_096
"""... of brands."""

PRICES = 48
"""... of prices: half octaves from 2^-4 to 2^19 in the shop's currency."""

_STEPS = tuple(2.0 ** (step / 2 - 4) for step in range(1, PRICES - 1))
"""Lowest prices of the second class and each after."""

NOTHING = (0, 0, 0)
"""Content of an item that the catalogue does not know."""


def gap_classes(times: Sequence[float]) -> list[int]:
    """Class of the time before each look, by the times of the looks in order, epoch seconds.

    >>> gap_classes([0.0, 3.0, 3.0, 500.0])
    [9, 0, 0, 5]
    """
    return [FIRST_GAP, *(bisect_right(GAPS_S, times[place] - times[place - 1]) for place in range(1, len(times)))]


def content(item: CatalogItem) -> tuple[int, int, int]:
    """Classes of an item's category, brand and price.

    >>> content(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 32.0))
    (2553, 0, 19)
    """
    step = 1 + bisect_right(_STEPS, item.price) if item.price > 0.0 else 0
    return _bucket(item.category, CATEGORIES), _brand(item.brand), step


def contents_of(catalog: Catalog) -> NDArray[np.int32]:
    """`content` of all items of a catalogue as of now, by index: (n, 3), `NOTHING` for those that it does not have.

    Takes milliseconds for a whole catalogue, as each word is hashed once: a worker calls it at every snapshot.
    """
    facts = catalog.facts.copy()
    known = facts["state"] & KNOWN != 0
    categories = [_bucket(path, CATEGORIES) for path in catalog.categories.paths()]
    brands = [_brand(word) for word in catalog.brands.words()]
    price = facts["price"]
    classes = np.zeros((len(facts), 3), np.int32)
    classes[:, 0] = np.array(categories, np.int32)[facts["category"]]
    classes[:, 1] = np.array(brands, np.int32)[facts["brand"]]
    classes[:, 2] = np.where(price > 0.0, 1 + np.searchsorted(_STEPS, price, side="right"), 0)
    classes[~known] = NOTHING
    return classes


class Contents:
    """Content of items by their index, (capacity, 3) int32, `NOTHING` where nothing is known; grows as items are put.

    >>> contents = Contents()
    >>> contents.put(5000, (7, 8, 9))
    >>> contents.of(np.array([5000, 3, 99_999])).tolist()
    [[7, 8, 9], [0, 0, 0], [0, 0, 0]]
    """

    def __init__(self, classes: NDArray[np.int32] | None = None) -> None:
        self._classes: NDArray[np.int32] = np.zeros((1024, 3), np.int32) if classes is None else classes

    def put(self, index: int, classes: tuple[int, int, int]) -> None:
        """Set the classes of an item."""
        if index >= len(self._classes):
            more = np.zeros((2 * (index + 1) - len(self._classes), 3), np.int32)
            self._classes = np.concatenate([self._classes, more])
        self._classes[index] = classes

    def of(self, items: NDArray[np.integer]) -> NDArray[np.int32]:
        """(...,) indices to (..., 3) classes, `NOTHING` for those that were never put and for negative ones."""
        there = (items >= 0) & (items < len(self._classes))
        classes: NDArray[np.int32] = np.where(there[..., None], self._classes[np.where(there, items, 0)], 0)
        return classes


def _brand(word: str | None) -> int:
    return _bucket(word, BRANDS) if word else 0


def _bucket(word: str, buckets: int) -> int:
    """Class of a word, from 1."""
    digest = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "big") % (buckets - 1)
