"""A shopper's cart, settled by (event time, topic, offset) whatever the order of arrival."""

from __future__ import annotations

Stamp = tuple[float, int, int]
"""(event time in epoch seconds, 0 for clicks and 1 for purchases, offset): what comes later by it wins."""

FROM_CLICK, FROM_PURCHASE = 0, 1

_NEVER: Stamp = (float("-inf"), 0, -1)


class Cart:
    """Last word on each item, and the last purchase, which empties everything before it.

    >>> cart = Cart()
    >>> cart.set(7, True, (30.0, FROM_CLICK, 2), 0.0)
    >>> cart.set(7, False, (20.0, FROM_CLICK, 3), 0.0)  # arrives late, happened before
    >>> cart.set(8, True, (10.0, FROM_CLICK, 1), 0.0)
    >>> cart.empty((15.0, FROM_PURCHASE, 0))
    >>> cart.items()
    [7]
    """

    __slots__ = ("_emptied", "_words")

    def __init__(self) -> None:
        self._words: dict[int, tuple[Stamp, bool, float]] = {}
        self._emptied = _NEVER

    def __bool__(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._words)

    def set(self, item: int, added: bool, stamp: Stamp, appended_s: float) -> None:
        """An item was added or removed."""
        known = self._words.get(item)
        if (known is None or known[0] < stamp) and stamp > self._emptied:
            self._words[item] = (stamp, added, appended_s)

    def empty(self, stamp: Stamp) -> None:
        """A purchase empties what was added before it."""
        if stamp > self._emptied:
            self._emptied = stamp
            for item in [item for item, word in self._words.items() if word[0] < stamp]:
                del self._words[item]

    def forget(self, at_s: float, appended_s: float) -> None:
        """Drop what happened at or before an event time, or was appended before a time."""
        for item in [i for i, word in self._words.items() if word[0][0] <= at_s or word[2] < appended_s]:
            del self._words[item]

    def items(self) -> list[int]:
        """Items in the cart, by when they were added."""
        return [item for _, item in sorted((word[0], item) for item, word in self._words.items() if word[1])]
