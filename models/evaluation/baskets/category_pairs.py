"""Which categories are bought together, counted as items are: a small shop of its own, whose items are categories.

Two items that few have bought say nothing about each other; their categories do. Rows, decay and bounds are those of
[`models.cooccurrence.counter`][].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import log2

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.sessions.pairs import TOTAL
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH
from models.shop.items import Items

SHRINKAGE = 5.0
"""Baskets that a category is taken to have had without any other."""

TOGETHER = 20_000
"""Pairs that are counted together: bounds what waits."""

LEAST_SHARE = 1e-4
"""Share of the baskets below which a category is not taken for rarer: else one chance basket made it everybody's."""


class CategoryPairs:
    """Lifts between categories.

    Args:
        config: how much is remembered of each; `neighbours` is to cover most categories of the shop.

    >>> pairs = CategoryPairs(CoOccurrenceConfig(half_life_s=1e9))
    >>> for number in range(100):  # tea goes with milk, beer is bought alone
    ...     pairs.learn_one([1, 2] if number % 2 else [3], 1e9)
    >>> pairs.publish()
    >>> [round(lift, 2) for lift in pairs.lifts([1], 4).tolist()]
    [0.0, 0.0, 1.82, 0.0]
    """

    def __init__(self, config: CoOccurrenceConfig) -> None:
        self._items = Items()
        self._rows = CoOccurrence(self._items, config)
        self._mirror = Neighbours(self._items, config.half_life_s)
        self._pairs: list[tuple[int, int, float, float]] = []  # a, b, weight, at
        self._messages = 0
        self._at = 0.0
        self._numbers: NDArray[np.int64] = np.zeros(0, np.int64)  # of the category, by index
        self._shares = np.zeros(0)  # of the baskets, by index

    def learn_one(self, categories: Sequence[int], at: float) -> None:
        """Learn a basket by the distinct categories of its items, in any order; counts for `lifts` once published.

        Args:
            categories: numbers of them.
            at: epoch seconds.
        """
        if not categories:
            return
        numbers = [self._items.index(str(category)) for category in categories]
        weight = 1.0 / log2(max(2, len(numbers)))
        self._pairs.append((numbers[0], TOTAL, weight, at))
        self._pairs += [(a, b, weight, at) for a in numbers for b in numbers]
        if len(self._pairs) >= TOGETHER:
            self._count()

    def _count(self) -> None:
        if not self._pairs:
            return
        n = len(self._pairs)
        table = np.fromiter(chain.from_iterable(self._pairs), np.float64, 4 * n).reshape(n, 4)
        self._messages += 1
        self._rows.learn_many(
            table[:, 0].astype(np.int32),
            table[:, 1].astype(np.int32),
            np.full(n, BOUGHT_WITH, np.int8),
            np.ascontiguousarray(table[:, 2]),
            np.ascontiguousarray(table[:, 3]),
            self._messages,
        )
        self._pairs = []

    def publish(self) -> None:
        """Let everything that was learnt count."""
        self._count()
        for index in self._rows.dirty():
            self._mirror.put(self._rows.row(index, self._messages + 1))
            self._rows.published(index)
        total, known = self._rows.totals, len(self._items)
        self._at = total.at
        self._numbers = np.array([int(self._items.name(index)) for index in range(known)], np.int64)
        fades = 2.0 ** ((self._mirror.at[:known] - total.at) / self._mirror.half_life_s)
        self._shares = self._mirror.own[:known, 1] * fades / max(total.baskets, 1.0) + LEAST_SHARE

    def lifts(self, anchors: Sequence[int], categories: int) -> NDArray[np.float64]:
        """(categories,) how many times as often as elsewhere each is in baskets with the anchors', on average.

        Args:
            anchors: numbers of the categories at hand.
            categories: how many numbers to answer for.
        """
        mirror, known = self._mirror, len(self._numbers)
        lifts = np.zeros(known)
        for anchor in anchors:
            index = self._items.find(str(anchor))
            if not 0 <= index < known:
                continue
            cells = slice(int(mirror.start[index]), int(mirror.start[index]) + int(mirror.length[index]))
            fade = decayed(1.0, float(mirror.at[index]), self._at, mirror.half_life_s)
            own = fade * float(mirror.own[index, 1]) + SHRINKAGE
            lifts[mirror.ids[cells]] += fade / own * mirror.weights[cells, BOUGHT_WITH]
        found = np.zeros(categories)
        counted = self._numbers < categories
        found[self._numbers[counted]] = (lifts / max(1, len(anchors)) / self._shares)[counted]
        return found
