"""A worker's inside without a log: visits, rows, mirror and recommender, joined in memory as the lanes join them.

What differs from a worker is time only. An event is appended when it happens, so that one clock rules; and rows are
counted and mirrored together, every `flush_interval_s` of event time, where a worker's deltas are published at one
flush and the rows that they change at the next. There is one partition of everything, which counts the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from math import floor, inf

import numpy as np

from models.catalog import Catalog
from models.cooccurrence import CoOccurrence
from models.cooccurrence_config import CoOccurrenceConfig
from models.events import Action, Click, Profile, Purchase
from models.items import Items
from models.neighbours import Neighbours
from models.policy import Policy
from models.recommender import Query, Recommender, RecommenderConfig, SuggestedItem
from models.visits import Pair, Verdict, VisitConfig, Visits

Event = Click | Purchase | Profile

MOST_TOGETHER = 500
"""Events that are answered together at most, as a worker's batch of records by default."""


@dataclass(slots=True)
class Answered:
    """An event, and what was suggested for it."""

    event: Event
    applied: bool
    """False for one that was seen before, that its shopper does not allow, or that is a profile."""
    query: Query | None
    """What was asked; None where the event triggers nothing."""
    items: list[SuggestedItem] = field(default_factory=list)
    """Best first."""


class Engine:
    """Learns from events and answers them.

    Args:
        policy: what may be suggested, and which actions are answered.
        visits: what a visit is.
        counting: how much is remembered of each item.
        ranking: how evidence is weighed.
        flush_interval_s: how often what was learnt reaches the recommender, event time.

    Attributes:
        items: numbers the items; shared by all parts.
        catalog: put items into it before they are suggested.
        neighbours: the mirror.
        recommender: the object that a worker runs.

    >>> from models.events import CatalogItem
    >>> engine = Engine(Policy(), VisitConfig(), CoOccurrenceConfig(), RecommenderConfig(), flush_interval_s=1.0)
    >>> engine.catalog.put(CatalogItem("kettle", "Kettle", "Kettles", 34.0))
    >>> engine.catalog.put(CatalogItem("mug", "Mug", "Mugs", 9.0))
    >>> looks = [Click(user, item, Action.VIEW, 1e9 + at)
    ...     for user, item, at in [("ann", "kettle", 0), ("ann", "mug", 9), ("bob", "kettle", 60)]]
    >>> [[item["reasons"][0]["text"] for item in answered.items] for answered in engine.run(looks)]
    [['New in Mugs'], ['Popular in Kettles: looked at once'], ['Looked at together with Kettle once']]
    """

    def __init__(
        self,
        policy: Policy,
        visits: VisitConfig,
        counting: CoOccurrenceConfig,
        ranking: RecommenderConfig,
        flush_interval_s: float,
    ) -> None:
        self.items = Items()
        self.catalog = Catalog(self.items)
        self.neighbours = Neighbours(self.items, counting.half_life_s)
        self.recommender = Recommender(self.items, self.catalog, self.neighbours, policy, ranking)
        self._visits = Visits(self.items, visits)
        self._rows = CoOccurrence(self.items, counting)
        self._interval_s = flush_interval_s
        self._now_s = -inf
        self._flush_at = -inf
        self._pairs: list[Pair] = []
        self._pairs_at: list[float] = []
        self._clicks = self._purchases = self._flushes = 0

    def run(self, events: Iterable[Event]) -> Iterator[Answered]:
        """Every event, in order, with what is suggested for it at that moment; then it is learnt.

        Args:
            events: in the order of their times, give or take a little: a late one counts as appended with the one
                before it.
        """
        together: list[Answered] = []
        for event in events:
            if event.at >= self._flush_at or len(together) == MOST_TOGETHER:
                yield from self._answered(together)
                together = []
                self._flush_until(event.at)
            together.append(self._apply(event))
        yield from self._answered(together)

    def _answered(self, together: list[Answered]) -> list[Answered]:
        """The same with suggestions, all as of the rows as they are now."""
        asked = [one for one in together if one.query is not None]
        answers = self.recommender.suggest_each([one.query for one in asked if one.query is not None])
        for one, items in zip(asked, answers, strict=True):
            one.items = items
        return together

    # -- events ----------------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> Answered:
        self._now_s = max(self._now_s, event.at)
        if isinstance(event, Profile):
            if event.forget or (event.consent and self._visits.refuses(event.user_id)):
                self._visits.forget(event.user_id, event.at)
            self._visits.consent(event.user_id, event.consent)
            return Answered(event, False, None)
        if isinstance(event, Click):
            self._join(self._now_s)
            verdict, pairs = self._visits.apply_click(event, self._now_s, self._clicks)
            action, item_ids, seed = event.action, [event.item_id], f"clicks-0-{self._clicks}"
            self._clicks += 1
        else:
            verdict, pairs = self._visits.apply_purchase(event, self._now_s, self._purchases)
            action, seed = Action.PURCHASE, f"purchases-0-{self._purchases}"
            item_ids = list(dict.fromkeys(line.item_id for line in event.lines))
            self._purchases += 1
        self._learn(pairs, event.at)
        policy = self.recommender.policy
        if verdict is not Verdict.APPLIED:
            return Answered(event, False, None)
        if action not in policy.triggers:
            return Answered(event, True, None)
        visit = self._visits.snapshot(event.user_id, event.at, policy.bought_days * 86_400.0)
        return Answered(event, True, Query(action, list(map(self.items.index, item_ids)), visit, event.at, seed))

    def _join(self, clicks_s: float) -> None:
        """Finish the joins that wait for no click any more."""
        if self._visits.first_pending is not None:
            for _, at, pairs in self._visits.ripen(clicks_s):
                self._learn(pairs, at)

    def _learn(self, pairs: list[Pair], at: float) -> None:
        self._pairs += pairs
        self._pairs_at += [at] * len(pairs)

    # -- what was learnt -------------------------------------------------------------------------------------------

    def _flush_until(self, at: float) -> None:
        """All flushes that are due up to a time; those with nothing to do are passed over."""
        if self._flush_at == -inf:
            self._flush_at = at
        while at >= self._flush_at:
            self._flush()
            if not self._pairs and self._visits.first_pending is None:
                self._flush_at += self._interval_s * floor((at - self._flush_at) / self._interval_s)
            self._flush_at += self._interval_s

    def _flush(self) -> None:
        """Count what was learnt, and mirror the rows that it changes."""
        self._join(self._flush_at)
        if not self._pairs:
            return
        self._flushes += 1
        n = len(self._pairs)
        table = np.fromiter(chain.from_iterable(self._pairs), np.float64, 4 * n).reshape(n, 4)  # a, b, kind, weight
        self._rows.learn_many(
            table[:, 0].astype(np.int32),
            table[:, 1].astype(np.int32),
            table[:, 2].astype(np.int8),
            np.ascontiguousarray(table[:, 3]),
            np.array(self._pairs_at, np.float64),
            self._flushes,
        )
        self._pairs, self._pairs_at = [], []
        for index in self._rows.dirty():
            self.neighbours.put(self._rows.row(index, self._flushes + 1))
            self._rows.published(index)
        self.neighbours.set_total(0, self._rows.totals.baskets, self._rows.totals.at)
