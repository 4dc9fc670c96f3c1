"""What a worker counts, in memory: visits make pairs, pairs are counted, and the caller says when rows are published.

[`models.evaluation.prequential.replay`][] publishes on a schedule in event time instead, as a worker does.
"""

from __future__ import annotations

from math import inf

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.local import LocalCounting
from models.sessions.visits import EventStatus, VisitConfig, Visits
from models.shop.events import Click, Purchase
from models.shop.items import Items


class WorkerCounts:
    """Visits with counting behind them; `neighbours` has all rows as of the last `publish`."""

    def __init__(self, items: Items, visits: VisitConfig, counting: CoOccurrenceConfig) -> None:
        self.visits = Visits(items, visits)
        self._counting = LocalCounting(items, counting)
        self.neighbours = self._counting.neighbours
        self._clicks = self._purchases = 0

    def learn(self, event: Click | Purchase) -> EventStatus:
        """Learn an event, in time order; returns what became of it.

        `visits` sees it at once, `neighbours` after the next `publish`.
        """
        if isinstance(event, Click):
            self._ripen(event.at)
            status, pairs = self.visits.apply_click(event, event.at, self._clicks)
            self._clicks += 1
        else:
            status, pairs = self.visits.apply_purchase(event, event.at, self._purchases)
            self._purchases += 1
        self._counting.learn(pairs, event.at)
        return status

    def publish(self) -> None:
        """Bring `neighbours` up to date."""
        self._ripen(inf)
        self._counting.publish()

    def _ripen(self, clicks_s: float) -> None:
        for _, at, pairs in self.visits.ripen(clicks_s):
            self._counting.learn(pairs, at)
