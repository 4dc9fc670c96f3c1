"""Protocol C: are upsells taken? Every view of an item asks for its upsells; what the shopper does next scores them.

An *anchor* is a viewed item (view, click, add_to_cart). Its *allowed* upsells are those of `models.evaluation.upgrades`
that are neither in the cart nor bought recently; all methods rank the same ones. An upsell is *taken* if the shopper
puts it into the cart or buys it after the anchor and within the window. Each shopper is asked about an item once a
window.

Beside what is taken stand what is taken and *new to the household*, which the shopper had not bought before the anchor,
and what is *credited*: a taking counts 1 - base rate as of the anchor (`models.evaluation.purchases`).

All is prequential: suggest, score, then learn, over the whole log; queries begin at the cut. Counts reach the rankings
at even distances of event time. Repeated events, and those that consent excludes, are passed over, as by a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.lists import gains
from models.evaluation.ordering import Ordering
from models.evaluation.personal_terms import PersonalTerms
from models.evaluation.purchases import Purchases
from models.evaluation.ranks import means
from models.evaluation.tifu_knn import TifuKnn, TifuKnnConfig
from models.evaluation.upgrades import Upgrades
from models.evaluation.worker_counts import WorkerCounts
from models.ranking.attribution import AttributionConfig
from models.ranking.ranker import RankerConfig
from models.serving.recommender import Query, Recommender, RecommenderConfig
from models.sessions.histories import Histories, HistoryConfig
from models.sessions.visits import EventStatus, Visit, VisitConfig
from models.shop.catalog import Catalog
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

K, SHOWN = 10, 2
"""Length of the lists, and how many of them a record shows by default (`max_upsell`)."""

REFRESHES = 500
"""How often in a log counts reach the rankings: in a log of a year every 17 hours, of three hours every 22 s."""

NEAREST_EVERY = 10
"""After so many of them TIFU-KNN finds again who is nearest, by vectors as of then: in a log of a year once a week."""

LOGGED = 10
"""One event in so many has its pool logged: about what the budget of a worker allows in a busy shop."""

OURS = "crosscurrent"

METHODS = ("random", "nearest-price", "popularity", "last-item", "household", "personal-terms", "tifu-knn", OURS)
"""All methods, in the order of the table; the last is the worker's recommender."""

FIGURES = (f"hr@{SHOWN}", f"hr@{K}", f"mrr@{K}")


@dataclass(frozen=True)
class UpsellsConfig:
    """What is measured."""

    window_s: float = 30 * 86_400.0
    """Time to take an upsell: a month, as a better pan is not bought on the day it is seen."""
    visits: VisitConfig = field(default_factory=VisitConfig)
    counting: CoOccurrenceConfig = field(default_factory=CoOccurrenceConfig)
    ranking: RecommenderConfig = field(default_factory=RecommenderConfig)
    histories: HistoryConfig = field(default_factory=HistoryConfig)
    outcomes: AttributionConfig = field(default_factory=AttributionConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)


class Span(NamedTuple):
    """Times of a log, epoch seconds."""

    first: float
    last: float
    cut: float
    """Queries begin here."""


@dataclass(slots=True)
class _Query:
    """A query and what was taken of it."""

    at: float
    anchor: int
    allowed: frozenset[int]
    credits: NDArray[np.float32]
    """(n,) of the allowed, in their order: 1 - base rate."""
    had: frozenset[int]
    """Those of the allowed that the shopper has bought before."""
    lists: dict[str, NDArray[np.int32]]
    taken: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """Queries with a taken upsell that counts, and what each method gained."""

    gains: dict[str, list[tuple[float, ...]]]
    """(n, FIGURES), by method."""
    shoppers: list[str] = field(default_factory=list)
    """(n,) shopper of each."""

    def figures(self, method: str, asked: int, seed: int) -> dict[str, Any]:
        """Means with 95 % intervals that resample whole shoppers, and acceptance of `asked` queries, in percent."""
        columns = np.array(self.gains[method]).reshape(-1, len(FIGURES)).T
        found = means(dict(zip(FIGURES, columns, strict=True)), np.array(self.shoppers), seed)
        return (
            {figure: value.percent for figure, value in found.items()}
            | {f"acceptance@{SHOWN}": round(100 * float(columns[0].sum()) / max(1, asked), 3)}
            | {"n": len(self.shoppers), "interval": {name: [value.low, value.high] for name, value in found.items()}}
        )


