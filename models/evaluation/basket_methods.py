"""What else completes a basket: the simple methods of the literature, and those of the `implicit` package.

All are counts without decay. Lines of a basket share one time, so that there is no order in it: `last-item` is the last
anchor of the file, and rules by distance mean nothing here.

* VSKNN, with all items of the cart weighing alike: M. Ludewig, D. Jannach, Evaluation of session-based recommendation
  algorithms (2018); baskets are its sessions.
* BM25 between items of baskets, ALS (Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008)
  and BPR (Rendle and others, Bayesian Personalized Ranking from Implicit Feedback, 2009), by B. Frederickson's
  `implicit`: BM25 is asked with the anchors, the other two with the household, whose purchases they factorise.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.evaluation.baskets import Basket, Lists, Question, Shop, best
from models.evaluation.methods import Scores
from models.evaluation.session_knn import Vsknn, VsknnConfig
from models.sums import sums_by_item

MOST_ITEMS = 60
"""Distinct items of a basket that pairs are made of, the first of the file: bounds the square."""


_Rows = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


class One:
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

    def scores(self, question: Question) -> Scores:
        """(n,) distinct items, (n,) scores, greater is better."""
        raise NotImplementedError

    def rank(self, question: Question) -> Mapping[str, Lists]:
        """See [`Family.rank`][]."""
        return {self._name: best(*self.scores(question), question, self._shop.items.order)}


class Popularity(One):
    """Baskets with an item."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("popularity", shop)
        self._counts = np.zeros(len(shop.items))
        self._all = np.arange(len(shop.items), dtype=np.int32)

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        self._counts[list(basket.items)] += 1.0

    def scores(self, question: Question) -> Scores:
        """See [`One.scores`][]."""
        return self._all, self._counts


class Together(One):
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

    def scores(self, question: Question) -> Scores:
        """See [`One.scores`][]."""
        if self._counted < len(self._baskets):  # with tests learnt; seldom enough that all is counted anew
            self.ready()
        anchors = question.anchors[-1:] if self._last_only else question.anchors
        factors = (self._counts[anchors] + 1.0) ** -self._normalisation
        items, ends, weights, owners, starts = self._rows
        sums = _together(anchors, factors, items, ends, weights, owners, starts, len(self._shop.items))
        found = np.flatnonzero(sums).astype(np.int32)
        return found, sums[found]


@njit(cache=True)
def _together(
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


class NearestBaskets(One):
    """VSKNN over baskets, those of all households."""

    def __init__(self, shop: Shop) -> None:
        super().__init__("vsknn", shop)
        self._sessions = Vsknn(VsknnConfig())

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        self._sessions.learn(basket.items, [basket.at] * len(basket.items))

    def scores(self, question: Question) -> Scores:
        """See [`One.scores`][]."""
        anchors = question.anchors.tolist()
        return self._sessions.score(anchors, [question.basket.at] * len(anchors))


class OfHousehold(One):
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

    def scores(self, question: Question) -> Scores:
        """See [`One.scores`][]."""
        scores = self._counts / (self._counts.sum() + 1.0)
        own = self._own.get(question.basket.household, {})
        scores[list(own)] += list(own.values())
        return np.arange(len(scores), dtype=np.int32), scores


class Implicit(One):
    """A model of the `implicit` package, fitted once, when training is over; it learns nothing from tests.

    Args:
        name: bm25, als or bpr.
        shop: what is bought.
        seed: of what it draws.
    """

    def __init__(self, name: str, shop: Shop, seed: int) -> None:
        super().__init__(name, shop)
        self._seed = seed
        self._rows: list[int] = []
        self._items: list[int] = []
        self._households: dict[str, int] = {}
        self._learnt = 0
        self._fitted = False
        self._model: Any = None

    def learn(self, basket: Basket) -> None:
        """See [`Family.learn`][]."""
        if self._fitted:
            return
        row = self._households.setdefault(basket.household, len(self._households))
        self._rows += [self._learnt if self._name == "bm25" else row] * len(basket.items)
        self._items += basket.items
        self._learnt += 1

    def ready(self) -> None:
        """See [`Family.ready`][]."""
        import scipy.sparse

        rows = self._learnt if self._name == "bm25" else len(self._households)
        ones = np.ones(len(self._rows), np.float32)
        counts = scipy.sparse.csr_matrix((ones, (self._rows, self._items)), shape=(rows, len(self._shop.items)))
        self._model = MODELS[self._name](self._seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads of the linear algebra, of which there is one here
            self._model.fit(counts, show_progress=False)
        self._fitted = True
        self._rows, self._items = [], []

    def scores(self, question: Question) -> Scores:
        """See [`One.scores`][]."""
        if self._name == "bm25":
            found = [self._model.similarity[anchor] for anchor in question.anchors.tolist()]
            ids = np.concatenate([one.indices for one in found]).astype(np.int32)
            return sums_by_item(ids, np.concatenate([one.data for one in found]).astype(np.float64))
        items = np.arange(len(self._shop.items), dtype=np.int32)
        user = self._households.get(question.basket.household)
        if user is None:
            return items[:0], np.zeros(0)
        return items, (self._model.item_factors @ self._model.user_factors[user]).astype(np.float64)


def _bm25(seed: int) -> Any:
    from implicit.nearest_neighbours import BM25Recommender

    return BM25Recommender(K=200, num_threads=1)


def _als(seed: int) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(factors=64, iterations=15, alpha=5.0, num_threads=1, random_state=seed)


def _bpr(seed: int) -> Any:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    return BayesianPersonalizedRanking(factors=64, iterations=100, num_threads=1, random_state=seed)


MODELS: Mapping[str, Callable[[int], Any]] = {"bm25": _bm25, "als": _als, "bpr": _bpr}
"""How each model of `implicit` is made: its defaults, but for what is named here (200 neighbours an item; 64 factors
for both factorisations; ALS believes counts times 5)."""
