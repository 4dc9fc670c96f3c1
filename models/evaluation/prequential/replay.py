"""A worker's inside without a log: visits, rows, mirror and recommender, joined in memory as the lanes join them.

What differs from a worker is time only. An event is appended when it happens, so that one clock rules; and rows are
counted and mirrored together, every `flush_interval_s` of event time, where a worker's deltas are published at one
flush and the rows that they change at the next. There is one partition of everything, which counts the same.

Several recommenders may stand over the same rows, to be compared: each event is put to all of them at one moment. With
a trainer beside it the sequence model is learnt from the same events (`models.evaluation.prequential.training`), and
the order of lists from what answers them (`models.evaluation.prequential.ordering`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import floor, inf
from typing import TYPE_CHECKING

import numpy as np

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.serving.recommender import Query, Recommender, RecommenderConfig, SuggestedItem, expected_of
from models.sessions.pairs import Pair
from models.sessions.visits import EventStatus, VisitConfig, Visits
from models.shop.catalog import Catalog
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

if TYPE_CHECKING:
    from models.evaluation.prequential.ordering import Ordering
    from models.evaluation.prequential.training import StreamTraining

Event = Click | Purchase | Profile

MOST_TOGETHER = 500
"""Events that are answered together at most, as a worker's batch of records by default."""


EVENTS, SEQUENCE = "events", "sequence model"
"""Work that is measured besides that of each recommender: visits, rows and mirror; learning and asking the network."""


@dataclass(frozen=True)
class Ranking:
    """A recommender over the engine's rows."""

    config: RecommenderConfig = RecommenderConfig()
    """How evidence is weighed."""
    expects: bool = False
    """Whether it is told what the sequence model expects."""
    ordered: bool = False
    """Whether its lists are put in an order that is learnt from what answers them."""


@dataclass(slots=True)
class Answered:
    """An event, and what was suggested for it."""

    event: Event
    offset: int
    """In the topic of its kind, counted from 0."""
    applied: bool
    """False for one that was seen before, that its shopper does not allow, or that is a profile."""
    query: Query | None
    """What was asked; None where the event triggers nothing."""
    lists: dict[str, list[SuggestedItem]] = field(default_factory=dict)
    """By recommender, each best first; none where nothing was asked."""


