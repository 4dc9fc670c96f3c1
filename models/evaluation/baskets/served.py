"""What a worker serves, in protocol B: its recommender, with what households have bought before and the learnt order.

A basket is asked about as a worker is asked once the last given item has been put into the cart. All baskets are
learnt in time order. Of every `LOG_EVERY`th basket of the training part the pools are logged before the basket is
learnt, and the trainer's ranker learns what was taken of them. A worker has one order, so one is learnt, from the pools
of both readings.

Counts, histories and the order reach the recommender every `hold_s` only. Where tests are not learnt, the last test is
answered from counts as old as the test part is long, and the order has to be learnt from counts of such ages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from math import ceil

import numpy as np

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.baskets.protocol import Basket, BasketQuery, K, Lists, Shop, query_of
from models.evaluation.worker_counts import WorkerCounts
from models.ranking.attribution import Closed
from models.ranking.ranker import Ranker, RankerConfig
from models.serving.recommender import Learnt, Query, Recommender, RecommenderConfig
from models.sessions.histories import Histories, HistoryConfig
from models.sessions.visits import Visit, VisitConfig
from models.shop.events import Action, Click, Line, Purchase
from models.shop.kinds import CROSS_SELL
from models.shop.policy import Policy

LOG_AFTER = 0.25
"""Share of the training time before pools are logged: at first no household has a history."""

LOG_EVERY = 3
"""Training baskets for each one whose pools are logged."""


class Served:
    """The method `crosscurrent`.

    Args:
        depth: of compared categories, as the policy's `category_depth`.
        first: time of the first basket, epoch seconds.
        cut: time at which tests begin.
        hold_s: seconds between two updates of the recommender.
    """

    name = "crosscurrent"

    def __init__(self, shop: Shop, depth: int, first: float, cut: float, hold_s: float) -> None:
        self._shop = shop
        self._hold_s = hold_s
        self._held_until = cut - hold_s * ceil((cut - first) / hold_s)
        self._log_from = first + LOG_AFTER * (cut - first)
        policy = Policy(
            max_items=K, max_cross_sell=K, max_upsell=0, category_depth=depth, bought_days=0, max_per_category=0
        )
        histories = HistoryConfig()
        self._counts = WorkerCounts(shop.items, VisitConfig(), CoOccurrenceConfig())
        self._recommender = Recommender(
            shop.items, shop.catalog, self._counts.neighbours, policy, RecommenderConfig(), histories
        )
        self._histories = Histories(shop.items, histories)
        self._bought: defaultdict[str, set[int]] = defaultdict(set)  # by household, all that `_histories` ever learnt
        self._ranker = Ranker(RankerConfig(), policy)
        self._waiting: list[Basket] = []
        self._learnt = 0

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        if basket.at >= self._held_until:
            self.ready()
            while basket.at >= self._held_until:
                self._held_until += self._hold_s
        self._waiting.append(basket)
        nth = self._learnt + len(self._waiting)
        if self._learnt and basket.at >= self._log_from and nth % LOG_EVERY == 0:
            self._log_pools(basket)

    def ready(self) -> None:
        """See [`BasketMethod.ready`][]."""
        for basket in self._waiting:
            for event in self._events(basket):
                self._counts.learn(event)
            self._histories.learn(basket.household, basket.items, basket.at, self._learnt)
            self._bought[basket.household].update(basket.items)
            self._learnt += 1
        self._waiting = []
        self._counts.publish()
        self._recommender.learnt = Learnt(self._ranker.order(), "")

    def _events(self, basket: Basket) -> Iterator[Click | Purchase]:
        """The cart is filled, then bought."""
        names = [self._shop.items.name(item) for item in basket.items]
        for name, at in zip(names, basket.added, strict=True):
            yield Click(basket.household, name, Action.ADD_TO_CART, at)
        yield Purchase(basket.household, basket.order_id, basket.at, tuple(map(Line, names)))

    def _queries(self, query: BasketQuery) -> list[Query]:
        """What a worker is asked, for both readings; in the second all that was ever bought counts as bought recently.

        The visit's looks are those at the items of the cart, which stand in the cart already.
        """
        cart, at = query.anchors.tolist(), query.basket.added[len(query.anchors) - 1]
        history = self._histories.of(query.basket.household)
        visits = [Visit([], [], [], cart, bought) for bought in ([], np.flatnonzero(query.had).tolist())]
        return [Query(Action.ADD_TO_CART, cart[-1:], visit, at, "", history=history) for visit in visits]

    def _log_pools(self, basket: Basket) -> None:
        """Teach the ranker what was taken of the pools for a basket. Only cross-sells are asked for, and learnt."""
        had = np.zeros(len(self._shop.items), np.bool_)
        had[list(self._bought[basket.household])] = True
        query = query_of(basket, self._shop, had)
        if query is None:
            return
        queries = [replace(asked, logs_pool=True) for asked in self._queries(query)]
        for answer in self._recommender.answer_each(queries):
            if (pool := answer.pool) is not None:
                mine = pool.kinds == CROSS_SELL
                items, kinds, features = pool.items[mine], pool.kinds[mine], pool.features[mine]
                self._ranker.learn_one(Closed(items, kinds, features, np.isin(items, query.targets)))

    def rank(self, query: BasketQuery) -> Lists:
        """See [`BasketMethod.rank`][]."""
        every, new = (
            np.array([self._shop.items.find(item["item_id"]) for item in suggested], np.int32)
            for suggested in self._recommender.suggest_many(self._queries(query))
        )
        return every, new
