"""Rows of cells, of many lengths, in flat arrays: the storage of `CoOccurrence` and of `Neighbours`.

A cell is a neighbour in an item's row: its index, and a weight and a count for each kind of co-occurrence, 40 bytes. A
row lies in a block of [`block_pool`][models.block_pool].
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.block_pool import NOWHERE, block_size, new_heads, release, take
from models.shop.events import PAIR_KINDS

MOST = np.iinfo(np.int32).max
"""Where counts stop: two thousand million events behind one cell."""


class Cells:
    """A pool of cells. Its arrays are replaced when it grows: read the attributes again after any call that may place.

    Args:
        room: cells to begin with; doubled when used up.
        by_kind: whether the weights of one kind lie next to each other, and likewise the counts: better where only one
            kind is read of many cells. Otherwise those of one cell do.

    Attributes:
        ids: (room,) int32, index of the neighbour.
        weights: (room, 3) float64.
        counts: (room, 3) int32.
        heads: of the blocks, see `new_heads`.

    >>> cells = Cells()
    >>> first, second = cells.place(NOWHERE, 0, 5), cells.place(NOWHERE, 0, 9)
    >>> first, second, cells.place(first, 5, 20), cells.place(NOWHERE, 0, 8)
    (0, 8, 24, 0)
    """

    def __init__(self, room: int = 1024, *, by_kind: bool = False) -> None:
        self._order: Literal["C", "F"] = "F" if by_kind else "C"
        self._make(room)
        self.heads = new_heads()

    def _make(self, room: int) -> None:
        self.ids: NDArray[np.int32] = np.empty(room, np.int32)
        self.weights: NDArray[np.float64] = np.empty((room, PAIR_KINDS), np.float64, self._order)
        self.counts: NDArray[np.int32] = np.empty((room, PAIR_KINDS), np.int32, self._order)

    def place(self, start: int, length: int, new_length: int) -> int:
        """A block for a row that changes its length: its start, NOWHERE for a length of 0, as for a row without cells.

        The cells are not copied: the caller writes them again.
        """
        size = block_size(new_length)
        if size and size == block_size(length):
            return start
        if length:
            release(self.heads, self.ids, start, length)
        if not new_length:
            return NOWHERE
        placed = take(self.heads, self.ids, size)
        while placed == NOWHERE:
            self.grow()
            placed = take(self.heads, self.ids, size)
        return placed

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.ids.nbytes + self.weights.nbytes + self.counts.nbytes

    def held(self, starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int32]:
        """Neighbours in some rows, given by start and length; repeated as often as they are there."""
        used = lengths > 0
        changes = np.zeros(int(self.heads[0]) + 1, np.int8)
        changes[starts[used]] += 1
        changes[starts[used] + lengths[used]] -= 1
        found: NDArray[np.int32] = self.ids[: int(self.heads[0])][np.cumsum(changes, dtype=np.int8)[:-1] == 1]
        return found

    def grow(self) -> None:
        """Double the room; this copies what is in use, at half a gigabyte a second."""
        used = int(self.heads[0])
        ids, weights, counts = self.ids, self.weights, self.counts
        self._make(2 * len(ids))
        self.ids[:used], self.weights[:used], self.counts[:used] = ids[:used], weights[:used], counts[:used]
