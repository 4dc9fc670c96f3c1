"""A worker's visits, counting, index and recommenders, in one object without topics, in event time.

It differs from a worker in time only. Events are appended when they happen. Pairs are counted and their rows published
together, every `flush_interval_s` of event time; a worker publishes rows a flush later. There is one partition, which
counts the same as many.

Several recommenders may share the rows and answer each event at one moment. The sequence model (`training`) and the
learnt ranking of lists (`ordering`) learn from the same events, as in a trainer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import floor, inf
from typing import TYPE_CHECKING

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.local import LocalCounting
from models.serving.recommender import Query, Recommender, RecommenderConfig, SuggestedItem, expected_of
from models.sessions.histories import Histories, HistoryConfig
from models.sessions.repurchase import visit_of
from models.sessions.visits import EventStatus, VisitConfig, Visits
from models.shop.catalog import Catalog
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

if TYPE_CHECKING:
    from models.evaluation.ordering import Ordering
    from models.evaluation.prequential.training import StreamTraining
    from models.sequence.predictor import SequencePredictor

Event = Click | Purchase | Profile

MAX_BATCH = 500
"""Events that are answered together at most: a worker's default batch of records."""

EVENTS, SEQUENCE = "events", "sequence model"
"""What else is timed besides each recommender: visits and counting; training and asking the network."""


@dataclass(frozen=True)
class Ranking:
    """A recommender over the engine's rows."""

    config: RecommenderConfig = RecommenderConfig()
    """How evidence is weighed."""
    uses_sequence: bool = False
    """Whether it gets the predictions of the sequence model."""
    uses_ranker: bool = False
    """Whether its lists are reranked by a ranker that learns from their outcomes."""


@dataclass(slots=True)
class Answered:
    """An event, and what was suggested for it."""

    event: Event
    offset: int
    """In the topic of its kind, counted from 0."""
    applied: bool
    """False for a repeated event, one without consent, and a profile."""
    query: Query | None
    """None where the event triggers nothing."""
    lists: dict[str, list[SuggestedItem]] = field(default_factory=dict)
    """By recommender, each best first; empty without a query."""


