"""Windows of looks as the network takes them, in arrays: those to learn next, and older ones to learn again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FILLING = -1
"""Item of places behind the end of a window."""


class LookWindow(NamedTuple):
    """The last looks of a shopper, in order."""

    items: Sequence[int]
    """Indices of the items."""
    actions: Sequence[int]
    """Classes of the actions."""
    gaps: Sequence[int]
    """Classes of the time before each look."""
    fresh: int
    """How many of the last looks were in no window before: a look is predicted in one window, an input in others."""
    at: float
    """Event time of the last look, epoch seconds."""


class Windows:
    """Windows in columns; the oldest are dropped where there is no room, and of longer windows the last looks are kept.

    >>> windows = Windows(2, 3)
    >>> for last in (3, 4, 5):
    ...     windows.add(LookWindow([1, 2, last], [0, 0, 0], [10, 1, 1], 2, 0.0))
    >>> len(windows), windows.items[:, 2].tolist(), windows.first.tolist()
    (2, [5, 4], [1, 1])
    """

    def __init__(self, most: int, looks: int) -> None:
        self._most = most
        self._count = 0
        room = min(most, 1024)
        self.items: NDArray[np.int32] = np.full((room, looks), FILLING, np.int32)
        self.actions: NDArray[np.int8] = np.zeros((room, looks), np.int8)
        self.gaps: NDArray[np.int8] = np.zeros((room, looks), np.int8)
        self.length: NDArray[np.int16] = np.zeros(room, np.int16)
        self.first: NDArray[np.int16] = np.zeros(room, np.int16)  # place of the first look that is to be predicted
        self.fresh: NDArray[np.int16] = np.zeros(room, np.int16)  # looks at the end that were in no window before
        self.at: NDArray[np.float64] = np.zeros(room)

    def __len__(self) -> int:
        """Number of windows kept."""
        return min(self._count, self._most)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(int(getattr(self, name).nbytes) for name in _COLUMNS)

    def add(self, window: LookWindow) -> None:
        """Take a window of at least one look."""
        looks = self.items.shape[1]
        if self._count == len(self.length) < self._most:
            self._grow(min(2 * len(self.length), self._most))
        row = self._count % self._most
        items, actions, gaps = window.items[-looks:], window.actions[-looks:], window.gaps[-looks:]
        length = len(items)
        self.items[row, :length], self.items[row, length:] = items, FILLING
        self.actions[row, :length], self.gaps[row, :length] = actions, gaps
        self.length[row], self.at[row] = length, window.at
        self.fresh[row] = min(window.fresh, length)
        self.first[row] = max(1, length - window.fresh)
        self._count += 1

    def take(self, other: Windows) -> None:
        """Take all windows of another of the same length."""
        for window in other.each():
            self.add(window)

    def each(self) -> Iterator[LookWindow]:
        """The windows by row: in order, as long as none was dropped."""
        for row in range(len(self)):
            length = int(self.length[row])
            yield LookWindow(
                self.items[row, :length].tolist(),
                self.actions[row, :length].tolist(),
                self.gaps[row, :length].tolist(),
                int(self.fresh[row]),
                float(self.at[row]),
            )

    def row(self, ages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the windows of such ages: 0 is the newest."""
        return (self._count - 1 - ages) % self._most

    def clear(self) -> None:
        """Forget all."""
        self._count = 0

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that is kept, by name, to be stored and given to `restore`."""
        kept = {name: getattr(self, name)[: len(self)] for name in _COLUMNS}
        return kept | {"count": np.array([self._count], np.int64)}

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Continue from what `arrays` gave."""
        self._count = int(arrays["count"][0])
        room = max(len(self), min(self._most, 1024))
        self._grow(room)
        for name in _COLUMNS:
            getattr(self, name)[: len(self)] = arrays[name]

    def _grow(self, room: int) -> None:
        for name in _COLUMNS:
            before = getattr(self, name)
            grown = np.zeros((room, *before.shape[1:]), before.dtype)
            grown[: len(before)] = before[:room]
            setattr(self, name, grown)


_COLUMNS = ("items", "actions", "gaps", "length", "first", "fresh", "at")
