"""What each shopper has bought: each item with a plain count, two decayed counts and the time of its last purchase.

Memory is bounded for each shopper. Decayed counts are as of the item's last purchase; readers decay them to their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.shop.decay import decayed

DAY_S = 86_400.0


@dataclass(frozen=True)
class PurchaseHistoryConfig:
    """How long purchases count, and how many items are remembered."""

    fast_s: float = 45 * DAY_S
    """Half-life of the fast count: six weeks hold a few baskets of a household, and one season."""
    slow_s: float = 120 * DAY_S
    """Half-life of the slow count: a third of a year spans what is bought every second month."""
    items: int = 4_000
    """Most items of a shopper, 40 bytes each; when full, the quarter bought longest ago is dropped."""

    def __post_init__(self) -> None:
        if self.items < 4 or not (self.fast_s > 0.0 and self.slow_s > 0.0):
            message = f"items must be at least 4 and half-lives above 0, got {self}"
            raise ValueError(message)


HABIT = np.dtype(
    [
        ("fast", np.float64),  # as of `last`
        ("slow", np.float64),  # as of `last`
        ("last", np.float64),  # epoch seconds
        ("item", np.int32),
        ("count", np.int32),  # baskets with it
    ],
    align=True,
)


class _Shopper:
    __slots__ = ("at", "baskets", "rows", "used", "where")

    def __init__(self) -> None:
        self.where: dict[int, int] = {}
        self.rows = np.zeros(16, HABIT)
        self.used = 0
        self.baskets = 0
        self.at = -np.inf


class PurchaseHistory:
    """What each shopper has bought.

    >>> history = PurchaseHistory(PurchaseHistoryConfig(fast_s=100.0, slow_s=200.0))
    >>> history.learn_one("ann", [7, 8], 1000.0)
    [7, 8]
    >>> history.learn_one("ann", [8, 9], 1100.0)  # what is new to her
    [9]
    >>> rows = history.rows("ann")
    >>> rows["item"].tolist(), rows["count"].tolist(), rows["fast"].tolist(), history.baskets("ann")
    ([7, 8, 9], [1, 2, 1], [1.0, 1.5, 1.0], 2)
    """

    def __init__(self, config: PurchaseHistoryConfig) -> None:
        self.config = config
        self._shoppers: dict[str, _Shopper] = {}

    def learn_one(self, user_id: str, items: Sequence[int], at: float) -> list[int]:
        """Learn a basket of distinct items; returns those that the shopper had not bought before, in order.

        Called in time order for each shopper. A basket older than the last one counts as of the last one's time.
        """
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            shopper = self._shoppers[user_id] = _Shopper()
        at = shopper.at = max(at, shopper.at)
        shopper.baskets += 1
        new = []
        for item in items:
            place = shopper.where.get(item)
            if place is None:
                self._add(shopper, item, at)
                new.append(item)
                continue
            row = shopper.rows[place]
            row["fast"] = 1.0 + decayed(row["fast"], row["last"], at, self.config.fast_s)
            row["slow"] = 1.0 + decayed(row["slow"], row["last"], at, self.config.slow_s)
            row["last"] = at
            row["count"] += 1
        return new

    def _add(self, shopper: _Shopper, item: int, at: float) -> None:
        if shopper.used == self.config.items:
            keep = np.sort(np.argsort(-shopper.rows["last"][: shopper.used], kind="stable")[: 3 * shopper.used // 4])
            shopper.rows[: len(keep)] = shopper.rows[keep]
            shopper.used = len(keep)
            shopper.where = {item: place for place, item in enumerate(shopper.rows["item"][: len(keep)].tolist())}
        elif shopper.used == len(shopper.rows):
            shopper.rows = np.concatenate([shopper.rows, np.zeros_like(shopper.rows)])
        shopper.rows[shopper.used] = (1.0, 1.0, at, item, 1)
        shopper.where[item] = shopper.used
        shopper.used += 1

    def rows(self, user_id: str) -> NDArray[np.void]:
        """(n,) of `HABIT`, by first purchase; a view that the next call may change."""
        shopper = self._shoppers.get(user_id)
        return np.zeros(0, HABIT) if shopper is None else shopper.rows[: shopper.used]

    def baskets(self, user_id: str) -> int:
        """Number of baskets of a shopper."""
        shopper = self._shoppers.get(user_id)
        return 0 if shopper is None else shopper.baskets