@dataclass(slots=True)
class Evaluation:
    """Results of the queries whose windows closed before the log ended."""

    taken: Reading
    new: Reading
    """Only what is new to the household counts."""
    credited: Reading
    """What is taken counts 1 - base rate."""
    steps_shown: dict[str, list[float]]
    """Price steps of the first `SHOWN` of all lists, by method."""
    steps_taken: dict[str, list[float]]
    """Those of them that were taken."""
    revenue: dict[str, float]
    """Sum of the prices of the first `SHOWN` that were taken, by method."""
    asked: int = 0
    """Queries with closed windows."""
    open: int = 0
    """Queries whose windows were open at the end; not counted otherwise."""

    @classmethod
    def of(cls, methods: Collection[str]) -> Evaluation:
        """No results yet."""

        def none() -> dict[str, list[Any]]:
            return {name: [] for name in methods}

        readings = Reading(none()), Reading(none()), Reading(none())
        return cls(*readings, none(), none(), dict.fromkeys(methods, 0.0))

    def as_json(self, seed: int) -> dict[str, Any]:
        """Figures of each method in percent, revenue of 1,000 queries in the shop's currency."""
        methods: dict[str, Any] = {}
        for name in self.taken.gains:
            found = self.taken.figures(name, self.asked, seed)
            shown, taken = _mean(self.steps_shown[name]), _mean(self.steps_taken[name])
            methods[name] = (
                found
                | {"step_shown": shown, "step_taken": taken}
                | {"lift_per_anchor": round(found[f"acceptance@{SHOWN}"] / 100 * (taken or 0.0), 4)}
                | {"revenue_per_1000_lists": round(1000 * self.revenue[name] / max(1, self.asked), 2)}
                | {"new to household": self.new.figures(name, self.asked, seed)}
                | {"credited": self.credited.figures(name, self.asked, seed)}
            )
        return methods


def evaluate(
    items: Items,
    catalog: Catalog,
    events: Iterable[Click | Purchase | Profile],
    span: Span,
    policy: Policy,
    methods: Collection[str],
    progress: Callable[[int], None],
    seed: int,
    config: UpsellsConfig,
) -> Evaluation:
    """Score the upsells of every view from the cut on.

    Args:
        items: numbers the items of the catalogue and of all events.
        catalog: what is offered; does not change.
        events: in time order.
        span: their times.
        policy: bounds of a step, depth of categories, days for which bought items are not suggested.
        methods: names from `METHODS`.
        progress: called now and then with the number of events done.
        seed: of the random lists.
        config: what is measured.
    """
    state = _Methods(items, catalog, policy, seed, config)
    upgrades = Upgrades(catalog, len(items), policy)
    evaluation = Evaluation.of(methods)
    queries: dict[str, deque[_Query]] = {}
    asked: dict[tuple[str, int], float] = {}
    every_s, refresh_at = max((span.last - span.first) / REFRESHES, 1e-3), -inf
    for done, event in enumerate(events):
        if done % 1000 == 0:
            progress(done)
        if event.at >= refresh_at:
            state.publish(event.at)
            refresh_at = event.at + every_s
        if isinstance(event, Profile):
            state.apply_profile(event)
            continue
        if event.at >= span.cut and state.asks(event):
            anchor = items.index(event.item_id)
            due = asked.get((event.user_id, anchor), -inf) + config.window_s
            if event.at >= due and (query := _ask(event, anchor, upgrades, state, methods)) is not None:
                asked[event.user_id, anchor] = event.at
                queries.setdefault(event.user_id, deque()).append(query)
        if state.learn(event):
            _take(event, items, queries.get(event.user_id, ()), config.window_s)
    for user_id, of_shopper in queries.items():
        for query in of_shopper:
            if query.at + config.window_s > span.last:
                evaluation.open += 1
            else:
                _count(user_id, query, upgrades, catalog, evaluation)
    return evaluation


def _ask(event: Click, anchor: int, upgrades: Upgrades, state: _Methods, methods: Collection[str]) -> _Query | None:
    """The query about an anchor with the lists of all methods; None if no upsell is allowed."""
    visit, allowed = state.visit(event), upgrades.of(anchor)
    allowed = allowed[~np.isin(allowed, [*visit.cart, *visit.bought])]
    if not len(allowed):
        return None
    lists = {name: state.ranked(name, event, anchor, allowed, visit) for name in methods}
    offers = frozenset(allowed.tolist())
    credits = state.purchases.credits(event.user_id, offers)
    had = offers - state.purchases.new(event.user_id, offers)
    return _Query(event.at, anchor, offers, np.fromiter(credits.values(), np.float32, len(credits)), had, lists)


