"""Which items may be upsells of another by the policy.

`models.serving.rules` decides what is suggested; this decides, independently of it, what could have been.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.shop.catalog import OFFERED, Catalog
from models.shop.policy import Policy


def is_upgrade(price: Any, rating: Any, anchor_price: float, anchor_rating: float, policy: Policy) -> Any:
    """Whether offers of an anchor's category and currency cost more by an allowed step, and are rated no lower.

    Price and rating are of one offer, or (n,) of several; a rating is NaN where there is none.

    >>> bool(is_upgrade(15.0, np.nan, 10.0, 4.0, Policy())), bool(is_upgrade(15.0, 3.0, 10.0, 4.0, Policy()))
    (True, False)
    """
    low, high = anchor_price * (1 + policy.min_step), anchor_price * (1 + policy.max_step)
    return (low <= price) & (price <= high) & np.logical_not(rating < anchor_rating)


class Upgrades:
    """The allowed upsells of each item, in a catalogue that does not change; `items` is their number.

    >>> from models.shop.events import CatalogItem
    >>> from models.shop.items import Items
    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> for name, category, price in [("s", "Pan", 10.0), ("m", "Pan", 15.0), ("l", "Pan", 30.0), ("x", "Cup", 15.0)]:
    ...     catalog.put(CatalogItem(name, name, category, price))
    >>> Upgrades(catalog, len(items), Policy()).of(0).tolist()  # 30 is more than twice 10
    [1]
    """

    def __init__(self, catalog: Catalog, items: int, policy: Policy) -> None:
        catalog.make_room()
        self._facts = catalog.facts[:items].copy()
        self._policy = policy
        of_node = [catalog.categories.at_depth(node, policy.category_depth) for node in range(len(catalog.categories))]
        self._group = np.array(of_node, np.int32)[self._facts["category"]]
        by_group: dict[tuple[int, int], list[int]] = {}
        by_price = np.argsort(self._facts["price"], kind="stable")
        for index in by_price[self._facts["state"][by_price] == OFFERED].tolist():
            by_group.setdefault(self._key(index), []).append(index)
        self._by_group = {key: np.array(found, np.int32) for key, found in by_group.items()}

    def _key(self, index: int) -> tuple[int, int]:
        return int(self._group[index]), int(self._facts["currency"][index])

    def of(self, index: int) -> NDArray[np.int32]:
        """Indices of the allowed upsells of an item, cheapest first."""
        anchor, offers = self._facts[index], self._by_group.get(self._key(index))
        if offers is None or not anchor["state"] or not anchor["price"] > 0.0:
            return np.zeros(0, np.int32)
        facts = self._facts[offers]
        allowed = is_upgrade(facts["price"], facts["rating"], anchor["price"], anchor["rating"], self._policy)
        upgrades: NDArray[np.int32] = offers[allowed & (offers != index)]
        return upgrades

    def step(self, index: int, anchor: int) -> float:
        """Price of an item above another one's, as a share of the latter."""
        return float(self._facts["price"][index] / self._facts["price"][anchor] - 1.0)
