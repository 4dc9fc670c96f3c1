"""The worker's recommender in protocol A, its rules switched off and nothing else changed.

Sessions have items and times only, so the shop is a plain one: every item is offered, at one price, and in a category
of its own, which makes all others cross-sells of it. The policy caps nothing but the length of lists.

A session is a visit. Its last item triggers the query, and what was viewed is barred, so that lists are of new
items. The order is learnt over whole pools: of an outcome the pool is logged with the order that serves then, and what
was taken is set against all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.evaluation.next_item.methods import Prefix, Scores, places_of_new
from models.evaluation.worker_counts import WorkerCounts
from models.ranking.attribution import Closed
from models.ranking.ranker import Ranker, RankerConfig
from models.sequence.predictor import SequencePredictor
from models.sequence.scorer import Scorer
from models.serving.recommender import Answer, Learnt, Query, Recommender, RecommenderConfig, expected_of
from models.sessions.visits import ACTION_CODES, Visit, Window
from models.shop.catalog import Catalog
from models.shop.events import Action, CatalogItem
from models.shop.items import Items
from models.shop.policy import Policy

SERVED = "crosscurrent"

PLACES = 100
"""Length of the lists: all that a learnt order ranks."""

POLICY = Policy(max_items=PLACES, max_cross_sell=PLACES, max_upsell=0, max_per_category=0, bought_days=0)

PRICE = 1.0
"""Of every item."""


@dataclass(frozen=True)
class ServedConfig:
    """Parameters of the recommender and of its ranker: those of a worker and a trainer."""

    recommender: RecommenderConfig = field(default_factory=RecommenderConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)


class Served:
    """The recommender over counts that the caller keeps; `items` numbers the items as the sessions do.

    Args:
        counts: what a worker counts; all rows are published before a query is answered.
        looks: longest window that the sequence model is asked with.
    """

    names: Sequence[str] = (SERVED,)

    def __init__(self, items: Items, counts: WorkerCounts, looks: int, config: ServedConfig) -> None:
        self._items, self._counts, self._looks = items, counts, looks
        self._catalog = Catalog(items)
        self._recommender = Recommender(items, self._catalog, counts.neighbours, POLICY, config.recommender)
        self._ranker = Ranker(config.ranker, POLICY)
        self._predictor: SequencePredictor | None = None

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`Part.learn`][models.evaluation.next_item.hybrid.Part.learn]."""
        self._offer(items)

    def ask(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`Part.ask`][models.evaluation.next_item.hybrid.Part.ask]; asks before each new item."""
        places = places_of_new(items)
        answers = self._answers([(items[:place], times[:place]) for place in places], logs_pools=True)
        for place, answer in zip(places, answers, strict=True):
            if (pool := answer.pool) is not None:
                taken = pool.items == items[place]
                self._ranker.learn_one(Closed(pool.items, pool.kinds, pool.features, taken))

    def learn_asked(self) -> None:
        """Bring the order that was learnt since the last call into force."""
        self._recommender.learnt = Learnt(self._ranker.order(), str(self._ranker.learnt))

    def update(self, scorer: Scorer) -> None:
        """See [`Part.update`][models.evaluation.next_item.hybrid.Part.update]."""
        self._predictor = SequencePredictor(scorer, "", exact=len(scorer.items))  # an index a chunk would take long

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """See [`Part.score_many`][models.evaluation.next_item.hybrid.Part.score_many]."""
        found: list[dict[str, Scores]] = []
        for answer in self._answers(prefixes, logs_pools=False):
            suggested = np.array([self._items.find(item["item_id"]) for item in answer.items], np.int32)
            found.append({SERVED: (suggested, np.array([item["score"] for item in answer.items], np.float64))})
        return found

    def _offer(self, items: Sequence[int]) -> None:
        """Put items into the catalogue, as a shop does before anybody looks at them."""
        for item in items:
            if self._catalog.get(item) is None:
                name = self._items.name(item)
                self._catalog.put(CatalogItem(name, name, str(item), PRICE))

    def _answers(self, prefixes: Sequence[Prefix], *, logs_pools: bool) -> Iterator[Answer]:
        for items, _ in prefixes:
            self._offer(items)
        self._counts.publish()
        queries = [self._query(f"{place}", *prefix, logs_pools) for place, prefix in enumerate(prefixes)]
        return self._recommender.answer_each(queries, expected_of(self._predictor, queries))

    def _query(self, user_id: str, items: Sequence[int], times: Sequence[float], logs_pool: bool) -> Query:
        """What a worker asks after the last view of a session, with all items of the session barred."""
        at, latest = times[-1], dict[int, float]()
        for item, looked_at in zip(reversed(items), reversed(times), strict=True):
            latest.setdefault(item, at - looked_at)
        seen = list(latest)
        visit = Visit(seen, list(latest.values()), [_VIEW] * len(seen), [], seen)
        some = slice(-self._looks, None)
        window = Window(list(items[some]), [_VIEW] * len(items[some]), list(times[some]))
        return Query(Action.VIEW, [items[-1]], visit, at, "", user_id, window, logs_pool=logs_pool)


_VIEW = ACTION_CODES[Action.VIEW]
