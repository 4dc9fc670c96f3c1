"""Rows of cells, of many lengths, in flat arrays: the storage of `CoOccurrence` and of `Neighbours`.

A cell is a neighbour in an item's row: its index, and a weight and a count for each kind of co-occurrence, 40 bytes. A
row lies in the smallest block of 8, 16, 32 ... cells that holds it, so its length alone gives the size of its block.
A free block is used again for any row of that size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.shop.events import PAIR_KINDS

NOWHERE = -1
"""Start of a row without cells, and of a block that there is no room for."""

MOST = np.iinfo(np.int32).max
"""Where counts stop: two thousand million events behind one cell."""

SMALLEST = 8
"""Cells of the smallest block: most items of a long tail have fewer neighbours than this."""

SIZES = 24
"""Sizes of blocks, each twice the last: the largest holds 67 million cells, more than any row may have."""


class Cells:
    """A pool of cells. Its arrays are replaced when it grows: read the attributes again after any call that may place.

    Args:
        room: cells to begin with; doubled when used up.

    Attributes:
        ids: (room,) int32, index of the neighbour.
        weights: (room, 3) float64.
        counts: (room, 3) int32.
        heads: (1 + SIZES,) int64: the first cell never used, then the first free block of each size.

    >>> cells = Cells()
    >>> first, second = cells.place(NOWHERE, 0, 5), cells.place(NOWHERE, 0, 9)
    >>> first, second, cells.place(first, 5, 20), cells.place(NOWHERE, 0, 8)
    (0, 8, 24, 0)
    """

    def __init__(self, room: int = 1024) -> None:
        self.ids: NDArray[np.int32] = np.empty(room, np.int32)
        self.weights: NDArray[np.float64] = np.empty((room, PAIR_KINDS), np.float64)
        self.counts: NDArray[np.int32] = np.empty((room, PAIR_KINDS), np.int32)
        self.heads: NDArray[np.int64] = np.full(1 + SIZES, NOWHERE, np.int64)
        self.heads[0] = 0

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
        used, room = int(self.heads[0]), 2 * len(self.ids)
        ids, weights, counts = self.ids, self.weights, self.counts
        self.ids = np.empty(room, np.int32)
        self.weights = np.empty((room, PAIR_KINDS), np.float64)
        self.counts = np.empty((room, PAIR_KINDS), np.int32)
        self.ids[:used], self.weights[:used], self.counts[:used] = ids[:used], weights[:used], counts[:used]


@cached_njit("int64(int64)")
def block_size(length: int) -> int:
    """Cells of the block of a row: 0, or the next of 8, 16, 32 ...

    >>> [block_size(length) for length in (0, 1, 8, 9, 100)]
    [0, 8, 8, 16, 128]
    """
    if length == 0:
        return 0
    size = SMALLEST
    while size < length:
        size *= 2
    return size


@cached_njit("int64(int64)")
def _head(size: int) -> int:
    """Index in `heads` of the free blocks of a size."""
    head = 1
    while size > SMALLEST:
        size //= 2
        head += 1
    return head


@cached_njit("int64(int64[::1], int32[::1], int64)")
def take(heads: NDArray[np.int64], ids: NDArray[np.int32], size: int) -> int:
    """The start of a free block of a size, or NOWHERE where the pool has to grow first."""
    head = _head(size)
    start = int(heads[head])
    if start != NOWHERE:
        following = int(ids[start])  # of a free block: the next one, in units of eight cells, to fit in 32 bits
        heads[head] = following if following == NOWHERE else following * SMALLEST
    elif heads[0] + size <= len(ids):
        start = int(heads[0])
        heads[0] += size
    return start


@cached_njit("void(int64[::1], int32[::1], int64, int64)")
def release(heads: NDArray[np.int64], ids: NDArray[np.int32], start: int, length: int) -> None:
    """Free the block of a row of a length above 0."""
    head = _head(block_size(length))
    following = heads[head]
    ids[start] = following if following == NOWHERE else following // SMALLEST
    heads[head] = start
