"""What shoppers will probably look at next: a batch in one compiled call.

A shopper's hidden state is kept from one look to the next, with the window that it belongs to. It is a function of the
window alone: where the window is the kept one with one more look, the state is carried on, else it is computed from the
start. So are the answers: whatever comes together in a batch, and whatever was asked before, they are equal to the bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.sequence.features import FIRST_GAP, GAPS_S
from models.sequence.kernels import LSTM, Floats, Hidden, Whole, put_unit, step
from models.sequence.products import BLOCK, products
from models.sequence.top_cosines import best, exp32, name_of, sum_of_exps, value_of

ROWS = 32
"""Shoppers that are scored together: bounds memory, which is 4 bytes a compared vector and shopper."""

LOOKS = 20
"""Longest window that is kept: `VisitConfig.items`. States after longer ones are computed from the start each time."""

WAYS = 8
"""Places that a shopper's state may be kept at; the one that was used the longest ago is overwritten."""

_BOUNDS_S = np.array(GAPS_S)


class WindowBatch(NamedTuple):
    """Windows of looks, one after the other: of shopper `s` from `ends[s]` to `ends[s + 1]`."""

    items: NDArray[np.int32]
    """(looks,) indices of the items."""
    actions: NDArray[np.int8]
    """(looks,) classes."""
    ats: NDArray[np.float64]
    """(looks,) event times, ascending epoch seconds."""
    ends: Whole
    """(n + 1,)."""


class KeptStates(NamedTuple):
    """States of shoppers, and the windows that they belong to; all zero where there is none.

    The state of a shopper is at one of the `WAYS` places that the key tells.
    """

    keys: Whole
    """(places,)."""
    turns: Whole
    """(places,) when it was used: the larger, the later."""
    lengths: NDArray[np.int8]
    """(places,) looks of the window; 0 for one that is too long to be kept."""
    items: NDArray[np.int32]
    """(places, LOOKS)."""
    actions: NDArray[np.int8]
    """(places, LOOKS)."""
    ats: NDArray[np.float64]
    """(places, LOOKS)."""
    hidden: Floats
    """(places, units)."""
    cell: Floats
    """(places, units)."""
    turn: Whole
    """(1,): the latest."""


class ItemVectors(NamedTuple):
    """Vectors of items, of length 1, and what shortens the search among them.

    Either all are compared, and `blocks` has all of them. Or they lie in clusters, `blocks` has the centroids of those,
    and the vectors of the nearest clusters are compared.
    """

    items: NDArray[np.int32]
    """(n,) index of each one's item; ascending within a cluster."""
    places: NDArray[np.int32]
    """Which vector each item has, by index; -1 for none."""
    vectors: Floats
    """(n, units)."""
    blocks: Floats
    """`blocks_of` all vectors or the centroids."""
    ends: Whole
    """(clusters + 1,): vectors of cluster `c` from `ends[c]` to `ends[c + 1]`."""
    lengths: Floats
    """(clusters,): of the mean of each cluster's vectors, of which the centroid is the direction."""
    logs: Floats
    """(clusters,): what exp(scale * (cosine of the mean - 1)) is multiplied with, to estimate the cluster's sum."""
    probes: int
    """Nearest clusters whose vectors are compared."""
    scale: float
    """Of cosines, to make logits."""


class Network(NamedTuple):
    """What a batch is predicted with: weights, item vectors, and the states of shoppers."""

    lstm: LSTM
    space: ItemVectors
    kept: KeptStates


