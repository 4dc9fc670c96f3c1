"""Baselines of protocol B: simple methods of the literature, and those of the `implicit` package.

All count without decay. The items of a basket share one time: `last-item` is the last anchor of the file.

* VSKNN with baskets as sessions, all items of the cart weighted alike: M. Ludewig, D. Jannach, Evaluation of
  session-based recommendation algorithms (2018).
* The personal terms of PerNIR: see `models.evaluation.personal_terms`; TIFU-KNN: `models.evaluation.tifu_knn`.
* BM25 between items, asked with the anchors; ALS and BPR, asked with the household: see `implicit_models.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baskets.protocol import Basket, BasketQuery, Lists, Shop, best
from models.evaluation.next_item.implicit_models import ImplicitModel
from models.evaluation.next_item.methods import Scores
from models.evaluation.next_item.session_knn import Vsknn, VsknnConfig
from models.evaluation.personal_terms import PersonalTerms
from models.evaluation.tifu_knn import TifuKnn, TifuKnnConfig
from models.jit import cached_njit

MOST_ITEMS = 60
"""Most items of a basket that are paired, the first of the file: bounds the number of pairs."""


class _Rows(NamedTuple):
    """Baskets as arrays."""

    items: NDArray[np.int32]  # of all baskets, one after the other
    ends: NDArray[np.int64]  # (baskets + 1,): basket `b` is at `ends[b]` up to `ends[b + 1]`
    weights: NDArray[np.float64]  # (baskets,)
    owners: NDArray[np.int64]  # baskets of item 0, of item 1, ...
    starts: NDArray[np.int64]  # (items + 1,): where those of each item begin


class Baseline:
    """Base class of the baselines."""

    def __init__(self, name: str, shop: Shop) -> None:
        self.name = name
        self._shop = shop

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        raise NotImplementedError

    def ready(self) -> None:
        """See [`BasketMethod.ready`][]."""

    def scores(self, query: BasketQuery) -> Scores:
        """(n,) distinct items, (n,) scores, greater is better."""
        raise NotImplementedError

    def rank(self, query: BasketQuery) -> Lists:
        """See [`BasketMethod.rank`][]."""
        return best(*self.scores(query), query, self._shop.items.order)


class Popularity(Baseline):
    """Number of baskets with an item."""

    def __init__(self, shop: Shop, name: str = "popularity") -> None:
        super().__init__(name, shop)
        self._counts = np.zeros(len(shop.items))
        self._all = np.arange(len(shop.items), dtype=np.int32)

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        self._counts[list(basket.items)] += 1.0

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        return self._all, self._counts


class BasketCoOccurrence(Baseline):
    """Co-occurrence of whole baskets, over all pairs.

        score(b) = sum over anchors a: pairs(a, b) / (baskets(a) + 1) ** normalisation

    Args:
        normalisation: 1 takes shares, 0 plain counts.
        weighted: a pair of a basket of n items counts 1 / log2(n), not 1.
        last_only: use the last anchor only.
    """

    def __init__(self, name: str, shop: Shop, *, normalisation: float, weighted: bool, last_only: bool = False) -> None:
        super().__init__(name, shop)
        self._normalisation, self._weighted, self._last_only = normalisation, weighted, last_only
        self._baskets: list[tuple[int, ...]] = []
        self._counted = 0
        self._counts = np.zeros(len(shop.items))
        self._rows: _Rows

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        self._baskets.append(basket.items[:MOST_ITEMS])
        self._counts[list(basket.items)] += 1.0

    def ready(self) -> None:
        """See [`BasketMethod.ready`][]."""
        self._rows = self._rows_of(self._baskets)
        self._counted = len(self._baskets)

    def _rows_of(self, baskets: Sequence[tuple[int, ...]]) -> _Rows:
        lengths = np.array([len(items) for items in baskets])
        ends = np.concatenate([[0], np.cumsum(lengths)])
        items = np.fromiter((item for basket in baskets for item in basket), np.int32, int(ends[-1]))
        weights = np.array([1.0 / math.log2(max(2, n)) if self._weighted else 1.0 for n in lengths.tolist()])
        owners = np.repeat(np.arange(len(baskets)), lengths)
        by_item = np.argsort(items, kind="stable")
        starts = np.searchsorted(items[by_item], np.arange(len(self._shop.items) + 1))
        return _Rows(items, ends, weights, owners[by_item], starts)

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        if self._counted < len(self._baskets):  # a test basket was learnt: rare enough to rebuild all
            self.ready()
        anchors = query.anchors[-1:] if self._last_only else query.anchors
        factors = (self._counts[anchors] + 1.0) ** -self._normalisation
        sums = _shared_baskets(anchors, factors, self._rows, len(self._shop.items))
        found = np.flatnonzero(sums).astype(np.int32)
        return found, sums[found]


@cached_njit()
def _shared_baskets(
    anchors: NDArray[np.int32], factors: NDArray[np.float64], rows: _Rows, size: int
) -> NDArray[np.float64]:
    """(size,) for each item the sum of anchor factor * basket weight over the baskets it shares with the anchors."""
    sums = np.zeros(size)
    for number in range(len(anchors)):
        anchor = anchors[number]
        for place in range(rows.starts[anchor], rows.starts[anchor + 1]):
            basket = rows.owners[place]
            for other in range(rows.ends[basket], rows.ends[basket + 1]):
                sums[rows.items[other]] += factors[number] * rows.weights[basket]
    return sums


class NearestBaskets(Baseline):
    """VSKNN over the baskets of all households."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("vsknn", shop)
        self._sessions = Vsknn(VsknnConfig())

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        self._sessions.learn(basket.items, [basket.at] * len(basket.items))

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        anchors = query.anchors.tolist()
        return self._sessions.score(anchors, [query.basket.at] * len(anchors))


