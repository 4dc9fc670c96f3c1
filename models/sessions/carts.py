"""A shopper's cart, settled by event time, then offset, whatever the order of arrival."""

from __future__ import annotations

from collections.abc import Callable

_Word = tuple[float, int, bool, float]
"""(event time, offset, added or removed, append time): of two words on an item the greater one is the last."""


class Cart:
    """The last word on each item within memory.

    Where the last word is appended before an earlier one that comes late, both are kept, since the later appended one
    is remembered longer: what the cart says depends on the words within memory alone.

    >>> cart = Cart()
    >>> cart.set(7, True, 30.0, 2, 100.0)
    >>> cart.set(7, False, 20.0, 3, 101.0)  # arrives late, happened before
    >>> cart.set(8, True, 10.0, 4, 102.0)
    >>> cart.drop(15.0)  # a purchase
    >>> cart.items()
    [7]
    """

    __slots__ = ("_oldest_s", "_words")

    def __init__(self) -> None:
        self._words: dict[int, list[_Word]] = {}  # last word first
        self._oldest_s = float("inf")  # no word was appended before

    def __len__(self) -> int:
        """Items of which anything is remembered, removed ones included."""
        return len(self._words)

    def set(self, item: int, added: bool, at: float, offset: int, appended_s: float) -> None:
        """An item was added or removed.

        Args:
            item: its index.
            added: or removed.
            at: event time, epoch seconds.
            offset: in the log.
            appended_s: append time, epoch seconds.
        """
        word = (at, offset, added, appended_s)
        words = self._words.setdefault(item, [])
        if words:
            if any(other > word and other[3] >= appended_s for other in words):
                return
            words[:] = [other for other in words if other > word or other[3] > appended_s]
        words.append(word)
        words.sort(reverse=True)
        self._oldest_s = min(self._oldest_s, appended_s)

    def drop(self, until: float) -> None:
        """Drop what happened at or before an event time: a purchase empties the cart, or the shopper is forgotten."""
        self._keep(lambda word: word[0] > until)

    def expire(self, horizon_s: float) -> None:
        """Drop what was appended before a time."""
        if self._oldest_s < horizon_s:
            self._keep(lambda word: word[3] >= horizon_s)

    def _keep(self, wanted: Callable[[_Word], bool]) -> None:
        kept = {item: [word for word in words if wanted(word)] for item, words in self._words.items()}
        self._words = {item: words for item, words in kept.items() if words}
        self._oldest_s = min((word[3] for words in self._words.values() for word in words), default=float("inf"))

    def items(self) -> list[int]:
        """Items in the cart, by when they were added."""
        return [item for _, _, item in sorted((w[0][0], w[0][1], item) for item, w in self._words.items() if w[0][2])]
