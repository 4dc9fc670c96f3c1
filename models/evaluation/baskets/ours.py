"""Our methods in protocol B: the worker's recommender, further sources alone, and all sources stacked.

All go through the training baskets once, in time order: suggest, score, then learn. The regressions of `stacked` learn
on the way, from the candidates for each basket and its second half. There are two of them, one for each reading.

Counts reach the sources every `hold_s` only. Where tests are not learnt, the last test is answered from counts as old
as the test part is long, and the regressions have to learn to weigh counts of such ages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.index import Rows
from models.evaluation.baskets.acceptance import Acceptance, AcceptanceConfig
from models.evaluation.baskets.category_pairs import CategoryPairs
from models.evaluation.baskets.features import (
    FEATURES,
    OF_ANY,
    Cart,
    Household,
    ItemStats,
    basket_features,
    scratch_for,
)
from models.evaluation.baskets.first_purchases import FirstPurchases, FirstPurchasesConfig
from models.evaluation.baskets.protocol import READINGS, Basket, BasketQuery, K, Lists, Shop, best, query_of
from models.evaluation.baskets.purchase_history import PurchaseHistory, PurchaseHistoryConfig
from models.evaluation.worker_counts import WorkerCounts
from models.ranking.attribution import Closed
from models.ranking.ranker import Ranker, RankerConfig
from models.serving.recommender import Learnt, Query, Recommender, RecommenderConfig
from models.sessions.histories import Histories, HistoryConfig
from models.sessions.visits import Visit, VisitConfig
from models.shop.events import Action, Click, Line, Purchase
from models.shop.policy import Policy

NEW_FEATURES = len(OF_ANY)
"""Number of leading features that tell something of items new to the household."""


@dataclass(frozen=True)
class OursConfig:
    """Parameters, chosen on the last part of the training, never on tests."""

    visits: VisitConfig = field(default_factory=VisitConfig)
    counting: CoOccurrenceConfig = field(default_factory=CoOccurrenceConfig)
    ranking: RecommenderConfig = field(default_factory=RecommenderConfig)
    habits: PurchaseHistoryConfig = field(default_factory=PurchaseHistoryConfig)
    firsts: FirstPurchasesConfig = field(default_factory=FirstPurchasesConfig)
    categories: CoOccurrenceConfig = field(
        default_factory=lambda: CoOccurrenceConfig(neighbours=1_000, half_life_s=120 * 86_400.0)
    )
    """Categories are few and change slowly."""
    acceptance: AcceptanceConfig = field(default_factory=AcceptanceConfig)
    popular: int = 500
    """Most popular items that are candidates for every basket."""
    tried: int = 500
    """Most frequent first purchases that are candidates for every basket."""
    ask_after: float = 0.25
    """Share of the training time before the regressions begin to learn: at first no household has a history."""
    ask_every: int = 3
    """Training baskets for each one that the regressions learn: a third gives the same weights in a third of the
    time."""


class Ours:
    """All our methods on one state.

    Args:
        depth: of compared categories, as the policy's `category_depth`.
        first: time of the first basket, epoch seconds.
        cut: time at which tests begin.
        hold_s: seconds between two updates of the sources.
        methods: those that `rank` has to answer for.
    """

    names: Sequence[str] = (
        "crosscurrent",
        "bought-together",
        "category-pairs",
        "first-purchases",
        "habits",
        "stacked-without-uptake",
        "stacked",
    )

    def __init__(
        self,
        shop: Shop,
        depth: int,
        first: float,
        cut: float,
        hold_s: float,
        seed: int,
        config: OursConfig,
        methods: Sequence[str] = names,
    ) -> None:
        self._shop = shop
        self._config = config
        self._methods = frozenset(methods)
        self._hold_s = hold_s
        self._held_until = cut - hold_s * ceil((cut - first) / hold_s)
        self._ask_from = first + config.ask_after * (cut - first)
        self._counts = WorkerCounts(shop.items, config.visits, config.counting)
        policy = Policy(
            max_items=K, max_cross_sell=K, max_upsell=0, category_depth=depth, bought_days=0, max_per_category=0
        )
        self._recommender = Recommender(shop.items, shop.catalog, self._counts.neighbours, policy, config.ranking)
        self._histories, self._offset = Histories(shop.items, HistoryConfig()), 0
        self._ranker = Ranker(RankerConfig(), policy)
        self._history = PurchaseHistory(config.habits)
        self._firsts = FirstPurchases(config.firsts)
        self._categories = CategoryPairs(config.categories)
        self._acceptance = {
            "all": Acceptance(FEATURES, config.acceptance, seed),
            "new_to_household": Acceptance(OF_ANY, config.acceptance, seed),
        }
        self._waiting: list[Basket] = []
        self._scratch = scratch_for(len(shop.items), shop.groups)
        self._stats: ItemStats | None = None
        self._rows: Rows
        self._at = -inf
        self._seen = 0

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethods.learn`][]."""
        if basket.at >= self._held_until:
            self.ready()
            while basket.at >= self._held_until:
                self._held_until += self._hold_s
        self._seen += 1
        stacks = "stacked" in self._methods or "stacked-without-uptake" in self._methods
        if self._stats is not None and basket.at >= self._ask_from and self._seen % self._config.ask_every == 0:
            if "crosscurrent" in self._methods:
                self._log_pools(basket)
            if stacks:
                self._ask(basket)
        self._waiting.append(basket)

    def _ask(self, basket: Basket) -> None:
        """Teach the regressions the candidates for a basket."""
        had = np.zeros(len(self._shop.items), np.bool_)
        had[self._history.rows(basket.household)["item"]] = True
        query = query_of(basket, self._shop, had)
        if query is None:
            return
        items, features = self._features(query)
        taken = np.isin(items, query.targets)
        for reading, acceptance in self._acceptance.items():
            may = query.open(items, reading)
            width = len(FEATURES) if reading == "all" else NEW_FEATURES
            acceptance.learn_one(items[may], features[may, :width], taken[may])

    def ready(self) -> None:
        """See [`BasketMethods.ready`][]."""
        if not self._waiting:
            return
        for basket in self._waiting:
            for event in self._events(basket):
                self._counts.learn(event)
            self._histories.learn(basket.household, basket.items, basket.at, self._offset)
            self._offset += 1
            new = self._history.learn_one(basket.household, basket.items, basket.at)
            if self._history.baskets(basket.household) > self._config.firsts.after:
                self._firsts.learn_one(new, basket.at)
            groups = np.unique(self._shop.group[list(basket.items)])
            self._categories.learn_one(groups[groups > 0].tolist(), basket.at)
        self._at = max(self._at, self._waiting[-1].at)
        self._waiting = []
        self._counts.publish()
        self._recommender.learnt = Learnt(self._ranker.order(), "")
        self._categories.publish()
        self._update_stats()

    def _events(self, basket: Basket) -> Iterator[Click | Purchase]:
        """The cart is filled, then bought."""
        names = [self._shop.items.name(item) for item in basket.items]
        for name, at in zip(names, basket.added, strict=True):
            yield Click(basket.household, name, Action.ADD_TO_CART, at)
        yield Purchase(basket.household, basket.order_id, basket.at, tuple(map(Line, names)))

    def _update_stats(self) -> None:
        shop, rows, size = self._shop, self._counts.neighbours.arrays(), len(self._shop.items)
        known = min(size, len(rows.at))
        baskets = np.zeros(size)
        baskets[:known] = rows.own[:known, 1] * 2.0 ** ((rows.at[:known] - self._at) / rows.half_life_s)
        firsts = self._firsts.counts(size, self._at)
        popular = np.argsort(-baskets, kind="stable")[: self._config.popular]
        tried = np.argsort(-firsts[:, 1], kind="stable")[: self._config.tried]
        self._rows = rows
        self._stats = ItemStats(
            self._at,
            shop.group,
            shop.kind,
            baskets,
            firsts,
            np.bincount(shop.kind, baskets, shop.groups).astype(np.float64),
            np.bincount(shop.kind, firsts[:, 1], shop.groups).astype(np.float64),
            np.union1d(popular, tried).astype(np.int32),
        )

    def _features(self, query: BasketQuery) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        assert self._stats is not None  # something was learnt
        user_id, config = query.basket.household, self._config.habits
        groups = np.unique(self._shop.group[query.anchors])
        lifts = self._categories.lifts(groups[groups > 0].tolist(), self._shop.groups)
        habits, baskets = self._history.rows(user_id), float(self._history.baskets(user_id))
        return basket_features(
            Cart(query.anchors, query.taken, lifts),
            Household(habits, baskets, config.fast_s, config.slow_s),
            self._stats,
            self._rows,
            self._scratch,
        )

    def rank(self, query: BasketQuery) -> Mapping[str, Lists]:
        """See [`BasketMethods.rank`][]."""
        id_order, lists = self._shop.items.order, {}
        if "crosscurrent" in self._methods:
            lists["crosscurrent"] = self._recommended(query)
        if not self._methods - {"crosscurrent"}:
            return lists
        items, features = self._features(query)
        alone = {name: features[:, place] for place, name in enumerate(FEATURES)}
        scores = {
            "bought-together": alone["bought-with"],
            "category-pairs": alone["category-lift"] + alone["popularity"],
            "first-purchases": alone["firsts-slow"],
            "habits": alone["habit-slow"] + 1e-3 * alone["popularity"],  # popularity breaks ties
        }
        for name, found in scores.items():
            lists[name] = best(items, found, query, id_order)
        every, new = (self._acceptance[reading] for reading in READINGS)
        of_new = features[:, :NEW_FEATURES]
        lists["stacked-without-uptake"] = (
            best(items, every.predict(features), query, id_order)[0],
            best(items, new.predict(of_new), query, id_order)[1],
        )
        lists["stacked"] = (
            best(items, every.scores(items, features), query, id_order)[0],
            best(items, new.scores(items, of_new), query, id_order)[1],
        )
        return lists

    def _queries(self, query: BasketQuery) -> list[Query]:
        """What a worker is asked after the last anchor was put into the cart, for both readings."""
        cart, at = query.anchors.tolist(), query.basket.at
        history = self._histories.of(query.basket.household)
        visits = [Visit([], [], [], cart, bought) for bought in ([], np.flatnonzero(query.had).tolist())]
        return [Query(Action.ADD_TO_CART, cart[-1:], visit, at, "", history=history) for visit in visits]

    def _log_pools(self, basket: Basket) -> None:
        """Teach the order what was taken of the pools for a basket."""
        had = np.zeros(len(self._shop.items), np.bool_)
        had[self._histories.of(basket.household).cells["item"]] = True
        query = query_of(basket, self._shop, had)
        if query is None:
            return
        queries = [replace(query_, logs_pool=True) for query_ in self._queries(query)]
        for answer in self._recommender.answer_each(queries):
            if (pool := answer.pool) is not None:
                taken = np.isin(pool.items, query.targets)
                self._ranker.learn_one(Closed(pool.items, pool.kinds, pool.features, taken))

    def _recommended(self, query: BasketQuery) -> Lists:
        """The worker's cross-sells after the last anchor was put into the cart."""
        queries = self._queries(query)
        every, new = (
            np.array([self._shop.items.find(item["item_id"]) for item in suggested], np.int32)
            for suggested in self._recommender.suggest_many(queries)
        )
        return every, new
