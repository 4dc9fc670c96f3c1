"""Compiled helpers of rankings: sums by item, and repeated items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit


@cached_njit()
def sums_by_item(
    items: NDArray[np.int32], pieces: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(m,) distinct items, ascending, and (m,) sums of their pieces, added in the order they come in.

    >>> [column.tolist() for column in sums_by_item(np.array([7, 3, 7], np.int32), np.array([1.0, 2.0, 0.5]))]
    [[3, 7], [2.0, 1.5]]
    """
    distinct, sums = np.empty(len(items), np.int32), np.zeros(len(items))
    used = 0
    for place in np.argsort(items, kind="mergesort"):
        if used == 0 or distinct[used - 1] != items[place]:
            distinct[used] = items[place]
            used += 1
        sums[used - 1] += pieces[place]
    return distinct[:used], sums[:used]


@inline_njit
def repeats(items: NDArray[np.int32], first: int, place: int) -> bool:
    """Whether the item at a place stands at an earlier one from `first` on, too."""
    for earlier in range(first, place):
        if items[earlier] == items[place]:
            return True
    return False
