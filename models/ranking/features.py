"""The features of a suggested item, and the learnt order that is linear in them.

Workers score with an `Order` and send the features with suggestions; the trainer learns from the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.shop.events import PAIR_KIND_NAMES

SOURCES = (*PAIR_KIND_NAMES, "sequence")
"""Whose shares and ranks are features."""

FEATURES = (
    *(f"{source} share" for source in SOURCES),  # logarithm; FLOOR is added first
    *(f"{source} rank" for source in SOURCES),  # logarithm: 0 is the best; those without a share come last together
    "evidence",  # logarithm of the score by the sum of the evidence, before the step of an upsell
    "views",  # logarithm of one more than the item's own, decayed
    "base",  # logarithm of the share of all baskets that have it; FLOOR is added first
    "seen",  # 1: the visit has looked at it
    "step",  # logarithm of its price over its anchor's, 0 where one is free, from -3 to 3
    "looks",  # logarithm of one more than the items of the visit
    "cart",  # ... of the cart
    "purchase",  # 1: the trigger is one
)
"""Names of the features, in order."""

WIDTH = len(FEATURES)

MAX_FEATURE = 1e6
"""Largest feature that is believed, either way: all are logarithms and flags. Anybody may write a suggestion."""

FLOOR = 1e-4
"""Added to a share before its logarithm is taken: a share of one in ten thousand is as good as none."""


class Order(NamedTuple):
    """A learnt order of lists; see the module."""

    learnt: NDArray[np.bool_]  # (3,) by kind: whether there is one
    weights: NDArray[np.float64]  # (3, WIDTH)
    by_looks: NDArray[np.float64]  # (3, len(SOURCES)): of a source's share times `looks`
    bias: NDArray[np.float64]  # (3,)


def no_order() -> Order:
    """An order without any kind learnt."""
    return Order(np.zeros(3, np.bool_), np.zeros((3, WIDTH)), np.zeros((3, len(SOURCES))), np.zeros(3))
