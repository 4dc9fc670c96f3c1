"""The largest of many cosines, and sums of their exponentials: loops that compilers turn into vector instructions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.sequence.kernels import Floats, Whole

_GROUPS = 256
"""Groups of numbers whose largest ones bound the best from below; at least as many as are ever asked for."""

_HALVINGS = 14
"""Of the range of cosines, to find that bound: to 0.0003."""

_NEAR = 3
"""Groups above the bound that are not worth another halving."""

_SORTED = 512
"""Most numbers that are ranked by comparing each with each; more of them are sorted."""

_LAST = 0x7FFF_FFFF
"""Highest name."""


@cached_njit(nogil=True, error_model="numpy")
def _tops(line: Floats, count: int) -> Floats:
    """The largest number of each group; -2 where it has none."""
    tops = np.full(_GROUPS, np.float32(-2.0))
    first = 0
    while first + _GROUPS <= count:
        for group in range(_GROUPS):
            tops[group] = max(tops[group], line[first + group])
        first += _GROUPS
    for place in range(first, count):
        tops[place - first] = max(tops[place - first], line[place])
    return tops


@cached_njit(nogil=True, error_model="numpy")
def _bound(tops: Floats, k: int) -> Any:
    """A bound that at least k of the groups reach, if there are so many, and hardly more."""
    low, high = np.float32(-2.0), np.float32(2.0)
    for _ in range(_HALVINGS):  # or until it is near enough
        middle = (low + high) * np.float32(0.5)
        above = np.int32(0)
        for group in range(_GROUPS):
            above += np.int32(tops[group] >= middle)
        if above >= k:
            low = middle
            if above <= k + _NEAR:
                break
        else:
            high = middle
    return low


@cached_njit(nogil=True, error_model="numpy")
def best(line: Floats, count: int, names: NDArray[np.int32], ranked: Whole) -> int:
    """Find the k largest of `line[:count]`, of equals those of the lowest names; returns how many.

    `line` are cosines. `ranked` (k,), `_GROUPS` at most, takes what is found, largest first: see `name_of`, `value_of`.
    """
    k = len(ranked)
    tops = _tops(line, count)
    low = _bound(tops, k)
    groups, some, found = np.empty(_GROUPS + 1, np.int64), 0, 0
    for group in range(_GROUPS):  # without a branch, which the processor would often mispredict
        groups[some] = group
        some += tops[group] >= low
    ranks = np.empty(count + 1, np.int64)
    for group in groups[:some]:
        for place in range(group, count, _GROUPS):
            ranks[found] = place
            found += line[place] >= low
    for one in range(found):
        place = ranks[one]
        bits = _sortable(np.float32(line[place]).view(np.int32))
        ranks[one] = (np.int64(bits) << 32) | (_LAST - np.int64(names[place]))
    k = min(k, found)
    if found > _SORTED:  # many alike
        ranks[:found].sort()
        for place in range(k):
            ranked[place] = ranks[found - 1 - place]
        return k
    for one in range(found):
        greater = 0
        for other in range(found):
            greater += ranks[other] > ranks[one]
        if greater < k:
            ranked[greater] = ranks[one]
    return k


@cached_njit(nogil=True)
def name_of(rank: int) -> Any:
    """Name of what is ranked."""
    return np.int32(_LAST - (rank & _LAST))


@cached_njit(nogil=True)
def value_of(rank: int) -> Any:
    """... and its value."""
    return np.int32(_sortable(np.int32(rank >> 32))).view(np.float32)


@cached_njit(nogil=True)
def _sortable(bits: Any) -> Any:
    """Bits of a float as an integer that is in the same order as floats are, and back."""
    return np.int32(bits ^ np.int32(_LAST)) if bits < 0 else bits


@cached_njit(nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def sum_of_exps(line: Floats, count: int, scale: float) -> Any:
    """Sum of exp(scale * (x - 1)) over `line[:count]`, of cosines; right to a millionth.

    Terms in another order give the same sum but for the last digits of a double.
    """
    total, factor = 0.0, np.float32(scale)
    for place in range(count):
        total += exp32(factor * (line[place] - np.float32(1.0)))
    return total


@cached_njit(nogil=True, fastmath={"contract"}, error_model="numpy")
def exp32(x: Any) -> Any:
    """Exponential of float32: a polynomial for the part behind the point of the power of two, right to 2e-7."""
    power = max(x, np.float32(-80.0)) * np.float32(1.4426950408889634)
    whole = np.floor(power)
    part = power - whole
    value = np.float32(1.8775767e-3)
    value = value * part + np.float32(8.9893397e-3)
    value = value * part + np.float32(5.5826318e-2)
    value = value * part + np.float32(2.4015361e-1)
    value = value * part + np.float32(6.9315308e-1)
    value = value * part + np.float32(9.9999994e-1)
    return value * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
