"""Pairs of items that a shopper's events make, and their weights."""

from __future__ import annotations

from math import log2

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int, int, float]
"""(a, b, kind, weight): the row of item a gains weight for its neighbour b. a == b is the item's own count; b == TOTAL
is a basket's share of the total, counted where item a is."""

TOTAL = -1


def viewed_with_weights(items: int, reach: int, exponent: float, factor: float = 1.0) -> NDArray[np.float64]:
    """(items + 1, reach) weights of viewed-with pairs, by length of the window and distance of the looks."""
    weights = [
        [round(factor * (distance**-exponent / log2(2 + length)), 4) for distance in range(1, reach + 1)]
        for length in range(items + 1)
    ]
    return np.array(weights, np.float64).reshape(items + 1, reach)


def basket_weights(most: int) -> NDArray[np.float64]:
    """(most + 1,) weights of each pair of a basket, by its size: a large one says less about any two of its items."""
    return np.array([_basket_weight(size) for size in range(most + 1)], np.float64)


def viewed_then_bought_weights(viewed: int, most: int, exponent: float) -> NDArray[np.float64]:
    """(viewed, most + 1) weights of an item viewed with each item bought after it, by rank and size of the basket."""
    weights = [
        [round(rank**-exponent * _basket_weight(size), 4) for size in range(most + 1)] for rank in range(1, viewed + 1)
    ]
    return np.array(weights, np.float64).reshape(viewed, most + 1)


def _basket_weight(size: int) -> float:
    return round(1 / log2(max(2, size)), 4)
