"""The compiled loops of the sequence model, for which numpy would need dozens of small calls.

The hyperbolic tangent is Eigen's rational approximation (`generic_fast_tanh_float`), right to a few units in the last
place of float32: compilers turn it into vector instructions, which they do not with the C library's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.sequence.products import BLOCK, blocks_of, products

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]

_TINY = 1e-12
"""Length below which a vector counts as 0, as in torch."""

_MOST = np.float32(7.90531110763549805)
"""Beyond it the tangent is 1 in float32."""

_OVER = tuple(
    np.float32(term)
    for term in (
        4.89352455891786e-03,
        6.37261928875436e-04,
        1.48572235717979e-05,
        5.12229709037114e-08,
        -8.60467152213735e-11,
        2.00018790482477e-13,
        -2.76076847742355e-16,
    )
)
"""Numerator over x, by powers of x squared."""

_UNDER = tuple(
    np.float32(term)
    for term in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)
"""Denominator, by powers of x squared."""


class Hidden(NamedTuple):
    """State of the network after some looks, a row a shopper."""

    hidden: Floats
    """(n, units)."""
    cell: Floats
    """(n, units)."""


class LookBatch(NamedTuple):
    """Looks as the network takes them, one after the other: of shopper `s` from `ends[s]` to `ends[s + 1]`."""

    items: Whole
    """(looks,) indices of the items."""
    actions: Whole
    """(looks,) classes."""
    gaps: Whole
    """(looks,) classes of the time before the look."""
    ends: Whole
    """(n + 1,)."""

    @classmethod
    def of(cls, windows: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]]) -> LookBatch:
        """The looks of windows: for each shopper the items, the classes of actions and of times before, in order."""
        columns: tuple[list[int], list[int], list[int]] = [], [], []
        ends = [0]
        for window in windows:
            for column, values in zip(columns, window, strict=True):
                column += values
            ends.append(len(columns[0]))
        return cls(*(np.array(column, np.int64) for column in (*columns, ends)))


class Neighbours(NamedTuple):
    """The slots that are looked at beside each slot most often."""

    slots: NDArray[np.int32]
    """(slots, k), strongest first."""
    shares: Floats
    """(slots, k): of the sum of its neighbours' counts; 0 behind the last neighbour."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.slots.nbytes + self.shares.nbytes


class LSTM(NamedTuple):
    """Weights of the recurrent layer.

    The gates are entry, keep, new and out; their weights are halved where sigmoids are meant, as
    sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
    """

    actions: Floats
    """(classes, units)."""
    gaps: Floats
    """(classes, units)."""
    from_look: Floats
    """`blocks_of` (4 * units, units)."""
    from_hidden: Floats
    """`blocks_of` (4 * units, units)."""
    bias: Floats
    """(4 * units,)."""


def constant(weights: NDArray[Any]) -> Floats:
    """A read-only view of weights, the one type of array that the functions here are compiled for: see `warm`."""
    found = np.ascontiguousarray(weights, np.float32).view()
    found.flags.writeable = False
    return found


@cached_njit(nogil=True)
def put_unit(vectors: Floats, row: int, found: Floats, to: int) -> None:
    """Write a row of vectors (n, units), scaled to length 1, to a row of `found`."""
    square = np.float32(0.0)
    for unit in range(vectors.shape[1]):
        square += vectors[row, unit] * vectors[row, unit]
    length = np.float32(max(math.sqrt(square), _TINY))
    for unit in range(vectors.shape[1]):
        found[to, unit] = vectors[row, unit] / length


@cached_njit(nogil=True)
def units_of(vectors: Floats) -> Floats:
    """(n, units), each of length 1."""
    found = np.empty_like(vectors)
    for row in range(len(vectors)):
        put_unit(vectors, row, found, row)
    return found


