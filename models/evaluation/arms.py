"""What each arm of an experiment brings in: revenue per shopper, from records of suggestions and purchases alone.

A shopper belongs to the arm of the first record that the experiment sent him, and his orders count from after the event
that it answers. An arm that withholds its lists records them, so shoppers enter every arm by the same rule, whether
they were shown anything or not (intention to treat). The experiment begins with the first record of another arm than
the default's.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.ranks import RESAMPLES
from models.shop.events import CatalogItem, Purchase
from models.shop.policy import ARMS, DEFAULT, NONE

_CHUNK = 50
"""Resamples drawn at once; bounds memory."""

COMPARED = (ARMS[NONE], ARMS[DEFAULT])
"""Arms from which the difference of every other is told."""


class _Order(NamedTuple):
    shopper: int
    at: float
    currency: str | None
    revenue: float
    unpriced: int  # lines without a price


class ArmLedger:
    """Collects records, in any order of topics, each shopper's in the order of the log.

    >>> from models.shop.events import Line
    >>> ledger = ArmLedger()
    >>> for shopper, arm in [("ann", "none"), ("bob", "default"), ("cid", "default")]:
    ...     ledger.add_suggestion(shopper, arm, 100.0, 100_000)
    >>> ledger.add_purchase(Purchase("bob", "order-1", 200.0, (Line("mug", 2, 8.0),)))
    >>> found = ledger.figures(seed=1)["arms"]
    >>> {arm: (row["shoppers"], row["per_shopper"]) for arm, row in found.items()}
    {'default': (2, 8.0), 'none': (1, 0.0)}
    """

    def __init__(self) -> None:
        self._shoppers: defaultdict[str, int] = _numbers()
        self._arms: defaultdict[str, int] = _numbers()
        for arm in ARMS:
            self._arms[arm]
        self._shopper, self._arm, self._at, self._appended_ms = array("q"), array("q"), array("d"), array("q")
        self._orders: dict[tuple[int, str], _Order] = {}
        self._prices: dict[str, tuple[float, str | None]] = {}

    def add_item(self, item: CatalogItem) -> None:
        """Note the price of an item, for lines of purchases that have none. To be called before `add_purchase`."""
        self._prices[item.item_id] = item.price, item.currency

    def add_suggestion(self, user_id: str, arm: str, at: float, appended_ms: int) -> None:
        """Note a record of suggestions; `at` is the time of the event that it answers."""
        self._shopper.append(self._shoppers[user_id])
        self._arm.append(self._arms[arm])
        self._at.append(at)
        self._appended_ms.append(appended_ms)

    def add_purchase(self, purchase: Purchase) -> None:
        """Note a purchase; an order that is known already counts once."""
        revenue, unpriced = 0.0, 0
        for line in purchase.lines:
            price = line.price
            if price is None and line.item_id in self._prices:
                price, currency = self._prices[line.item_id]
                if None not in (currency, purchase.currency) and currency != purchase.currency:
                    price = None
            if price is None:
                unpriced += 1
            else:
                revenue += line.quantity * price
        shopper = self._shoppers[purchase.user_id]
        order = _Order(shopper, purchase.at, purchase.currency, revenue, unpriced)
        self._orders.setdefault((shopper, purchase.order_id), order)

    def figures(self, seed: int) -> dict[str, Any]:
        """Shoppers, orders and revenue of each arm, with 95 % bootstrap intervals over shoppers."""
        shoppers, arms, at, appended_ms = map(np.array, (self._shopper, self._arm, self._at, self._appended_ms))
        others = appended_ms[arms != DEFAULT]
        begin_ms = int(others.min() if len(others) else appended_ms.min(initial=0))
        sent = np.flatnonzero(appended_ms >= begin_ms)
        members, first = np.unique(shoppers[sent], return_index=True)
        first = sent[first]
        arm_of = np.full(len(self._shoppers), -1)
        arm_of[members] = arms[first]
        from_s = np.full(len(self._shoppers), np.inf)
        from_s[members] = at[first]
        counted = [order for order in self._orders.values() if order.at > from_s[order.shopper]]
        currencies = Counter(order.currency for order in counted).most_common()
        currency = currencies[0][0] if currencies else None
        revenue, orders = np.zeros(len(arm_of)), np.zeros(len(arm_of), np.int64)
        for order in counted:
            if order.currency == currency:
                revenue[order.shopper] += order.revenue
                orders[order.shopper] += 1
        found: dict[str, dict[str, Any]] = {}
        drawn: dict[str, NDArray[np.float64]] = {}
        for arm, number in self._arms.items():
            mine = arm_of == number
            if not mine.any():
                continue
            drawn[arm] = _resampled_means(revenue[mine], seed, number)
            found[arm] = {
                "shoppers": int(mine.sum()),
                "buyers": int((orders[mine] > 0).sum()),
                "orders": int(orders[mine].sum()),
                "revenue": round(float(revenue[mine].sum()), 2),
                "per_shopper": round(float(revenue[mine].mean()), 4),
                "interval": _interval(drawn[arm]),
            }
        for arm, row in found.items():
            row["difference"] = {
                other: {
                    "per_shopper": round(row["per_shopper"] - found[other]["per_shopper"], 4),
                    "interval": _interval(drawn[arm] - drawn[other]),
                }
                for other in COMPARED
                if other in found and other != arm
            }
        return {
            "begin_ms": begin_ms,
            "seed": seed,
            "currency": currency,
            "moved": len(np.unique(shoppers[sent] * len(self._arms) + arms[sent])) - len(members),
            "orders_not_counted": len(self._orders) - len(counted),
            "orders_in_other_currencies": sum(n for _, n in currencies[1:]),
            "lines_without_price": sum(order.unpriced for order in counted),
            "arms": found,
        }


def _numbers() -> defaultdict[str, int]:
    """A number for each text, in the order of their first use."""
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
    return numbers


def _resampled_means(values: NDArray[np.float64], seed: int, arm: int) -> NDArray[np.float64]:
    """Means of resamples of an arm's shoppers (bootstrap), by how often each distinct value is drawn."""
    distinct, counts = np.unique(values, return_counts=True)
    chance, n = np.random.default_rng([seed, arm]), len(values)
    chunks: Iterable[NDArray[np.int64]] = (
        chance.multinomial(n, counts / n, _CHUNK) for _ in range(0, RESAMPLES, _CHUNK)
    )
    return np.concatenate([times @ distinct / n for times in chunks])


def _interval(means: NDArray[np.float64]) -> list[float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]
