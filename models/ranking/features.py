"""The features of a candidate, and the learnt order that is linear in them.

Workers score with an `Order` and log the features of a sample of pools; the trainer learns from the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.shop.events import PAIR_KIND_NAMES

SOURCES = (*PAIR_KIND_NAMES, "sequence", "likeness", "walk")
"""Whose shares are features."""

FEATURES = (
    *(f"{source} share" for source in SOURCES),  # log(1 + share / SHARE_UNIT)
    "evidence",  # log(1 + score / BASE_UNIT) of the score by the sum of the evidence, before the step of an upsell
    "views",  # log(1 + its own views, decayed)
    "base",  # log(1 + share of all baskets that have it / BASE_UNIT)
    "lift",  # of a cross-sell: logarithm of its bought-with share over its share of all baskets, 0 without the first
    "significance",  # of a cross-sell: how much of its bought-with share chance does not explain, 0 to 1
    "seen",  # 1: the visit has looked at it
    "counted",  # 1: there is evidence for it
    "step",  # logarithm of its step in price over its anchor (`models.serving.candidates.step_of`); 0 for a cross-sell
    "step squared",
    "price",  # logarithm of its price over its anchor's, 0 where one is free, from -3 to 3
    "brand",  # 1: of its anchor's brand
    "near",  # 1: its category and its anchor's have the same parent
    "had",  # 1: the shopper has bought it before
    "own count",  # log(1 + share of the shopper's baskets with it / OWN_UNIT), of PRIOR_BASKETS more
    "own fast",  # log(1 + fast decayed baskets with it / OWN_UNIT)
    "own slow",  # ... slow
    "own age",  # log(1 + days since it was last bought), 0 if never
    "own due",  # logarithm of a day more than these over a day more than the mean gap between purchases; -3 to 3
    "own group",  # log(1 + items of the same category to the policy in each of the shopper's baskets / OWN_UNIT)
    "own category",  # ... of its whole category
    "own brand",  # ... of its brand
    "own price",  # logarithm of its price over the mean price of what the shopper buys of its group; -3 to 3
    "category lift",  # of a cross-sell: logarithm of its category's lift with the anchors' ones (`category_lifts`)
    "learnt",  # its score by the learnt order of the worker, without the bias: that judges the order, and is not learnt
)
"""Names of the features, in order."""

WIDTH = len(FEATURES)

MAX_FEATURE = 100.0
"""Largest feature that is written or believed, either way: all are logarithms and flags."""

SHARE_UNIT = 1e-3
"""Share up to which a source says next to nothing."""

BASE_UNIT = 1e-4
"""... and an item's share of all baskets."""

OWN_UNIT = 0.02
"""... and an item's share of a shopper's baskets."""

PRIOR_BASKETS = 5.0
"""Baskets without any item that are added to a shopper's own: few say little."""

UNSEEN_BASKETS = 0.3
"""Baskets that every item is taken to have had besides its own."""


EVIDENCE, LEARNT, POPULARITY = range(3)
ORDERS = ("evidence", "learnt", "popularity")
"""The orders that are compared, of which one serves; metrics name them so."""

POPULAR_WEIGHTS = np.array([{"base": 1.0, "views": 1e-3}.get(name, 0.0) for name in FEATURES])
"""(WIDTH,) of the order by popularity: views settle ties."""

FIRST_WEIGHTS = np.array([{"evidence": 0.5, "views": 0.5}.get(name, 0.0) for name in FEATURES])
"""(WIDTH,) that a learnt order begins with."""


class Order(NamedTuple):
    """What was learnt of the order of pools, by kind."""

    serves: NDArray[np.int8]  # (3,) index into ORDERS
    weights: NDArray[np.float64]  # (3, 2, WIDTH) of the learnt order, for what was not bought and was bought before
    bias: NDArray[np.float64]  # (3, len(ORDERS)): of each order, so that acceptances are as frequent as takings
    uptake: NDArray[np.float32]
    """(2, 2, items): added to the learnt score of a cross-sell and of an upsell, each not bought and bought before; 0
    for all items beyond."""


def no_order() -> Order:
    """What is known before anything is learnt: the sum of the evidence serves."""
    weights = np.tile(FIRST_WEIGHTS, (3, 2, 1))
    return Order(np.zeros(3, np.int8), weights, np.zeros((3, len(ORDERS))), np.zeros((2, 2, 0), np.float32))
