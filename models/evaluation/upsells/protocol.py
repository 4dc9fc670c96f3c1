"""Protocol C: is the dearer one taken? Every look at an item asks for its upsells, and the shopper's next days answer.

An *anchor* is an item that is looked at (view, click, add_to_cart). *Allowed* for it are the items that the rules would
let in as its upsells: of the same category, dearer by a bounded step, rated no lower, in the catalogue, neither in the
cart nor bought lately. Where there are any, all methods rank the same ones. They are *taken* if the shopper puts one
into the cart or buys it within the window, later than the anchor. A shopper is asked about an item once a window.

Everything is prequential: suggest, score, then learn, over the whole log; asked is from the cut on. What was learnt
reaches the rankings at even distances of event time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.baskets.purchase_history import PurchaseHistory, PurchaseHistoryConfig
from models.evaluation.ranks import means
from models.evaluation.worker_counts import WorkerCounts
from models.serving.recommender import Query, Recommender, RecommenderConfig
from models.sessions.visits import Visit, VisitConfig
from models.shop.catalog import OFFERED, Catalog
from models.shop.events import Action, Click, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

K, SHOWN = 10, 2
"""Length of the lists, and how many of them a record shows by default (`max_upsell`)."""

REFRESHES = 500
"""How often in a log what was learnt reaches the rankings: in a year every 17 hours, in three hours every 22 s."""

METHODS = ("random", "nearest-price", "popularity", "last-item", "household", "upsells")
"""All methods, in the order of the table; the last is ours, the worker's recommender."""

FIGURES = (f"hr@{SHOWN}", f"hr@{K}", f"mrr@{K}")


@dataclass(frozen=True)
class UpsellsConfig:
    """What is measured."""

    window_s: float = 30 * 86_400.0
    """Time to take what was suggested: a month, as a better pan is not bought on the day it is seen."""
    visits: VisitConfig = field(default_factory=VisitConfig)
    counting: CoOccurrenceConfig = field(default_factory=CoOccurrenceConfig)
    ranking: RecommenderConfig = field(default_factory=RecommenderConfig)
    habits: PurchaseHistoryConfig = field(default_factory=PurchaseHistoryConfig)


class MoreExpensive:
    """The allowed upsells of each item, by category and price; of a catalogue that does not change.

    Args:
        catalog: what is offered.
        policy: the bounds of a step.

    >>> from models.shop.events import CatalogItem
    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> for name, category, price in [("s", "Pan", 10.0), ("m", "Pan", 15.0), ("l", "Pan", 30.0), ("x", "Cup", 15.0)]:
    ...     catalog.put(CatalogItem(name, name, category, price))
    >>> MoreExpensive(catalog, len(items), Policy()).of(0).tolist()  # 30 is more than twice 10
    [1]
    """

    def __init__(self, catalog: Catalog, items: int, policy: Policy) -> None:
        catalog.make_room()
        self._facts = catalog.facts[:items].copy()
        self._policy = policy
        of_node = [catalog.categories.at_depth(node, policy.category_depth) for node in range(len(catalog.categories))]
        self._group = np.array(of_node, np.int32)[self._facts["category"]]
        by_group: dict[tuple[int, int], list[int]] = {}
        order = np.argsort(self._facts["price"], kind="stable")
        for index in order[self._facts["state"][order] == OFFERED].tolist():
            by_group.setdefault(self._key(index), []).append(index)
        self._by_group = {key: np.array(found, np.int32) for key, found in by_group.items()}
        self._prices = {key: self._facts["price"][found].tolist() for key, found in self._by_group.items()}

    def _key(self, index: int) -> tuple[int, int]:
        return int(self._group[index]), int(self._facts["currency"][index])

    def of(self, index: int) -> NDArray[np.int32]:
        """Indices of the allowed upsells of an item, cheapest first."""
        anchor = self._facts[index]
        found = self._by_group.get(self._key(index))
        if found is None or not anchor["state"] or not anchor["price"] > 0.0:
            return np.zeros(0, np.int32)
        prices, price = self._prices[self._key(index)], float(anchor["price"])
        first = bisect_left(prices, price * (1 + self._policy.min_step))
        last = bisect_right(prices, price * (1 + self._policy.max_step))
        dearer = found[first:last]
        allowed: NDArray[np.int32] = dearer[~(self._facts["rating"][dearer] < anchor["rating"]) & (dearer != index)]
        return allowed

    def step(self, index: int, anchor: int) -> float:
        """By which share an item is dearer than another one."""
        return float(self._facts["price"][index] / self._facts["price"][anchor] - 1.0)


