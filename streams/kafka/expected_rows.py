"""Rows of neighbours that this process has published and not read back yet: they need not be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.count_kernel import CutRows
from streams.wire.record import Record

EXPECTED_ROWS = 10_000
"""Rows of our own that are known before they are read: 120 MB of rows with 100 neighbours, far more than are ever on
their way. A row beyond is decoded like any other."""


class PublishedRows:
    """Rows that were published together, in one partition and with one position."""

    def __init__(self, partition: int, position: int, rows: CutRows) -> None:
        self.partition, self.position, self.rows = partition, position, rows
        self.newest_at = float(rows.at.max(initial=0.0))
        """Newest event behind any of them, in epoch seconds."""
        self.left = len(rows.items)
        """Rows that were not read back yet."""


class ExpectedRow(NamedTuple):
    """One of them."""

    published: PublishedRows
    number: int
    """Its place there."""
    value: bytes
    """Of its record."""


class ExpectedRows:
    """The rows that are expected, by the keys of their records.

    Rows that were published together are kept until the last of them is read back.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, ExpectedRow] = {}
        self._kept: dict[PublishedRows, None] = {}
        self._count = 0  # rows of those

    @property
    def nbytes(self) -> int:
        """Memory that it takes: of the values, which the producer has too, and of the cells behind them."""
        return sum(column.nbytes for published in self._kept for column in published.rows) + sum(
            len(row.value) for row in self._rows.values()
        )

    def held(self) -> NDArray[np.int32]:
        """Indices of their items, and of the neighbours."""
        columns = [column for published in self._kept for column in (published.rows.items, published.rows.neighbours)]
        return np.concatenate([np.empty(0, np.int32), *columns])

    def add(self, published: PublishedRows, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Expect the records of rows, unless too many are expected already."""
        if self._count + len(keys) > EXPECTED_ROWS:
            return
        self._kept[published] = None
        self._count += len(keys)
        for number, (key, value) in enumerate(zip(keys, values, strict=True)):
            if (before := self._rows.get(key)) is not None:
                self._forget(before)
            self._rows[key] = ExpectedRow(published, number, value)

    def find(self, record: Record, latest_at: float) -> ExpectedRow | None:
        """The row of a record, if this process has published exactly that, there, of no later event time."""
        row = self._rows.get(record.key or b"")
        if row is None or record.value != row.value:
            return None
        published = row.published
        return row if record.partition == published.partition and published.newest_at <= latest_at else None

    def drop(self, key: bytes) -> None:
        """Expect the record of a key no more."""
        if (row := self._rows.pop(key, None)) is not None:
            self._forget(row)

    def _forget(self, row: ExpectedRow) -> None:
        published = row.published
        published.left -= 1
        if not published.left:
            del self._kept[published]
            self._count -= len(published.rows.items)
