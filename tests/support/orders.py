"""Orders of pools for hypothesis to draw, by names, whatever a trainer might have learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from models.ranking.features import EVIDENCE, FEATURES, LEARNT, ORDERS, POPULARITY, Order, no_order
from models.serving.recommender import Learnt
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL

KINDS = {"cross-sell": CROSS_SELL, "upsell": UPSELL}


@dataclass(frozen=True)
class OrderOfKind:
    """How the pool of one kind is ordered. What is not named counts 0."""

    serves: int = EVIDENCE
    weights: Mapping[str, float] = field(default_factory=dict)
    """By feature."""
    bias: Sequence[float] = (0.0,) * len(ORDERS)
    uptake: Mapping[str, float] = field(default_factory=dict)
    """By item id."""


@dataclass(frozen=True)
class DrawnOrder:
    """An order of both kinds, by their names."""

    kinds: Mapping[str, OrderOfKind]

    def learnt(self, items: Items) -> Learnt:
        """As a recommender over these items takes it."""
        known = [items.index(item_id) for kind in self.kinds.values() for item_id in kind.uptake]
        weights, bias = np.zeros((3, 2, len(FEATURES))), np.zeros((3, len(ORDERS)))
        uptake = np.zeros((2, 2, max(known, default=-1) + 1), np.float32)
        order = Order(no_order().serves, weights, bias, uptake)
        for name, kind in self.kinds.items():
            code = KINDS[name]
            order.serves[code], bias[code] = kind.serves, kind.bias
            for feature, weight in kind.weights.items():
                weights[code, :, FEATURES.index(feature)] = weight
            for item_id, taken in kind.uptake.items():
                uptake[code - CROSS_SELL, :, items.index(item_id)] = taken
        return Learnt(order, "drawn")

    def served_by_evidence(self, kind: str) -> bool:
        """Whether the sum of the evidence serves a kind."""
        return self.kinds[kind].serves == EVIDENCE


NO_ORDER = DrawnOrder({name: OrderOfKind() for name in KINDS})
"""The sum of the evidence serves."""


def orders(item_ids: Sequence[str]) -> st.SearchStrategy[DrawnOrder]:
    """Orders over some items; many score all candidates alike, so that ids settle everything."""
    number = st.sampled_from([0.0, 0.5, -0.5, 2.0, -2.0, 7.0, -7.0])
    kinds = st.builds(
        OrderOfKind,
        serves=st.sampled_from([LEARNT, POPULARITY, EVIDENCE]),
        weights=st.dictionaries(st.sampled_from(FEATURES), number, max_size=3),
        bias=st.tuples(number, number, number),
        uptake=st.dictionaries(st.sampled_from(item_ids), number, max_size=3),
    )
    return st.builds(DrawnOrder, st.fixed_dictionaries(dict.fromkeys(KINDS, kinds)))
