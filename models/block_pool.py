"""Blocks of 8, 16, 32 ... elements in flat arrays: rows of many lengths lie in them.

A row lies in the smallest block that holds it, so its length alone gives the size of its block. A free block is used
again for any row of that size. Until then an int32 array of the pool, here called `links`, has the next free one in the
block's first element.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit

NOWHERE = -1
"""Start of a row without elements, and of a block that there is no room for."""

SMALLEST = 8
"""Elements of the smallest block: most items of a long tail have fewer neighbours than this."""

SIZES = 24
"""Sizes of blocks, each twice the last: the largest holds 67 million elements, more than any row may have."""


def new_heads() -> NDArray[np.int64]:
    """(1 + SIZES,) of a pool: the first element never used, then the first free block of each size."""
    heads = np.full(1 + SIZES, NOWHERE, np.int64)
    heads[0] = 0
    return heads


@cached_njit("int64(int64)")
def block_size(length: int) -> int:
    """Elements of the block of a row: 0, or the next of 8, 16, 32 ...

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
def take(heads: NDArray[np.int64], links: NDArray[np.int32], size: int) -> int:
    """The start of a free block of a size, or NOWHERE where the pool has to grow first."""
    head = _head(size)
    start = int(heads[head])
    if start != NOWHERE:
        following = int(links[start])  # of a free block: the next one, in units of eight cells, to fit in 32 bits
        heads[head] = following if following == NOWHERE else following * SMALLEST
    elif heads[0] + size <= len(links):
        start = int(heads[0])
        heads[0] += size
    return start


@cached_njit("void(int64[::1], int32[::1], int64, int64)")
def release(heads: NDArray[np.int64], links: NDArray[np.int32], start: int, length: int) -> None:
    """Free the block of a row of a length above 0."""
    head = _head(block_size(length))
    following = heads[head]
    links[start] = following if following == NOWHERE else following // SMALLEST
    heads[head] = start
