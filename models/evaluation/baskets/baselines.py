"""What else completes a basket: the simple methods of the literature, and those of the `implicit` package.

All are counts without decay. Lines of a basket share one time, so that there is no order in it: `last-item` is the last
anchor of the file, and rules by distance mean nothing here.

* VSKNN, with all items of the cart weighing alike: M. Ludewig, D. Jannach, Evaluation of session-based recommendation
  algorithms (2018); baskets are its sessions.
* BM25 between items of baskets, ALS and BPR, see `implicit_models.py`: BM25 is asked with the anchors, the other two
  with the household, whose purchases they factorise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baskets.protocol import Basket, BasketQuery, Lists, Shop, best
from models.evaluation.next_item.implicit_models import ImplicitModel
from models.evaluation.next_item.methods import Scores
from models.evaluation.next_item.session_knn import Vsknn, VsknnConfig
from models.jit import cached_njit

MOST_ITEMS = 60
"""Distinct items of a basket that pairs are made of, the first of the file: bounds the square."""


_Rows = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


class SingleMethod:
    """A family of one method.

    Args:
        name: of the method.
        shop: what is bought.
    """

    def __init__(self, name: str, shop: Shop) -> None:
        self.names: Sequence[str] = (name,)
        self._name = name
        self._shop = shop

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        raise NotImplementedError

    def ready(self) -> None:
        """See [`Family.ready`][]."""

    def scores(self, query: BasketQuery) -> Scores:
        """(n,) distinct items, (n,) scores, greater is better."""
        raise NotImplementedError

    def rank(self, query: BasketQuery) -> Mapping[str, Lists]:
        """See [`Family.rank`][]."""
        return {self._name: best(*self.scores(query), query, self._shop.items.order)}


class Popularity(SingleMethod):
    """Baskets with an item."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("popularity", shop)
        self._counts = np.zeros(len(shop.items))
        self._all = np.arange(len(shop.items), dtype=np.int32)

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        self._counts[list(basket.items)] += 1.0

    def scores(self, query: BasketQuery) -> Scores:
        """See [`SingleMethod.scores`][]."""
        return self._all, self._counts


class Together(SingleMethod):
    """Co-occurrence of whole baskets, all pairs of all items, nothing left out.

        score(b) = sum over anchors a: pairs(a, b) / (baskets(a) + 1) ** normalisation

    Args:
        name: of the method.
        shop: what is bought.
        normalisation: 1 takes shares, 0 plain counts.
        weighted: a pair of a basket of n items counts 1 / log2(n), not 1.
        last_only: ask the last anchor only.
    """

    def __init__(self, name: str, shop: Shop, *, normalisation: float, weighted: bool, last_only: bool = False) -> None:
        super().__init__(name, shop)
        self._normalisation, self._weighted, self._last_only = normalisation, weighted, last_only
        self._baskets: list[tuple[int, ...]] = []
        self._counted = 0
        self._counts = np.zeros(len(shop.items))
        self._rows: _Rows

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        self._baskets.append(basket.items[:MOST_ITEMS])
        self._counts[list(basket.items)] += 1.0

    def ready(self) -> None:
        """See [`Family.ready`][]."""
        self._rows = self._rows_of(self._baskets)
        self._counted = len(self._baskets)

    def _rows_of(self, baskets: Sequence[tuple[int, ...]]) -> _Rows:
        """Items of all baskets one after the other, where each begins, its weight, and by item in which it is."""
        lengths = np.array([len(items) for items in baskets])
        ends = np.concatenate([[0], np.cumsum(lengths)])
        items = np.fromiter((item for basket in baskets for item in basket), np.int32, int(ends[-1]))
        weights = np.array([1.0 / math.log2(max(2, n)) if self._weighted else 1.0 for n in lengths.tolist()])
        owners = np.repeat(np.arange(len(baskets)), lengths)
        by_item = np.argsort(items, kind="stable")
        starts = np.searchsorted(items[by_item], np.arange(len(self._shop.items) + 1))
        return items, ends, weights, owners[by_item], starts

    def scores(self, query: BasketQuery) -> Scores:
        """See [`SingleMethod.scores`][]."""
        if self._counted < len(self._baskets):  # with tests learnt; seldom enough that all is counted anew
            self.ready()
        anchors = query.anchors[-1:] if self._last_only else query.anchors
        factors = (self._counts[anchors] + 1.0) ** -self._normalisation
        items, ends, weights, owners, starts = self._rows
        sums = _max_batch(anchors, factors, items, ends, weights, owners, starts, len(self._shop.items))
        found = np.flatnonzero(sums).astype(np.int32)
        return found, sums[found]


@cached_njit()
def _max_batch(
    anchors: NDArray[np.int32],
    factors: NDArray[np.float64],
    items: NDArray[np.int32],
    ends: NDArray[np.int64],
    weights: NDArray[np.float64],
    owners: NDArray[np.int64],
    starts: NDArray[np.int64],
    size: int,
) -> NDArray[np.float64]:
    """(size,) sums of the factors of anchors over the baskets that each item shares with them."""
    sums = np.zeros(size)
    for number in range(len(anchors)):
        anchor = anchors[number]
        for place in range(starts[anchor], starts[anchor + 1]):
            basket = owners[place]
            for other in range(ends[basket], ends[basket + 1]):
                sums[items[other]] += factors[number] * weights[basket]
    return sums


class NearestBaskets(SingleMethod):
    """VSKNN over baskets, those of all households."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("vsknn", shop)
        self._sessions = Vsknn(VsknnConfig())

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        self._sessions.learn(basket.items, [basket.at] * len(basket.items))

    def scores(self, query: BasketQuery) -> Scores:
        """See [`SingleMethod.scores`][]."""
        anchors = query.anchors.tolist()
        return self._sessions.score(anchors, [query.basket.at] * len(anchors))


class OfHousehold(SingleMethod):
    """What the household has bought most often, and then what everybody buys."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("household-popularity", shop)
        self._counts = np.zeros(len(shop.items))
        self._own: dict[str, dict[int, int]] = {}

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        self._counts[list(basket.items)] += 1.0
        own = self._own.setdefault(basket.household, {})
        for item in basket.items:
            own[item] = own.get(item, 0) + 1

    def scores(self, query: BasketQuery) -> Scores:
        """See [`SingleMethod.scores`][]."""
        scores = self._counts / (self._counts.sum() + 1.0)
        own = self._own.get(query.basket.household, {})
        scores[list(own)] += list(own.values())
        return np.arange(len(scores), dtype=np.int32), scores


class Implicit(SingleMethod):
    """A model of the `implicit` package, fitted once, when training is over; it learns nothing from tests.

    Args:
        name: bm25, als or bpr.
        shop: what is bought.
        seed: of what it draws.
    """

    def __init__(self, name: str, shop: Shop, seed: int) -> None:
        super().__init__(name, shop)
        self._model = ImplicitModel(name, seed)
        self._by_basket = name == "bm25"
        self._households: dict[str, int] = {}
        self._baskets = 0

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        if self._model.fitted:
            return
        household = self._households.setdefault(basket.household, len(self._households))
        self._model.add(self._baskets if self._by_basket else household, basket.items)
        self._baskets += 1

    def ready(self) -> None:
        """See [`Family.ready`][]."""
        self._model.fit()

    def scores(self, query: BasketQuery) -> Scores:
        """See [`SingleMethod.scores`][]."""
        if self._by_basket:
            return self._model.scores_many([query.anchors.tolist()])[0]
        household = self._households.get(query.basket.household)
        if household is None:
            return np.empty(0, np.int32), np.zeros(0)
        return self._model.scores_of_row(household)
