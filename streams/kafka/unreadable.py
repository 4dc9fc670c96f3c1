"""Delivers records that a Kafka client cannot parse as records that say so.

aiokafka and kafka-python raise in the middle of a fetch: records before the bad one are lost, and it is met again after
every restart. Here the parsers of both are replaced by subclasses that go on. Where parsing fails, the batch is parsed
again, record by record. A record that can be read is delivered as usual. Any other is delivered as an
[`Unreadable`][streams.wire.record.Unreadable], whose `value` raises a [`RecordError`][streams.errors.RecordError]. So
every decoder refuses it like bad JSON, no offset is skipped, and the owner of the partition sends a dead letter.

aiokafka's consumers deliver [`RecordRun`][streams.wire.record_run.RecordRun]s. Batches with nothing unusual, nearly
all, are read by `streams.wire.batch_reader`; aiokafka's parser gets the others, one at a time.

This reaches below the interfaces of aiokafka 0.14.0 and kafka-python 3.0; `tests/unit/kafka/test_unreadable.py` fails
if they change.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, NoReturn

import aiokafka.codec
import aiokafka.errors
import kafka.errors
import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord

from streams.kafka.codecs import BOUNDED, CODECS, DecompressionError, check_codecs, limit_decompression, tally
from streams.wire import batch_reader
from streams.wire.record import Record, Unreadable
from streams.wire.record_run import RecordRun
from streams.wire.schemas import MAX_INT64

logger = logging.getLogger(__name__)

CRC_FETCHES = 3
"""Fetches of a batch with a wrong checksum before it counts as unreadable: it may have been damaged on its way."""

MAX_UNREADABLE = 10_000
"""Unreadable records delivered of one batch whose records cannot be told apart; its other offsets are skipped."""

MAX_FETCH_BYTES = 32 << 20
"""Decompressed bytes after which the rest of a fetch is left, to be fetched again: what is held stays bounded."""

MAX_FAULT_CHARS = 200

_PREFIX = struct.Struct(">qi")  # base offset, length of the rest
_BOUNDS = struct.Struct(">qiibIhi")  # the header up to the last offset
_HEADER = struct.Struct(">qiibIhiqqqhii")
_FORMAT_AT, _FORMAT = 16, 2
_CODEC_MASK, _APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20

_CRC_ERROR = re.compile(r"Invalid CRC - |failed crc check$")  # aiokafka's and kafka-python's messages


class _FormatError(Exception):
    """Bytes that are no record, or no batch, of Kafka's."""


class _Batches:
    """The batches of a fetch as a client parses them, and the bytes of the current one."""

    def __init__(self, records: Any, data: Any) -> None:
        self._records, self.data = records, data
        self._start = self._end = 0
        self._tally_limit: int | None = None
        self.size_in_bytes = records.size_in_bytes
        self.next_offset = 0
        """Offset after the current batch."""
        self.ends_fetch = False
        """Whether the fetch has to end after the current batch if that cannot be parsed: it may be expensive."""
        self.over = False
        """Whether the rest of the fetch is left, to be fetched again."""

    def has_next(self) -> bool:
        """Whether there is another batch, and few enough bytes were decompressed."""
        limit = self._tally_limit
        return bool(self._records.has_next()) and (limit is None or tally.total < limit)

    def next_batch(self) -> Any:
        """The next batch; None: there is none, or enough bytes were decompressed."""
        if self._tally_limit is None:
            self._tally_limit = tally.total + MAX_FETCH_BYTES
        elif tally.total >= self._tally_limit:
            return None
        if not self._records.has_next():
            return None
        start = self._start = self._end
        if len(self.data) - start >= _HEADER.size:
            base, length, _, magic, _, attributes, last_delta = _BOUNDS.unpack_from(self.data, start)
        else:
            base, length = _PREFIX.unpack_from(self.data, start)
            magic = attributes = last_delta = 0
        self._end = start + _PREFIX.size + length
        if magic == _FORMAT and length >= _HEADER.size - _PREFIX.size:
            self.next_offset = base + 1 + last_delta if last_delta > 0 else base + 1
            self.ends_fetch = attributes & _CODEC_MASK != 0
        else:
            self.next_offset, self.ends_fetch = base + 1, True
        return self._records.next_batch()

    @property
    def current(self) -> bytes:
        """The bytes of the current batch."""
        return bytes(self.data[self._start : self._end])


