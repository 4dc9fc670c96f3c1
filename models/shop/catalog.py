"""The catalogue by item: the fields that rules look at in one array, the full items beside it."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cache_lines import zeros_on_lines
from models.change_log import ChangeLog
from models.shop.categories import Categories
from models.shop.events import CatalogItem
from models.shop.items import Items

KNOWN, IN_STOCK = 1, 2
"""Bits of a fact's `state`. A withdrawn item has neither."""

OFFERED = KNOWN | IN_STOCK
"""State of an item that can be sold now."""

NONE = 0
"""Code of no brand, and of no currency."""

FACT = np.dtype(
    [
        ("price", np.float64),
        ("rating", np.float64),  # NaN: not rated
        ("category", np.int32),  # node of `Categories`
        ("brand", np.int32),
        ("currency", np.int32),
        ("state", np.int32),
    ],
    align=True,
)
"""32 bytes an item, half a cache line: classifying a candidate waits for memory once."""


ITEM_BYTES, ATTRIBUTE_BYTES, CODE_BYTES = 400, 150, 250
"""Of an item without its texts, of an attribute without its texts, of a category, brand or currency."""


class Codes:
    """Numbers words from 1 on; no word is `NONE`. `free` gives the numbers of unused ones to others.

    Attributes:
        reused: numbers given to another word so far.

    >>> codes = Codes()
    >>> codes.code("Acme"), codes.code("Bolt"), codes.code("Acme"), codes.code(None), len(codes)
    (1, 2, 1, 0, 3)
    >>> codes.free(np.array([2]))
    >>> codes.code("Core"), codes.words(), codes.used, codes.reused
    (1, [None, 'Core', 'Bolt'], 2, 1)
    """

    def __init__(self) -> None:
        self.reused = 0
        self._codes: dict[str | None, int] = {None: NONE}
        self._words: list[str | None] = [None]  # None, too: free
        self._free: list[int] = []

    def __len__(self) -> int:
        """One more than the largest code."""
        return len(self._words)

    @property
    def used(self) -> int:
        """Number of words."""
        return len(self._codes) - 1

    def code(self, word: str | None) -> int:
        """Number of a word."""
        known = self._codes.get(word)
        if known is not None:
            return known
        if self._free:
            code = self._free.pop()
            self._words[code] = word
            self.reused += 1
        else:
            code = len(self._words)
            self._words.append(word)
        self._codes[word] = code
        return code

    def words(self) -> list[str | None]:
        """All words, by code. Safe to call from another thread."""
        return list(self._words)

    def free(self, held: NDArray[np.integer]) -> None:
        """Free all codes but these."""
        for code in set(range(1, len(self._words))).difference(held.tolist()):
            if (word := self._words[code]) is not None:
                del self._codes[word]
                self._words[code] = None
                self._free.append(code)


