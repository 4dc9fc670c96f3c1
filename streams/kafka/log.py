"""Direct access to the log, without a group: ranges, ends, offsets by time, commits.

Everything that must be exact uses it: gaps of the delivery, the replay of a shopper's recent past, the ends up to which
global tables are read. `streams.kafka.memory_log.MemoryLog` is the double for tests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from streams.errors import BrokerError
from streams.kafka.connection import broker_error, connecting
from streams.kafka.consumers import clients_of, new_consumer
from streams.kafka.embedded_ends import true_ends
from streams.settings import Settings
from streams.wire.record import Record

RANGE_RECORDS = 2_000
"""Most records of one batch of a range: a fetch of compressed records can hold millions."""

RETRY_PAUSE_S = 0.5
"""Before a retry of a request that failed for a passing reason (a leader that moves)."""


class Log(Protocol):
    """Access to the records and offsets of partitions."""

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that still exists, by partition."""

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset of the next record (the last stable offset under read_committed), by partition."""

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """Earliest offset appended at or after the time; None where there is none or the broker cannot tell."""

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Committed offset of the group, by partition; None where there is none."""

    def read_range(self, partition: TopicPartition, start: int, stop: int) -> AsyncGenerator[Sequence[Record], None]:
        """All records of [start, stop) in order, in batches; holes of the log are skipped."""


class KafkaLog:
    """[`Log`][] over two aiokafka consumers: one reads, the other belongs to the group and answers for its commits.

    They are separate because assigning partitions while aiokafka's group coordinator looks for its broker ends the
    coordinator's task with an AssertionError (0.14.0), which the reader would get.

    The embedded broker finds offsets by time in the last batch only, so there reading starts at the first record.
    """

    def __init__(self, settings: Settings, *, max_fetch_bytes: int = 4 << 20) -> None:
        self._settings, self._max_fetch_bytes = settings, max_fetch_bytes
        self._consumer: Any = None
        self._group: Any = None
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers at the address.
        """
        self._group = new_consumer(self._settings, enable_auto_commit=False, group_id=self._settings.full_group)
        self._consumer = new_consumer(
            self._settings,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=self._max_fetch_bytes,
            fetch_max_wait_ms=100,
        )
        async with connecting(self._settings):
            await self._consumer.start()
            await self._group.start()

    async def stop(self) -> None:
        """Disconnect."""
        for consumer in (self._consumer, self._group):
            if consumer is not None:
                await consumer.stop()
        self._consumer = self._group = None

    @property
    def clients(self) -> list[Any]:
        """Clients of aiokafka, while connected."""
        return clients_of(self._consumer, self._group)

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See [`Log.starts`][]."""
        return dict(await self._retrying(self._consumer.beginning_offsets, list(partitions)))

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See [`Log.ends`][]."""
        return dict(await self._retrying(self._ends, list(partitions)))

    async def _ends(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        return await true_ends(self._consumer, ends) if self._settings.embedded else ends

    async def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """See [`Log.offset_at`][]."""
        if self._settings.embedded:
            return (await self.starts([partition]))[partition]
        found = await self._retrying(self._consumer.offsets_for_times, {partition: max(0, timestamp_ms)})
        at = found.get(partition)
        return None if at is None else int(at.offset)

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """See [`Log.committed`][]."""
        return {partition: await self._retrying(self._group.committed, partition) for partition in partitions}

    async def read_range(
        self, partition: TopicPartition, start: int, stop: int
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See [`Log.read_range`][]; batches of up to a few thousand records, fetched on demand.

        Raises:
            BrokerError: the broker returned nothing within the send timeout.
        """
        position, deadline = start, time.monotonic() + self._settings.send_timeout_s
        while position < stop:
            async with self._reading:  # readers take turns, one fetch each
                await self._point_at(partition, position)
                try:
                    fetched = await self._consumer.getmany(partition, timeout_ms=500, max_records=RANGE_RECORDS)
                    reached = await self._consumer.position(partition)
                except OffsetOutOfRangeError:
                    reached, fetched = max(position, (await self.starts([partition]))[partition]), {}
                finally:
                    self._consumer.pause(partition)
            records = fetched[partition].between(position, stop) if partition in fetched else ()
            if reached > position:  # the fetch position also moves past compacted records and markers
                position, deadline = reached, time.monotonic() + self._settings.send_timeout_s
            elif time.monotonic() > deadline:
                raise BrokerError.no_records(partition, position)
            if records:
                yield records

    async def _point_at(self, partition: TopicPartition, position: int) -> None:
        """Have the consumer fetch only this partition, from this position."""
        if partition not in self._consumer.assignment():  # assigning is expensive: once for each partition
            self._consumer.assign([*self._consumer.assignment(), partition])
            for assigned in self._consumer.assignment():
                self._consumer.seek(assigned, 0)
                self._consumer.pause(assigned)
        if await self._consumer.position(partition) != position:  # seeking drops what is fetched already
            self._consumer.seek(partition, position)
        self._consumer.resume(partition)

    async def _retrying(self, request: Any, argument: Any) -> Any:
        """Answer of a request, retried up to the send timeout where the error is passing (a leader that moves)."""
        deadline = time.monotonic() + self._settings.send_timeout_s
        while True:
            try:
                return await request(argument)
            except KafkaError as error:
                passing = getattr(error, "retriable", False) or isinstance(error, KafkaTimeoutError)
                if not passing or time.monotonic() > deadline:
                    raise broker_error(self._settings, self._reason(error)) from error
                await asyncio.sleep(RETRY_PAUSE_S)

    def _reason(self, error: KafkaError) -> KafkaError:
        """Why a request failed: where a right is missing, aiokafka may only say that the time is up."""
        barred = {topic for client in self.clients for topic in client.cluster.unauthorized_topics}
        timed_out = isinstance(error, KafkaTimeoutError)
        return TopicAuthorizationFailedError(barred) if timed_out and barred else error
