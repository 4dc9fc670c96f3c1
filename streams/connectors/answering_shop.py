"""How the shoppers of the simulated shop answer lists of suggestions, with known probabilities.

The figures are a model's, chosen once and not fitted to any recommender: most places are looked at, few items are
liked. What is right by the shop's [`Truth`][streams.connectors.simulated_shop.Truth] is liked at one rate. Anything
else is an impulse: the best seller of the shop is liked at the highest rate, others in proportion to how often they are
bought.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from models.evaluation.prequential.replay import Event
from models.shop.events import Purchase
from streams.connectors.simulated_shop import Truth

NAME = "answering_shop_v1"
"""Version of the probabilities. Figures are comparable only under the same name."""

FIRST_PLACE, NEXT_PLACE = 0.9, 0.85
"""Probability that the first place is looked at, and of each further place as a share of the one before it."""

RIGHT = {"cross-sell": 0.05, "upsell": 0.05}
"""Probability that a right item is liked once it is looked at."""

IMPULSE = 0.02
"""The same of the best seller where it is not right."""


class AnsweringShop:
    """Probabilities of a shop with this truth and these events of the shoppers' own accord.

    >>> from models.shop.events import Line
    >>> from streams.connectors.simulated_shop import SimulatedShop
    >>> order = Purchase("ann", "o1", 0.0, (Line("chocolate-1"),))
    >>> shop = AnsweringShop(SimulatedShop(seed=7).truth, [order])
    >>> shop.acceptance("cross-sell", ["tea-kettles-plain-1"], "tea-mugs-plain-3")
    0.05
    >>> [shop.acceptance("cross-sell", ["tea-kettles-plain-1"], item) for item in ("chocolate-1", "tea-mugs-rustic-1")]
    [0.02, 0.0]
    """

    def __init__(self, truth: Truth, events: Iterable[Event]) -> None:
        self._truth = truth
        self._orders = Counter(item for event in events if isinstance(event, Purchase) for item in event.item_ids)
        self._most = max(self._orders.values(), default=1)

    def examination(self, place: int) -> float:
        """Probability that a shopper looks at a place of a list, counted from 0."""
        return FIRST_PLACE * NEXT_PLACE**place

    def acceptance(self, kind: str, anchors: Sequence[str], item_id: str) -> float:
        """Probability that a shopper likes an item that he looks at; right for one of its anchors is right."""
        if self._truth.is_right_for_any(kind, anchors, item_id):
            return RIGHT[kind]
        return IMPULSE * self._orders[item_id] / self._most
