"""Reads Kafka's record batches (format 2) into the columns of a [`RecordRun`][streams.wire.record_run.RecordRun].

It reads only what is beyond doubt. A batch with anything unusual is left to the Kafka client's own parser: another
format, control records, transactions, lengths that do not fit, header names beyond ASCII, offsets in disorder,
timestamps before 1970, or more than `MOST_RECORDS` records.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from streams.wire.checksum import crc32c
from streams.wire.record_run import (
    APPEND_TIME,
    COLUMNS,
    FLAGS,
    HEADERS,
    KEY_END,
    KEY_START,
    NULL_KEY,
    NULL_VALUE,
    OFFSET,
    TIMESTAMP,
    VALUE_END,
    VALUE_START,
)

MOST_RECORDS = 1 << 16
"""Of the batches that are read at once: their columns take 4 MB."""

HEADER_BYTES = 61
"""Of a batch."""
PREFIX_BYTES = 12
"""Of its header, which its length does not count."""
_LENGTH_AT, _FORMAT_AT, _CRC_AT, _ATTRIBUTES_AT, _LAST_DELTA_AT = 8, 16, 17, 21, 23
_FIRST_MS_AT, _MAX_MS_AT, _COUNT_AT = 27, 35, 57
_FORMAT = 2
_LATEST_MS = 1 << 61
_CODEC_BITS, _APPEND_TIME_BIT, _TRANSACTION_BITS = 0x07, 0x08, 0x30  # transactional, control


class _Header(NamedTuple):
    """What the header of a batch says."""

    stop: int
    """Where the batch ends; 0: it is not read here."""
    codec: int
    records: int
    next_offset: int


@inline_njit
def _number(buffer: NDArray[np.uint8], at: int, size: int) -> int:
    """A number of so many bytes, the highest first."""
    value = np.uint64(0)
    for place in range(size):
        value = value << np.uint64(8) | np.uint64(buffer[at + place])
    unused = np.uint64(64 - 8 * size)
    return int(np.int64(value << unused) >> np.int64(unused))


@inline_njit
def _varint(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """A number of at most nine bytes before a stop, and where it ends; -1: there is none."""
    value, shift = np.uint64(0), np.uint64(0)
    while at < stop and shift < np.uint64(63):
        byte = np.uint64(buffer[at])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return int(np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))), at
        shift += np.uint64(7)
    return 0, -1


@inline_njit
def _header(buffer: NDArray[np.uint8], at: int, stop: int) -> _Header:
    """The header of the batch at a position."""
    none = _Header(0, 0, 0, 0)
    if stop - at < HEADER_BYTES:
        return none
    end = at + PREFIX_BYTES + _number(buffer, at + _LENGTH_AT, 4)
    attributes = _number(buffer, at + _ATTRIBUTES_AT, 2)
    if end < at + HEADER_BYTES or end > stop or buffer[at + _FORMAT_AT] != _FORMAT or attributes & _TRANSACTION_BITS:
        return none
    last_delta, count = _number(buffer, at + _LAST_DELTA_AT, 4), _number(buffer, at + _COUNT_AT, 4)
    base = _number(buffer, at, 8)
    if last_delta < 0 or not 0 <= count <= MOST_RECORDS or base < 0 or base > np.iinfo(np.int64).max - (1 << 32):
        return none
    return _Header(end, attributes & _CODEC_BITS, count, base + last_delta + 1)


@inline_njit
def _part(data: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int, int]:
    """Where a part of a record starts and ends, and 1 if it is null; a start of -1: it does not fit."""
    size, at = _varint(data, at, stop)
    if at < 0 or size > stop - at:
        return -1, -1, 0
    return at, at + max(0, size), 1 if size < 0 else 0


@inline_njit
def _headers_end(data: NDArray[np.uint8], at: int, stop: int, count: int) -> int:
    """Where so many headers end; -1: they do not fit, or a name is null or not ASCII."""
    while count > 0:
        start, at, null = _part(data, at, stop)
        if start < 0 or null:
            return -1
        for place in range(start, at):
            if data[place] >= 128:
                return -1
        start, at, null = _part(data, at, stop)
        if start < 0:
            return -1
        count -= 1
    return at


@inline_njit
def _bounds(data: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int, int, int, int]:
    """Where a record's key and value start and end, and their flags; a start of -1: not all of the record fits."""
    none = -1, -1, -1, -1, 0
    key_start, key_end, null_key = _part(data, at, stop)
    if key_start < 0:
        return none
    value_start, value_end, null_value = _part(data, key_end, stop)
    if value_start < 0:
        return none
    headers, at = _varint(data, value_end, stop)
    if at < 0 or headers < 0 or _headers_end(data, at, stop, headers) != stop:
        return none
    flags = NULL_KEY * null_key | NULL_VALUE * null_value | (HEADERS if headers else 0)
    return key_start, key_end, value_start, value_end, flags


