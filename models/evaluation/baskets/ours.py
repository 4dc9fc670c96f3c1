"""Ours in protocol B: the worker's recommender, each further source alone, and all of them together.

Everything goes through the training baskets once, in time order: suggest, score, then learn. The regressions of
`stacked` are learnt on the way, from what they would have been asked about each basket and what its second half held.
Sources are held for `hold_s` between two times of taking in what was learnt: where tests are not learnt from, the last
of them is answered from counts as old as the test part is long, and the regressions have to learn to weigh counts of
such ages. Two of them, as the two rankings differ: one over everything, one over what is new to the household.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.baskets.acceptance import Acceptance, AcceptanceConfig
from models.evaluation.baskets.category_pairs import CategoryPairs
from models.evaluation.baskets.features import FEATURES, OF_ANY, Pairs, Shelf, basket_features, room
from models.evaluation.baskets.firsts import FirstPurchases, FirstPurchasesConfig
from models.evaluation.baskets.habits import PurchaseHistory, PurchaseHistoryConfig
from models.evaluation.baskets.protocol import READINGS, Basket, BasketQuery, K, Lists, Shop, best, query_of
from models.evaluation.worker_counts import WorkerCounts
from models.serving.recommender import Query, Recommender, RecommenderConfig
from models.sessions.visits import Visit, VisitConfig
from models.shop.events import Action, Click, Line, Purchase
from models.shop.policy import Policy

NEW_FEATURES = len(OF_ANY)
"""Features that say something of what is new to a household: the first so many."""


@dataclass(frozen=True)
class OursConfig:
    """How ours learns. Chosen on the last part of training, never on tests."""

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
    """Most popular items that are candidates of everybody."""
    tried: int = 500
    """... and of those that were first purchases most often."""
    ask_after: float = 0.25
    """Share of the training time before the regressions begin to learn: while a shop knows nobody,
    there is little to be learnt about those it knows."""
    ask_every: int = 3
    """Of training baskets so many are one that is asked about: a third says what weights there are in a third of the
    time."""


class Ours:
    """The worker's recommender, its parts and what completes them.

    Args:
        shop: what is bought.
        depth: to which categories are compared, as the policy's `category_depth`.
        first: time of the first basket, epoch seconds.
        cut: time at which tests begin.
        hold_s: seconds for which sources are held between two times of taking in what was learnt.
        seed: of what is drawn.
        config: how it learns.
        methods: names of those that are to be ranked, so that nothing else is computed.
    """

    names: Sequence[str] = (
        "cooccurrence",
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
        self._habits = PurchaseHistory(config.habits)
        self._firsts = FirstPurchases(config.firsts)
        self._categories = CategoryPairs(config.categories)
        self._acceptance = {
            "all": Acceptance(FEATURES, config.acceptance, seed),
            "new_to_household": Acceptance(OF_ANY, config.acceptance, seed),
        }
        self._waiting: list[Basket] = []
        self._room = room(len(shop.items), shop.groups)
        self._shelf: Shelf | None = None
        self._pairs: Pairs
        self._at = -inf
        self._seen = 0

    # -- learning ----------------------------------------------------------------------------------------------------

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        if basket.at >= self._held_until:
            self.ready()
            while basket.at >= self._held_until:
                self._held_until += self._hold_s
        self._seen += 1
        stacks = "stacked" in self._methods or "stacked-without-uptake" in self._methods
        if stacks and self._shelf is not None and basket.at >= self._ask_from:
            if self._seen % self._config.ask_every == 0:
                self._ask(basket)
        self._waiting.append(basket)

    def _ask(self, basket: Basket) -> None:
        """Let the regressions learn what they would have been asked about a basket."""
        had = np.zeros(len(self._shop.items), np.bool_)
        had[self._habits.rows(basket.household)["item"]] = True
        query = query_of(basket, self._shop, had)
        if query is None:
            return
        items, features = self._features(query)
        taken = np.isin(items, query.targets)
        for reading, acceptance in self._acceptance.items():
            may = query.open(items, reading)
            if reading == "all":
                acceptance.learn_one(items[may], features[may], taken[may])
            else:
                acceptance.learn_one(items[may], features[may, :NEW_FEATURES], taken[may])

    def ready(self) -> None:
        """See [`Family.ready`][]."""
        if not self._waiting:
            return
        for basket in self._waiting:
            for event in self._events(basket):
                self._counts.learn(event)
            new = self._habits.learn_one(basket.household, basket.items, basket.at)
            if self._habits.baskets(basket.household) > self._config.firsts.after:
                self._firsts.learn_one(new, basket.at)
            groups = np.unique(self._shop.group[list(basket.items)])
            self._categories.learn_one(groups[groups > 0].tolist(), basket.at)
        self._at = max(self._at, self._waiting[-1].at)
        self._waiting = []
        self._counts.publish()
        self._categories.publish()
        self._put_on_shelf()

    def _events(self, basket: Basket) -> Iterator[Click | Purchase]:
        """A cart that is filled, and bought."""
        names = [self._shop.items.name(item) for item in basket.items]
        for name, at in zip(names, basket.added, strict=True):
            yield Click(basket.household, name, Action.ADD_TO_CART, at)
        yield Purchase(basket.household, basket.order_id, basket.at, tuple(map(Line, names)))

    def _put_on_shelf(self) -> None:
        """What is known of all items, as of the newest basket."""
        shop, mirror, size = self._shop, self._counts.neighbours, len(self._shop.items)
        known = min(size, len(mirror.at))
        baskets = np.zeros(size)
        baskets[:known] = mirror.own[:known, 1] * 2.0 ** ((mirror.at[:known] - self._at) / mirror.half_life_s)
        firsts = self._firsts.counts(size, self._at)
        popular = np.argsort(-baskets, kind="stable")[: self._config.popular]
        tried = np.argsort(-firsts[:, 1], kind="stable")[: self._config.tried]
        self._shelf = Shelf(
            shop.group,
            shop.kind,
            baskets,
            firsts,
            np.bincount(shop.kind, baskets, shop.groups).astype(np.float64),
            np.bincount(shop.kind, firsts[:, 1], shop.groups).astype(np.float64),
            np.union1d(popular, tried).astype(np.int32),
        )
        self._pairs = Pairs(
            mirror.start, mirror.length, mirror.own, mirror.at, mirror.ids, mirror.weights, float(mirror.half_life_s)
        )

    # -- asking ------------------------------------------------------------------------------------------------------

    def _features(self, query: BasketQuery) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        assert self._shelf is not None  # something was learnt
        household = query.basket.household
        groups = np.unique(self._shop.group[query.anchors])
        return basket_features(
            query.anchors,
            query.taken,
            self._categories.lifts(groups[groups > 0].tolist(), self._shop.groups),
            self._habits.rows(household),
            float(self._habits.baskets(household)),
            self._at,
            self._config.habits.fast_s,
            self._config.habits.slow_s,
            self._shelf,
            self._pairs,
            self._room,
        )

    def rank(self, query: BasketQuery) -> Mapping[str, Lists]:
        """See [`Family.rank`][]."""
        order, lists = self._shop.items.order, {}
        if "cooccurrence" in self._methods:
            lists["cooccurrence"] = self._recommended(query)
        if not self._methods - {"cooccurrence"}:
            return lists
        items, features = self._features(query)
        alone = {name: features[:, place] for place, name in enumerate(FEATURES)}
        scores = {
            "bought-together": alone["bought-with"],
            "category-pairs": alone["category-lift"] + alone["popularity"],
            "first-purchases": alone["firsts-slow"],
            "habits": alone["habit-slow"] + 1e-3 * alone["popularity"],  # popularity settles ties
        }
        for name, found in scores.items():
            lists[name] = best(items, found, query, order)
        every, new = (self._acceptance[reading] for reading in READINGS)
        of_new = features[:, :NEW_FEATURES]
        lists["stacked-without-uptake"] = (
            best(items, every.predict(features), query, order)[0],
            best(items, new.predict(of_new), query, order)[1],
        )
        lists["stacked"] = (
            best(items, every.scores(items, features), query, order)[0],
            best(items, new.scores(items, of_new), query, order)[1],
        )
        return lists

    def _recommended(self, query: BasketQuery) -> Lists:
        """What a worker would suggest after the last anchor was put into the cart, cross-sells only."""
        cart, at = query.anchors.tolist(), query.basket.at
        unknown = np.flatnonzero(query.had).tolist()
        visits = [Visit([], [], [], cart, bought) for bought in ([], unknown)]
        queries = [Query(Action.ADD_TO_CART, cart[-1:], visit, at, "") for visit in visits]
        found = [
            np.array([self._shop.items.find(one["item_id"]) for one in told], np.int32)
            for told in self._recommender.suggest_many(queries)
        ]
        return found[0], found[1]
