"""TIFU-KNN: what the household and those most like it buy, by frequency and recency; the basket so far is ignored.

H. Hu and others, Modeling Personalized Item Frequency Information for Next-basket Recommendation (SIGIR 2020).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baskets.baselines import Baseline
from models.evaluation.baskets.protocol import Basket, BasketQuery, Shop
from models.evaluation.next_item.methods import Scores


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


def frequencies(baskets: list[tuple[int, ...]], config: TifuKnnConfig) -> dict[int, float]:
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


class TifuKnn(Baseline):
    """Own vector and mean of the nearest (Euclidean), as of the last `ready`."""

    def __init__(self, shop: Shop, config: TifuKnnConfig) -> None:
        super().__init__("tifu-knn", shop)
        self._config = config
        self._baskets: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
        self._number: dict[str, int] = {}
        self._vectors: list[Scores] = []
        self._squares: NDArray[np.float64] = np.zeros(0)

    def learn(self, basket: Basket) -> None:
        """See [`BasketMethod.learn`][]."""
        self._baskets[basket.household].append(basket.items)

    def ready(self) -> None:
        """See [`BasketMethod.ready`][]."""
        self._number = {household: number for number, household in enumerate(self._baskets)}
        vectors = [frequencies(baskets, self._config) for baskets in self._baskets.values()]
        self._vectors = [
            (np.fromiter(vector.keys(), np.int32, len(vector)), np.fromiter(vector.values(), np.float64, len(vector)))
            for vector in vectors
        ]
        self._squares = np.array([float((values**2).sum()) for _, values in self._vectors])
        items = np.concatenate([items for items, _ in self._vectors])
        by_item = np.argsort(items, kind="stable")
        self._starts = np.searchsorted(items[by_item], np.arange(len(self._shop.items) + 1))
        self._owners = np.repeat(np.arange(len(vectors)), [len(vector) for vector in vectors])[by_item]
        self._values = np.concatenate([values for _, values in self._vectors])[by_item]

    def scores(self, query: BasketQuery) -> Scores:
        """See [`Baseline.scores`][]."""
        number = self._number.get(query.basket.household)
        if number is None:
            return np.empty(0, np.int32), np.zeros(0)
        sums = np.zeros(len(self._shop.items))
        items, values = self._vectors[number]
        sums[items] = self._config.own * values
        nearest = self._nearest(number)
        for neighbour in nearest:
            items, values = self._vectors[neighbour]
            sums[items] += (1.0 - self._config.own) / len(nearest) * values
        found = np.flatnonzero(sums).astype(np.int32)
        return found, sums[found]

    def _nearest(self, number: int) -> list[int]:
        """The nearest other households, ties by first purchase."""
        products = np.zeros(len(self._vectors))
        for item, value in zip(*self._vectors[number], strict=True):
            block = slice(self._starts[item], self._starts[item + 1])
            products[self._owners[block]] += value * self._values[block]
        distances = self._squares - 2.0 * products
        distances[number] = np.inf
        nearest: list[int] = np.argsort(distances, kind="stable")[: len(distances) - 1].tolist()
        return nearest[: self._config.neighbours]