def _tolerant(
    client: Any, parse: Callable[[], Iterator[Record]], partition: Any, batches: _Batches
) -> Iterator[Record]:
    """The records that a client's parser yields, and those that it cannot parse as unreadable ones.

    `client` is the parser's object, whose fetch position is kept right.
    """
    after = client.next_fetch_offset
    while True:
        try:
            for record in parse():
                if record.offset >= batches.next_offset:
                    message = f"an offset of {record.offset} in a batch that ends before {batches.next_offset}"
                    raise _FormatError(message)
                if record.offset >= after:
                    after = record.offset + 1
                    yield record
        except Exception as error:  # parsers raise almost anything
            client.next_fetch_offset = after
            if _to_be_fetched_again(partition, after, error):
                batches.over = True
                return
            batches.over = batches.ends_fetch
            for record in _recovered(partition, batches, after, error):
                client.next_fetch_offset = after = record.offset + 1
                yield record
        client.next_fetch_offset = after = max(client.next_fetch_offset, after, batches.next_offset)
        if batches.over or not batches.has_next():
            return


_crc_failures: dict[tuple[Any, int], int] = {}
"""Fetches so far of batches with a wrong checksum that are fetched again, by partition and offset."""


def _to_be_fetched_again(partition: Any, offset: int, error: Exception) -> bool:
    if not _CRC_ERROR.search(str(error)):
        return False
    failures = _crc_failures.pop((partition, offset), 0) + 1
    if failures == CRC_FETCHES:
        return False
    _crc_failures[partition, offset] = failures
    logger.warning("%s-%d@%d: %s; fetching it again", partition.topic, partition.partition, offset, error)
    return True


# -- parsing a batch leniently -----------------------------------------------------------------------------------------


class _Parts(NamedTuple):
    """What can be read of a record."""

    timestamp: int
    offset_delta: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    fault: str
    """What is wrong with the record; empty: nothing."""


def _recovered(partition: Any, batches: _Batches, offset: int, error: Exception) -> Iterator[Record]:
    """The records of a batch from an offset on, after a client could not parse it."""
    batch = batches.current
    after = max(offset, _PREFIX.unpack_from(batch)[0])  # offsets before the batch may not exist
    try:
        for record in _records(partition, batch, error):
            if record.offset >= batches.next_offset:
                message = f"an offset of {record.offset} in a batch that ends before {batches.next_offset}"
                raise _FormatError(message)
            if record.offset >= after:
                after = record.offset + 1
                yield record
        return  # other offsets have been compacted away
    except _FormatError as format_error:
        fault = str(format_error)[:MAX_FAULT_CHARS]
    timestamp = _HEADER.unpack_from(batch)[8] if len(batch) >= _HEADER.size else 0
    stop = min(batches.next_offset, after + MAX_UNREADABLE)
    if stop < batches.next_offset:
        fault += f"; the same holds up to offset {batches.next_offset - 1}"
    for missing in range(after, stop):
        yield _unreadable(partition, missing, timestamp, None, None, fault)


def _records(partition: Any, batch: bytes, error: Exception) -> Iterator[Record]:
    """The records of a batch.

    Raises:
        _FormatError: from here on they cannot be told apart.
    """
    if len(batch) < _HEADER.size or batch[_FORMAT_AT] != _FORMAT or _CRC_ERROR.search(str(error)):
        raise _FormatError(str(error))
    base, _, _, _, _, attributes, _, first_ms, max_ms, *_, count = _HEADER.unpack_from(batch)
    if attributes & _CONTROL:
        return
    data, at = _decompressed(batch[_HEADER.size :], attributes & _CODEC_MASK, error), 0
    for _ in range(count):
        length, start = _varint(data, at)
        at = start + length
        if not 0 < length <= len(data) - start:
            message = f"a record of {length} bytes, with {len(data) - start} left in its batch"
            raise _FormatError(message)
        parts = _parts(data[start:at], first_ms)
        offset = base + parts.offset_delta
        timestamp = min(max_ms if attributes & _APPEND_TIME else parts.timestamp, MAX_INT64)
        if parts.fault:
            yield _unreadable(partition, offset, timestamp, parts.key, parts.value, parts.fault)
        else:
            yield ConsumerRecord(
                partition.topic, partition.partition, offset, timestamp, (attributes & _APPEND_TIME) >> 3,
                parts.key, parts.value, None, _size(parts.key), _size(parts.value), parts.headers,
            )  # fmt: skip
    if at < len(data):
        message = f"{len(data) - at} bytes after the last record of a batch"
        raise _FormatError(message)