class HouseholdPopularity(Popularity):
    """What the household has bought most often, then what all buy most often."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop, "household-popularity")
        self._own: dict[str, dict[int, int]] = {}

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        super().learn(basket)
        own = self._own.setdefault(basket.household, {})
        for item in basket.items:
            own[item] = own.get(item, 0) + 1

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        scores = self._counts / (self._counts.sum() + 1.0)
        own = self._own.get(query.basket.household, {})
        scores[list(own)] += list(own.values())
        return self._all, scores


class Personal(Baseline):
    """The personal terms of PerNIR."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("personal-terms", shop)
        self._terms = PersonalTerms()

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        self._terms.learn(basket.household, basket.items)

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        found = self._terms.scores(query.basket.household, query.anchors.tolist())
        return np.fromiter(found.keys(), np.int32, len(found)), np.fromiter(found.values(), np.float64, len(found))


class Similar(Baseline):
    """TIFU-KNN; who is nearest stays as it is after the training part."""

    def __init__(self, shop: Shop, config: TifuKnnConfig) -> None:
        super().__init__("tifu-knn", shop)
        self._similar = TifuKnn(len(shop.items), config)

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        self._similar.learn(basket.household, basket.items)

    def ready(self) -> None:
        """See [`BasketMethod.ready`][]."""
        self._similar.refresh()

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        return self._similar.scores(query.basket.household)


class Implicit(Baseline):
    """A model of the `implicit` package (bm25, als or bpr), fitted once, after the training part."""

    def __init__(self, name: str, shop: Shop, seed: int) -> None:
        super().__init__(name, shop)
        self._model = ImplicitModel(name, seed)
        self._by_basket = name == "bm25"
        self._households: dict[str, int] = {}
        self._baskets = 0

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        if self._model.fitted:
            return
        household = self._households.setdefault(basket.household, len(self._households))
        self._model.add(self._baskets if self._by_basket else household, basket.items)
        self._baskets += 1

    def ready(self) -> None:
        """See [`BasketMethod.ready`][]."""
        self._model.fit()

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        if self._by_basket:
            return self._model.scores_many([query.anchors.tolist()])[0]
        household = self._households.get(query.basket.household)
        if household is None:
            return np.empty(0, np.int32), np.zeros(0)
        return self._model.scores_of_row(household)