def _take(event: Click | Purchase, items: Items, queries: Iterable[_Query], window_s: float) -> None:
    """Note what a shopper takes of open queries."""
    if isinstance(event, Click):
        taken = [items.index(event.item_id)] if event.action is Action.ADD_TO_CART else []
    else:
        taken = list(map(items.index, event.item_ids))
    for query in queries if taken else ():
        if query.at < event.at <= query.at + window_s:
            query.taken.update(dict.fromkeys(item for item in taken if item in query.allowed))


def _count(user_id: str, query: _Query, upgrades: Upgrades, catalog: Catalog, evaluation: Evaluation) -> None:
    """Add the results of a query whose window has closed."""
    evaluation.asked += 1
    for name, found in query.lists.items():
        shown = found[:SHOWN].tolist()
        steps = {item: upgrades.step(item, query.anchor) for item in shown}
        evaluation.steps_shown[name] += steps.values()
        evaluation.steps_taken[name] += [step for item, step in steps.items() if item in query.taken]
        evaluation.revenue[name] += sum(float(catalog.facts["price"][item]) for item in shown if item in query.taken)
    if not query.taken:
        return
    credits = dict(zip(query.allowed, query.credits.tolist(), strict=True))
    for reading, worth in (
        (evaluation.taken, dict.fromkeys(query.taken, 1.0)),
        (evaluation.new, {item: 1.0 for item in query.taken if item not in query.had}),
        (evaluation.credited, {item: credits[item] for item in query.taken}),
    ):
        if not worth:
            continue
        reading.shoppers.append(user_id)
        for name, found in query.lists.items():
            weights = [worth.get(item, 0.0) for item in found.tolist()]
            (few, *_), (all_of_it, reciprocal, *_) = (gains(weights[:k], len(worth), k) for k in (SHOWN, K))
            reading.gains[name].append((few, all_of_it, reciprocal))


