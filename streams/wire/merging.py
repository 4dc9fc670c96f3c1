"""Merges two runs of records by their timestamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from streams.wire.record_run import COLUMNS, TIMESTAMP, VALUE_END, VALUE_START


@cached_njit(nogil=True)
def merge(  # noqa: PLR0913 - a kernel
    first: NDArray[np.int64],
    at: int,
    stop: int,
    other: NDArray[np.int64],
    other_at: int,
    other_stop: int,
    most: int,
    most_bytes: int,
) -> NDArray[np.int64]:
    """How many records to take of the first, the other, the first and so on; the last is their bytes of values.

    Of two records the one with the smaller timestamp goes first, of equal ones the first run's. It ends with either
    run, with so many records, or with the record that reaches so many bytes.
    """
    out, stretches = np.zeros(most + 2, np.int64), 1
    taken, size = 0, 0
    while at < stop and other_at < other_stop and taken < most and size < most_bytes:
        of_other = first[TIMESTAMP, at] > other[TIMESTAMP, other_at]
        if of_other != (stretches % 2 == 0):
            stretches += 1
        out[stretches - 1] += 1
        if of_other:
            size += other[VALUE_END, other_at] - other[VALUE_START, other_at]
            other_at += 1
        else:
            size += first[VALUE_END, at] - first[VALUE_START, at]
            at += 1
        taken += 1
    out[stretches] = size
    return out[: stretches + 1]


def warm() -> None:
    """Compile the kernel, or load it from the cache."""
    table = np.zeros((COLUMNS, 1), np.int64)
    merge(table, 0, 1, table, 0, 1, 1, 1)
