"""The items nearest to what is expected: by comparing all of them, or by an index where there are too many.

The index is a navigable small-world graph (Y. Malkov, D. Yashunin, Efficient and robust approximate nearest neighbor
search, 2018; usearch's). It finds most of the nearest, not all: see `recall`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import PackageMissingError
from models.sequence.kernels import largest

EXACT = 100_000
"""Most items of which all are compared: 1 ms a shopper in a batch, 5 ms for a single shopper."""

COMPARED = 3_200_000
"""Most comparisons in one call, over all its shoppers: 30 ms, for which an answer waits."""

IN_PASSING = 10
"""Part of those that may block the event loop: 3 to 5 ms."""

PROBES = 256
"""Vectors that recall is measured with."""

SAMPLE = 4_096
"""Vectors that the sum over all is estimated from where not all are compared."""

STORED = "f16"
"""Type of the numbers in the index: cosines are off by 0.0002 at most and recall is the same, for three fifths of the
memory. With bytes (`i8`) recall is lower: see `docs/decisions.md`."""


class Nearest(NamedTuple):
    """Places of vectors, and their shares: softmax of `scale` times cosines over all vectors."""

    places: NDArray[np.int64]
    """(n, k), most likely first, ties by place."""
    shares: NDArray[np.float64]
    """(n, k)."""


class Finder(Protocol):
    """Finds the nearest of given vectors."""

    recall: float
    """Share of the true nearest that are found."""
    max_batch: int
    """Most shoppers of one call."""
    inline_limit: int
    """Most shoppers that take a few milliseconds only."""

    def nearest(self, expected: NDArray[np.float32], scale: float, k: int) -> Nearest:
        """The `k` vectors nearest to each of (n, units), both of length 1; all where there are fewer."""


class Exact:
    """Compares all.

    >>> finder = Exact(np.eye(3, dtype=np.float32))
    >>> found = finder.nearest(np.array([[0.0, 1.0, 0.0]], np.float32), 2.0, 2)
    >>> found.places.tolist(), found.shares.round(3).tolist()
    ([[1, 0]], [[0.787, 0.107]])
    """

    recall = 1.0

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self.max_batch = max(1, COMPARED // max(1, len(vectors)))
        self.inline_limit = max(1, self.max_batch // IN_PASSING)

    def nearest(self, expected: NDArray[np.float32], scale: float, k: int) -> Nearest:
        """See [`Finder.nearest`][]."""
        logits = np.asarray((np.float32(scale) * expected) @ self._vectors.T, np.float32)
        k = min(k, logits.shape[1])
        least = np.partition(logits, logits.shape[1] - k, axis=1)[:, logits.shape[1] - k].copy()
        places, chosen = largest(logits, least, k)
        logits -= np.float32(scale)  # no cosine is above 1
        totals = np.exp(logits, out=logits).sum(axis=1, keepdims=True, dtype=np.float64)
        return Nearest(places, np.exp(chosen - scale) / totals)


class Indexed:
    """Searches an index of (n, units) of length 1; building it takes about 0.2 ms a vector.

    Raises:
        ModuleNotFoundError: usearch is not installed.
    """

    max_batch = COMPARED // EXACT  # a search costs about as much as EXACT comparisons
    inline_limit = max_batch // IN_PASSING

    def __init__(self, vectors: NDArray[np.float32], seed: int) -> None:
        from usearch.index import Index

        self._index: Any = Index(ndim=vectors.shape[1], metric="ip", dtype=STORED, expansion_search=256)
        self._index.add(np.arange(len(vectors)), vectors, threads=1)
        chance = np.random.default_rng(seed)
        self._length = len(vectors)
        self._sample = vectors[chance.integers(0, len(vectors), min(SAMPLE, len(vectors)))]
        probes = vectors[chance.integers(0, len(vectors), PROBES)]
        probes = probes + chance.normal(0.0, 0.3 / np.sqrt(vectors.shape[1]), probes.shape).astype(np.float32)
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        k = min(50, len(vectors))
        found, true = self.nearest(probes, 1.0, k).places, Exact(vectors).nearest(probes, 1.0, k).places
        pairs = zip(found.tolist(), true.tolist(), strict=True)
        self.recall = float(np.mean([len(set(ours) & set(theirs)) / k for ours, theirs in pairs]))

    def nearest(self, expected: NDArray[np.float32], scale: float, k: int) -> Nearest:
        """See [`Finder.nearest`][]; shares are of an estimated sum."""
        found = self._index.search(np.ascontiguousarray(expected), min(k, self._length), threads=1)
        keys = np.atleast_2d(np.asarray(found.keys, np.int64))
        cosines = 1.0 - np.atleast_2d(np.asarray(found.distances, np.float64))
        order = np.lexsort((keys, -cosines), axis=1)
        keys, cosines = np.take_along_axis(keys, order, axis=1), np.take_along_axis(cosines, order, axis=1)
        near = np.exp(scale * (cosines - 1.0))
        sampled = expected @ self._sample.T
        farther = np.where(sampled < cosines[:, -1:], np.exp(scale * (sampled - 1.0)), 0.0)  # than those found
        rest = farther.mean(axis=1, keepdims=True) * self._length
        return Nearest(keys, near / (near.sum(axis=1, keepdims=True) + rest))


def finder(vectors: NDArray[np.float32], seed: int = 1) -> Finder:
    """The finder for a number of vectors.

    Raises:
        PackageMissingError: there are more than `EXACT`, and usearch is not installed.
    """
    if (missing := missing_for(len(vectors))) is not None:
        raise missing
    return Exact(vectors) if len(vectors) <= EXACT else Indexed(vectors, seed)


def missing_for(vectors: int) -> PackageMissingError | None:
    """The error of `finder` for so many vectors, if it has one."""
    if vectors <= EXACT or find_spec("usearch") is not None:
        return None
    return PackageMissingError.too_many_items(vectors, EXACT)
