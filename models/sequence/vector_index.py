"""The item vectors as predictions search them: all together, or in clusters where there are too many to compare.

Clusters are those of k-means on the sphere (I. Dhillon, D. Modha, Concept decompositions for large sparse text data
using clustering, 2001), learnt from a sample. Of the nearest clusters all vectors are compared, so that most of the
nearest are found, not all. How many clusters that takes is measured when they are made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.sequence.features import FIRST_GAP
from models.sequence.kernels import Floats, LookBatch, Whole, places_of
from models.sequence.prediction import ItemVectors, nearest
from models.sequence.products import BLOCK, blocks_of, products
from models.sequence.scorer import SLICE, Scorer
from models.sequence.vocabulary import NOBODY

EXACT = 20_000
"""Most items of which all are compared."""

MASS = 0.985
"""Of the probability of the best items, what is to be found in the mean."""

PROBES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of clusters to compare, of which the first that finds so much is taken, or else the last."""

ASKED = 64
"""Made-up visits that this is measured with."""

MOST_LOOKS = 4
"""Of such a visit."""

MOST_CLUSTERS = 4_096
"""A few times the root of the number of vectors, but no more: assigning a million vectors to these takes 8 s."""

NEW = 0.2
"""Share of its looks that are at items without a vector."""

_SAMPLE, _ROUNDS = 8, 4
"""Vectors a cluster that clusters are learnt from, and how often they are assigned to the nearest. Four times as many
take twice the time for the whole index, to find a thousandth more."""

_TILE = 64
"""Vectors that are compared with centroids together."""


class Searched(NamedTuple):
    """Item vectors, and how well they are searched."""

    vectors: ItemVectors
    mass: float
    """Share of the probability of the true best items that is found."""
    compared: int
    """Vectors and centroids that are compared for a shopper."""


def searched(scorer: Scorer, best: int, exact: int = EXACT, seed: int = 1) -> Searched:
    """The item vectors of a scorer, to be searched for the `best` ones; in clusters if there are more than `exact`.

    Long work is done in compiled code, without Python's lock.
    """
    items, vectors, number = scorer.items.astype(np.int32), scorer.vectors, len(scorer.items)
    none, scale = np.empty(0, np.float32), float(scorer.scale)
    if number <= exact:
        blocks = blocks_of(vectors)
        space = ItemVectors(items, _places(items), vectors, blocks, np.zeros(1, np.int64), none, none, 0, scale)
        return Searched(space, 1.0, number)
    nearest_one, clusters = clustered(vectors, seed)
    order, ends = places_of(nearest_one + np.int32(1), clusters + 1)  # of which the first is nobody's
    ends = ends[1:]
    moved = _rows(vectors, order)
    means = _means(vectors, nearest_one, clusters)
    lengths = np.linalg.norm(means, axis=1).astype(np.float32)
    blocks = blocks_of(means / np.maximum(lengths, 1e-9)[:, None])
    # Within a cluster, cosines are about normally distributed around that of the mean.
    spread = scale**2 * (1.0 - lengths**2) / (2 * vectors.shape[1])
    logs = (np.log(np.maximum(np.diff(ends), 1e-30)) + spread).astype(np.float32)
    items = items[order]
    space = ItemVectors(items, _places(items), moved, blocks, ends, lengths, logs, PROBES[-1], scale)
    return _measured(scorer, space, best, seed)


