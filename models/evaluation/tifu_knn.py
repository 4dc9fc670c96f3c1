"""TIFU-KNN: what the household and those most like it buy, by frequency and recency; the basket so far is ignored.

H. Hu and others, Modeling Personalized Item Frequency Information for Next-basket Recommendation (SIGIR 2020).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[NDArray[np.int32], NDArray[np.float64]]
"""(n,) distinct items, and (n,) values above 0."""

KEPT = 64
"""Households whose scores are kept until they buy: the queries of a visit ask for the same ones."""


@dataclass(frozen=True)
class TifuKnnConfig:
    """Parameters: those that the paper's repository gives for Ta-Feng."""

    neighbours: int = 300
    within: float = 0.9
    """Decay from a basket of a group to the one before it."""
    between: float = 0.7
    """Decay from a group to the one before it."""
    own: float = 0.7
    """Share of the household's own vector in the scores (alpha)."""
    groups: int = 7
    """Most groups that the baskets of a household are divided into."""


def frequencies(baskets: Sequence[tuple[int, ...]], config: TifuKnnConfig) -> dict[int, float]:
    """The vector of a household: decayed shares of its baskets, by item; the sizes of groups differ by one at most.

    >>> config = TifuKnnConfig(within=0.5, between=0.25, groups=2)
    >>> frequencies([(1, 2), (2,), (3,)], config)  # groups of one basket and of two
    {1: 0.125, 2: 0.25, 3: 0.25}
    """
    n, groups = len(baskets), min(config.groups, len(baskets))
    found: defaultdict[int, float] = defaultdict(float)
    for group in range(groups):
        first, end = group * n // groups, (group + 1) * n // groups
        for place in range(first, end):
            weight = config.between ** (groups - 1 - group) * config.within ** (end - 1 - place) / (end - first)
            for item in baskets[place]:
                found[item] += weight / groups
    return dict(found)


class TifuKnn:
    """The own vector as of now, and the mean of the nearest others' (Euclidean) as of the last `refresh`.

    Args:
        items: their number; all are below it.

    >>> similar = TifuKnn(5, TifuKnnConfig(neighbours=1, own=0.75))
    >>> for household, basket in [("ann", [0, 1]), ("bob", [0, 2]), ("cem", [3, 4])]:
    ...     similar.learn(household, basket)
    >>> similar.refresh()
    >>> [column.tolist() for column in similar.scores("ann")]  # bob is nearer than cem
    [[0, 1, 2], [1.0, 0.75, 0.25]]
    """

    def __init__(self, items: int, config: TifuKnnConfig) -> None:
        self._items, self._config = items, config
        self._baskets: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
        self._scores: dict[str, Vector] = {}
        self._nearest: dict[str, NDArray[np.intp]] = {}
        self._number: dict[str, int] = {}
        self._vectors: list[Vector] = []  # of all households that had bought by the last refresh
        self._squares: NDArray[np.float64] = np.zeros(0)
        # The same by item: item i is at starts[i] up to starts[i + 1].
        self._starts: NDArray[np.int64] = np.zeros(items + 1, np.int64)
        self._owners: NDArray[np.int64] = np.zeros(0, np.int64)
        self._values: NDArray[np.float64] = np.zeros(0)

    def learn(self, household: str, items: Sequence[int]) -> None:
        """Learn a basket of distinct items."""
        self._baskets[household].append(tuple(items))
        self._scores.pop(household, None)

    def refresh(self) -> None:
        """Bring the vectors of all households up to date; who is nearest is found again when it is asked for."""
        self._scores, self._nearest = {}, {}
        self._number = {household: number for number, household in enumerate(self._baskets)}
        self._vectors = list(map(self._vector, self._baskets))
        self._squares = np.array([float((values**2).sum()) for _, values in self._vectors])
        items = np.concatenate([np.empty(0, np.int32), *(items for items, _ in self._vectors)])
        by_item = np.argsort(items, kind="stable")
        self._starts = np.searchsorted(items[by_item], np.arange(self._items + 1))
        lengths = [len(items) for items, _ in self._vectors]
        self._owners = np.repeat(np.arange(len(lengths)), np.array(lengths, np.int64))[by_item]
        self._values = np.concatenate([np.empty(0), *(values for _, values in self._vectors)])[by_item]

    def scores(self, household: str) -> Vector:
        """Scores of items, which are ascending; of a household that has bought nothing, none."""
        found = self._scores.get(household)
        if found is None:
            found = self._scores[household] = self._mixed(household)
            if len(self._scores) > KEPT:
                del self._scores[next(iter(self._scores))]
        return found

    def _vector(self, household: str) -> Vector:
        vector = frequencies(self._baskets.get(household, ()), self._config)
        return np.fromiter(vector.keys(), np.int32, len(vector)), np.fromiter(vector.values(), np.float64, len(vector))

    def _mixed(self, household: str) -> Vector:
        items, values = self._vector(household)
        if not len(items):
            return items, values
        if household not in self._nearest:
            self._nearest[household] = self._find_nearest(household, items, values)
        others = [self._vectors[number] for number in self._nearest[household].tolist()]
        share = (1.0 - self._config.own) / max(1, len(others))
        sums = np.bincount(
            np.concatenate([items, *(items for items, _ in others)]),
            np.concatenate([self._config.own * values, *(share * values for _, values in others)]),
            self._items,
        )
        found = np.flatnonzero(sums).astype(np.int32)
        return found, sums[found].astype(np.float64)

    def _find_nearest(self, household: str, items: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.intp]:
        """The nearest other households to a vector, ties by first purchase."""
        blocks = [slice(self._starts[item], self._starts[item + 1]) for item in items.tolist()]
        products = np.bincount(
            np.concatenate([self._owners[block] for block in blocks]),
            np.concatenate([value * self._values[block] for value, block in zip(values, blocks, strict=True)]),
            len(self._vectors),
        )
        distances = self._squares - 2.0 * products
        others: NDArray[np.intp] = np.argsort(distances, kind="stable")
        found: NDArray[np.intp] = others[others != self._number.get(household, -1)][: self._config.neighbours]
        return found
