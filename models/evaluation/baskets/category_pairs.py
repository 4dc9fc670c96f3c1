"""Which categories are bought together, counted as items are: each category is an item of a small shop of its own.

Two items with few purchases say nothing about each other; their categories do.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.local import LocalCounting
from models.sessions.pairs import TOTAL
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH
from models.shop.items import Items

SHRINKAGE = 5.0
"""Baskets without any other category that each category starts with."""

MIN_SHARE = 1e-4
"""Least share of all baskets that a category is divided by: below it, one chance basket would give huge lifts."""


class CategoryPairs:
    """Lifts between categories; the `neighbours` of the configuration should cover most categories of the shop.

    >>> pairs = CategoryPairs(CoOccurrenceConfig(half_life_s=1e9))
    >>> for number in range(100):  # tea goes with milk, beer is bought alone
    ...     pairs.learn_one([1, 2] if number % 2 else [3], 1e9)
    >>> pairs.publish()
    >>> [round(lift, 2) for lift in pairs.lifts([1], 4).tolist()]
    [0.0, 0.0, 1.82, 0.0]
    """

    def __init__(self, config: CoOccurrenceConfig) -> None:
        self._items = Items()
        self._counting = LocalCounting(self._items, config)
        self._at = 0.0
        self._numbers: NDArray[np.int64] = np.zeros(0, np.int64)  # of the category, by index
        self._shares = np.zeros(0)  # of the baskets, by index

    def learn_one(self, categories: Sequence[int], at: float) -> None:
        """Learn a basket by the distinct categories of its items; counts for `lifts` after the next `publish`."""
        if not categories:
            return
        numbers = [self._items.index(str(category)) for category in categories]
        weight = 1.0 / log2(max(2, len(numbers)))
        pairs = [(numbers[0], TOTAL, BOUGHT_WITH, weight)]
        pairs += [(a, b, BOUGHT_WITH, weight) for a in numbers for b in numbers]
        self._counting.learn(pairs, at)

    def publish(self) -> None:
        """Bring `lifts` up to date."""
        self._counting.publish()
        rows, known = self._counting.neighbours, len(self._items)
        total = rows.totals[0]
        self._at = total.at
        self._numbers = np.array([int(self._items.name(index)) for index in range(known)], np.int64)
        fades = 2.0 ** ((rows.at[:known] - total.at) / rows.half_life_s)
        self._shares = rows.own[:known, 1] * fades / max(total.baskets, 1.0) + MIN_SHARE

    def lifts(self, anchors: Sequence[int], categories: int) -> NDArray[np.float64]:
        """(categories,) how many times as often as elsewhere each is bought with the anchors' ones, on average."""
        rows, known = self._counting.neighbours, len(self._numbers)
        lifts = np.zeros(known)
        for anchor in anchors:
            index = self._items.find(str(anchor))
            if not 0 <= index < known:
                continue
            cells = slice(int(rows.start[index]), int(rows.start[index]) + int(rows.length[index]))
            fade = decayed(1.0, float(rows.at[index]), self._at, rows.half_life_s)
            own = fade * float(rows.own[index, 1]) + SHRINKAGE
            lifts[rows.ids[cells]] += fade / own * rows.weights[cells, BOUGHT_WITH]
        found = np.zeros(categories)
        counted = self._numbers < categories
        found[self._numbers[counted]] = (lifts / max(1, len(anchors)) / self._shares)[counted]
        return found