class _Methods:
    """All methods on one state."""

    def __init__(self, items: Items, catalog: Catalog, policy: Policy, seed: int, config: UpsellsConfig) -> None:
        self._items = items
        self._catalog = catalog
        self._bought_s = policy.bought_days * 86_400.0
        self.counts = WorkerCounts(items, config.visits, config.counting)
        self._recommender = Recommender(
            items, catalog, self.counts.neighbours, policy, config.ranking, config.histories
        )
        self._histories = Histories(items, config.histories)
        self._ordering = Ordering(items, config.outcomes, config.ranker, 0.0, 0.0, policy)
        self._offsets = {Click: 0, Purchase: 0}
        self.purchases, self._personal = Purchases(), PersonalTerms()
        self._similar = TifuKnn(len(items), TifuKnnConfig())
        self._published, self._nearest_of = 0, -1
        self._popular = np.zeros(len(items))
        self._chance = np.random.default_rng(seed)
        self._ranks: Mapping[str, Callable[[Click, int, NDArray[np.int32], Visit], NDArray[np.float64]]] = {
            "random": lambda _, __, allowed, ___: self._chance.random(len(allowed)),
            "nearest-price": lambda _, __, allowed, ___: -self._catalog.facts["price"][allowed],
            "popularity": lambda _, __, allowed, ___: self._popular[allowed],
            "last-item": lambda _, anchor, allowed, __: self._pairs(anchor, allowed),
            "household": lambda event, _, allowed, __: self._bought(event.user_id, allowed),
            "personal-terms": self._terms,
            "tifu-knn": self._tifu,
        }

    def asks(self, event: Click | Purchase) -> TypeGuard[Click]:
        """Whether an event asks for upsells."""
        looks = isinstance(event, Click) and event.action is not Action.REMOVE_FROM_CART
        return looks and not self.counts.visits.consent.refuses(event.user_id, event.at)

    def visit(self, event: Click) -> Visit:
        """The shopper's visit before the event."""
        return self.counts.visits.snapshot(event.user_id, event.at, self._bought_s)

    def ranked(
        self, name: str, event: Click, anchor: int, allowed: NDArray[np.int32], visit: Visit
    ) -> NDArray[np.int32]:
        """The first `K` allowed items by a method; ties: the more popular first, then by item id."""
        if name == OURS:
            barred = list(dict.fromkeys([*visit.cart, *visit.bought]))
            looks = Visit(visit.items, visit.ages_s, visit.actions, [], barred)
            history = self._histories.of(event.user_id)
            query = Query(event.action, [anchor], looks, event.at, "", history=history)
            (suggested,) = self._recommender.suggest_many([query])
            return np.array([self._items.find(item["item_id"]) for item in suggested], np.int32)
        scores, id_order = self._ranks[name](event, anchor, allowed, visit), self._items.order[allowed]
        return allowed[np.lexsort((id_order[:, 1], id_order[:, 0], -self._popular[allowed], -scores))[:K]]

    def _pairs(self, anchor: int, allowed: NDArray[np.int32]) -> NDArray[np.float64]:
        """Plain numbers of events that pair each item with the anchor."""
        rows, counts = self.counts.neighbours, np.zeros(len(self._items))
        if anchor < len(rows.length):
            cells = slice(int(rows.start[anchor]), int(rows.start[anchor]) + int(rows.length[anchor]))
            counts[rows.ids[cells]] = rows.counts[cells].sum(axis=1)
        return counts[allowed]

    def _bought(self, user_id: str, allowed: NDArray[np.int32]) -> NDArray[np.float64]:
        """Baskets of the shopper with each item."""
        baskets = self.purchases.of(user_id)
        return np.array([baskets[item] for item in allowed.tolist()], np.float64)

    def _terms(self, event: Click, anchor: int, allowed: NDArray[np.int32], visit: Visit) -> NDArray[np.float64]:
        """PerNIR's personal terms, asked with the cart and the anchor."""
        given = [item for item in visit.cart if item != anchor]
        scores = self._personal.scores(event.user_id, [*given, anchor])
        return np.array([scores.get(item, 0.0) for item in allowed.tolist()])

    def _tifu(self, event: Click, _: int, allowed: NDArray[np.int32], __: Visit) -> NDArray[np.float64]:
        """TIFU-KNN, for which the vectors of all are brought up to date every `NEAREST_EVERY` publications."""
        if self._nearest_of != self._published // NEAREST_EVERY:
            self._nearest_of = self._published // NEAREST_EVERY
            self._similar.refresh()
        items, scores = self._similar.scores(event.user_id)
        found = np.zeros(len(self._items))
        found[items] = scores
        return found[allowed]

    def publish(self, at: float) -> None:
        """Bring the rows and the learnt order up to date, as of a time."""
        self._published += 1
        self.counts.publish()
        self._recommender.learnt = self._ordering.snapshot(at) or self._recommender.learnt

    def _log_pool(self, event: Click | Purchase, offset: int) -> None:
        """Open the pool of an event, as a worker logs those of a sample."""
        topic = "clicks" if isinstance(event, Click) else "purchases"
        action, ids = (event.action, [event.item_id]) if isinstance(event, Click) else (Action.PURCHASE, event.item_ids)
        user_id, at, trigger = event.user_id, event.at, list(map(self._items.index, ids))
        visit = self.counts.visits.snapshot(user_id, at, self._bought_s)
        history, seed = self._histories.of(user_id), f"{topic}-0-{offset}"
        query = Query(action, trigger, visit, at, seed, user_id, history=history, logs_pool=True)
        (answer,) = self._recommender.answer_each([query])
        if answer.pool is not None:
            self._ordering.record_impression(query, topic, offset, answer.pool)

    def apply_profile(self, profile: Profile) -> None:
        """Forget what a shopper wants forgotten, and learn nothing more of one who refuses."""
        user_id, visits = profile.user_id, self.counts.visits
        before = visits.apply_profile(profile)
        if before is not None:
            self._histories.forget(user_id, before, visits.purchases(user_id))
        self._ordering.forget(user_id, visits.consent.refused_until(user_id))

    def learn(self, event: Click | Purchase) -> bool:
        """Learn an event, if it counts; returns whether it does."""
        offset = self._offsets[type(event)]
        self._offsets[type(event)] += 1
        applied = self.counts.learn(event) is EventStatus.APPLIED
        self._ordering.record_event(event, applied, event.at, offset)
        if not applied:
            return False
        if isinstance(event, Purchase):
            bought = list(map(self._items.index, event.item_ids))
            self._histories.learn(event.user_id, bought, event.at, offset)
        triggers = isinstance(event, Purchase) or event.action is not Action.REMOVE_FROM_CART
        if triggers and sum(self._offsets.values()) % LOGGED == 0:
            self._log_pool(event, offset)
        if isinstance(event, Purchase):
            self.purchases.learn(event.user_id, bought)
            self._personal.learn(event.user_id, bought)
            self._similar.learn(event.user_id, bought)
            self._popular[bought] += 1.0
        else:
            self._popular[self._items.index(event.item_id)] += 1.0
        return True


def _mean(steps: list[float]) -> float | None:
    return round(100 * float(np.mean(steps)), 2) if steps else None
