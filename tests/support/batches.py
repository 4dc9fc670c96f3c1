"""Batches of Kafka's record format, right and wrong, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from kafka.record.default_records import DefaultRecordBatchBuilder

from streams.drills import raw_producer
from streams.drills.raw_producer import ATTRIBUTES_AT, RECORDS_AT, NotUtf8, sign

FIRST_MS = 1_700_000_000_000

CODECS = tuple(raw_producer.CODECS)
"""By their numbers in a batch."""


def batch(codec: str = "none", records: int = 3, bad: int | None = None, base: int = 0) -> bytes:
    """A batch of records `value 0`, `value 1` and so on; the header of the bad one has a name that is not UTF-8."""
    values = [b"value %d" % number for number in range(records)]
    return batch_of(values, codec, bad=bad, base=base)


def batch_of(values: Sequence[bytes | None], codec: str = "none", *, bad: int | None = None, base: int = 0) -> bytes:
    """A batch of values, with keys `k0`, `k1` and so on."""
    builder = DefaultRecordBatchBuilder(2, CODECS.index(codec), 0, -1, -1, -1, 1 << 31)
    for number, value in enumerate(values):
        headers = [(NotUtf8("x") if number == bad else "name", b"header")]
        builder.append(number, FIRST_MS + number, b"k%d" % number, value, headers)
    return at(base, bytes(builder.build()))


def at(base: int, raw: bytes) -> bytes:
    """The batch with another base offset, which the checksum does not cover."""
    return struct.pack(">q", base) + raw[8:]


def sealed(raw: bytes | bytearray) -> bytes:
    """The batch with its length and checksum made right."""
    buffer = bytearray(raw)
    struct.pack_into(">i", buffer, 8, len(buffer) - 12)
    return bytes(sign(buffer))


def with_field(raw: bytes, form: str, position: int, value: int) -> bytes:
    """The batch with a field of its header changed."""
    buffer = bytearray(raw)
    struct.pack_into(form, buffer, position, value)
    return sealed(buffer)


def with_count(raw: bytes, count: int) -> bytes:
    """The batch with another number of records in its header."""
    return with_field(raw, ">i", 57, count)


def with_last_delta(raw: bytes, delta: int) -> bytes:
    """The batch with another last offset in its header."""
    return with_field(raw, ">i", 23, delta)


def with_attributes(raw: bytes, change: Callable[[int], int]) -> bytes:
    """The batch with other attributes."""
    (attributes,) = struct.unpack_from(">h", raw, ATTRIBUTES_AT)
    return with_field(raw, ">h", ATTRIBUTES_AT, change(attributes))


def garbled(raw: bytes) -> bytes:
    """The batch with garbage at the start of its records."""
    return sealed(raw[:RECORDS_AT] + b"\x00garbage" + raw[RECORDS_AT + 14 :])


def with_offset_delta(raw: bytes, delta: int) -> bytes:
    """An uncompressed batch of small records whose first record has another offset delta of one byte."""
    buffer = bytearray(raw)
    buffer[RECORDS_AT + 3] = (delta << 1 ^ delta >> 7) & 0xFF  # behind three fields of one byte each
    return sealed(buffer)
