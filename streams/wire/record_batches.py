"""Record batches of Kafka (message format 2), written by compiled code.

The records of a partition are encoded once, as a block that counts offsets from 0. A batch of one block is that block
behind a header; of several blocks only the offsets are written again.

Records have no headers, and all records of a batch the same timestamp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
from google_crc32c import extend, value
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from streams.wire.json_text import put
from streams.wire.partitioner import hash_of
from streams.wire.raw_bytes import Text

PACKET_BYTES = 900_000
"""Largest packet; brokers accept 1,048,588 by default (`message.max.bytes`), batch headers included."""

PACKET_RECORDS = 2_000
"""Most records of one packet: building it blocks the event loop for a few milliseconds at most."""

OVERHEAD_BYTES = 32
"""Of one record inside a batch: attributes, varints, offsets. At least what they can take, 23."""

_BEFORE_CRC, _BEHIND_CRC = Struct(">qiibI"), Struct(">hiqqqhii")
HEADER_BYTES = _BEFORE_CRC.size + _BEHIND_CRC.size
_FORMAT, _LENGTH_AT = 2, 12
_NO_EPOCH = _NO_PRODUCER = -1
_NULL = 1
"""The size -1, as a varint."""

_PARTITION, _START, _END, _NUMBER, _SIZE, _COLUMNS = range(6)


class Block(NamedTuple):
    """Records of one partition, in order; at most a packet of them, unless it is only one."""

    records: bytes
    """Encoded, with offsets from 0."""
    number: int
    size: int
    """Approximate bytes on the wire: keys, values, and `OVERHEAD_BYTES` of each record."""


def batch_header(records: bytes, number: int, timestamp_ms: int, codec: int = 0) -> bytes:
    """What stands before so many encoded records, compressed by some codec, in a batch."""
    rest = _BEHIND_CRC.pack(
        codec, number - 1, timestamp_ms, timestamp_ms, _NO_PRODUCER, _NO_EPOCH, 0, number
    )  # fmt: skip
    length = HEADER_BYTES - _LENGTH_AT + len(records)
    return _BEFORE_CRC.pack(0, length, _NO_EPOCH, _FORMAT, extend(value(rest), records)) + rest


def encoded_records(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> bytes:
    """Records of a batch."""
    pieces, sizes = list[bytes](), list[int]()
    for pair in zip(keys, values, strict=True):
        for piece in pair:
            if piece is None:
                sizes.append(-1)
            else:
                sizes.append(len(piece))
                pieces.append(piece)
    data = b"".join(pieces)
    out = np.empty(len(data) + OVERHEAD_BYTES * len(keys), np.uint8)
    end = _encode(np.frombuffer(data, np.uint8), np.array(sizes, np.int64), out)
    return out[:end].tobytes()


def joined_records(blocks: Sequence[bytes], number: int) -> bytes:
    """Records of several blocks, so many in all, with offsets of one batch."""
    records = b"".join(blocks)
    out = np.empty(len(records) + OVERHEAD_BYTES * number, np.uint8)
    end = _renumber(np.frombuffer(records, np.uint8), out)
    return out[:end].tobytes()


def decoded_records(records: bytes) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Keys and values of encoded records."""
    at = 0
    while at < len(records):
        size, at = _varint(records, at)
        end = at + size
        _, at = _varint(records, at + 2)  # behind attributes and time
        size, at = _varint(records, at)
        key, at = (None, at) if size < 0 else (records[at : at + size], at + size)
        size, at = _varint(records, at)
        yield key, None if size < 0 else records[at : at + size]
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that is encoded from here, and where it ends."""
    raw, shift = 0, 0
    while True:
        raw |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7


class BlockWriter:
    """Makes blocks of the records of a batch, by the partitions of their keys.

    It keeps a buffer, at most a quarter larger than the largest batch so far with its keys.

    Args:
        partitions: of the topic.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._out = np.empty(1 << 12, np.uint8)
        self._blocks = np.empty((64, _COLUMNS), np.int64)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self._out.nbytes + self._blocks.nbytes

    def blocks(
        self, keys: Text, key_bounds: NDArray[np.int64], text: Text, ends: NDArray[np.int64]
    ) -> list[tuple[int, Block]]:
        """Partitions and blocks of values that stand one after the other and end so; an empty one makes no record.

        `key_bounds`, (records, 2), say where the keys start and end.
        """
        number = len(key_bounds)
        size = int((key_bounds[:, 1] - key_bounds[:, 0]).sum()) + OVERHEAD_BYTES * number
        size += int(ends[-1]) if number else 0
        if size > len(self._out):
            self._out = np.empty(size + size // 4, np.uint8)
        if number > len(self._blocks):
            self._blocks = np.empty((2 * number, _COLUMNS), np.int64)
        made = _group(text, ends, keys, key_bounds, self._partitions, self._out, self._blocks)
        view = self._out.data
        return [
            (partition, Block(bytes(view[start:end]), number, size))
            for partition, start, end, number, size in self._blocks[:made].tolist()
        ]


def warm() -> None:
    """Compile, or load what was compiled before."""
    nothing = np.frombuffer(b"", np.uint8)
    BlockWriter(1).blocks(nothing, np.empty((0, 2), np.int64), np.empty(0, np.uint8), np.empty(0, np.int64))
    joined_records([encoded_records([], [])], 0)


# -- compiled ----------------------------------------------------------------------------------------------------------


@inline_njit
def _put_varint(out: Text, at: int, number: int) -> int:
    """Write a number that is not negative."""
    rest = number << 1
    while rest >= 0x80:
        out[at] = 0x80 | (rest & 0x7F)
        rest >>= 7
        at += 1
    out[at] = rest
    return at + 1


@inline_njit
def _varint_size(number: int) -> int:
    rest, size = number >> 6, 1
    while rest:
        rest >>= 7
        size += 1
    return size


@inline_njit
def _get_varint(data: Text, at: int) -> tuple[int, int]:
    """A number that is not negative, and where it ends."""
    raw, shift = 0, 0
    while data[at] >= 0x80:
        raw |= (int(data[at]) & 0x7F) << shift
        shift += 7
        at += 1
    return (raw | int(data[at]) << shift) >> 1, at + 1


@inline_njit
def _put_start(out: Text, at: int, offset: int, rest: int) -> int:
    """Write what a record has before its key, given the size of what follows."""
    at = _put_varint(out, at, 2 + _varint_size(offset) + rest)
    out[at] = 0  # attributes
    out[at + 1] = 0  # time after the batch's
    return _put_varint(out, at + 2, offset)


@inline_njit
def _field_size(size: int) -> int:
    """Bytes of a key or value of some size, -1: null."""
    return 1 if size < 0 else _varint_size(size) + size


@inline_njit
def _put_field(out: Text, at: int, data: Text, start: int, size: int) -> int:
    if size < 0:
        out[at] = _NULL
        return at + 1
    at = _put_varint(out, at, size)
    return put(out, at, data, start, size)


@cached_njit(nogil=True)
def _encode(data: Text, sizes: NDArray[np.int64], out: Text) -> int:
    """Encode records, given the sizes of their keys and values, -1: null; returns where they end."""
    at, start = 0, 0
    for offset in range(len(sizes) // 2):
        key_size, value_size = sizes[2 * offset], sizes[2 * offset + 1]
        at = _put_start(out, at, offset, _field_size(key_size) + _field_size(value_size) + 1)
        at = _put_field(out, at, data, start, key_size)
        start += max(0, key_size)
        at = _put_field(out, at, data, start, value_size)
        start += max(0, value_size)
        out[at] = 0  # headers
        at += 1
    return at


@cached_njit(nogil=True)
def _renumber(records: Text, out: Text) -> int:
    """Copy records, with new offsets; returns where they end."""
    at, start, offset = 0, 0, 0
    while start < len(records):
        size, start = _get_varint(records, start)
        end = start + size
        _, start = _get_varint(records, start + 2)
        at = _put_start(out, at, offset, end - start)
        at = put(out, at, records, start, end - start)
        start = end
        offset += 1
    return at


@cached_njit(nogil=True)
def _group(
    text: Text,
    ends: NDArray[np.int64],
    keys: Text,
    key_bounds: NDArray[np.int64],
    partitions: int,
    out: Text,
    blocks: NDArray[np.int64],
) -> int:
    """Encode the records of all partitions, one partition after the other; returns the number of blocks."""
    number = len(ends)
    partition_of = np.empty(number, np.int64)
    firsts = np.zeros(partitions + 1, np.int64)  # of a partition, in `order`; while that is filled, of the next one
    order = np.empty(number, np.int64)
    start = 0
    for record in range(number):
        partition_of[record] = -1
        if ends[record] > start:
            key_start, key_end = key_bounds[record]
            partition_of[record] = hash_of(keys, key_start, key_end - key_start) % partitions
            firsts[partition_of[record] + 1] += 1
        start = ends[record]
    for partition in range(partitions):
        firsts[partition + 1] += firsts[partition]
    sent = firsts[partitions]
    for record in range(number):
        if partition_of[record] >= 0:
            order[firsts[partition_of[record]]] = record
            firsts[partition_of[record]] += 1
    at, made, last = 0, 0, -1
    for place in range(sent):
        record = order[place]
        start = ends[record - 1] if record else 0
        key_start, key_end = key_bounds[record]
        size, key_size = ends[record] - start, key_end - key_start
        approximate = size + key_size + OVERHEAD_BYTES
        if (
            partition_of[record] != last
            or blocks[made - 1, _NUMBER] == PACKET_RECORDS
            or blocks[made - 1, _SIZE] + approximate > PACKET_BYTES
        ):
            last = partition_of[record]
            blocks[made, _PARTITION], blocks[made, _START] = last, at
            blocks[made, _NUMBER], blocks[made, _SIZE] = 0, 0
            made += 1
        block = blocks[made - 1]
        at = _put_start(out, at, block[_NUMBER], _field_size(key_size) + _field_size(size) + 1)
        at = _put_field(out, at, keys, key_start, key_size)
        at = _put_field(out, at, text, start, size)
        out[at] = 0  # headers
        at += 1
        block[_END] = at
        block[_NUMBER] += 1
        block[_SIZE] += approximate
    return made