@dataclass(slots=True)
class _Open:
    """A question whose window has not closed."""

    at: float
    anchor: int
    allowed: frozenset[int]
    lists: dict[str, NDArray[np.int32]]
    taken: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True)
class Evaluation:
    """What became of the questions whose windows closed before the log ended."""

    asked: int = 0
    """Anchors with any allowed upsell."""
    open: int = 0
    """... whose windows were still open at the end: not counted."""
    shoppers: list[str] = field(default_factory=list)
    """(n,) whose anchor, of those with a taken upsell."""
    gains: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    """(n, FIGURES) by method."""
    steps_shown: dict[str, list[float]] = field(default_factory=dict)
    """Of the first `SHOWN` of all lists."""
    steps_taken: dict[str, list[float]] = field(default_factory=dict)
    """... of those that were taken."""

    def as_json(self, seed: int) -> dict[str, Any]:
        """Figures in percent with 95 % intervals (whole shoppers are drawn), acceptance and mean steps in percent."""
        _, groups = np.unique(np.array(self.shoppers), return_inverse=True)
        methods: dict[str, Any] = {}
        for name, rows in self.gains.items():
            columns = np.array(rows).reshape(-1, len(FIGURES)).T
            found = means(dict(zip(FIGURES, columns, strict=True)), groups.astype(np.int64), seed)
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
    first: float,
    last: float,
    cut: float,
    policy: Policy,
    methods: Collection[str],
    say: Callable[[int], None],
    seed: int,
    config: UpsellsConfig,
) -> Evaluation:
    """Ask about every look from the cut on.

    Args:
        items: numbers the items of the catalogue and of all events.
        catalog: what is offered, all the time.
        events: in time order.
        first: time of the first, epoch seconds.
        last: time of the last.
        cut: time from which is asked.
        policy: bounds of a step, depth of categories, days for which what was bought is not suggested.
        methods: names from `METHODS`.
        say: told how many events are done.
        seed: of the random lists.
        config: what is measured.
    """
    ask = _Methods(items, catalog, policy, seed, config)
    dearer = MoreExpensive(catalog, len(items), policy)
    evaluation = Evaluation(gains={name: [] for name in methods})
    evaluation.steps_shown, evaluation.steps_taken = {name: [] for name in methods}, {name: [] for name in methods}
    queues: dict[str, deque[_Open]] = {}
    asked: dict[tuple[str, int], float] = {}
    every_s, refresh_at = max((last - first) / REFRESHES, 1e-3), -inf
    for done, event in enumerate(events):
        if done % 1000 == 0:
            say(done)
        if event.at >= refresh_at:
            ask.publish()
            refresh_at = event.at + every_s
        _take(event, items, queues.get(event.user_id, ()), config.window_s)
        if isinstance(event, Click) and event.action is not Action.REMOVE_FROM_CART and event.at >= cut:
            anchor = items.index(event.item_id)
            if event.at >= asked.get((event.user_id, anchor), -inf) + config.window_s:
                visit = ask.visit(event)
                allowed = dearer.of(anchor)
                allowed = allowed[~np.isin(allowed, [*visit.cart, *visit.bought])]
                if len(allowed):
                    asked[event.user_id, anchor] = event.at
                    lists = {name: ask.ranked(name, event, anchor, allowed, visit) for name in methods}
                    question = _Open(event.at, anchor, frozenset(allowed.tolist()), lists)
                    queues.setdefault(event.user_id, deque()).append(question)
        ask.learn(event)
    for user_id, questions in queues.items():
        for question in questions:
            if question.at + config.window_s > last:
                evaluation.open += 1
            else:
                _count(user_id, question, dearer, evaluation)
    return evaluation


def _take(event: Click | Purchase, items: Items, questions: Iterable[_Open], window_s: float) -> None:
    """Note what a shopper takes in his open questions."""
    if isinstance(event, Click):
        taken = [items.index(event.item_id)] if event.action is Action.ADD_TO_CART else []
    else:
        taken = [items.index(line.item_id) for line in event.lines]
    for question in questions if taken else ():
        if question.at < event.at <= question.at + window_s:
            question.taken.update(dict.fromkeys(item for item in taken if item in question.allowed))