@inline_njit
def _parse(  # noqa: PLR0913 - a kernel
    data: NDArray[np.uint8],
    at: int,
    stop: int,
    batch: NDArray[np.uint8],
    batch_at: int,
    after: int,
    out: NDArray[np.int64],
    n: int,
) -> int:
    """Write the records of a batch from an offset on as columns from the n-th on; returns their end, -1: left.

    `data` from `at` to `stop` holds the records, and `batch` at `batch_at` the header.
    """
    base, last_delta = _number(batch, batch_at, 8), _number(batch, batch_at + _LAST_DELTA_AT, 4)
    first_ms, max_ms = _number(batch, batch_at + _FIRST_MS_AT, 8), _number(batch, batch_at + _MAX_MS_AT, 8)
    appended = _number(batch, batch_at + _ATTRIBUTES_AT, 2) & _APPEND_TIME_BIT != 0
    if not 0 <= first_ms < _LATEST_MS:
        return -1
    before = -1
    for _ in range(_number(batch, batch_at + _COUNT_AT, 4)):
        size, at = _varint(data, at, stop)
        if at < 0 or not 0 < size <= stop - at or data[at] >= 128:
            return -1
        end = at + size
        delta_ms, at = _varint(data, at + 1, end)
        if at < 0:
            return -1
        delta, at = _varint(data, at, end)
        ms = max_ms if appended else first_ms + delta_ms
        if at < 0 or not before < delta <= last_delta or not 0 <= ms < _LATEST_MS:
            return -1
        before = delta
        key_start, key_end, value_start, value_end, flags = _bounds(data, at, end)
        if key_start < 0:
            return -1
        at = end
        if base + delta >= after:
            out[OFFSET, n], out[TIMESTAMP, n] = base + delta, ms
            out[KEY_START, n], out[KEY_END, n], out[VALUE_START, n] = key_start, key_end, value_start
            out[VALUE_END, n], out[FLAGS, n] = value_end, flags | (APPEND_TIME if appended else 0)
            n += 1
    return n if at == stop else -1


@inline_njit
def _sound(buffer: NDArray[np.uint8], at: int, stop: int) -> bool:
    """Whether the checksum of a batch is right."""
    return crc32c(buffer, at + _ATTRIBUTES_AT, stop) == _number(buffer, at + _CRC_AT, 4) & 0xFFFFFFFF


@cached_njit(nogil=True)
def read_batches(
    buffer: NDArray[np.uint8], at: int, after: int, check_crcs: bool
) -> tuple[NDArray[np.int64], int, int, int]:
    """The records from an offset on of the uncompressed batches from a position on, as a run's table.

    Returns also their number, where the first batch starts that is left, and the next offset after those before it.
    """
    records, end = 0, at
    while True:
        header = _header(buffer, end, len(buffer))
        if header.stop == 0 or header.codec != 0 or records + header.records > MOST_RECORDS:
            break
        records, end = records + header.records, header.stop
    table, n = np.empty((COLUMNS, records), np.int64), 0
    while at < end:
        header = _header(buffer, at, end)
        if check_crcs and not _sound(buffer, at, header.stop):
            break
        reached = _parse(buffer, at + HEADER_BYTES, header.stop, buffer, at, after, table, n)
        if reached < 0:
            break
        n, at, after = reached, header.stop, max(after, header.next_offset)
    return table, n, at, after


@cached_njit(nogil=True)
def read_header(buffer: NDArray[np.uint8], at: int, check_crcs: bool) -> tuple[int, int, int]:
    """Where the batch at a position ends, its codec and the offset after it; zeros: it is left."""
    header = _header(buffer, at, len(buffer))
    if header.stop == 0 or (check_crcs and not _sound(buffer, at, header.stop)):
        return 0, 0, 0
    return header.stop, header.codec, header.next_offset


@cached_njit(nogil=True)
def read_decompressed(
    records: NDArray[np.uint8], buffer: NDArray[np.uint8], at: int, after: int
) -> tuple[NDArray[np.int64], int]:
    """The records from an offset on of the batch with its header at a position, and their number; -1: it is left."""
    table = np.empty((COLUMNS, _number(buffer, at + _COUNT_AT, 4)), np.int64)
    n = _parse(records, 0, len(records), buffer, at, after, table, 0)
    return table, n


def warm() -> None:
    """Compile the reader, or load it from the cache."""
    empty = np.frombuffer(b"", np.uint8)
    header = np.frombuffer(bytes(HEADER_BYTES), np.uint8)
    read_batches(empty, 0, 0, True)
    read_header(empty, 0, True)
    read_decompressed(empty, header, 0, 0)
