"""A log in memory that keeps Kafka's promises, with faults on request: for tests and benchmarks without a broker.

Offsets ascend, appends are acknowledged or fail as told, retention deletes from the front, compaction leaves holes. It
is both [`Log`][] and [`Sender`][], so a whole worker runs on it without mocks.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from aiokafka import TopicPartition

from streams.errors import BrokerError, SendError
from streams.kafka.produce_request import Where
from streams.kafka.producer import Message, Packet, Settled
from streams.wire.record import Header

WAIT_S, PAUSE_S = 5.0, 0.05
"""How long a range beyond the end is waited for, and between two looks."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as the log holds it; see [`streams.wire.record.Record`][]."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class MemoryLog:
    """Partitions of records.

    Args:
        clock: append time in epoch milliseconds, called for each record.
        batch: records in a batch of a read.
    """

    def __init__(self, clock: Callable[[], int], batch: int = 100) -> None:
        self._clock, self._batch = clock, batch
        self._records: dict[TopicPartition, list[StoredRecord]] = defaultdict(list)
        self._starts: dict[TopicPartition, int] = defaultdict(int)
        self._ends: dict[TopicPartition, int] = defaultdict(int)
        self.commits: dict[TopicPartition, int] = {}
        self.failures: list[SendError] = []
        """Errors for the next sends to raise instead of appending, one for each send."""

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, timestamp: int | None = None
    ) -> int:
        """Append a record; returns its offset."""
        where = TopicPartition(topic, partition)
        offset = self._ends[where]
        at = self._clock() if timestamp is None else timestamp
        self._records[where].append(StoredRecord(topic, partition, offset, at, key, value))
        self._ends[where] = offset + 1
        return offset

    def expire(self, partition: TopicPartition, start: int) -> None:
        """Retention deletes everything below `start`."""
        self._starts[partition] = max(start, self._starts[partition])
        self._records[partition] = [r for r in self._records[partition] if r.offset >= start]

    def remove(self, partition: TopicPartition, offset: int) -> None:
        """Compaction removes a record; its offset becomes a hole."""
        self._records[partition] = [r for r in self._records[partition] if r.offset != offset]

    def records(self, topic: str, partition: int) -> list[StoredRecord]:
        """All records of a partition, in order."""
        return list(self._records[TopicPartition(topic, partition)])

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See [`streams.kafka.log.Log.starts`][]."""
        return {partition: self._starts[partition] for partition in partitions}

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See [`streams.kafka.log.Log.ends`][]."""
        return {partition: self._ends[partition] for partition in partitions}

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """See [`streams.kafka.log.Log.offset_at`][]."""
        return next((r.offset for r in self._records[partition] if r.timestamp >= timestamp_ms), None)

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """See [`streams.kafka.log.Log.committed`][]."""
        return {partition: self.commits.get(partition) for partition in partitions}

    async def read_range(
        self, partition: TopicPartition, start: int, stop: int
    ) -> AsyncGenerator[Sequence[StoredRecord], None]:
        """See [`streams.kafka.log.Log.read_range`][].

        Raises:
            BrokerError: the log ends before `stop`, and does not grow within `WAIT_S`.
        """
        position, waited_s = start, 0.0
        while position < stop:
            records = self._records[partition]
            first = bisect_left(records, position, key=attrgetter("offset"))
            batch = [record for record in records[first : first + self._batch] if record.offset < stop]
            if batch:
                position, waited_s = batch[-1].offset + 1, 0.0
                yield batch
            elif self._ends[partition] >= stop:
                return  # holes up to the end of the range
            elif waited_s < WAIT_S:
                await asyncio.sleep(PAUSE_S)
                waited_s += PAUSE_S
            else:
                position = max(position, self._ends[partition])
                raise BrokerError.no_records(partition, position)

    async def send(self, packets: Mapping[Where, Packet], settled: Settled) -> None:
        """See [`streams.kafka.producer.Sender.send`][]."""
        for where, packet in packets.items():
            try:
                await self.send_packet(*where, packet)
            except SendError as error:
                settled(where, error)
            else:
                settled(where, None)

    async def send_packet(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        """Append a packet; raises the next of `failures` instead, if any."""
        if self.failures:
            raise self.failures.pop(0)
        for message in packet:
            self.append(topic, partition, message.key, message.value)