def _count(user_id: str, question: _Open, dearer: MoreExpensive, evaluation: Evaluation) -> None:
    """What a closed question says of each method."""
    evaluation.asked += 1
    for name, found in question.lists.items():
        shown = found[:SHOWN].tolist()
        steps = {item: dearer.step(item, question.anchor) for item in shown}
        evaluation.steps_shown[name] += steps.values()
        evaluation.steps_taken[name] += [step for item, step in steps.items() if item in question.taken]
    if not question.taken:
        return
    evaluation.shoppers.append(user_id)
    for name, found in question.lists.items():
        places = [place for place, item in enumerate(found.tolist(), 1) if item in question.taken]
        place = places[0] if places else inf
        evaluation.gains[name].append((float(place <= SHOWN), float(place <= K), 1.0 / place))


class _Methods:
    """All methods on one state."""

    def __init__(self, items: Items, catalog: Catalog, policy: Policy, seed: int, config: UpsellsConfig) -> None:
        self._items = items
        self._catalog = catalog
        self._bought_s = policy.bought_days * 86_400.0
        self._counts = WorkerCounts(items, config.visits, config.counting)
        self._recommender = Recommender(items, catalog, self._counts.neighbours, policy, config.ranking)
        self._habits = PurchaseHistory(config.habits)
        self._popular = np.zeros(len(items))
        self._chance = np.random.default_rng(seed)
        self._ranks: Mapping[str, Callable[[Click, int, NDArray[np.int32]], NDArray[np.float64]]] = {
            "random": lambda _, __, allowed: self._chance.random(len(allowed)),
            "nearest-price": lambda _, __, allowed: -self._catalog.facts["price"][allowed],
            "popularity": lambda _, __, allowed: self._popular[allowed],
            "last-item": lambda _, anchor, allowed: self._max_batch(anchor, allowed),
            "household": lambda event, _, allowed: self._owned(event.user_id, allowed),
        }

    def visit(self, event: Click) -> Visit:
        """Of the shopper, before the event."""
        return self._counts.visit(event.user_id, event.at, self._bought_s)

    def ranked(
        self, name: str, event: Click, anchor: int, allowed: NDArray[np.int32], visit: Visit
    ) -> NDArray[np.int32]:
        """The first `K` allowed ones by a method; ties go to the more popular, then by item id."""
        if name == "upsells":
            barred = list(dict.fromkeys([*visit.cart, *visit.bought]))
            looks = Visit(visit.items, visit.ages_s, visit.actions, [], barred)
            (told,) = self._recommender.suggest_many([Query(event.action, [anchor], looks, event.at, "")])
            return np.array([self._items.find(one["item_id"]) for one in told], np.int32)
        scores, order = self._ranks[name](event, anchor, allowed), self._items.order[allowed]
        return allowed[np.lexsort((order[:, 1], order[:, 0], -self._popular[allowed], -scores))[:K]]

    def _max_batch(self, anchor: int, allowed: NDArray[np.int32]) -> NDArray[np.float64]:
        """Plain numbers of events behind the anchor's pairs."""
        mirror, counts = self._counts.neighbours, np.zeros(len(self._items))
        if anchor < len(mirror.length):
            cells = slice(int(mirror.start[anchor]), int(mirror.start[anchor]) + int(mirror.length[anchor]))
            counts[mirror.ids[cells]] = mirror.counts[cells].sum(axis=1)
        return counts[allowed]

    def _owned(self, user_id: str, allowed: NDArray[np.int32]) -> NDArray[np.float64]:
        """Baskets of the shopper with each."""
        rows, counts = self._habits.rows(user_id), np.zeros(len(self._items))
        counts[rows["item"]] = rows["count"]
        return counts[allowed]

    def learn(self, event: Click | Purchase) -> None:
        """Learn an event."""
        self._counts.learn(event)
        if isinstance(event, Purchase):
            bought = list(dict.fromkeys(self._items.index(line.item_id) for line in event.lines))
            self._habits.learn_one(event.user_id, bought, event.at)
            self._popular[bought] += 1.0
        else:
            self._popular[self._items.index(event.item_id)] += 1.0

    def publish(self) -> None:
        """Let what was learnt count."""
        self._counts.publish()


def _mean(steps: list[float]) -> float | None:
    return round(100 * float(np.mean(steps)), 2) if steps else None