class Engine:
    """Learns from events and answers them.

    Args:
        policy: what may be suggested, and which actions are answered.
        visits: what a visit is.
        counting: how much is remembered of each item.
        rankings: what recommenders there are, by name.
        flush_interval_s: how often what was counted reaches the recommenders, event time.
        clock: seconds that work is measured in, such as `time.process_time`; by default none go by.

    Attributes:
        policy: what may be suggested.
        items: numbers the items; shared by all parts.
        catalog: put items into it before they are suggested.
        neighbours: the mirror.
        recommenders: the objects that workers run, by name.
        training: of the sequence model; set it before the first event where a ranking is told what that expects.
        orderings: of those whose rankings say so, by name; put them in before the first event.
        spent_s: seconds spent so far on EVENTS, on SEQUENCE, and on each recommender's lists and their order.

    >>> from models.shop.events import CatalogItem
    >>> rankings = {"counting": Ranking()}
    >>> engine = Engine(Policy(), VisitConfig(), CoOccurrenceConfig(), rankings, flush_interval_s=1.0)
    >>> engine.catalog.put(CatalogItem("kettle", "Kettle", "Kettles", 34.0))
    >>> engine.catalog.put(CatalogItem("mug", "Mug", "Mugs", 9.0))
    >>> looks = [Click(user, item, Action.VIEW, 1e9 + at)
    ...     for user, item, at in [("ann", "kettle", 0), ("ann", "mug", 9), ("bob", "kettle", 60)]]
    >>> [[item["reasons"][0]["text"] for item in answered.lists["counting"]] for answered in engine.run(looks)]
    [['New in Mugs'], ['Popular in Kettles: looked at once'], ['Looked at together with Kettle once']]
    """

    def __init__(
        self,
        policy: Policy,
        visits: VisitConfig,
        counting: CoOccurrenceConfig,
        rankings: Mapping[str, Ranking],
        flush_interval_s: float,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.policy = policy
        self.items = Items()
        self.catalog = Catalog(self.items)
        self.neighbours = Neighbours(self.items, counting.half_life_s)
        self.recommenders = {
            name: Recommender(self.items, self.catalog, self.neighbours, policy, ranking.config)
            for name, ranking in rankings.items()
        }
        self.training: StreamTraining | None = None
        self.orderings: dict[str, Ordering] = {}
        self.spent_s: defaultdict[str, float] = defaultdict(float)
        self._expecting = [self.recommenders[name] for name, ranking in rankings.items() if ranking.expects]
        self._clock = clock
        self._visits = Visits(self.items, visits)
        self._rows = CoOccurrence(self.items, counting)
        self._interval_s = flush_interval_s
        self._now_s = -inf
        self._flush_at = -inf
        self._pairs: list[Pair] = []
        self._pairs_at: list[float] = []
        self._clicks = self._purchases = self._profiles = self._flushes = 0

    def run(self, events: Iterable[Event]) -> Iterator[Answered]:
        """Every event, in order, with what is suggested for it at that moment; then it is learnt.

        Args:
            events: in the order of their times, give or take a little: a late one counts as appended with the one
                before it.
        """
        max_batch: list[Answered] = []
        for event in events:
            fresh = self._due(event.at)
            if fresh or event.at >= self._flush_at or len(max_batch) == MOST_TOGETHER:
                yield from self._answered(max_batch)
                max_batch = []
                started_s = self._clock()
                self._flush_until(event.at)
                self.spent_s[EVENTS] += self._clock() - started_s
            if fresh:
                self._take_what_was_learnt(event.at)
            max_batch.append(self._apply(event))
        yield from self._answered(max_batch)

    def _answered(self, max_batch: list[Answered]) -> list[Answered]:
        """The same with suggestions, all as of the rows and weights as they are now."""
        asked = [one for one in max_batch if one.query is not None]
        queries = [one.query for one in asked if one.query is not None]
        expected = None
        if self._expecting:
            started_s = self._clock()
            expected = expected_of(self._expecting[0].predictor, queries)  # the same for all of them
            self.spent_s[SEQUENCE] += self._clock() - started_s
        for name, recommender in self.recommenders.items():
            started_s = self._clock()
            told = expected if recommender in self._expecting else None
            for one, items in zip(asked, recommender.suggest_each(queries, told), strict=True):
                one.lists[name] = items
            if (ordering := self.orderings.get(name)) is not None:
                for one, query in zip(asked, queries, strict=True):
                    if not self._visits.consent.refuses(query.user_id, query.at):  # he may have said so since
                        ordering.record_impression(query, _topic_of(one.event), one.offset, one.lists[name])
            self.spent_s[name] += self._clock() - started_s
        return max_batch

    # -- events ----------------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> Answered:
        """Put an event into the visits, say what is asked for it, and then teach it."""
        started_s = self._clock()
        self._now_s = max(self._now_s, event.at)
        answered = self._happens(event)
        applied_s = self._clock()
        self.spent_s[EVENTS] += applied_s - started_s
        if self.training is not None:
            if isinstance(event, Click):
                self.training.click(event, self._now_s, answered.offset)
            elif isinstance(event, Purchase):
                self.training.purchase(event, self._now_s, answered.offset)
            else:
                self.training.profile(event)
            self.spent_s[SEQUENCE] += self._clock() - applied_s
        for name, ordering in self.orderings.items():
            started_s = self._clock()
            if isinstance(event, Profile):
                ordering.forget(event.user_id, self._visits.consent.refused_until(event.user_id))
            else:
                ordering.record_event(event, answered.applied, self._now_s, answered.offset)
            self.spent_s[name] += self._clock() - started_s
        return answered

    def _happens(self, event: Event) -> Answered:
        if isinstance(event, Profile):
            self._visits.apply_profile(event)
            self._profiles += 1
            return Answered(event, self._profiles - 1, False, None)
        if isinstance(event, Click):
            self._join(self._now_s)
            offset = self._clicks
            verdict, pairs = self._visits.apply_click(event, self._now_s, offset)
            action, item_ids = event.action, [event.item_id]
            self._clicks += 1
        else:
            offset = self._purchases
            verdict, pairs = self._visits.apply_purchase(event, self._now_s, offset)
            action, item_ids = Action.PURCHASE, event.item_ids
            self._purchases += 1
        self._learn(pairs, event.at)
        if verdict is not EventStatus.APPLIED:
            return Answered(event, offset, False, None)
        if action not in self.policy.triggers:
            return Answered(event, offset, True, None)
        user_id, at = event.user_id, event.at
        visit = self._visits.snapshot(user_id, at, self.policy.bought_days * 86_400.0)
        window = self._visits.window(user_id, at) if self._expecting else None
        trigger = list(map(self.items.index, item_ids))
        seed = f"{_topic_of(event)}-0-{offset}"
        return Answered(event, offset, True, Query(action, trigger, visit, at, seed, user_id, window))

    def _due(self, at: float) -> bool:
        """Whether something may have been learnt that is to serve from an event of this time on."""
        return (self.training is not None and self.training.due(at)) or any(
            ordering.due(at) for ordering in self.orderings.values()
        )

    def _take_what_was_learnt(self, at: float) -> None:
        """Let recommenders have what the sequence model expects by now, and their orders."""
        if self.training is not None and self.training.due(at):
            started_s = self._clock()
            predictor = self.training.snapshot(at)
            if predictor is not None:
                for recommender in self._expecting:
                    recommender.predictor = predictor
            self.spent_s[SEQUENCE] += self._clock() - started_s
        for name, ordering in self.orderings.items():
            if ordering.due(at):
                started_s = self._clock()
                learnt = ordering.snapshot(at)
                if learnt is not None:
                    self.recommenders[name].learnt = learnt
                self.spent_s[name] += self._clock() - started_s

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
            self.neighbours.put_cut(index, self._flushes + 1, self._rows.cut(index))
            self._rows.published(index)
        self.neighbours.set_total(0, self._rows.totals.baskets, self._rows.totals.at)


def _topic_of(event: Event) -> str:
    """Name of the topic of an event that is answered."""
    return "clicks" if isinstance(event, Click) else "purchases"
