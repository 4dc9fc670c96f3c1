"""A shopper's cart, by event time, then offset; the order of arrival does not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable

MAX_CHANGES = 500
"""Changes of one cart that are remembered, the last of the log: each event of its shopper looks at all of them."""

_Change = tuple[float, int, bool, float]
"""(event time, offset, added, append time): of two changes of an item the greater one is the last."""


class Cart:
    """The last change of each item within memory, of `MAX_CHANGES` at most.

    Where an earlier change is appended after the last one, both are kept, since the one appended later is remembered
    longer. So the cart depends on the changes within memory alone.

    >>> cart = Cart()
    >>> cart.set(7, True, 30.0, 2, 100.0)
    >>> cart.set(7, False, 20.0, 3, 101.0)  # arrives late, happened before
    >>> cart.set(8, True, 10.0, 4, 102.0)
    >>> cart.drop(15.0)  # a purchase
    >>> cart.items()
    [7]
    """

    __slots__ = ("_changes", "_items", "_oldest_s", "_size")

    def __init__(self) -> None:
        self._changes: dict[int, list[_Change]]  # of each item, the last first
        self._items: list[int] | None  # that are in the cart; None: not known since the last change
        self._size: int
        self._oldest_s: float  # no change was appended before this
        self._clear()

    def set(self, item: int, added: bool, at: float, offset: int, appended_s: float) -> None:
        """Add or remove an item at an event time `at`; both times are epoch seconds."""
        self._items = None
        change = (at, offset, added, appended_s)
        changes = self._changes.setdefault(item, [])
        if changes:
            if any(other > change and other[3] >= appended_s for other in changes):
                return
            self._size -= len(changes)
            changes[:] = [other for other in changes if other > change or other[3] > appended_s]
            self._size += len(changes)
        changes.append(change)
        changes.sort(reverse=True)
        self._size += 1
        if self._size > MAX_CHANGES:
            first = min(other[1] for others in self._changes.values() for other in others)
            self._keep(lambda other: other[1] != first)
        self._oldest_s = min(self._oldest_s, appended_s)

    def drop(self, until: float) -> None:
        """Drop what happened at or before an event time: a purchase empties the cart, or the shopper is forgotten."""
        if all(changes[0][0] <= until for changes in self._changes.values()):
            self._clear()
        else:
            self._keep(lambda change: change[0] > until)

    def _clear(self) -> None:
        self._changes, self._items, self._size, self._oldest_s = {}, [], 0, float("inf")

    def expire(self, horizon_s: float) -> None:
        """Drop what was appended before a time."""
        if self._oldest_s < horizon_s:
            self._keep(lambda change: change[3] >= horizon_s)

    def _keep(self, wanted: Callable[[_Change], bool]) -> None:
        kept = {item: [change for change in changes if wanted(change)] for item, changes in self._changes.items()}
        self._changes, self._items = {item: changes for item, changes in kept.items() if changes}, None
        self._size = len(self)
        appended = (change[3] for changes in self._changes.values() for change in changes)
        self._oldest_s = min(appended, default=float("inf"))

    def __len__(self) -> int:
        """Changes remembered."""
        return sum(map(len, self._changes.values()))

    def held(self) -> Iterable[int]:
        """Items of all changes."""
        return self._changes

    def items(self) -> list[int]:
        """Items in the cart, by event time and offset of their addition. The list must not be changed."""
        if self._items is None:
            last = [(changes[0], item) for item, changes in self._changes.items()]
            last.sort(key=lambda pair: (*pair[0][:2], pair[1]))
            self._items = [item for (_, _, added, _), item in last if added]
        return self._items