def clustered(vectors: Floats, seed: int) -> tuple[NDArray[np.int32], int]:
    """Cluster of each vector, (n,), and the number of clusters."""
    number = len(vectors)
    clusters = min(MOST_CLUSTERS, max(1, int(6.4 * number**0.5) // BLOCK) * BLOCK)
    chance = np.random.default_rng(seed)
    sample = _rows(vectors, np.sort(chance.choice(number, min(number, _SAMPLE * clusters), replace=False)))
    centroids = sample[chance.permutation(len(sample))[:clusters]]
    for _ in range(_ROUNDS):
        means = _means(sample, _nearest(sample, blocks_of(centroids)), clusters)
        lengths = np.linalg.norm(means, axis=1)
        centroids[lengths > 0.0] = (means / np.maximum(lengths, 1e-9)[:, None])[lengths > 0.0]
    return _nearest(vectors, blocks_of(centroids)), clusters


def _measured(scorer: Scorer, space: ItemVectors, best: int, seed: int) -> Searched:
    """With as few clusters to compare as find `MASS`."""
    expected = _expected(scorer, space, seed)
    true = best_cosines(expected, space.vectors, best)
    whole = np.exp(space.scale * (true - 1.0)).sum(axis=1)
    lines = np.empty((ASKED, len(space.blocks) * BLOCK), np.float32)
    products(expected, 0, ASKED, space.blocks, lines)
    items, shares = np.empty(best, np.int32), np.empty(best)
    mass = 0.0
    for probes in PROBES:
        space = space._replace(probes=min(probes, len(space.lengths)))
        masses = []
        for number in range(ASKED):
            found = nearest(space, expected, number, lines[number], best, items, shares)
            cosines = space.vectors[space.places[items[:found]]] @ expected[number]
            masses.append(np.exp(space.scale * (cosines - 1.0)).sum() / whole[number])
        mass = float(np.mean(masses))
        if mass >= MASS:
            break
    a_cluster = len(space.items) / len(space.lengths)
    return Searched(space, mass, len(space.lengths) + round(space.probes * a_cluster))


def _expected(scorer: Scorer, space: ItemVectors, seed: int) -> Floats:
    """(ASKED, units): what is expected after made-up visits, half to items of one cluster each, half to any items."""
    chance, number = np.random.default_rng(seed), len(space.items)
    lengths = chance.integers(1, MOST_LOOKS + 1, ASKED)
    looks = np.repeat(np.arange(ASKED), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    cluster = (np.searchsorted(space.ends, chance.integers(0, number, ASKED), side="right") - 1)[looks]
    first, count = space.ends[cluster], space.ends[cluster + 1] - space.ends[cluster]
    places = np.where(looks % 2, chance.integers(0, number, len(looks)), first + chance.integers(0, count))
    gaps = np.full(len(looks), 3)
    gaps[starts[:-1]] = FIRST_GAP
    items = np.where(chance.random(len(looks)) < NEW, NOBODY, space.items[places])
    state = scorer.start(ASKED)
    scorer.carry_on(state, LookBatch(items, np.zeros_like(looks), gaps, starts))
    return scorer.expected(state)


def best_cosines(expected: Floats, vectors: Floats, best: int) -> Floats:
    """(n, best): the largest cosines of each with all vectors."""
    found = np.full((len(expected), best), -2.0, np.float32)
    for first in range(0, len(vectors), SLICE):
        cosines = np.concatenate([found, expected @ vectors[first : first + SLICE].T], axis=1)
        found = np.partition(cosines, -best, axis=1)[:, -best:]
    return found


def _places(items: NDArray[np.int32]) -> NDArray[np.int32]:
    """Place of each item among (n,) by index; -1 for none."""
    places = np.full(int(items.max(initial=-1)) + 1, -1, np.int32)
    places[items] = np.arange(len(items))
    return places


@cached_njit(nogil=True)
def _nearest(vectors: Floats, blocks: Floats) -> NDArray[np.int32]:
    """(n,): the centroid, of those that fill the blocks, that each vector is nearest to."""
    found, lines = np.empty(len(vectors), np.int32), np.empty((_TILE, len(blocks) * BLOCK), np.float32)
    tops, at = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    for first in range(0, len(vectors), _TILE):
        count = min(_TILE, len(vectors) - first)
        products(vectors, first, count, blocks, lines)
        for number in range(count):
            tops[:], at[:] = lines[number, :BLOCK], 0
            for block in range(1, len(blocks)):
                for lane in range(BLOCK):  # without a branch, so that all lanes are compared at once
                    cosine = lines[number, block * BLOCK + lane]
                    greater = cosine > tops[lane]
                    tops[lane] = cosine if greater else tops[lane]
                    at[lane] = block if greater else at[lane]
            winner = np.argmax(tops)
            found[first + number] = at[winner] * BLOCK + winner
    return found


@cached_njit(nogil=True)
def _means(vectors: Floats, near: NDArray[np.int32], clusters: int) -> Floats:
    """(clusters, units): of the vectors of each cluster, `near` (n,); 0 of none."""
    means, counts = np.zeros((clusters, vectors.shape[1]), np.float32), np.zeros(clusters, np.int64)
    for place in range(len(vectors)):
        counts[near[place]] += 1
        for unit in range(vectors.shape[1]):
            means[near[place], unit] += vectors[place, unit]
    for cluster in range(clusters):
        means[cluster] /= np.float32(max(1, counts[cluster]))
    return means


@cached_njit(nogil=True)
def _rows(vectors: Floats, places: Whole) -> Floats:
    """The vectors at these places."""
    rows = np.empty((len(places), vectors.shape[1]), np.float32)
    for number in range(len(places)):
        rows[number] = vectors[places[number]]
    return rows
