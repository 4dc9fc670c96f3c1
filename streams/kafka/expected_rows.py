"""Rows of neighbours that this process has published and not read back yet: they need not be decoded.

A partition brings them back in the order in which they were published, but for what compaction has removed. Records of
others may come in between.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.count_kernel import CutRows
from models.jit import cached_njit, inline_njit
from streams.wire.raw_bytes import Text, equal_bytes
from streams.wire.record_run import COLUMNS, FLAGS, KEY_END, KEY_START, NOT_PLAIN, VALUE_END, VALUE_START, RecordRun

EXPECTED_ROWS = 10_000
"""Rows of our own that are known before they are read: 120 MB of rows with 100 neighbours, far more than are ever on
their way. A row beyond is decoded like any other."""


class PublishedRows:
    """Rows that were published together, in one partition and with one position."""

    def __init__(self, partition: int, position: int, rows: CutRows) -> None:
        self.partition, self.position, self.rows = partition, position, rows
        self.newest_at = float(rows.at.max(initial=0.0))
        """Newest event behind any of them, in epoch seconds."""


@dataclass(slots=True)
class _Expected:
    """Published rows and their records."""

    published: PublishedRows
    text: Text
    """Keys and values: of a row its key, then its value."""
    ends: NDArray[np.int64]
    """(2 * rows + 1,) where the parts of the text start and end."""
    first: int = field(default=0)
    """Of the rows that may still come."""


class Found(NamedTuple):
    """Rows that some records are."""

    published: PublishedRows
    first: int
    """Place of the first one there."""
    number: int


class ExpectedRows:
    """The rows that are expected, by partition.

    Rows that were published together are kept until the last of them is read back.
    """

    def __init__(self) -> None:
        self._expected: defaultdict[int, deque[_Expected]] = defaultdict(deque)
        self._count = 0  # rows of those

    @property
    def nbytes(self) -> int:
        """Memory that it takes: of the records, which the producer has too, and of the cells behind them."""
        return sum(
            expected.text.nbytes + expected.ends.nbytes + sum(column.nbytes for column in expected.published.rows)
            for expected in chain.from_iterable(self._expected.values())
        )

    def held(self) -> NDArray[np.int32]:
        """Indices of their items, and of the neighbours."""
        rows = [expected.published.rows for expected in chain.from_iterable(self._expected.values())]
        return np.concatenate([np.empty(0, np.int32), *(part for row in rows for part in (row.items, row.neighbours))])

    def add(self, published: PublishedRows, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Expect the records of rows, unless too many are expected already."""
        if self._count + len(keys) > EXPECTED_ROWS or not keys:
            return
        parts = [part for pair in zip(keys, values, strict=True) for part in pair]
        text, ends = np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *map(len, parts)])
        self._expected[published.partition].append(_Expected(published, text, ends))
        self._count += len(keys)

    def find(self, run: RecordRun, first: int, latest_at: float) -> Found | None:
        """The rows of the records from the `first` of a run on, if this process has published exactly these, there.

        They are of no later event time, and expected no more. None: the first record has to be decoded.
        """
        queue = self._expected.get(run.partition)
        if not queue or queue[0].published.newest_at > latest_at:
            return None
        expected = queue[0]
        place, count = _equal_rows(
            run.table, run.start + first, run.stop, run.buffer, expected.text, expected.ends, expected.first
        )
        if count == 0:
            return None
        expected.first = place + count
        if expected.first == len(expected.published.rows.items):
            self._drop_first(queue)
        return Found(expected.published, place, count)

    def passed(self, partition: int, position: int) -> None:
        """A row of a position was decoded: rows of earlier ones come no more."""
        queue = self._expected.get(partition)
        while queue and queue[0].published.position < position:
            self._drop_first(queue)

    def _drop_first(self, queue: deque[_Expected]) -> None:
        self._count -= len(queue.popleft().published.rows.items)


@inline_njit
def _is_row(table: NDArray[np.int64], record: int, data: Text, text: Text, ends: NDArray[np.int64], place: int) -> bool:
    """Whether a record has the key and the value of a row."""
    key, value, end = ends[2 * place], ends[2 * place + 1], ends[2 * place + 2]
    key_start, value_start = table[KEY_START, record], table[VALUE_START, record]
    return bool(
        table[VALUE_END, record] - value_start == end - value
        and table[KEY_END, record] - key_start == value - key
        and equal_bytes(data, key_start, text, key, value - key)
        and equal_bytes(data, value_start, text, value, end - value)
    )


@cached_njit(nogil=True)
def _equal_rows(
    table: NDArray[np.int64], at: int, stop: int, data: Text, text: Text, ends: NDArray[np.int64], first: int
) -> tuple[int, int]:
    """Place of the row, from the `first` on, that a record of a run is; and how many records from there on are rows."""
    rows = len(ends) // 2
    if table[FLAGS, at] & NOT_PLAIN:
        return first, 0
    place = first
    while place < rows and not _is_row(table, at, data, text, ends, place):
        place += 1
    count = 0
    while (
        place + count < rows
        and at + count < stop
        and not table[FLAGS, at + count] & NOT_PLAIN
        and _is_row(table, at + count, data, text, ends, place + count)
    ):
        count += 1
    return place, count


def warm() -> None:
    """Compile the kernel, or load it from the cache."""
    nothing = np.frombuffer(b"", np.uint8)
    _equal_rows(np.zeros((COLUMNS, 1), np.int64), 0, 1, nothing, nothing, np.zeros(1, np.int64), 0)
