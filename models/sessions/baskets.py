"""Recent purchases of a shopper."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator

MAX_PURCHASES, MAX_LINES = 1_000, 20_000
"""Purchases of one shopper that are remembered, and their lines: those of two of the largest. Each event of the shopper
looks at all of them."""

_Basket = tuple[float, str, tuple[int, ...], float]
"""(event time, order id, items, append time)."""


class Baskets:
    """Purchases of one shopper within memory, by event time; the last ones appended, where there are too many.

    >>> baskets = Baskets()
    >>> baskets.add(20.0, "b", (1, 2), 100.0, 50.0), baskets.add(10.0, "a", (2, 3), 101.0, 50.0)
    (20.0, 10.0)
    >>> baskets.since(15.0), baskets.since(5.0), baskets.newest(100.0)
    ([1, 2], [1, 2, 3], 20.0)
    """

    __slots__ = ("_baskets", "_oldest_s", "lines")

    def __init__(self) -> None:
        self._baskets: list[_Basket] = []
        self.lines = 0
        """Of all purchases."""
        self._oldest_s = float("inf")  # no basket was appended before this

    def __len__(self) -> int:
        """Purchases remembered."""
        return len(self._baskets)

    def held(self) -> Iterator[int]:
        """Items of all purchases."""
        return (item for basket in self._baskets for item in basket[2])

    def all(self) -> list[tuple[float, tuple[int, ...]]]:
        """Event time and items of all purchases, by event time."""
        return [(at, items) for at, _, items, _ in self._baskets]

    def newest(self, appended_s: float) -> float:
        """Event time of the last purchase appended at or after a time, -inf if there is none."""
        return next((basket[0] for basket in reversed(self._baskets) if basket[3] >= appended_s), float("-inf"))

    def add(self, at: float, order_id: str, items: tuple[int, ...], appended_s: float, memory_s: float) -> float:
        """Add a purchase and drop those more than `memory_s` of event time older; returns its event time."""
        insort(self._baskets, (at, order_id, items, appended_s))
        self.lines += len(items)
        self._oldest_s = min(self._oldest_s, appended_s)
        while self._baskets[0][0] < at - memory_s:
            self._drop(0)
        while len(self._baskets) > MAX_PURCHASES or self.lines > MAX_LINES:
            self._drop(min(range(len(self._baskets)), key=lambda place: self._baskets[place][::-1]))
        return at

    def _drop(self, place: int) -> _Basket:
        basket = self._baskets.pop(place)
        self.lines -= len(basket[2])
        return basket

    def repeat(self, at: float, order_id: str, items: tuple[int, ...], appended_s: float, memory_s: float) -> float:
        """Renew the memory of a repeated purchase, which stays as it was; returns its event time."""
        for basket in [basket for basket in self._baskets if basket[1] == order_id]:
            at, _, items, _ = self._drop(self._baskets.index(basket))
        return self.add(at, order_id, items, appended_s, memory_s)

    def expire(self, horizon_s: float) -> None:
        """Drop what was appended before a time."""
        if self._oldest_s < horizon_s:
            self._keep(lambda basket: basket[3] >= horizon_s)
            self._oldest_s = min((basket[3] for basket in self._baskets), default=float("inf"))

    def forget(self, before: float) -> None:
        """Drop what happened at or before an event time."""
        self._keep(lambda basket: basket[0] > before)

    def _keep(self, wanted: Callable[[_Basket], bool]) -> None:
        self._baskets = [basket for basket in self._baskets if wanted(basket)]
        self.lines = sum(len(basket[2]) for basket in self._baskets)

    def since(self, at: float) -> list[int]:
        """Items bought after an event time, each once, those of the last purchase first."""
        bought: dict[int, None] = {}
        for basket in reversed(self._baskets):
            if basket[0] <= at:
                break
            bought.update(dict.fromkeys(basket[2]))
        return list(bought)
