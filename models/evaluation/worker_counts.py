"""The worker's counting in memory: visits, rows and mirror, as its lanes join them, published when it is asked to be.

[`models.evaluation.prequential.replay`][] publishes by the clock of its events, as a worker does; here whoever measures
decides what is known when.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.sessions.pairs import Pair
from models.sessions.visits import Visit, VisitConfig, Visits
from models.shop.events import Click, Purchase
from models.shop.items import Items

TOGETHER = 20_000
"""Pairs that are counted together: many more, and the garbage collector looks at them again and again."""


class WorkerCounts:
    """Visits and rows of neighbours.

    Args:
        items: numbers the items.
        visits: what a visit is.
        counting: how much is remembered.

    Attributes:
        neighbours: the mirror, as of the last `publish`.
    """

    def __init__(self, items: Items, visits: VisitConfig, counting: CoOccurrenceConfig) -> None:
        self._visits = Visits(items, visits)
        self._rows = CoOccurrence(items, counting)
        self.neighbours = Neighbours(items, counting.half_life_s)
        self._pairs: list[Pair] = []
        self._ats: list[float] = []
        self._clicks = self._purchases = self._messages = 0

    def learn(self, event: Click | Purchase) -> None:
        """Learn an event; called in time order. It counts for `visit` at once, for `neighbours` once published."""
        if isinstance(event, Click):
            for _, joined_at, pairs in self._visits.ripen(event.at):
                self._wait(pairs, joined_at)
            _, pairs = self._visits.apply_click(event, event.at, self._clicks)
            self._clicks += 1
        else:
            _, pairs = self._visits.apply_purchase(event, event.at, self._purchases)
            self._purchases += 1
        self._wait(pairs, event.at)
        if len(self._pairs) >= TOGETHER:
            self._count()

    def visit(self, user_id: str, at: float, bought_s: float) -> Visit:
        """What a shopper is about; see [`Visits.snapshot`][models.sessions.visits.Visits.snapshot]."""
        return self._visits.snapshot(user_id, at, bought_s)

    def _wait(self, pairs: list[Pair], at: float) -> None:
        self._pairs += pairs
        self._ats += [at] * len(pairs)

    def _count(self) -> None:
        if not self._pairs:
            return
        n = len(self._pairs)
        table = np.fromiter(chain.from_iterable(self._pairs), np.float64, 4 * n).reshape(n, 4)  # a, b, kind, weight
        self._messages += 1
        self._rows.learn_many(
            table[:, 0].astype(np.int32),
            table[:, 1].astype(np.int32),
            table[:, 2].astype(np.int8),
            np.ascontiguousarray(table[:, 3]),
            np.array(self._ats, np.float64),
            self._messages,
        )
        self._pairs, self._ats = [], []

    def publish(self) -> None:
        """Mirror all rows that have changed."""
        for _, at, pairs in self._visits.ripen(float("inf")):
            self._wait(pairs, at)
        self._count()
        for index in self._rows.dirty():
            self.neighbours.put(self._rows.row(index, self._messages + 1))
            self._rows.published(index)
        self.neighbours.set_total(0, self._rows.totals.baskets, self._rows.totals.at)
