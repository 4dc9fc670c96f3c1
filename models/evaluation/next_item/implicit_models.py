"""Three models of B. Frederickson's `implicit` package, for protocols A and B.

* BM25 between items, each with its 200 nearest: an item scores the sum of its similarities to the given items.
* ALS (Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008).
* BPR (Rendle and others, Bayesian Personalized Ranking from Implicit Feedback, 2009).

They are fitted once, to a matrix of counts whose rows are sessions, households or (for BM25) baskets. A new row is
folded in: by ALS with the normal equations of its items (the package's `recalculate_user`), by BPR, which has no such
step, as the mean of their factors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import PackageMissingError
from models.evaluation.next_item.methods import Prefix, Scores


class ImplicitModel:
    """One of `MODELS`, over dense numbers of items."""

    def __init__(self, name: str, seed: int) -> None:
        self._name, self._seed = name, seed
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._learnt = np.empty(0, np.int32)  # (n,) items with a count, ascending
        self._model: Any = None

    @property
    def fitted(self) -> bool:
        """Whether `fit` was called; nothing is learnt after it."""
        return self._model is not None

    def add(self, row: int, items: Sequence[int]) -> None:
        """Count items in a row, before the model is fitted."""
        self._rows += [row] * len(items)
        self._columns += items

    def fit(self) -> None:
        """Learn everything that was added."""
        counts = _counts(self._rows, self._columns, max(self._rows) + 1, max(self._columns) + 1)
        self._learnt = np.unique(np.array(self._columns, np.int32))
        self._rows, self._columns = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about threads of the linear algebra: there is only one
            self._model = MODELS[self._name](self._seed)
            self._model.fit(counts, show_progress=False)

    def scores_of_row(self, row: int) -> Scores:
        """Scores of all learnt items for a fitted row (ALS and BPR)."""
        return self._learnt, _as_scores(self._model.item_factors[self._learnt] @ self._model.user_factors[row])

    def scores_many(self, asked: Sequence[Sequence[int]]) -> list[Scores]:
        """Scores for new rows of items, repeated where they count more often; none for a row without a learnt item."""
        known = [[item for item in items if self._has_learnt(item)] for items in asked]
        rows = [row for row, items in enumerate(known) for _ in items]
        columns = [item for items in known for item in items]
        counts = _counts(rows, columns, len(known), int(self._learnt[-1]) + 1)
        if self._name == "bm25":
            sums = counts @ self._model.similarity
            found = np.split(sums.indices, sums.indptr[1:-1]), np.split(sums.data, sums.indptr[1:-1])
            return [(ids.astype(np.int32), _as_scores(scores)) for ids, scores in zip(*found, strict=True)]
        ranked = self._folded_in(counts) @ self._model.item_factors[self._learnt].T
        nothing = self._learnt[:0], np.zeros(0)
        return [(self._learnt, _as_scores(row)) if items else nothing for items, row in zip(known, ranked, strict=True)]

    def _has_learnt(self, item: int) -> bool:
        place = int(np.searchsorted(self._learnt, item))
        return place < len(self._learnt) and int(self._learnt[place]) == item

    def _folded_in(self, counts: Any) -> NDArray[np.float32]:
        """(rows, factors) of new rows."""
        if self._name == "als":
            folded: NDArray[np.float32] = self._model.recalculate_user(np.arange(counts.shape[0]), counts)
            return folded
        means: NDArray[np.float32] = counts @ self._model.item_factors
        means /= np.maximum(1, counts.sum(axis=1)).reshape(-1, 1)
        means[:, -1] = 1.0  # the last factor of an item is its bias
        return means


class Implicit:
    """A model of the package in protocol A: sessions are its rows, prefixes new rows."""

    def __init__(self, name: str, seed: int) -> None:
        self.names: Sequence[str] = (name,)
        self._name = name
        self._model = ImplicitModel(name, seed)
        self._sessions = 0

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """Add a training session; sessions after the fit are ignored."""
        if not self._model.fitted:
            self._model.add(self._sessions, items)
            self._sessions += 1

    def finish(self) -> None:
        """See [`MethodGroup.finish`][models.evaluation.next_item.methods.MethodGroup.finish]."""
        self._model.fit()

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """See [`MethodGroup.score_many`][models.evaluation.next_item.methods.MethodGroup.score_many]."""
        return [{self._name: scores} for scores in self._model.scores_many([items for items, _ in prefixes])]


def check_implicit(methods: Collection[str]) -> None:
    """Check before hours of work that the package is there if a method needs it.

    Raises:
        PackageMissingError: a method needs `implicit`, which is not installed.
    """
    wanted = [name for name in MODELS if name in methods]
    if wanted and find_spec("implicit") is None:
        raise PackageMissingError.of(", ".join(wanted), "implicit", "evaluation")


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
"""Defaults of the package except for the arguments given here; ALS multiplies counts by `alpha`."""


def _counts(rows: Sequence[int], columns: Sequence[int], height: int, width: int) -> Any:
    """(height, width) sparse counts of each column in each row."""
    import scipy.sparse

    ones = np.ones(len(rows), np.float32)
    return scipy.sparse.csr_matrix((ones, (rows, columns)), shape=(height, width))


def _as_scores(scores: Any) -> NDArray[np.float64]:
    return np.asarray(scores, np.float64)
