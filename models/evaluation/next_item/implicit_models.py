"""The models of B. Frederickson's `implicit`, as everybody knows them, for both protocols that rank.

* BM25 between items, each with its 200 nearest: an item is worth the sum of its likeness to those asked with.
* ALS (Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008).
* BPR (Rendle and others, Bayesian Personalized Ranking from Implicit Feedback, 2009).

What they learn is a matrix of counts: rows are households (for BM25 their baskets), or sessions. They are fitted once.
Whoever was no row then is folded in: by ALS with the normal equations of its own items (the package's
`recalculate_user`), by BPR, which has no such step, as the mean of their factors.
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
    """One of the models, over dense numbers of items.

    Args:
        name: from `MODELS`.
        seed: of what it draws.
    """

    def __init__(self, name: str, seed: int) -> None:
        self._name, self._seed = name, seed
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._learnt = np.empty(0, np.int32)  # (n,) items with a count, ascending
        self._model: Any = None

    @property
    def fitted(self) -> bool:
        """Whether it learns nothing any more."""
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
            warnings.simplefilter("ignore")  # of threads of the linear algebra, of which there is one here
            self._model = MODELS[self._name](self._seed)
            self._model.fit(counts, show_progress=False)

    def scores_of_row(self, row: int) -> Scores:
        """Scores of all learnt items for a row that was there (ALS and BPR)."""
        return self._learnt, _as_scores(self._model.item_factors[self._learnt] @ self._model.user_factors[row])

    def scores_many(self, asked: Sequence[Sequence[int]]) -> list[Scores]:
        """Scores for rows that were not there, from their items; none where no item of them was learnt.

        Args:
            asked: items of each row, repeated where they count more often.
        """
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
    """A model of the package as a family of protocol A: sessions are its rows, prefixes new ones.

    Args:
        name: from `MODELS`.
        seed: of what it draws.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.names: Sequence[str] = (name,)
        self._name = name
        self._model = ImplicitModel(name, seed)
        self._sessions = 0

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """Add a training session; a session that comes after the model was fitted is not learnt."""
        if not self._model.fitted:
            self._model.add(self._sessions, items)
            self._sessions += 1

    def finish(self) -> None:
        """See [`Family.finish`][models.evaluation.next_item.methods.Family.finish]."""
        self._model.fit()

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """See [`Family.score_many`][models.evaluation.next_item.methods.Family.score_many]."""
        return [{self._name: scores} for scores in self._model.scores_many([items for items, _ in prefixes])]


def check_implicit(methods: Collection[str]) -> None:
    """Say before hours of work whether methods can be asked.

    Raises:
        PackageMissingError: one of them is a model of `implicit`, which is not installed.
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
"""How each is made: its defaults, but for what is named here (200 neighbours an item; 64 factors for both
factorisations; ALS believes counts times 5)."""


def _counts(rows: Sequence[int], columns: Sequence[int], height: int, width: int) -> Any:
    """(height, width) sparse, how often each column is in each row."""
    import scipy.sparse

    ones = np.ones(len(rows), np.float32)
    return scipy.sparse.csr_matrix((ones, (rows, columns)), shape=(height, width))


def _as_scores(scores: Any) -> NDArray[np.float64]:
    return np.asarray(scores, np.float64)
