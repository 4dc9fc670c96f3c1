"""The intake: a group consumer in place of Faust's, that puts whole fetched batches into the agents' channels.

It delivers; it decides nothing. What is skipped or comes twice is set right by the cursors, and who owns what is told
to [`AssignmentListener`][]. The listener returns at once, since aiokafka sends no heartbeat while it runs: taking over
happens in the lanes' own tasks, while their partitions are paused and all others flow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import aiokafka
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.errors import BrokerError
from streams.kafka.log import Log
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.record import Record

logger = logging.getLogger(__name__)

POLL_MS = 200
"""Longest wait of a poll; a record that arrives ends it at once."""

EMBEDDED_FETCH_WAIT_MS = 20
"""The embedded broker does not end a waiting fetch when a record arrives: it looks again after half of the wait."""

PARTITION_FETCH_BYTES = 1 << 18
"""Of one partition in a fetch. aiokafka hands out what it has of one partition before it turns to the next, so that
much more lets the others, and the purchases that belong to the clicks, wait for seconds. Larger batches come whole."""

HEARTBEATS = 10
"""In a session time-out: a rearrangement is heard of after a tenth of it."""

COMMIT_S = 3.0
"""Between two commits, which only lag tools look at; and the longest wait for one before a rebalance goes on."""

HELD_RUNS = 4
"""Runs a lane may hold before its partitions are paused: enough to work while the next fetch comes."""

Deliver = Callable[[TopicPartition, Sequence[Record]], Awaitable[None]]


class AssignmentListener(Protocol):
    """Whoever is told which partitions are ours: [`TaskManager`][streams.worker.assignment.TaskManager] in a worker."""

    @property
    def fresh(self) -> set[TopicPartition]:
        """Partitions whose consumer has to be sent to their position once that is known."""

    async def on_revoked(self) -> None:
        """The group is being rearranged."""

    def on_assigned(self, partitions: set[TopicPartition]) -> None:
        """These partitions are ours now, and only these."""

    def congested(self, partition: TopicPartition, most: int) -> bool:
        """Whether a partition should not be fetched now, as `most` records wait."""

    def expected(self, partition: TopicPartition) -> int | None:
        """Offset from which a partition's delivery is wanted; None while that is not known."""


