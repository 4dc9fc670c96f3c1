"""The group consumer: puts whole fetched batches into the agents' channels, in place of Faust's consumer.

It only delivers. Gaps and repetitions are corrected by the cursors, and the [`AssignmentListener`][] learns who owns
which partition. The listener must return at once, because aiokafka sends no heartbeat while it runs: state is restored
in the partitions' own tasks, while these partitions are paused and all others flow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.kafka.clock import ClockCheck
from streams.kafka.connection import connecting
from streams.kafka.consumers import clients_of, new_consumer
from streams.kafka.log import Log
from streams.kafka.transactions import OpenTransactions
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.record_run import RecordRun

logger = logging.getLogger(__name__)

POLL_MS = 200
"""Longest wait of a poll; an arriving record ends it at once."""

PACE_S = 0.004
"""Least time between two polls that bring few records. aiokafka asks a broker for no more while something of its last
answer has not been taken, so less frequent polls bring more records each. The first record after a pause is brought at
once."""

EMBEDDED_FETCH_WAIT_MS = 20
"""The embedded broker does not end a waiting fetch when a record arrives: it checks again after half of the wait."""

PARTITION_FETCH_BYTES = 1 << 18
"""Of one partition in a fetch. aiokafka hands out all it has of one partition before the next one, so a larger value
delays the other partitions, and the purchases that belong to clicks, for seconds. Larger batches still come whole."""

HEARTBEATS = 10
"""In a session timeout: a rebalance is noticed after a tenth of it."""

COMMIT_S = 3.0
"""Between two commits, which only lag tools read; also the longest wait for one before a rebalance goes on."""

Delivered = tuple[TopicPartition, RecordRun]
"""What a poll has brought of a partition."""

Deliver = Callable[[str, Sequence[Delivered]], Awaitable[None]]
"""Takes what a poll has brought of a topic (full name)."""


class AssignmentListener(Protocol):
    """Learns which partitions are ours: [`TaskManager`][streams.worker.assignment.TaskManager] in a worker."""

    @property
    def fresh(self) -> set[TopicPartition]:
        """Partitions to be sought to their `expected` offset before they are fetched."""

    async def on_revoked(self) -> None:
        """A rebalance begins."""

    def on_assigned(self, partitions: set[TopicPartition]) -> None:
        """These partitions are ours now, and no others."""

    def expected(self, partition: TopicPartition) -> int | None:
        """Offset from which to deliver a partition; None while that is not known."""


class GroupConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads the assigned partitions of topics (full names) in batches and reports changes of the assignment."""

    def __init__(self, settings: Settings, topics: Iterable[str], log: Log, metrics: Metrics) -> None:
        self._settings, self._topics, self._log, self._metrics = settings, tuple(topics), log, metrics
        self._listener: AssignmentListener
        self._pauses: Callable[[TopicPartition], bool]
        self._consumer: Any = None
        self._paused: set[TopicPartition] = set()
        self._passed: dict[TopicPartition, int] = {}  # fetch positions
        self._brought: dict[TopicPartition, int] = {}  # offsets after the last delivered records
        self._mine: set[TopicPartition] = set()
        self._commit_refused = False
        self._to_commit: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._committed_at = 0.0
        self._rebalancing = False
        self._failure: Exception | None = None
        self._clock, self._transactions = ClockCheck(), OpenTransactions(metrics)
        self.delivered = 0
        """Records delivered so far, of all partitions."""
        self.joined = asyncio.Event()
        """Set after the group's first assignment, even an empty one."""

    async def start(self, listener: AssignmentListener, pauses: Callable[[TopicPartition], bool]) -> None:
        """Join the group; `pauses` says whether a partition must not be fetched now, and is asked after every poll.

        Raises:
            BrokerError: no broker answers.
        """
        settings, self._listener, self._pauses = self._settings, listener, pauses
        self._consumer = new_consumer(
            settings,
            group_id=settings.full_group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=round(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=round(settings.session_timeout_s * 1000 / HEARTBEATS),
            rebalance_timeout_ms=round(max(10.0, settings.session_timeout_s) * 1000),
            max_poll_interval_ms=300_000,
            fetch_max_wait_ms=EMBEDDED_FETCH_WAIT_MS if settings.embedded else POLL_MS,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        )
        self._consumer.subscribe(list(self._topics), listener=self)
        async with connecting(settings):
            await self._consumer.start()

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            if self._committing is not None:
                await asyncio.wait([self._committing], timeout=COMMIT_S)
            if not self._rebalancing:
                await self._commit()
            await self._consumer.stop()
            self._consumer = None

    @property
    def clients(self) -> list[Any]:
        """Clients of aiokafka, while connected."""
        return clients_of(self._consumer)

    @property
    def notices(self) -> list[str]:
        """What to tell an operator about clocks and open transactions."""
        return [*([self._clock.notice] if self._clock.notice else []), *self._transactions.notices]

    def measure(self, now: float) -> None:
        """Look at clocks and open transactions; `now` is monotonic."""
        self._metrics.clock_ahead_s.set(self._clock.ahead_s)
        for partition in () if self._consumer is None else self._consumer.assignment() - self._paused:
            end, stable = self._consumer.highwater(partition), self._stable(partition)
            if end is None or stable is None:
                continue
            self._transactions.look(partition, stable, end, now)
            if self._passed.get(partition, -1) >= end:
                self._clock.read_up(partition, self._consumer.last_poll_timestamp(partition) / 1000)

    async def run(self, deliver: Deliver) -> None:
        """Deliver batches until cancelled.

        Raises:
            Exception: what the assignment listener has raised, among others: aiokafka only logs it.
        """
        now = asyncio.get_running_loop().time
        while True:
            if self._failure is not None:
                raise self._failure
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=8 * self._settings.batch_records)
            except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
                # The log lacks the position: we go on at its start, and the cursors count what is gone.
                lacking = error.args[0]
                wanted = [lacking] if isinstance(lacking, TopicPartition) else list(lacking)
                for partition, start in (await self._log.starts(wanted)).items():
                    self._seek(partition, start)
                continue
            polled_s, before = now(), self.delivered
            for partition, records in fetched.items():
                self.delivered += len(records)
                self._brought[partition] = records.last_offset + 1
                self._clock.delivered(records[0], time.time())
            await self._note_positions(fetched)
            batches: dict[str, list[Delivered]] = {}
            for partition, records in fetched.items():
                batches.setdefault(partition.topic, []).append((partition, records))
            for topic, of_topic in batches.items():
                await deliver(topic, of_topic)
            self._pause_and_resume()
            self._commit_if_due()
            few = self.delivered - before < self._settings.batch_records
            await asyncio.sleep(max(0.0, polled_s + PACE_S - now()) if few else 0)

    async def _note_positions(self, fetched: Iterable[TopicPartition]) -> None:
        """Note the fetch positions of these partitions, or of all; they move past transaction markers, too."""
        for partition in list(fetched) or self._consumer.assignment():
            try:
                self._passed[partition] = await self._consumer.position(partition)
            except (IllegalStateError, KafkaError):
                self._passed.pop(partition, None)  # revoked, or not known yet

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        self._clock.moved(partition)
        try:
            self._consumer.seek(partition, offset)
        except IllegalStateError:
            pass  # revoked meanwhile

    def _pause_and_resume(self) -> None:
        assigned = self._consumer.assignment()
        wanted = {p for p in assigned if self._pauses(p)}
        if pause := wanted - self._paused:
            self._consumer.pause(*pause)
        if resume := (self._paused - wanted) & assigned:
            for partition in resume & self._listener.fresh:
                position = self._listener.expected(partition)
                if position is not None:
                    self._seek(partition, position)
                    self._listener.fresh.discard(partition)
            self._consumer.resume(*resume)
        self._paused = wanted

    def highwater(self, partition: TopicPartition) -> int | None:
        """End of the records that can be read, according to the last fetch; None if not known.

        Markers at the end are left out, and so is what waits for a transaction to end.
        """
        try:
            end = self._stable(partition)
        except (IllegalStateError, AssertionError, AttributeError, KeyError):
            return None
        if end is not None and self._passed.get(partition, -1) >= end:
            return self._brought.get(partition)
        return None if end is None else int(end)

    def _stable(self, partition: TopicPartition) -> int | None:
        """Last stable offset of a partition; its end where the broker does not tell it."""
        end: int | None = self._consumer.highwater(partition)
        stable: int | None = self._consumer.last_stable_offset(partition)
        if end is None:
            return None
        return end if stable is None or stable < 0 else min(stable, end)

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Include positions in the next commit, for lag tools."""
        self._to_commit.update(positions)

    async def _commit(self) -> None:
        """Commit everything. A refusal is harmless, as our own positions decide; it is logged once in a row."""
        mine = {p: at for p, at in self._to_commit.items() if p in self._consumer.assignment()}
        self._to_commit.clear()
        if not mine:
            return
        try:
            await self._consumer.commit(mine)
            self._commit_refused = False
        except KafkaError as error:
            self._metrics.commit_failures.inc()
            if not self._commit_refused:
                logger.info("the group refused a commit (%r): our own positions decide", error)
                self._commit_refused = True

    def _commit_if_due(self) -> None:
        """Start a commit: one at a time, and none during a rebalance.

        aiokafka leaves and rejoins the group when a commit is refused for its generation, so a commit under way during
        a rebalance would cause the next rebalance, endlessly.
        """
        due = time.monotonic() - self._committed_at >= COMMIT_S
        if due and not self._rebalancing and self._committing is None and self._to_commit:
            self._committed_at = time.monotonic()
            self._committing = asyncio.get_running_loop().create_task(self._commit())
            self._committing.add_done_callback(self._commit_ended)

    def _commit_ended(self, task: asyncio.Task[None]) -> None:
        self._committing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a commit failed: %r", error)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """A rebalance begins: nothing is applied until the new assignment is known."""
        self._metrics.rebalances.inc()
        self._rebalancing = True
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=COMMIT_S)
        try:
            await self._listener.on_revoked()
        except Exception as error:
            self._failure = self._failure or error

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """A rebalance is over. Partitions stay paused until their tasks hold their state."""
        try:
            self._take(set(assigned))
        except Exception as error:
            self._failure = self._failure or error

    def _take(self, partitions: set[TopicPartition]) -> None:
        self._rebalancing = False
        self._to_commit.clear()
        self._passed.clear()
        self._brought.clear()
        self._clock.clear()
        for gone in self._mine - partitions:
            self._metrics.revoked(gone.topic, gone.partition)
            self._transactions.forget(gone)
        self._mine = partitions
        self._listener.on_assigned(partitions)
        for partition in partitions:
            self._seek(partition, self._listener.expected(partition) or 0)
        self._paused = {p for p in partitions if self._pauses(p)}
        self._consumer.pause(*self._paused)
        self.joined.set()