def _unreadable(
    partition: Any, offset: int, timestamp: int, key: bytes | None, value: bytes | None, fault: str
) -> Unreadable:
    return Unreadable(partition.topic, partition.partition, offset, max(0, timestamp), key, value, fault)


def _size(part: bytes | None) -> int:
    return -1 if part is None else len(part)


def _decompressed(data: bytes, codec: int, error: Exception) -> bytes:
    if isinstance(error, DecompressionError):  # not a second time
        message = f"a batch that cannot be decompressed ({error})"
        raise _FormatError(message)
    if isinstance(error, (aiokafka.errors.UnsupportedCodecError, kafka.errors.UnsupportedCodecError)):
        check_codecs()  # a missing library is no fault of the record
    if codec == 0:
        return data
    if codec > len(CODECS):
        message = f"a batch compressed by an unknown codec ({codec})"
        raise _FormatError(message)
    try:
        return BOUNDED[CODECS[codec - 1]](data)
    except DecompressionError as failure:
        message = f"a batch that cannot be decompressed ({failure})"
        raise _FormatError(message) from failure


def _parts(data: bytes, first_ms: int) -> _Parts:
    """What can be read of a record.

    Raises:
        _FormatError: not even its offset can.
    """
    key = value = None
    ms_delta, at = _varint(data, 1)
    offset_delta, at = _varint(data, at)
    timestamp = first_ms + ms_delta
    headers = []
    try:
        key, at = _sized(data, at)
        value, at = _sized(data, at)
        count, at = _varint(data, at)
        if not 0 <= count <= len(data):
            message = f"{count} headers"
            raise _FormatError(message)
        for _ in range(count):
            name, at = _sized(data, at)
            header, at = _sized(data, at)
            headers.append(((name or b"").decode(), header))
        if at != len(data):
            message = f"{len(data) - at} bytes after its last header"
            raise _FormatError(message)
    except UnicodeDecodeError as error:
        return _Parts(
            timestamp, offset_delta, key, value, (), f"a header whose name is not UTF-8 ({error.object[:20]!r})"
        )
    except _FormatError as error:
        return _Parts(timestamp, offset_delta, key, value, (), str(error)[:MAX_FAULT_CHARS])
    return _Parts(timestamp, offset_delta, key, value, tuple(headers), "")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while at < len(data) and shift <= 63:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    message = "a record that ends within a number"
    raise _FormatError(message)


