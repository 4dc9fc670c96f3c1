"""Protocol C: are upsells taken? Every view of an item asks for its upsells; what the shopper does next scores them.

An *anchor* is a viewed item (view, click, add_to_cart). Its *allowed* upsells are those of `models.evaluation.upgrades`
that are neither in the cart nor bought recently; all methods rank the same ones. An upsell is *taken* if the shopper
puts it into the cart or buys it after the anchor and within the window. Each shopper is asked about an item once a
window.

All is prequential: suggest, score, then learn, over the whole log; queries begin at the cut. Counts reach the rankings
at even distances of event time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.baskets.purchase_history import PurchaseHistory, PurchaseHistoryConfig
from models.evaluation.ranks import means
from models.evaluation.upgrades import Upgrades
from models.evaluation.worker_counts import WorkerCounts
from models.serving.recommender import Query, Recommender, RecommenderConfig
from models.sessions.visits import Visit, VisitConfig
from models.shop.catalog import Catalog
from models.shop.events import Action, Click, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

K, SHOWN = 10, 2
"""Length of the lists, and how many of them a record shows by default (`max_upsell`)."""

REFRESHES = 500
"""How often in a log counts reach the rankings: in a log of a year every 17 hours, of three hours every 22 s."""

METHODS = ("random", "nearest-price", "popularity", "last-item", "household", "upsells")
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
    habits: PurchaseHistoryConfig = field(default_factory=PurchaseHistoryConfig)


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
    lists: dict[str, NDArray[np.int32]]
    taken: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True)
class Evaluation:
    """Results of the queries whose windows closed before the log ended."""

    asked: int = 0
    """Queries with closed windows."""
    open: int = 0
    """Queries whose windows were open at the end; not counted otherwise."""
    shoppers: list[str] = field(default_factory=list)
    """(n,) shopper of each query with a taken upsell."""
    gains: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    """(n, FIGURES) of the same, by method."""
    steps_shown: dict[str, list[float]] = field(default_factory=dict)
    """Price steps of the first `SHOWN` of all lists, by method."""
    steps_taken: dict[str, list[float]] = field(default_factory=dict)
    """Those of them that were taken."""

    def as_json(self, seed: int) -> dict[str, Any]:
        """Figures with 95 % intervals that resample whole shoppers, acceptance and mean steps, all in percent."""
        methods: dict[str, Any] = {}
        for name, rows in self.gains.items():
            columns = np.array(rows).reshape(-1, len(FIGURES)).T
            found = means(dict(zip(FIGURES, columns, strict=True)), np.array(self.shoppers), seed)
            accepted = float(columns[0].sum()) / max(1, self.asked)
            methods[name] = (
                {figure: value.percent for figure, value in found.items()}
                | {f"acceptance@{SHOWN}": round(100 * accepted, 3)}
                | {"step_shown": _mean(self.steps_shown[name]), "step_taken": _mean(self.steps_taken[name])}
                | {"n": len(rows), "interval": {figure: [value.low, value.high] for figure, value in found.items()}}
            )
        return methods


def evaluate(
    items: Items,
    catalog: Catalog,
    events: Iterable[Click | Purchase],
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
    evaluation = Evaluation(gains={name: [] for name in methods})
    evaluation.steps_shown, evaluation.steps_taken = {name: [] for name in methods}, {name: [] for name in methods}
    queries: dict[str, deque[_Query]] = {}
    asked: dict[tuple[str, int], float] = {}
    every_s, refresh_at = max((span.last - span.first) / REFRESHES, 1e-3), -inf
    for done, event in enumerate(events):
        if done % 1000 == 0:
            progress(done)
        if event.at >= refresh_at:
            state.counts.publish()
            refresh_at = event.at + every_s
        _take(event, items, queries.get(event.user_id, ()), config.window_s)
        if isinstance(event, Click) and event.action is not Action.REMOVE_FROM_CART and event.at >= span.cut:
            anchor = items.index(event.item_id)
            if event.at >= asked.get((event.user_id, anchor), -inf) + config.window_s:
                visit = state.visit(event)
                allowed = upgrades.of(anchor)
                allowed = allowed[~np.isin(allowed, [*visit.cart, *visit.bought])]
                if len(allowed):
                    asked[event.user_id, anchor] = event.at
                    lists = {name: state.ranked(name, event, anchor, allowed, visit) for name in methods}
                    query = _Query(event.at, anchor, frozenset(allowed.tolist()), lists)
                    queries.setdefault(event.user_id, deque()).append(query)
        state.learn(event)
    for user_id, of_shopper in queries.items():
        for query in of_shopper:
            if query.at + config.window_s > span.last:
                evaluation.open += 1
            else:
                _count(user_id, query, upgrades, evaluation)
    return evaluation


def _take(event: Click | Purchase, items: Items, queries: Iterable[_Query], window_s: float) -> None:
    """Note what a shopper takes of open queries."""
    if isinstance(event, Click):
        taken = [items.index(event.item_id)] if event.action is Action.ADD_TO_CART else []
    else:
        taken = list(map(items.index, event.item_ids))
    for query in queries if taken else ():
        if query.at < event.at <= query.at + window_s:
            query.taken.update(dict.fromkeys(item for item in taken if item in query.allowed))


def _count(user_id: str, query: _Query, upgrades: Upgrades, evaluation: Evaluation) -> None:
    """Add the results of a query whose window has closed."""
    evaluation.asked += 1
    for name, found in query.lists.items():
        shown = found[:SHOWN].tolist()
        steps = {item: upgrades.step(item, query.anchor) for item in shown}
        evaluation.steps_shown[name] += steps.values()
        evaluation.steps_taken[name] += [step for item, step in steps.items() if item in query.taken]
    if not query.taken:
        return
    evaluation.shoppers.append(user_id)
    for name, found in query.lists.items():
        places = [place for place, item in enumerate(found.tolist(), 1) if item in query.taken]
        place = places[0] if places else inf
        evaluation.gains[name].append((float(place <= SHOWN), float(place <= K), 1.0 / place))


class _Methods:
    """All methods on one state."""

    def __init__(self, items: Items, catalog: Catalog, policy: Policy, seed: int, config: UpsellsConfig) -> None:
        self._items = items
        self._catalog = catalog
        self._bought_s = policy.bought_days * 86_400.0
        self.counts = WorkerCounts(items, config.visits, config.counting)
        self._recommender = Recommender(items, catalog, self.counts.neighbours, policy, config.ranking)
        self._history = PurchaseHistory(config.habits)
        self._popular = np.zeros(len(items))
        self._chance = np.random.default_rng(seed)
        self._ranks: Mapping[str, Callable[[Click, int, NDArray[np.int32]], NDArray[np.float64]]] = {
            "random": lambda _, __, allowed: self._chance.random(len(allowed)),
            "nearest-price": lambda _, __, allowed: -self._catalog.facts["price"][allowed],
            "popularity": lambda _, __, allowed: self._popular[allowed],
            "last-item": lambda _, anchor, allowed: self._pairs(anchor, allowed),
            "household": lambda event, _, allowed: self._bought(event.user_id, allowed),
        }

    def visit(self, event: Click) -> Visit:
        """The shopper's visit before the event."""
        return self.counts.visits.snapshot(event.user_id, event.at, self._bought_s)

    def ranked(
        self, name: str, event: Click, anchor: int, allowed: NDArray[np.int32], visit: Visit
    ) -> NDArray[np.int32]:
        """The first `K` allowed items by a method; ties: the more popular first, then by item id."""
        if name == "upsells":
            barred = list(dict.fromkeys([*visit.cart, *visit.bought]))
            looks = Visit(visit.items, visit.ages_s, visit.actions, [], barred)
            (suggested,) = self._recommender.suggest_many([Query(event.action, [anchor], looks, event.at, "")])
            return np.array([self._items.find(item["item_id"]) for item in suggested], np.int32)
        scores, id_order = self._ranks[name](event, anchor, allowed), self._items.order[allowed]
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
        rows, counts = self._history.rows(user_id), np.zeros(len(self._items))
        counts[rows["item"]] = rows["count"]
        return counts[allowed]

    def learn(self, event: Click | Purchase) -> None:
        """Learn an event."""
        self.counts.learn(event)
        if isinstance(event, Purchase):
            bought = list(map(self._items.index, event.item_ids))
            self._history.learn_one(event.user_id, bought, event.at)
            self._popular[bought] += 1.0
        else:
            self._popular[self._items.index(event.item_id)] += 1.0


def _mean(steps: list[float]) -> float | None:
    return round(100 * float(np.mean(steps)), 2) if steps else None