class Catalog:
    """The items that the shop offers. A change applies from the next event on.

    Attributes:
        facts: (capacity,) of `FACT`, by item index. Replaced when it grows: read it again for each batch.
        revisions: (capacity,), by item index: `version` as of the item's last change, 0 for none. Replaced likewise.
        version: grows with every change.
        changes: items that have changed.

    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> catalog.put(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0, rating=4.5))
    >>> float(catalog.facts["price"][items.find("kettle")]), catalog.get(items.find("kettle")).title
    (30.0, 'Kettle')
    >>> catalog.withdraw("kettle")
    >>> catalog.get(items.find("kettle")), len(catalog), catalog.version
    (None, 0, 2)
    """

    def __init__(self, items: Items) -> None:
        self._growing = Lock()
        self.facts: NDArray[Any] = zeros_on_lines(1024, FACT)
        self.revisions = np.zeros(1024, np.int64)
        self.categories = Categories()
        self.brands = Codes()
        self.currencies = Codes()
        self.version = 0
        self.changes = ChangeLog()
        self._items = items
        self._offers: dict[int, CatalogItem] = {}
        self._offer_bytes = 0
        self._words_left = 0  # after the last `free_words`

    def __len__(self) -> int:
        """Number of items, in stock or not."""
        return len(self._offers)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        words = CODE_BYTES * (len(self.categories) + len(self.brands) + len(self.currencies))
        return self.facts.nbytes + self.revisions.nbytes + self.changes.nbytes + self._offer_bytes + words

    def put(self, item: CatalogItem) -> None:
        """Add or replace an item."""
        index = self._items.index(item.item_id)
        self.make_room()
        self.facts[index] = (
            item.price,
            np.nan if item.rating is None else item.rating,
            self.categories.node(item.category),
            self.brands.code(item.brand),
            self.currencies.code(item.currency),
            OFFERED if item.in_stock else KNOWN,
        )
        self._offer_bytes += _bytes_of(item) - _bytes_of(self._offers.get(index))
        self._offers[index] = item
        self._changed(index)

    def withdraw(self, item_id: str) -> None:
        """Remove an item: it is no longer suggested or compared with. Unknown ids are ignored."""
        if (item := self._offers.pop(self._items.find(item_id), None)) is not None:
            self._offer_bytes -= _bytes_of(item)
            index = self._items.find(item_id)
            self.facts["state"][index] = 0
            self._changed(index)

    def get(self, index: int) -> CatalogItem | None:
        """The item of an index; None if the catalogue does not have it."""
        return self._offers.get(index)

    def knows(self, indices: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether the catalogue has the items of some indices."""
        self.make_room()
        known: NDArray[np.bool_] = self.facts["state"][indices] & KNOWN != 0
        return known

    def held(self) -> NDArray[np.int64]:
        """Indices that it keeps: of the items that it has."""
        return np.flatnonzero(self.facts["state"] & KNOWN)

    def freed(self, indices: NDArray[np.int64]) -> None:
        """Indices that are going to be given to other items."""
        covered = indices[indices < len(self.facts)]
        self.facts[covered] = 0
        self._changed(covered)

    def _changed(self, index: int | NDArray[np.int64]) -> None:
        self.version += 1
        self.revisions[index] = self.version
        self.changes.add(index)

    @property
    def words(self) -> int:
        """Number of categories, with all above them, of brands, and of currencies."""
        return self.categories.used + self.brands.used + self.currencies.used

    def words_due(self, least: int) -> bool:
        """Whether there are twice as many as were left by the last `free_words`, and at least so many more."""
        return self.words >= max(2 * self._words_left, self._words_left + least)

    def free_words(self, categories: NDArray[np.integer], brands: NDArray[np.integer]) -> None:
        """Free the categories, brands and currencies that no item has, but not these of others who keep numbers."""
        facts = self.facts[self.held()]
        self.categories.free(np.concatenate([facts["category"], categories]))
        self.brands.free(np.unique(np.concatenate([facts["brand"], brands])))
        self.currencies.free(np.unique(facts["currency"]))
        self._words_left = self.words

    def make_room(self) -> None:
        """Let `facts` cover all indices given so far; items that are not in the catalogue have state 0. Thread-safe."""
        if len(self.facts) >= len(self._items):
            return
        with self._growing:
            more = 2 * len(self._items) - len(self.facts)
            if len(self.facts) < len(self._items):  # another thread may have just done it
                self.revisions = np.concatenate([self.revisions, np.zeros(more, np.int64)])
                facts = zeros_on_lines(len(self.facts) + more, FACT)
                facts[: len(self.facts)] = self.facts
                self.facts = facts


def _bytes_of(item: CatalogItem | None) -> int:
    """Memory that an item takes, about; 0 for none."""
    if item is None:
        return 0
    texts = sum(map(len, (item.item_id, item.title, item.category, item.brand or "", item.currency or "")))
    for name, value in item.attributes.items():
        texts += ATTRIBUTE_BYTES + len(name) + (len(value) if isinstance(value, str) else 0)
    return ITEM_BYTES + texts
