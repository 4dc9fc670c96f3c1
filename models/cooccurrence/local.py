"""Counting within one process: pairs go in, the rows they change come out in an index.

A worker sends pairs and rows through topics in between; evaluations need no topics and count the same here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.sessions.pairs import Pair
from models.shop.items import Items

BATCH_PAIRS = 20_000
"""Pairs that are counted in one call. The garbage collector scans waiting pairs; far more would cost it time."""


class LocalCounting:
    """One partition of counts; `neighbours` has all rows as of the last `publish`.

    >>> from models.shop.events import VIEWED_WITH
    >>> items = Items()
    >>> kettle, mug = items.index("kettle"), items.index("mug")
    >>> counting = LocalCounting(items, CoOccurrenceConfig())
    >>> counting.learn([(kettle, mug, VIEWED_WITH, 1.0)], 1e9)
    >>> counting.publish()
    >>> counting.neighbours.row("kettle").neighbours
    ['mug']
    """

    def __init__(self, items: Items, config: CoOccurrenceConfig) -> None:
        self.neighbours = Neighbours(items, config.half_life_s)
        self._rows = CoOccurrence(items, config)
        self._pairs: list[Pair] = []
        self._times: list[float] = []
        self._batches = 0
        self._changed = True

    def learn(self, pairs: Iterable[Pair], at: float) -> None:
        """Take the pairs of an event at `at`, epoch seconds; they reach `neighbours` with the next `publish`."""
        self._pairs += pairs
        self._times += [at] * (len(self._pairs) - len(self._times))
        if len(self._pairs) >= BATCH_PAIRS:
            self._count()

    def publish(self) -> None:
        """Count waiting pairs, and put all rows that have changed into the index."""
        if self._pairs:
            self._count()
        if not self._changed:
            return
        dirty = self._rows.dirty()
        for index, cut in zip(dirty, self._rows.cuts(dirty), strict=True):
            self.neighbours.put_cut(index, self._batches + 1, cut)
            self._rows.published(index)
        self.neighbours.set_total(0, self._rows.totals.baskets, self._rows.totals.at)
        self._changed = False

    def _count(self) -> None:
        n = len(self._pairs)
        table = np.fromiter(chain.from_iterable(self._pairs), np.float64, 4 * n).reshape(n, 4)
        self._batches += 1
        self._rows.learn_many(
            table[:, 0].astype(np.int32),
            table[:, 1].astype(np.int32),
            table[:, 2].astype(np.int8),
            np.ascontiguousarray(table[:, 3]),
            np.array(self._times, np.float64),
            self._batches,
        )
        self._pairs, self._times, self._changed = [], [], True
