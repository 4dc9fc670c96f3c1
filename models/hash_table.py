"""Flat hash tables: the places of 128-bit hashes in an array, for compiled code.

What belongs to a hash lies at the same place of other arrays. A place is empty where both words are 0. Hashes are
random, so the first word says where to begin to look; the next places follow in turn. At most half of the places are
taken. Who adds makes room first: `has_room`, and a table of twice the places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit

NOWHERE = -1
"""Place of a hash that is not in the table."""

SMALLEST = 64
"""Places of the smallest table."""


def empty_hashes(places: int = SMALLEST) -> NDArray[np.uint64]:
    """(places, 2) of a table without hashes; `places` is a power of two."""
    return np.zeros((places, 2), np.uint64)


def places_for(count: int) -> int:
    """Places of a table that has room for so many hashes.

    >>> [places_for(count) for count in (0, 32, 33)]
    [64, 64, 128]
    """
    return max(SMALLEST, 1 << max(0, 2 * count - 1).bit_length())


@inline_njit
def place_of(hashes: NDArray[np.uint64], first: np.uint64, second: np.uint64) -> int:
    """Where a hash is, or else the empty place where it belongs."""
    mask = len(hashes) - 1
    place = int(np.int64(first) & mask)
    while (hashes[place, 0] != first or hashes[place, 1] != second) and not is_empty(hashes, place):
        place = (place + 1) & mask
    return place


@inline_njit
def is_empty(hashes: NDArray[np.uint64], place: int) -> bool:
    """Whether a place is empty."""
    return bool(hashes[place, 0] == 0 and hashes[place, 1] == 0)


@inline_njit
def find(hashes: NDArray[np.uint64], first: np.uint64, second: np.uint64) -> int:
    """Where a hash is; NOWHERE if it is not in the table."""
    place = place_of(hashes, first, second)
    return NOWHERE if is_empty(hashes, place) else place


@inline_njit
def take_out(hashes: NDArray[np.uint64], numbers: NDArray[np.int64], place: int) -> None:
    """Empty a place, and move hashes behind it with their numbers to where they are still found."""
    mask = len(hashes) - 1
    gap = place
    place = (place + 1) & mask
    while not is_empty(hashes, place):
        wanted = int(np.int64(hashes[place, 0]) & mask)
        if (place - wanted) & mask >= (place - gap) & mask:
            hashes[gap, 0], hashes[gap, 1] = hashes[place, 0], hashes[place, 1]
            numbers[gap] = numbers[place]
            gap = place
        place = (place + 1) & mask
    hashes[gap, 0] = hashes[gap, 1] = 0
