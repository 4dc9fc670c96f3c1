"""Produces batches of any bytes: no client library sends what a hostile or broken producer may send.

It speaks one request of Kafka's protocol, Produce v7, to the only node of a drill's broker.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

from kafka.errors import for_code
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from streams.drills.errors import DrillError

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Compression codecs of Kafka, by name."""

ANSWER_S = 30.0
"""Longest wait for an acknowledgement."""

PRODUCE, VERSION = 0, 7
"""Key and version of the request: the oldest that takes zstd."""

CRC_AT, ATTRIBUTES_AT, RECORDS_AT = 17, 21, 61
"""Places in a batch of the format 2: its checksum, what the checksum covers, and the (compressed) records."""

NO_PRODUCER = {"is_transactional": 0, "producer_id": -1, "producer_epoch": -1, "base_sequence": -1}


class RawRecord(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class NotUtf8(str):
    """A name of a header that is written as bytes which are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """The bytes."""
        return b"\xff\xfe"


class RefusedError(DrillError):
    """The broker refused a batch: the attack stops there."""


def batch_of(records: Sequence[RawRecord], codec: str = "none") -> bytearray:
    """A batch with these records, compressed if that makes it smaller."""
    builder = DefaultRecordBatchBuilder(magic=2, compression_type=CODECS[codec], batch_size=1 << 31, **NO_PRODUCER)
    for offset, record in enumerate(records):
        builder.append(offset, None, record.key, record.value, record.headers)
    return bytearray(builder.build())


def sign(batch: bytearray) -> bytearray:
    """Give an altered batch the right checksum."""
    struct.pack_into(">I", batch, CRC_AT, calc_crc32c(bytes(batch[ATTRIBUTES_AT:])))
    return batch


class RawProducer:
    """Sends batches as they are, one at a time, each acknowledged. A context manager.

    Args:
        address: host and port of the broker.

    Raises:
        DrillError: it does not answer.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), ANSWER_S)
        except OSError as error:
            message = f"the broker at {address} does not answer: {error}"
            raise DrillError(message) from error
        self._number = 0

    def send(self, topic: str, partition: int, batch: bytes | bytearray) -> int:
        """Append a batch to a partition of a topic (full name); returns the offset of its first record.

        Raises:
            RefusedError: the broker does not take it.
            DrillError: the broker does not answer.
        """
        self._number += 1
        header = struct.pack(">hhih", PRODUCE, VERSION, self._number, -1)
        name = topic.encode()
        wanted = struct.pack(">hhii", -1, -1, round(ANSWER_S * 1000), 1) + struct.pack(">h", len(name)) + name
        request = header + wanted + struct.pack(">iii", 1, partition, len(batch)) + batch
        try:
            self._socket.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", self._receive(4))
            answer = self._receive(size)
        except OSError as error:
            message = f"the broker does not acknowledge a batch for {topic}-{partition}: {error}"
            raise DrillError(message) from error
        # correlation id, number of topics, name, number of partitions, partition
        code, offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len(name) + 4 + 4)
        if code:
            raise RefusedError(for_code(code).__name__)
        return int(offset)

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                message = "the connection was closed"
                raise ConnectionError(message)
            received += part
        return bytes(received)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()