@cached_njit(nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _estimate(line: Floats, space: ItemVectors) -> Any:
    """Estimate of `sum_of_exps` over the vectors of all clusters, by cosines with their centroids."""
    total, factor = 0.0, np.float32(space.scale)
    for cluster in range(len(space.lengths)):
        total += exp32(factor * (line[cluster] * space.lengths[cluster] - np.float32(1.0)) + space.logs[cluster])
    return total


@cached_njit(nogil=True)
def _place_of(kept: KeptStates, key: int) -> tuple[int, int]:
    """Where a shopper's state is kept from now on, and when that place was last used."""
    kept.turn[0] += 1
    first = key % (len(kept.keys) // WAYS) * WAYS
    oldest = first
    for place in range(first, first + WAYS):
        if kept.keys[place] == key:
            oldest = place
            break
        if kept.turns[place] < kept.turns[oldest]:
            oldest = place
    if kept.keys[oldest] != key:
        kept.keys[oldest], kept.lengths[oldest] = key, 0
    before = kept.turns[oldest]
    kept.turns[oldest] = kept.turn[0]
    return oldest, before


@cached_njit(nogil=True)
def _update(kept: KeptStates, place: int, looks: WindowBatch, first: int, end: int) -> int:
    """Keep a window from now on; returns the first of its looks that its state is to be carried on by."""
    count = kept.lengths[place]
    common = 0
    while (
        common < min(count, end - first)
        and kept.items[place, common] == looks.items[first + common]
        and kept.actions[place, common] == looks.actions[first + common]
        and kept.ats[place, common] == looks.ats[first + common]
    ):
        common += 1
    if common == 0 or common < count or common < end - first - 1:
        common = 0
    if end - first > LOOKS:
        kept.lengths[place] = 0
        return first + common
    kept.lengths[place] = end - first
    for look in range(common, end - first):
        kept.items[place, look] = looks.items[first + look]
        kept.actions[place, look] = looks.actions[first + look]
        kept.ats[place, look] = looks.ats[first + look]
    return first + common


@cached_njit(nogil=True)
def _fill(inputs: Floats, lstm: LSTM, space: ItemVectors, looks: WindowBatch, rows: Whole, firsts: Whole) -> None:
    """Inputs of the network for the looks of some rows, of each from its first one on."""
    count = 0
    for number in range(len(rows)):
        begin = looks.ends[rows[number]]
        for look in range(firsts[number], looks.ends[rows[number] + 1]):
            item, gap = looks.items[look], FIRST_GAP
            place = space.places[item] if 0 <= item < len(space.places) else -1
            if look > begin:
                gap = np.searchsorted(_BOUNDS_S, looks.ats[look] - looks.ats[look - 1], side="right")
            for unit in range(inputs.shape[1]):
                known = space.vectors[place, unit] if place >= 0 else np.float32(0.0)
                inputs[count, unit] = known + lstm.actions[looks.actions[look], unit] + lstm.gaps[gap, unit]
            count += 1


@cached_njit(nogil=True)
def _carry_on(
    lstm: LSTM, space: ItemVectors, kept: KeptStates, keys: Whole, looks: WindowBatch, rows: Whole, expected: Floats
) -> None:
    """Bring the states of some rows up to date; `expected` (rows, units) takes the vectors of what is expected."""
    units = space.vectors.shape[1]
    states, places, firsts = (
        Hidden(kept.hidden, kept.cell),
        np.empty(len(rows), np.int64),
        np.empty(len(rows), np.int64),
    )
    again = np.zeros(len(rows), np.bool_)  # rows whose place is another's in this batch, too
    hidden, gates = (
        np.zeros((len(rows), units), np.float32),
        np.empty((len(rows), len(lstm.from_hidden) * BLOCK), np.float32),
    )
    count, turn = 0, kept.turn[0]
    for number in range(len(rows)):
        row = rows[number]
        place, used = _place_of(kept, keys[row])
        firsts[number] = _update(kept, place, looks, looks.ends[row], looks.ends[row + 1])
        places[number], again[number] = place, used > turn
        if firsts[number] > looks.ends[row]:
            hidden[number] = kept.hidden[place]
        count += looks.ends[row + 1] - firsts[number]
    products(hidden, 0, len(rows), lstm.from_hidden, gates)
    inputs = np.empty((count, units), np.float32)
    _fill(inputs, lstm, space, looks, rows, firsts)
    told = np.empty((count, len(lstm.from_look) * BLOCK), np.float32)
    products(inputs, 0, count, lstm.from_look, told)
    count = 0
    for number in range(len(rows)):
        row, place = rows[number], places[number]
        if firsts[number] == looks.ends[row]:
            states.hidden[place] = states.cell[place] = 0.0
        for look in range(firsts[number], looks.ends[row + 1]):
            if look > firsts[number] or again[number]:
                products(states.hidden, place, 1, lstm.from_hidden, gates[number : number + 1])
            step(told, count, gates, number, lstm, states, place)
            count += 1
        put_unit(states.hidden, place, expected, number)


@cached_njit(nogil=True)
def nearest(
    space: ItemVectors,
    expected: Floats,
    number: int,
    line: Floats,
    k: int,
    items: NDArray[np.int32],
    shares: NDArray[np.float64],
) -> int:
    """Best items of a row of `expected`, by its cosines with all of `blocks`; returns how many.

    `items` (k,) and `shares` (k,), softmax over all items, take what is found.
    """
    ranked, scale, count = np.empty(k, np.int64), space.scale, len(space.items)
    if space.probes == 0:
        found = best(line, count, space.items, ranked)
        total = sum_of_exps(line, count, scale)
    else:
        clusters = len(space.lengths)
        probed = np.empty(space.probes, np.int64)
        probed = probed[: best(line, clusters, np.arange(clusters).astype(np.int32), probed)]
        count = 0
        for probe in range(len(probed)):
            probed[probe] = name_of(probed[probe])
            count += space.ends[probed[probe] + 1] - space.ends[probed[probe]]
        total = _estimate(line, space)
        near, names = np.empty(count, np.float32), np.empty(count, np.int32)
        count = 0
        for cluster in probed:
            mean = np.float32(space.lengths[cluster] * line[cluster])
            total -= math.exp(scale * (mean - 1.0) + space.logs[cluster])
            for place in range(space.ends[cluster], space.ends[cluster + 1]):
                near[count], names[count] = _cosine(expected, number, space.vectors, place), space.items[place]
                count += 1
        found = best(near, count, names, ranked)
        total = max(total, 0.0) + sum_of_exps(near, count, scale)
    for rank in range(found):
        items[rank] = name_of(ranked[rank])
        shares[rank] = math.exp(scale * (value_of(ranked[rank]) - 1.0)) / total
    return found


@cached_njit(nogil=True, fastmath={"reassoc", "contract"})
def _cosine(expected: Floats, number: int, vectors: Floats, place: int) -> Any:
    total = np.float32(0.0)
    for unit in range(vectors.shape[1]):
        total += expected[number, unit] * vectors[place, unit]
    return total


@cached_njit(nogil=True)
def expect(box: Any, keys: Whole, looks: WindowBatch, k: int) -> tuple[NDArray[np.int32], NDArray[np.float64], Whole]:
    """Best items of each shopper, their shares, and where those of shopper `s` end: `ends[s + 1]`.

    Without looks there are none. The box holds a `Network`.

    Each shopper has a key; where several rows have the same, they are processed in order. Keys only say where a state
    may be kept: shoppers of the same key are answered as any others.
    """
    lstm, space, kept = box.held
    k = min(k, len(space.items))
    items, shares = np.empty(len(keys) * k, np.int32), np.empty(len(keys) * k)
    ends = np.zeros(len(keys) + 1, np.int64)
    looking = np.flatnonzero(looks.ends[1:] > looks.ends[:-1])
    expected = np.empty((min(ROWS, len(looking)), space.vectors.shape[1]), np.float32)
    lines = np.empty((len(expected), len(space.blocks) * BLOCK), np.float32)
    count = 0
    for first in range(0, len(looking) if k > 0 else 0, ROWS):
        rows = looking[first : first + ROWS]
        _carry_on(lstm, space, kept, keys, looks, rows, expected)
        products(expected, 0, len(rows), space.blocks, lines)
        for number in range(len(rows)):
            found = nearest(space, expected, number, lines[number], k, items[count:], shares[count:])
            ends[rows[number] + 1] = found
            count += found
    return items[:count], shares[:count], np.cumsum(ends)