class GroupConsumer(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads the assigned partitions in batches and tells the lanes when the assignment changes.

    Args:
        settings: where the broker is, which group.
        topics: full names of the topics to consume.
        lanes: owners of the partitions.
        log: says where a partition starts.
        deliver: puts a batch into the channel of its topic's agent.
        metrics: counts.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        tasks: AssignmentListener,
        log: Log,
        deliver: Deliver,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._tasks = tasks
        self._log = log
        self._deliver = deliver
        self._metrics = metrics
        self._consumer: Any = None
        self._paused: set[TopicPartition] = set()
        self._passed: dict[TopicPartition, int] = {}
        self._brought: dict[TopicPartition, int] = {}
        self._mine: set[TopicPartition] = set()
        self._commit_refused = False
        self._to_commit: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._committed_at = 0.0
        self._rearranging = False
        self.delivered = 0
        """Records delivered so far, of whatever partition."""
        self.joined = asyncio.Event()
        """Set when the group has assigned partitions to us (or none) for the first time."""

    async def start(self) -> None:
        """Join the group.

        Raises:
            BrokerError: no broker answers.
        """
        settings = self._settings
        self._consumer = aiokafka.AIOKafkaConsumer(
            **settings.aiokafka_options(),
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
        try:
            await self._consumer.start()
        except KafkaError as error:
            raise BrokerError.unreachable(settings.bootstrap_servers, error) from error

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            if self._committing is not None:
                await asyncio.wait([self._committing], timeout=COMMIT_S)
            if not self._rearranging:
                await self._commit()
            await self._consumer.stop()
            self._consumer = None

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        most = self._settings.batch_records
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=8 * most)
            except OffsetOutOfRangeError as error:
                await self._seek_to_start(error.args[0])
                continue
            except NoOffsetForPartitionError as error:
                await self._seek_to_start(error.args[0])
                continue
            for partition, records in fetched.items():
                self.delivered += len(records)
                self._brought[partition] = records[-1].offset + 1
            await self._look_past_markers(fetched)
            for partition, records in fetched.items():
                await self._deliver(partition, records)
            self._balance()
            self._commit_now_and_then()
            await asyncio.sleep(0)

    async def _look_past_markers(self, fetched: Iterable[TopicPartition]) -> None:
        """See where delivery is: behind a transaction's marker, which is never delivered, there is nothing to wait for.

        Args:
            fetched: partitions whose records have just come; none of them, and all are looked at.
        """
        for partition in list(fetched) or self._consumer.assignment():
            try:
                self._passed[partition] = await self._consumer.position(partition)
            except (IllegalStateError, KafkaError):
                self._passed.pop(partition, None)  # taken from us, or not known yet

    async def _seek_to_start(self, partitions: Any) -> None:
        """A position that the log does not have: go on at its start, the cursors count what is gone."""
        wanted = [partitions] if isinstance(partitions, TopicPartition) else list(partitions)
        for partition, start in (await self._log.starts(wanted)).items():
            self._seek(partition, start)

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        try:
            self._consumer.seek(partition, offset)
        except IllegalStateError:
            pass  # taken from us meanwhile

    def _balance(self) -> None:
        """Pause the partitions of lanes that hold enough or take over, and all while the outbox is full."""
        assigned = self._consumer.assignment()
        most = HELD_RUNS * self._settings.batch_records
        wanted = {p for p in assigned if self._tasks.congested(p, most)}
        if pause := wanted - self._paused:
            self._consumer.pause(*pause)
        if resume := (self._paused - wanted) & assigned:
            for partition in resume & self._tasks.fresh:
                position = self._tasks.expected(partition)
                if position is not None:
                    self._seek(partition, position)
                    self._tasks.fresh.discard(partition)
            self._consumer.resume(*resume)
        self._paused = wanted

    def highwater(self, partition: TopicPartition) -> int | None:
        """End of a partition's records as the last fetch told, without what is never delivered; None if not known."""
        try:
            end = self._consumer.highwater(partition)
        except (IllegalStateError, AssertionError, AttributeError, KeyError):
            return None
        if end is not None and self._passed.get(partition, -1) >= end:
            return self._brought.get(partition)
        return None if end is None else int(end)

    def assignment(self) -> set[TopicPartition]:
        """Partitions that are ours now."""
        return set() if self._consumer is None else set(self._consumer.assignment())

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell the group, for lag tools, with the next commit."""
        self._to_commit.update(positions)

    async def _commit(self) -> None:
        """One commit of everything; a refusal is harmless, as our own positions decide, and logged once a streak."""
        mine = {p: at for p, at in self._to_commit.items() if p in self.assignment()}
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

    def _commit_now_and_then(self) -> None:
        """One commit at a time, and none while the group is being rearranged.

        aiokafka leaves the group and joins anew when a commit is refused for its generation; commits on their way
        during a rebalance would so cause the next one, without end.
        """
        due = time.monotonic() - self._committed_at >= COMMIT_S
        if due and not self._rearranging and self._committing is None and self._to_commit:
            self._committed_at = time.monotonic()
            self._committing = asyncio.get_running_loop().create_task(self._commit())
            self._committing.add_done_callback(self._commit_ended)

    def _commit_ended(self, task: asyncio.Task[None]) -> None:
        self._committing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a commit failed: %r", error)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group is being rearranged: nothing is applied until it is clear who owns what."""
        self._metrics.rebalances.inc()
        self._rearranging = True
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=COMMIT_S)
        await self._tasks.on_revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """These are ours. Paused until their lanes hold their state; each lane takes over by itself."""
        partitions = set(assigned)
        self._rearranging = False
        self._to_commit.clear()
        self._passed.clear()
        self._brought.clear()
        for gone in self._mine - partitions:
            self._metrics.revoked(gone.topic, gone.partition)
        self._mine = partitions
        self._tasks.on_assigned(partitions)
        for partition in partitions:
            self._seek(partition, self._tasks.expected(partition) or 0)
        waiting = {p for p in partitions if self._tasks.congested(p, 1)}
        self._consumer.pause(*waiting)
        self._paused = waiting
        self.joined.set()
