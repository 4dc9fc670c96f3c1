"""A run of records of one partition as columns: no Python object is made for a record until somebody asks for it.

Keys and values lie in one buffer, as they were fetched. A slice shares buffer and columns. Compiled code is handed
`buffer`, `table`, `start` and `stop`, whose types are always the same; all else reads a run as a sequence of records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.wire.record import Header, Record, Unreadable, raw_value

OFFSET, TIMESTAMP, KEY_START, KEY_END, VALUE_START, VALUE_END, FLAGS = range(7)
"""Rows of a run's table."""
COLUMNS = 7

NULL_KEY, NULL_VALUE, HEADERS, OBJECT, APPEND_TIME = 1, 2, 4, 8, 16
"""Flags of a record: what is null, and whether it has headers; whether it exists as an object only (fetched in an old
format, or unreadable); whether its timestamp is the broker's."""
NOT_PLAIN = NULL_KEY | NULL_VALUE | HEADERS | OBJECT

ROW_BYTES = 8 * COLUMNS
"""Of a record, besides its key and value."""


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A [`Record`][streams.wire.record.Record] of a run."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    """1: the timestamp is the broker's append time."""
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class RecordRun(Sequence[Record]):
    """Records of one partition, offsets ascending.

    Args:
        topic: full name.
        partition: its number.
        data: holds keys and values.
        table: the columns as rows, see `OFFSET` and so on: (COLUMNS, records or more) int64, contiguous. Starts and
            ends are positions in `data`; those of a null are equal. The headers of a record follow its value there.
        objects: records that exist as objects, by offset.
        start: the first record's place in the table.
        stop: the place after the last one.
    """

    __slots__ = ("_buffer", "_largest", "_objects", "data", "partition", "start", "stop", "table", "topic")

    def __init__(  # noqa: PLR0913 - what a slice shares
        self,
        topic: str,
        partition: int,
        data: bytes,
        table: NDArray[np.int64],
        objects: Mapping[int, Record],
        start: int,
        stop: int,
    ) -> None:
        self.topic, self.partition, self.data, self.table, self._objects = topic, partition, data, table, objects
        self.start, self.stop = start, stop
        self._buffer: NDArray[np.uint8] | None = None
        self._largest: int | None = None

    @staticmethod
    def of(records: Sequence[Record]) -> RecordRun:
        """The run of some records of one partition; a run is returned as it is."""
        if isinstance(records, RecordRun):
            return records
        keys = [record.key for record in records]
        values = [raw_value(record) for record in records]
        parts = [part for pair in zip(keys, values, strict=True) for part in pair]
        ends = np.fromiter(accumulate(len(part or b"") for part in parts), np.int64, len(parts))
        table = np.zeros((COLUMNS, len(records)), np.int64)
        table[OFFSET] = [record.offset for record in records]
        # aiokafka's parser in C gives no timestamp where the sender wrote -1
        table[TIMESTAMP] = [-1 if (ms := record.timestamp) is None else ms for record in records]
        table[KEY_END], table[VALUE_END] = ends[::2], ends[1::2]
        table[KEY_START, 1:], table[VALUE_START] = ends[1:-1:2], ends[::2]
        table[FLAGS] = [
            (NULL_KEY if key is None else 0)
            | (NULL_VALUE if value is None else 0)
            | (OBJECT | HEADERS if record.headers else 0)
            | (OBJECT if isinstance(record, Unreadable) else 0)
            | (APPEND_TIME if getattr(record, "timestamp_type", 0) == 1 else 0)
            for record, key, value in zip(records, keys, values, strict=True)
        ]
        objects = {record.offset: record for record in records}
        topic, partition = (records[0].topic, records[0].partition) if records else ("", 0)
        return RecordRun(topic, partition, b"".join(part or b"" for part in parts), table, objects, 0, len(records))

    @staticmethod
    def joined(runs: Sequence[RecordRun]) -> RecordRun:
        """One run of several of a partition, at least one, that follow each other."""
        first, *others = runs
        if not others:
            return first
        objects: dict[int, Record] = {}
        for run in runs:
            objects.update(run._objects)  # noqa: SLF001 - of the same class
        table = np.concatenate([run._columns for run in runs], axis=1)  # noqa: SLF001
        data = first.data
        if any(run.data is not data for run in others):
            data, at, start = b"".join(run.data for run in runs), 0, 0
            for run in runs:
                table[KEY_START:FLAGS, at : at + len(run)] += start
                at, start = at + len(run), start + len(run.data)
        return RecordRun(first.topic, first.partition, data, table, objects, 0, table.shape[1])

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def _columns(self) -> NDArray[np.int64]:
        return self.table[:, self.start : self.stop]

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordRun: ...
    def __getitem__(self, index: int | slice) -> Record | RecordRun:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.stop - self.start)
            if step != 1:
                raise ValueError(index)
            return self.part(start, max(start, stop))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._record(*self.table[:, index + (self.start if index >= 0 else self.stop)].tolist())

    def part(self, start: int, stop: int) -> RecordRun:
        """The records from one to before another, which are within the run."""
        part = RecordRun(
            self.topic, self.partition, self.data, self.table, self._objects, self.start + start, self.start + stop
        )
        part._buffer, part._largest = self._buffer, self._largest  # noqa: SLF001 - of the same class
        return part

    def between(self, start: int, stop: int) -> RecordRun:
        """The records with offsets from a start to before a stop."""
        first, end = self.first_at_least(start), self.first_at_least(stop)
        return self if (first, end) == (0, len(self)) else self.part(first, max(first, end))

    def first_at_least(self, offset: int) -> int:
        """Number of records before an offset."""
        return int(np.searchsorted(self.offsets, offset))

    def __iter__(self) -> Iterator[Record]:
        return map(self._record, *self._columns.tolist())

    def _record(  # noqa: PLR0913 - a column of the table
        self, offset: int, timestamp: int, key_start: int, key_end: int, value_start: int, value_end: int, flags: int
    ) -> Record:
        if self._objects and (known := self._objects.get(offset)) is not None:
            return known
        data = self.data
        key = None if flags & NULL_KEY else data[key_start:key_end]
        value = None if flags & NULL_VALUE else data[value_start:value_end]
        headers = _headers(data, value_end) if flags & HEADERS else ()
        timestamp_type = 1 if flags & APPEND_TIME else 0
        return FetchedRecord(self.topic, self.partition, offset, timestamp, timestamp_type, key, value, headers)

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """The bytes that keys and values lie in."""
        if self._buffer is None:
            self._buffer = np.frombuffer(self.data, np.uint8)
        return self._buffer

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Offset of each record."""
        return self.table[OFFSET, self.start : self.stop]

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """Timestamp of each record."""
        return self.table[TIMESTAMP, self.start : self.stop]

    @property
    def key_starts(self) -> NDArray[np.int64]:
        """Where each key starts."""
        return self.table[KEY_START, self.start : self.stop]

    @property
    def key_ends(self) -> NDArray[np.int64]:
        """Where each key ends."""
        return self.table[KEY_END, self.start : self.stop]

    @property
    def value_starts(self) -> NDArray[np.int64]:
        """Where each value starts; of an unreadable record what could be recovered of it."""
        return self.table[VALUE_START, self.start : self.stop]

    @property
    def value_ends(self) -> NDArray[np.int64]:
        """Where each value ends."""
        return self.table[VALUE_END, self.start : self.stop]

    @property
    def largest(self) -> int:
        """Most bytes of a value; of a slice perhaps those of one beside it."""
        if self._largest is None:
            self._largest = int((self.value_ends - self.value_starts).max(initial=0))
        return self._largest

    @property
    def plain(self) -> NDArray[np.bool_]:
        """Which records have a key, a value and no headers, and can be read."""
        plain: NDArray[np.bool_] = (self.table[FLAGS, self.start : self.stop] & NOT_PLAIN) == 0
        return plain

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return int(self.table[OFFSET, self.start])

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return int(self.table[OFFSET, self.stop - 1])


def _headers(data: bytes, at: int) -> tuple[Header, ...]:
    """The headers that stand at a position, known to be right."""
    count, at = _varint(data, at)
    headers: list[Header] = []
    for _ in range(count):
        size, at = _varint(data, at)
        name, at = data[at : at + size].decode(), at + size
        size, at = _varint(data, at)
        headers.append((name, None if size < 0 else data[at : at + size]))
        at += max(0, size)
    return tuple(headers)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
