"""A number for each of many names, found by compiled code by the names' hashes.

[`name_hash`][models.name_hash] says why hashes are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.hash_table import NOWHERE, empty_hashes, find, is_empty, place_of, places_for
from models.jit import cached_njit
from models.name_hash import KEY, hash_of

ALL: NDArray[np.uint8] = np.zeros(0, np.uint8)
"""Marks that keep all names."""


class NamedNumbers(NamedTuple):
    """The names' hashes, and at the same places their numbers."""

    hashes: NDArray[np.uint64]
    numbers: NDArray[Any]


class NameTable:
    """Numbers of names. 24 bytes a place; a quarter to a half of the places are taken while it grows.

    Where another thread looks at `table`, or is given it with the GIL held, it sees a change as a whole or not at all.

    >>> names = NameTable()
    >>> names.put("kettle", 0), names.put("mug", 1), names.keep(np.array([0, 1], np.uint8))
    (None, None, None)
    >>> names.find("kettle"), names.find("mug"), len(names)
    (-1, 1, 1)
    """

    def __init__(self, dtype: DTypeLike = np.int64) -> None:
        self.table = _empty(places_for(0), dtype)
        """Replaced where it grows or names are taken out."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.table.hashes.nbytes + self.table.numbers.nbytes

    def put(self, name: str, number: float) -> None:
        """Give a name a number."""
        self.make_room(1)
        self._count += put_name(name_bytes(name), KEY, *self.table, number)

    def find(self, name: str) -> int:
        """Number of a name; NOWHERE if it has none."""
        return int(find_name(name_bytes(name), KEY, *self.table))

    def make_room(self, more: int) -> None:
        """Make room for so many more names."""
        if 2 * (self._count + more) > len(self.table.hashes):
            self._move(places_for(self._count + more), ALL)

    def keep(self, kept: NDArray[np.uint8]) -> None:
        """Take out the names whose numbers are not marked as kept."""
        self._move(len(self.table.hashes), kept)

    def _move(self, places: int, kept: NDArray[np.uint8]) -> None:
        moved = _empty(places, self.table.numbers.dtype)
        self._count = copy_kept(*self.table, kept, *moved)
        self.table = moved


def _empty(places: int, dtype: DTypeLike) -> NamedNumbers:
    return NamedNumbers(empty_hashes(places), np.zeros(places, dtype))


def name_bytes(name: str) -> NDArray[np.uint8]:
    """A name as compiled code takes it."""
    return np.frombuffer(name.encode(errors="surrogatepass"), np.uint8)


@cached_njit()
def put_name(
    name: NDArray[np.uint8], key: NDArray[np.uint64], hashes: NDArray[np.uint64], numbers: NDArray[Any], number: float
) -> int:
    """Give a name a number; returns how many names are new: 0 or 1."""
    first, second = hash_of(name, 0, len(name), key[0], key[1])
    place = place_of(hashes, first, second)
    numbers[place] = number
    if not is_empty(hashes, place):
        return 0
    hashes[place, 0], hashes[place, 1] = first, second
    return 1


@cached_njit()
def find_name(
    name: NDArray[np.uint8], key: NDArray[np.uint64], hashes: NDArray[np.uint64], numbers: NDArray[Any]
) -> int:
    """Number of a name, or NOWHERE."""
    first, second = hash_of(name, 0, len(name), key[0], key[1])
    place = find(hashes, first, second)
    return NOWHERE if place == NOWHERE else int(numbers[place])


@cached_njit()
def copy_kept(
    hashes: NDArray[np.uint64],
    numbers: NDArray[Any],
    kept: NDArray[np.uint8],
    to_hashes: NDArray[np.uint64],
    to_numbers: NDArray[Any],
) -> int:
    """Put the names whose numbers are kept, all where `kept` is empty, into an empty table; returns how many."""
    count = 0
    for place in range(len(hashes)):
        if not is_empty(hashes, place) and (len(kept) == 0 or kept[int(numbers[place])]):
            to = place_of(to_hashes, hashes[place, 0], hashes[place, 1])
            to_hashes[to, 0], to_hashes[to, 1] = hashes[place, 0], hashes[place, 1]
            to_numbers[to] = numbers[place]
            count += 1
    return count
