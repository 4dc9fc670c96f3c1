"""The log read directly: ranges, ends, offsets by time, commits. No group, no rebalance, no surprises.

Everything that must be exact goes through here: what delivery left out, a shopper's recent past, the end up to which a
mirror has to read. [`Log`][] is what the rest of the house sees; [`KafkaLog`][] is the real one, and
`streams.kafka.memory_log.MemoryLog` is an honest double for tests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Protocol

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError

from streams.errors import BrokerError
from streams.kafka.embedded_ends import true_ends
from streams.settings import Settings
from streams.wire.record import Record

RETRY_PAUSE_S = 0.5
"""Between two tries of a request that failed for a passing reason (a leader that moves)."""


class Log(Protocol):
    """What the house needs of a log."""

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that is still there, a partition each."""

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset the next record will get (the last stable one under read_committed), a partition each."""

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """Earliest offset appended at or after the time; None where the broker cannot say or there is none."""

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """What the group has committed; None where nothing is (any more)."""

    def read_range(self, partition: TopicPartition, start: int, stop: int) -> AsyncGenerator[Sequence[Record], None]:
        """All records of [start, stop) in order, in batches; holes of the log are passed over."""


class KafkaLog:
    """[`Log`][] over plain aiokafka consumers: one reads, the other knows the group and is asked what it has committed.

    They are two since aiokafka's coordinator of a group does not stand being given other partitions while it looks for
    its broker: its task ends with an AssertionError (0.14.0), and whoever reads gets that.

    `offsets_by_time` is off for the embedded broker, whose answer is of the last batch only: reading starts at the
    first record then.
    """

    def __init__(self, settings: Settings, *, max_fetch_bytes: int = 4 << 20) -> None:
        self._settings = settings
        self._max_fetch_bytes = max_fetch_bytes
        self._consumer: Any = None
        self._group: Any = None
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers at the address.
        """
        options = self._settings.aiokafka_options() | {"enable_auto_commit": False}
        self._group = aiokafka.AIOKafkaConsumer(**options, group_id=self._settings.full_group)
        self._consumer = aiokafka.AIOKafkaConsumer(
            **options,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=self._max_fetch_bytes,
            fetch_max_wait_ms=100,
        )
        try:
            await self._consumer.start()
            await self._group.start()
        except KafkaError as error:
            raise BrokerError.unreachable(self._settings.bootstrap_servers, error) from error

    async def stop(self) -> None:
        """Disconnect."""
        for consumer in (self._consumer, self._group):
            if consumer is not None:
                await consumer.stop()
        self._consumer = self._group = None

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See [`Log.starts`][]."""
        return dict(await self._patiently(self._consumer.beginning_offsets, list(partitions)))

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See [`Log.ends`][]."""
        return dict(await self._patiently(self._ends, list(partitions)))

    async def _ends(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        return await true_ends(self._consumer, ends) if self._settings.embedded else ends

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """See [`Log.offset_at`][]."""
        if self._settings.embedded:
            return (await self.starts([partition]))[partition]
        found = await self._patiently(self._consumer.offsets_for_times, {partition: max(0, timestamp_ms)})
        at = found.get(partition)
        return None if at is None else int(at.offset)

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """See [`Log.committed`][]."""
        return {partition: await self._patiently(self._group.committed, partition) for partition in partitions}

    async def read_range(
        self, partition: TopicPartition, start: int, stop: int
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See [`Log.read_range`][]; batches of up to a few thousand records, fetched as they are asked for.

        Raises:
            BrokerError: the broker brings nothing of what it has, for as long as a send is tried.
        """
        position, deadline = start, time.monotonic() + self._settings.send_timeout_s
        while position < stop:
            async with self._reading:  # several readers take turns, a fetch each
                self._point_at(partition, position)
                try:
                    fetched = await self._consumer.getmany(partition, timeout_ms=500)
                    reached = await self._consumer.position(partition)
                except OffsetOutOfRangeError:
                    reached, fetched = max(position, (await self.starts([partition]))[partition]), {}
                finally:
                    self._consumer.pause(partition)
            records = [r for r in fetched.get(partition, ()) if position <= r.offset < stop]
            if reached > position:  # by the fetch position: it moves over compacted records and markers, too
                position, deadline = reached, time.monotonic() + self._settings.send_timeout_s
            elif time.monotonic() > deadline:
                message = f"the broker brings nothing of {partition.topic}-{partition.partition} from {position} on"
                raise BrokerError(message)
            if records:
                yield records

    def _point_at(self, partition: TopicPartition, position: int) -> None:
        """Let the consumer fetch this partition from this position, and no other."""
        if partition not in self._consumer.assignment():  # assigning is dear: once a partition, not once a range
            self._consumer.assign([*self._consumer.assignment(), partition])
            for assigned in self._consumer.assignment():
                self._consumer.seek(assigned, 0)
                self._consumer.pause(assigned)
        self._consumer.seek(partition, position)
        self._consumer.resume(partition)

    async def _patiently(self, request: Any, argument: Any) -> Any:
        """Answer of a request; a passing fault (a leader that moves) is waited for, up to the send time-out."""
        deadline = time.monotonic() + self._settings.send_timeout_s
        while True:
            try:
                return await request(argument)
            except KafkaError as error:
                passing = getattr(error, "retriable", False) or isinstance(error, KafkaTimeoutError)
                if not passing or time.monotonic() > deadline:
                    raise BrokerError.unreachable(self._settings.bootstrap_servers, error) from error
                await asyncio.sleep(RETRY_PAUSE_S)