def _sized(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes after their length, and where they end; None: a negative length."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        message = "a record that is shorter than its parts"
        raise _FormatError(message)
    return data[at : at + length], at + length


# -- installing --------------------------------------------------------------------------------------------------------

_MemoryRecords = fetcher.MemoryRecords


def _batches(data: Any) -> _Batches:
    return _Batches(_MemoryRecords(data), data)


class _TolerantRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of a fetch of a partition, taken in runs."""

    def __init__(self, partition: Any, batches: _Batches, *options: Any) -> None:
        super().__init__(partition, batches, *options)
        self._data, self._at = batches.data, 0
        self._buffer = np.frombuffer(batches.data, np.uint8)
        self._limit: int | None = None  # of the bytes decompressed
        self._part: RecordRun | Iterator[Record] | None = None  # what is parsed and not taken
        self._part_end = 0  # next offset after a run

    def take(self, most: int | None = None) -> tuple[RecordRun, bool]:
        """Up to so many records, and whether the fetch has no more."""
        parts: list[RecordRun] = []
        left = most
        while left is None or left > 0:
            if self._part is None and not self._parse():
                return _run(parts), True
            taken = self._taken(left)
            if left is not None:
                left -= len(taken)
            if taken:
                parts.append(taken)
        return _run(parts), False

    def _taken(self, most: int | None) -> RecordRun:
        """Up to so many records of the current part; what the fetch position says follows."""
        part = self._part
        if not isinstance(part, RecordRun):
            assert part is not None  # noqa: S101 - `take` has checked it
            records = list(islice(part, most))
            if most is None or len(records) < most:
                self._part = None
                if self._records.over:
                    self._at = len(self._data)
            return RecordRun.of(records)
        if most is None or len(part) <= most:
            self._part, self.next_fetch_offset = None, self._part_end
            return part
        self._part, taken = part.part(most, len(part)), part.part(0, most)
        self.next_fetch_offset = taken.last_offset + 1
        return taken

    def _parse(self) -> bool:
        """Parse the next batch, or as many uncompressed ones as follow each other; returns whether there is any."""
        data, at = self._data, self._at
        if len(data) - at < _PREFIX.size or (stop := at + _PREFIX.size + _PREFIX.unpack_from(data, at)[1]) > len(data):
            return False
        if self._limit is None:
            self._limit = tally.total + MAX_FETCH_BYTES
        elif tally.total >= self._limit:
            return False
        after, check = self.next_fetch_offset, self._check_crcs
        table, count, self._at, self._part_end = batch_reader.read_batches(self._buffer, at, after, check)
        if self._at > at:
            self._part = self._run(data, table, count)
        elif stop <= at:
            self._at, self._part = len(data), self._left(data[at:])
        else:
            self._at = stop
            run = self._decompressed(at)
            self._part = self._left(data[at:stop]) if run is None else run
        return True

    def _run(self, data: bytes, table: Any, count: int) -> RecordRun:
        return RecordRun(self._tp.topic, self._tp.partition, data, table, {}, 0, count)

    def _decompressed(self, at: int) -> RecordRun | Iterator[Record] | None:
        """The records of the compressed batch at a position; None: aiokafka has to parse it."""
        stop, codec, end = batch_reader.read_header(self._buffer, at, self._check_crcs)
        if not 0 < codec <= len(CODECS) or not getattr(aiokafka.codec, f"has_{CODECS[codec - 1]}")():
            return None
        try:
            records = BOUNDED[CODECS[codec - 1]](self._buffer[at + batch_reader.HEADER_BYTES : stop])
        except DecompressionError as error:
            return self._left(self._data[at:stop], error)
        buffer = np.frombuffer(records, np.uint8)
        table, count = batch_reader.read_decompressed(buffer, self._buffer, at, self.next_fetch_offset)
        if count < 0:
            tally.total -= len(records)  # aiokafka decompresses it again
            return None
        self._part_end = max(self.next_fetch_offset, end)
        return self._run(records, table, count)

    def _left(self, data: bytes, error: DecompressionError | None = None) -> Iterator[Record]:
        """The records of a batch as aiokafka parses it; `error` says that it cannot be decompressed."""
        batches = self._records = _batches(data)
        parse = super()._unpack_records

        def fail() -> NoReturn:
            batches.next_batch()
            raise error or AssertionError

        return _tolerant(self, fail if error else parse, self._tp, batches)

    def _unpack_records(self) -> Iterator[Record]:
        while records := self.take(1)[0]:
            yield records[0]


def _run(parts: list[RecordRun]) -> RecordRun:
    return RecordRun.joined(parts) if parts else RecordRun.of(())


class _RunResult(fetcher.FetchResult):  # type: ignore[misc]
    """What aiokafka keeps of a fetch of a partition until it is asked for it."""

    def getall(self, max_records: int | None = None) -> RecordRun:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return RecordRun.of(())
        taken: RecordRun
        taken, over = self._partition_records.take(max_records)
        self._update_position()
        if over:
            self._partition_records: Any = None
        return taken


@cache
def tolerate_unreadable() -> None:
    """Let all aiokafka consumers of this process deliver runs of records, unreadable ones among them."""
    limit_decompression()
    fetcher.MemoryRecords, fetcher.PartitionRecords = _batches, _TolerantRecords
    fetcher.FetchResult = _RunResult


def tolerate_unreadable_blocking(consumer: Any) -> None:
    """Let one consumer of kafka-python deliver unreadable records."""
    limit_decompression()
    own = consumer._fetcher  # noqa: SLF001 - there is no public way to its parser

    class TolerantRecords(own.PartitionRecords):  # type: ignore[misc, name-defined]
        def _unpack_records(self, partition: Any, records: Any, *deserializers: Any) -> Iterator[Record]:
            batches = _Batches(records, records._buffer)  # noqa: SLF001
            unpack = super()._unpack_records
            yield from _tolerant(self, lambda: unpack(partition, batches, *deserializers), partition, batches)
            self.drain()

    own.PartitionRecords = TolerantRecords