@cached_njit(nogil=True)
def item_vectors(
    slots: Whole, classes: NDArray[np.int32], own: Floats, categories: Floats, brands: Floats, steps: Floats
) -> Floats:
    """(n, units), of length 1: the sum of an item's own vector and those of its content.

    `slots` (n,): 0, the unknown one, has no vector of its own. `classes` (n, 3) are of the content; each table is
    (classes, units).
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


@cached_njit(nogil=True)
def places_of(slots: NDArray[np.int32], count: int) -> tuple[Whole, Whole]:
    """Places of each of `count` slots in `slots` (n,): of slot `s` from `ends[s]` to `ends[s + 1]`; of 0 none."""
    ends = np.zeros(count + 1, np.int64)
    for slot in slots:
        ends[slot + 1] += slot != 0
    ends = np.cumsum(ends)
    at, places = ends[:-1].copy(), np.empty(ends[-1], np.int64)
    for place in range(len(slots)):
        if slots[place] != 0:
            places[at[slots[place]]] = place
            at[slots[place]] += 1
    return places, ends


@cached_njit(nogil=True)
def neighbours_of(windows: NDArray[np.int32], first: NDArray[np.int16], count: int, k: int) -> Neighbours:
    """The k strongest neighbours of each of `count` slots; of equals the lower slot.

    `windows` (n, looks) are slots, of which 0 counts nothing. Two looks next to each other count 2, with one between
    them 1, if the later one is at `first` (n,) or behind: the looks before were new in another window.
    """
    looks = windows.shape[1]
    places, ends = places_of(windows.ravel(), count)
    slots, shares = np.zeros((count, k), np.int32), np.zeros((count, k), np.float32)
    counts, beside = np.zeros(count, np.int64), np.empty(count, np.int32)
    for slot in range(1, count):
        found = 0
        for where in places[ends[slot] : ends[slot + 1]]:
            row, place = where // looks, where % looks
            for other in range(max(0, place - 2), min(looks, place + 3)):
                neighbour = windows[row, other]
                if neighbour != 0 and neighbour != slot and max(place, other) >= first[row]:
                    if counts[neighbour] == 0:
                        beside[found] = neighbour
                        found += 1
                    counts[neighbour] += 3 - abs(place - other)
        beside[:found].sort()
        order = np.argsort(-counts[beside[:found]], kind="mergesort")[:k]
        for rank in range(len(order)):
            slots[slot, rank] = beside[order[rank]]
            shares[slot, rank] = counts[slots[slot, rank]]
        shares[slot] /= max(shares[slot].sum(), np.float32(1.0))
        counts[beside[:found]] = 0
    return Neighbours(slots, shares)


@cached_njit(nogil=True, error_model="numpy")
def tanh(values: Floats) -> None:
    """Hyperbolic tangents, in place."""
    for place in range(len(values)):
        x = min(max(values[place], -_MOST), _MOST)
        square = x * x
        over = _OVER[6]
        for term in range(5, -1, -1):
            over = over * square + _OVER[term]
        under = _UNDER[3]
        for term in range(2, -1, -1):
            under = under * square + _UNDER[term]
        values[place] = x * over / under


@cached_njit(nogil=True)
def step(told: Floats, look: int, gates: Floats, number: int, lstm: LSTM, state: Hidden, row: int) -> None:
    """Carry the state of a shopper on by a look, in place.

    `told` (looks, columns of the blocks) is what looks tell the gates, inputs times `lstm.from_look`. `gates`, of as
    many columns, holds what the state tells them at `number`, hidden times `lstm.from_hidden`; it is overwritten.
    """
    hidden, cell = state
    units, half = hidden.shape[1], np.float32(0.5)
    through = np.empty(units, np.float32)
    for gate in range(4 * units):
        gates[number, gate] += told[look, gate] + lstm.bias[gate]
    tanh(gates[number, : 4 * units])
    for unit in range(units):
        entry, keep = half * gates[number, unit] + half, half * gates[number, units + unit] + half
        through[unit] = cell[row, unit] = keep * cell[row, unit] + entry * gates[number, 2 * units + unit]
    tanh(through)
    for unit in range(units):
        hidden[row, unit] = (half * gates[number, 3 * units + unit] + half) * through[unit]


@cached_njit(nogil=True)
def carry_on(looks: LookBatch, vectors: Floats, lstm: LSTM, state: Hidden) -> None:
    """Carry shoppers' states on by their looks, in order and in place; `vectors` (looks, units) are the items'."""
    (_, action, gap, ends), units = looks, vectors.shape[1]
    gates = np.empty((1, len(lstm.from_look) * BLOCK), np.float32)
    for row in range(len(state.hidden)):
        count = ends[row + 1] - ends[row]
        inputs = np.empty((count, units), np.float32)
        for look in range(count):
            at = ends[row] + look
            inputs[look] = vectors[at] + lstm.actions[action[at]] + lstm.gaps[gap[at]]
        told = np.empty((count, gates.shape[1]), np.float32)
        products(inputs, 0, count, lstm.from_look, told)
        for look in range(count):
            products(state.hidden, row, 1, lstm.from_hidden, gates)
            step(told, look, gates, 0, lstm, state, row)


def warm() -> None:
    """Compile, or load what was compiled before."""
    floats, whole = np.zeros((1, 4), np.float32), np.zeros(1, np.int64)
    known = constant(floats)
    item_vectors(whole, np.zeros((1, 3), np.int32), known, known, known, known)
    looks = LookBatch(whole, whole, whole, np.zeros(2, np.int64))
    weights = blocks_of(np.zeros((16, 4), np.float32))
    carry_on(
        looks, floats, LSTM(known, known, weights, weights, np.zeros(16, np.float32)), Hidden(floats, floats.copy())
    )
    units_of(floats)
    neighbours_of(np.zeros((1, 1), np.int32), np.zeros(1, np.int16), 1, 1)