class Engine:
    """Learns from events and answers them.

    Args:
        rankings: the recommenders, by name.
        flush_interval_s: event time between two publications of the counted rows.
        clock: measures work in seconds, such as `time.process_time`; by default a clock that stands still.

    Attributes:
        catalog: to be filled before the first event.
        neighbours: the published rows.
        training: trains the sequence model; to be set before the first event if a ranking uses it.
        predictor: of the sequence model, once there is one.
        predicting: names of the recommenders that are given its predictions.
        orderings: train the rankers of those rankings that use one, by name; to be set before the first event.
        spent_s: seconds spent on EVENTS, on SEQUENCE, and on each recommender's lists and ranker.

    >>> from models.shop.events import CatalogItem
    >>> rankings = {"counting": Ranking()}
    >>> engine = Engine(Policy(), VisitConfig(), CoOccurrenceConfig(), rankings, flush_interval_s=1.0)
    >>> engine.catalog.put(CatalogItem("kettle", "Kettle", "Kettles", 34.0))
    >>> engine.catalog.put(CatalogItem("mug", "Mug", "Mugs", 9.0))
    >>> looks = [Click(user, item, Action.VIEW, 1e9 + at)
    ...     for user, item, at in [("ann", "kettle", 0), ("ann", "mug", 9), ("bob", "kettle", 60)]]
    >>> for answered in engine.run(looks):
    ...     [item["reasons"][0]["text"] for item in answered.lists["counting"]]
    ['New in Mugs']
    ['From Kettles: viewed or added to the cart once']
    ['Viewed or added to the cart together with Kettle once']
    """

    def __init__(
        self,
        policy: Policy,
        visits: VisitConfig,
        counting: CoOccurrenceConfig,
        rankings: Mapping[str, Ranking],
        flush_interval_s: float,
        clock: Callable[[], float] = lambda: 0.0,
        histories: HistoryConfig = HistoryConfig(),  # noqa: B008  it is frozen
    ) -> None:
        self.policy = policy
        self.items = Items()
        self.catalog = Catalog(self.items)
        self._counting = LocalCounting(self.items, counting)
        self.neighbours = self._counting.neighbours
        self.recommenders = {
            name: Recommender(self.items, self.catalog, self.neighbours, policy, ranking.config, histories)
            for name, ranking in rankings.items()
        }
        self.training: StreamTraining | None = None
        self.orderings: dict[str, Ordering] = {}
        self.spent_s: defaultdict[str, float] = defaultdict(float)
        self.predictor: SequencePredictor | None = None
        self.predicting = {name for name, ranking in rankings.items() if ranking.uses_sequence}
        self._clock = clock
        self._visits = Visits(self.items, visits)
        self._histories = Histories(self.items, histories)
        self._interval_s = flush_interval_s
        self._now_s = -inf
        self._flush_at = -inf
        self._clicks = self._purchases = self._profiles = 0

    def run(self, events: Iterable[Event]) -> Iterator[Answered]:
        """Answer every event in order, then learn it; a late event counts as appended with the one before it."""
        batch: list[Answered] = []
        for event in events:
            fresh = self._due(event.at)
            if fresh or event.at >= self._flush_at or len(batch) == MAX_BATCH:
                yield from self._answered(batch)
                batch = []
                with self._timed(EVENTS):
                    self._flush_until(event.at)
            if fresh:
                self._update_models(event.at)
            batch.append(self._apply(event))
        yield from self._answered(batch)

    @contextmanager
    def _timed(self, work: str) -> Iterator[None]:
        started_s = self._clock()
        yield
        self.spent_s[work] += self._clock() - started_s

    def _answered(self, batch: list[Answered]) -> list[Answered]:
        """Fill in the lists of a batch, from the rows and weights as they are now."""
        asked = [(answered, answered.query) for answered in batch if answered.query is not None]
        queries = [query for _, query in asked]
        predictions = None
        if self.predicting:
            with self._timed(SEQUENCE):  # once: all recommenders share the predictor
                predictions = expected_of(self.predictor, queries)
        for name, recommender in self.recommenders.items():
            with self._timed(name):
                given = predictions if name in self.predicting else None
                ordering = self.orderings.get(name)
                for (answered, query), answer in zip(asked, recommender.answer_each(queries, given), strict=True):
                    answered.lists[name] = answer.items
                    refused = self._visits.consent.refuses(query.user_id, query.at)  # by a later profile
                    if ordering is not None and answer.pool is not None and not refused:
                        ordering.record_impression(query, _topic_of(answered.event), answered.offset, answer.pool)
        return batch

    # -- events ----------------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> Answered:
        """Put an event into the visits and build its query, then hand it to what learns."""
        self._now_s = max(self._now_s, event.at)
        with self._timed(EVENTS):
            answered = self._read(event)
        if self.training is not None:
            with self._timed(SEQUENCE):
                if isinstance(event, Click):
                    self.training.click(event, self._now_s, answered.offset)
                elif isinstance(event, Purchase):
                    self.training.purchase(event, self._now_s, answered.offset)
                else:
                    self.training.profile(event)
        for name, ordering in self.orderings.items():
            with self._timed(name):
                if isinstance(event, Profile):
                    ordering.forget(event.user_id, self._visits.consent.refused_until(event.user_id))
                else:
                    ordering.record_event(event, answered.applied, self._now_s, answered.offset)
        return answered

    def _read(self, event: Event) -> Answered:
        if isinstance(event, Profile):
            before = self._visits.apply_profile(event)
            if before is not None:
                self._histories.forget(event.user_id, before, self._visits.purchases(event.user_id))
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
            if verdict is EventStatus.APPLIED:
                bought = list(dict.fromkeys(map(self.items.index, item_ids)))
                self._histories.learn(event.user_id, bought, event.at, offset)
            self._purchases += 1
        self._counting.learn(pairs, event.at)
        if verdict is not EventStatus.APPLIED:
            return Answered(event, offset, False, None)
        if action not in self.policy.triggers:
            return Answered(event, offset, True, None)
        user_id, at = event.user_id, event.at
        history, logs = self._histories.of(user_id), bool(self.orderings)
        visit = visit_of(self._visits, history, user_id, at, self.policy)
        window = self._visits.window(user_id, at) if self.predicting else None
        trigger = list(map(self.items.index, item_ids))
        seed = f"{_topic_of(event)}-0-{offset}"
        query = Query(action, trigger, visit, at, seed, user_id, window, history=history, logs_pool=logs)
        return Answered(event, offset, True, query)

    def _due(self, at: float) -> bool:
        """Whether a new snapshot may be due before an event of this time is answered."""
        return (self.training is not None and self.training.due(at)) or any(
            ordering.due(at) for ordering in self.orderings.values()
        )

    def _update_models(self, at: float) -> None:
        """Give the recommenders the newest snapshots that are due."""
        if self.training is not None and self.training.due(at):
            with self._timed(SEQUENCE):
                self.predictor = self.training.snapshot(at) or self.predictor
        for name, ordering in self.orderings.items():
            if ordering.due(at):
                with self._timed(name):
                    learnt = ordering.snapshot(at)
                    if learnt is not None:
                        self.recommenders[name].learnt = learnt

    # -- counting --------------------------------------------------------------------------------------------------

    def _join(self, clicks_s: float) -> None:
        """Count the joins that wait for no further click."""
        if self._visits.first_pending is not None:
            for _, at, pairs in self._visits.ripen(clicks_s):
                self._counting.learn(pairs, at)

    def _flush_until(self, at: float) -> None:
        """Run all flushes due up to a time; spans without pending joins are skipped."""
        if self._flush_at == -inf:
            self._flush_at = at
        while at >= self._flush_at:
            self._join(self._flush_at)
            self._counting.publish()
            if self._visits.first_pending is None:
                self._flush_at += self._interval_s * floor((at - self._flush_at) / self._interval_s)
            self._flush_at += self._interval_s


def _topic_of(event: Event) -> str:
    return "clicks" if isinstance(event, Click) else "purchases"
