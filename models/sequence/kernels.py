"""The loops of a step and of a comparison that numpy would need dozens of small calls for, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]

_TINY = 1e-12
"""Length below which a vector counts as none: torch's."""


@njit(cache=True, nogil=True)
def units_of(vectors: Floats) -> Floats:
    """(n, units), each of length 1."""
    found = np.empty_like(vectors)
    for row in range(len(vectors)):
        square = np.float32(0.0)
        for unit in range(vectors.shape[1]):
            square += vectors[row, unit] * vectors[row, unit]
        length = np.float32(max(math.sqrt(square), _TINY))
        for unit in range(vectors.shape[1]):
            found[row, unit] = vectors[row, unit] / length
    return found


@njit(cache=True, nogil=True)
def item_vectors(
    slots: Whole, classes: NDArray[np.int32], own: Floats, categories: Floats, brands: Floats, steps: Floats
) -> Floats:
    """(n, units), of length 1: the sum of an item's own vector and those of its content.

    Args:
        slots: (n,) of the items; 0, the unknown one, has no vector of its own.
        classes: (n, 3) of their content.
        own: (slots, units).
        categories: (classes, units).
        brands: likewise.
        steps: likewise, of the price.
    """
    found = np.empty((len(slots), own.shape[1]), np.float32)
    for row in range(len(slots)):
        told = classes[row].any()
        for unit in range(own.shape[1]):
            value = own[slots[row], unit] if slots[row] != 0 else np.float32(0.0)
            if told:
                value += categories[classes[row, 0], unit]
                value += brands[classes[row, 1], unit]
                value += steps[classes[row, 2], unit]
            found[row, unit] = value
    return units_of(found)


@njit(cache=True, nogil=True)
def told(vectors: Floats, actions: Floats, gaps: Floats, action: Whole, gap: Whole) -> None:
    """Add to the vectors of items, (n, units), those of the actions and of the times before."""
    for row in range(len(vectors)):
        for unit in range(vectors.shape[1]):
            vectors[row, unit] += actions[action[row], unit] + gaps[gap[row], unit]


@njit(cache=True, nogil=True)
def new_cell(gates: Floats, cell: Floats) -> Floats:
    """(n, units) cell after a step.

    Args:
        gates: (n, 4 * units) entry, keep, new, out: tanh of them, of half of them where sigmoids are meant.
        cell: (n, units) before.
    """
    units = cell.shape[1]
    half = np.float32(0.5)
    found = np.empty_like(cell)
    for row in range(len(cell)):
        for unit in range(units):
            entry, keep = gates[row, unit], gates[row, units + unit]
            new = gates[row, 2 * units + unit]
            found[row, unit] = (half * keep + half) * cell[row, unit] + (half * entry + half) * new
    return found


@njit(cache=True, nogil=True)
def new_hidden(gates: Floats, tanh_cell: Floats) -> Floats:
    """(n, units) hidden state after a step; arguments as of `new_cell`, and tanh of what it gave."""
    units = tanh_cell.shape[1]
    half = np.float32(0.5)
    found = np.empty_like(tanh_cell)
    for row in range(len(tanh_cell)):
        for unit in range(units):
            found[row, unit] = (half * gates[row, 3 * units + unit] + half) * tanh_cell[row, unit]
    return found


@njit(cache=True, nogil=True)
def largest(values: Floats, least: Floats, k: int) -> Whole:
    """(n, k) places of the k largest of each row, largest first, ties by place.

    Args:
        values: (n, columns), at least k.
        least: (n,) the k-th largest of each row.
        k: how many.
    """
    found = np.empty((len(values), k), np.int64)
    for row in range(len(values)):
        line, bound = values[row], least[row]
        greater = 0
        for place in range(len(line)):
            greater += line[place] > bound
        taken, equal = 0, k - greater  # so many of those that are as large as the last
        for place in range(len(line)):
            if line[place] < bound or (line[place] == bound and equal == 0):
                continue
            equal -= line[place] == bound
            at = taken
            while at > 0 and line[found[row, at - 1]] < line[place]:
                found[row, at] = found[row, at - 1]
                at -= 1
            found[row, at] = place
            taken += 1
    return found


def warm() -> None:
    """Compile, or load what was compiled before."""
    floats, whole = np.zeros((1, 4), np.float32), np.zeros(1, np.int64)
    vectors = item_vectors(whole, np.zeros((1, 3), np.int32), floats, floats, floats, floats)
    told(vectors, floats, floats, whole, whole)
    new_hidden(floats, new_cell(floats, floats[:, :1].copy()))
    units_of(floats)
    largest(floats, floats[:, 0].copy(), 1)
