"""A shop of a few items for tests of suggestions: rows written by hand, or learnt from visits by the real models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence, Row
from models.cooccurrence.index import Neighbours
from models.ranking.features import FEATURES
from models.sequence.predictor import SequencePredictor
from models.serving.recommender import Query, Recommender, RecommenderConfig, SuggestedItem, expected_of
from models.sessions.histories import NOTHING, History, HistoryConfig
from models.sessions.visits import Visit, VisitConfig, Visits, Window
from models.shop.catalog import Catalog
from models.shop.events import Action, CatalogItem, Click, Line, Purchase
from models.shop.items import Items
from models.shop.policy import DEFAULT, Policy

NOW = 1_700_000_000.0
HALF_LIFE_S = 30 * 86400.0
WIDE: dict[str, Any] = {"max_items": 100, "max_cross_sell": 100, "max_upsell": 100, "max_per_category": 0}
"""A policy that hides nothing behind a cap."""


class CornerShop:
    """Catalogue, rows and a recommender over them.

    Args:
        policy: of the recommender.
        first: ids to intern first, so that indices differ from another shop's.
        histories: half-lives of what shoppers have bought.
    """

    def __init__(
        self, policy: Policy | None = None, first: Sequence[str] = (), histories: HistoryConfig | None = None
    ) -> None:
        self.items = Items()
        for item_id in first:
            self.items.index(item_id)
        self.catalog = Catalog(self.items)
        self.neighbours = Neighbours(self.items, HALF_LIFE_S)
        self.recommender = Recommender(
            self.items, self.catalog, self.neighbours, policy or Policy(), RecommenderConfig(), histories
        )
        self.predictor: SequencePredictor | None = None

    def offer(self, item_id: str, category: str, price: float, **more: Any) -> None:
        """An item of the catalogue; its title is its id with a capital letter."""
        self.catalog.put(CatalogItem(item_id, item_id.capitalize(), category, price, **more))

    def learn(
        self,
        item_id: str,
        neighbours: Mapping[str, tuple[float, float, float]],
        views: float = 20.0,
        baskets: float = 8.0,
        at: float = NOW,
        counts: Mapping[str, tuple[int, int, int]] | None = None,
    ) -> None:
        """A row: by neighbour the weights of viewed-with, bought-with, viewed-then-bought, the events behind them."""
        weights = np.array([neighbours[one] for one in neighbours], np.float64).reshape(-1, 3)
        plain = np.ceil(weights) if counts is None else np.array([counts[one] for one in neighbours]).reshape(-1, 3)
        own_count = (round(views), round(baskets))
        self.neighbours.put(
            Row(item_id, 1, at, (views, baskets), own_count, list(neighbours), weights, plain.astype(np.int64))
        )

    def query(
        self,
        *trigger: str,
        action: Action = Action.VIEW,
        visit: Sequence[str] = (),
        cart: Sequence[str] = (),
        bought: Sequence[str] = (),
        at: float = NOW,
        seed: str = "clicks-0-0",
        arm: int = DEFAULT,
        history: History = NOTHING,
        logs_pool: bool = False,
    ) -> Query:
        """What is asked for an event on items, with what the shopper has looked at before, latest first."""
        index = self.items.index
        seen = list(dict.fromkeys([*trigger[:1], *visit])) if action is not Action.PURCHASE else list(visit)
        ages_s = [60.0 * back for back in range(len(seen))]
        looked = Visit(
            [index(one) for one in seen],
            ages_s,
            [0] * len(seen),
            [index(one) for one in cart],
            [index(one) for one in bought],
        )
        window = Window(looked.items[::-1], [0] * len(seen), [at - age_s for age_s in ages_s[::-1]])
        trigger_items = [index(one) for one in trigger]
        return Query(action, trigger_items, looked, at, seed, "", window, arm, history, logs_pool)

    def ask(self, *trigger: str, **more: Any) -> list[SuggestedItem]:
        """Suggestions for one event; arguments as of `query`."""
        queries = [self.query(*trigger, **more)]
        return next(self.recommender.suggest_each(queries, expected_of(self.predictor, queries)))

    def pool(self, *trigger: str, **more: Any) -> dict[str, dict[str, float]]:
        """Features by item and name of the pool for one event; arguments as of `query`."""
        queries = [self.query(*trigger, **more, logs_pool=True)]
        pool = next(self.recommender.answer_each(queries, expected_of(self.predictor, queries))).pool
        if pool is None:
            return {}
        rows = (dict(zip(FEATURES, row, strict=True)) for row in pool.features.tolist())
        return dict(zip(map(self.items.name, pool.items.tolist()), rows, strict=True))

    def kinds(self, *trigger: str, **more: Any) -> dict[str, str]:
        """Kind by item of what is suggested."""
        return {one["item_id"]: one["kind"] for one in self.ask(*trigger, **more)}


class Street:
    """Shoppers of a corner shop, whose visits it learns from as a worker would."""

    def __init__(self, shop: CornerShop) -> None:
        self.shop = shop
        self.now = NOW - 86400.0
        self._visits = Visits(shop.items, VisitConfig())
        self._counts = CoOccurrence(shop.items, CoOccurrenceConfig(half_life_s=HALF_LIFE_S))
        self._pairs: list[tuple[int, int, int, float, float]] = []
        self._events = 0

    def visit(self, shopper: str, looks: Sequence[str], buys: Sequence[str] = ()) -> None:
        """A visit: items looked at, a minute each, and what is bought in the end."""
        for item_id in looks:
            self._tick()
            click = Click(shopper, item_id, Action.VIEW, self.now)
            self._pairs += [(*p, self.now) for p in self._visits.apply_click(click, self.now, self._events)[1]]
        if buys:
            self._tick()
            purchase = Purchase(shopper, f"order-{self._events}", self.now, tuple(Line(one) for one in buys))
            self._pairs += [(*p, self.now) for p in self._visits.apply_purchase(purchase, self.now, self._events)[1]]
        self._tick()
        for _, at, pairs in self._visits.ripen(self.now):
            self._pairs += [(*pair, at) for pair in pairs]

    def close(self) -> None:
        """Count what was seen, and show the rows to the shop."""
        a, b, kind, weight, at = (np.array(column) for column in zip(*self._pairs, strict=True))
        self._counts.learn_many(a.astype(np.int32), b.astype(np.int32), kind.astype(np.int8), weight, at, 0)
        for index in self._counts.dirty():
            self.shop.neighbours.put(self._counts.row(index, 1))
        self.shop.neighbours.set_total(0, self._counts.totals.baskets, self._counts.totals.at)

    def _tick(self) -> None:
        self.now += 60.0
        self._events += 1
