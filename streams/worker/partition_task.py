"""A partition task: partitions that belong together, their positions, and the loop that applies records in order.

Clicks, purchases, profiles and feedback of one partition number share a task, because they share the shoppers. Each
partition of `pairs` has a task, which owns rows of neighbours, and each partition of `catalog` has one, for its dead
letters. Records delivered before a task has restored its state wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from streams.errors import RecordError, TakeOverError
from streams.kafka.cursor import Cursor
from streams.wire.checkpoints import VERSION, Progress, TopicProgress, encode_progress
from streams.wire.codec import dead_letter, shorter_dead_letter
from streams.wire.record import Record
from streams.wire.record_run import RecordRun
from streams.worker.context import WorkerContext

logger = logging.getLogger(__name__)

CLOCKS_APART_S = 3600.0
"""How far the brokers' clocks may be ahead of ours. No worker records an append time further ahead: it would shorten
the memory."""


class PartitionTask(ABC):
    """Base of the partition tasks.

    Subclasses say how state is restored (`restore`), which records come next (`next_run`), how they are applied
    (`apply`), and what has to be acknowledged before positions are written (`publish`).

    The name, such as `shoppers-3`, is the key of its progress record.
    """

    def __init__(self, name: str, partitions: Sequence[TopicPartition], context: WorkerContext) -> None:
        self.name = name
        self.partitions = tuple(partitions)
        self.context = context
        self.cursors: dict[TopicPartition, Cursor] = {}
        self.ready = asyncio.Event()
        """Set while the task holds its state and may apply records."""
        self._owned = asyncio.Event()
        self._term = 0  # counts rebalances, so that a short one is noticed, too
        self._arrived = asyncio.Event()
        self._early: list[RecordRun] = []
        self._recorded: tuple[int, int, dict[str, tuple[str, int]]] | None = None  # what the last progress record said
        self._flushing = asyncio.Lock()

    # -- for subclasses --------------------------------------------------------------------------------------------

    @abstractmethod
    async def restore(self) -> None:
        """Build the state from the log and set the cursors. Called after the global tables have caught up."""

    @abstractmethod
    def next_run(self) -> list[Any]:
        """The next records to apply together, or runs of them, in order; empty if there is nothing (yet)."""

    @abstractmethod
    def apply(self, records: Sequence[Any]) -> None:
        """Apply what `next_run` has returned, in order, and move the cursors."""

    async def finish_run(self) -> None:  # noqa: B027 - most tasks have nothing to finish
        """Finish what is done for several tasks at once. Called after `apply`, when the others have had a turn."""

    def overtaken(self) -> bool:
        """Whether another owner has gone further, so that our state is outdated."""
        recorded = self.recorded()
        known = recorded.topics if recorded else {}
        return any(tp.topic in known and known[tp.topic].position > at for tp, at in self.positions().items())

    def dropped(self) -> None:
        """The partitions are another worker's now: give up the state. The task will not run again."""
        self.cursors = {}

    @abstractmethod
    async def publish(self) -> None:
        """Send what is learnt, then write the positions once everything below them is acknowledged."""

    # -- assignment ------------------------------------------------------------------------------------------------

    def on_assigned(self) -> None:
        """The partitions are ours, or still ours."""
        self._owned.set()

    def on_revoked(self) -> None:
        """A rebalance begins: nothing is applied until the new assignment is known."""
        self._term += 1
        self._owned.clear()
        self.ready.clear()
        self._arrived.set()  # wakes an idle task

    def offer(self, records: Sequence[Record]) -> None:
        """Take delivered records of one of the partitions; they wait until the task is ready."""
        run = RecordRun.of(records)
        cursor = self.cursors.get(TopicPartition(run.topic, run.partition))
        if cursor is None:
            self._early.append(run)
        else:
            cursor.offer(run)
        self._delivered()

    def _delivered(self) -> None:
        """Have delivered records applied."""
        self._arrived.set()

    def read_to(self, partition: TopicPartition, end: int) -> None:
        """Read one of the partitions from the log up to an offset, as delivery does not bring it."""
        if (cursor := self.cursors.get(partition)) is not None:
            cursor.expect(end)
            self._arrived.set()

    @property
    def held(self) -> int:
        """Records that wait."""
        held = 0
        for cursor in self.cursors.values():
            held += cursor.held
        for batch in self._early:
            held += len(batch)
        return held

    async def run(self) -> None:
        """Restore the state, then apply records as they arrive, until cancelled."""
        while True:
            await self._owned.wait()
            term = self._term
            await self._hold_state()
            await self._go_on(term)

    async def _hold_state(self) -> None:
        """Keep the state if nobody has gone further, else restore it."""
        term = self._term
        await self.context.table_reader.caught_up(self.table_partitions())
        if not self.cursors or self.overtaken():
            started = asyncio.get_running_loop().time()
            self.cursors = {}
            async with self._flushing:  # a flush of the state given up ends at its next step
                await self.restore()
            took_s = asyncio.get_running_loop().time() - started
            self.context.metrics.take_over_s.observe(took_s)
            where = ", ".join(f"{tp.topic}-{tp.partition}@{position}" for tp, position in self.positions().items())
            logger.info("%s taken over in %.2f s: %s", self.name, took_s, where)
        early, self._early = self._early, []
        for records in early:
            self.offer(records)
        if self._owns(term):
            self.ready.set()
            self._arrived.set()

    def _owns(self, term: int) -> bool:
        """Whether the partitions have been ours without a break since that term."""
        return self._term == term and self._owned.is_set()

    async def _go_on(self, term: int) -> None:
        while self._owns(term):
            await self._fill_gaps()
            if not self._owns(term):
                return
            await self.context.backpressure.wait_for_producer()
            if not self._owns(term):
                return
            if records := self.next_run():
                self.apply(records)
                await asyncio.sleep(0)
                await self.finish_run()
                continue
            if any(cursor.needs_reading for cursor in self.cursors.values()):
                continue
            self._arrived.clear()
            await self._arrived.wait()

    async def _fill_gaps(self) -> None:
        """Read what delivery has left out, where it comes next."""
        for cursor in self.cursors.values():
            if cursor.needs_reading:
                await cursor.fill()
            cursor.skip_trailing_hole()

    def table_partitions(self) -> list[TopicPartition]:
        """Partitions of global tables that have to be read to their ends before the state is restored."""
        return self.context.all_of("progress")

    # -- positions -------------------------------------------------------------------------------------------------

    def recorded(self) -> Progress | None:
        """The positions that this task's owners have written so far."""
        return self.context.tables.progress.get(self.name)

    async def starting_cursors(self) -> dict[TopicPartition, Cursor]:
        """Cursors where to go on: at the recorded positions, clipped to what the log still holds.

        Raises:
            TakeOverError: the topic was replaced by another of the same name, or a position lies beyond its end.
        """
        log, recorded = self.context.log, self.recorded()
        committed = await log.committed(self.partitions)
        starts, ends = await log.starts(self.partitions), await log.ends(self.partitions)
        cursors = {}
        for tp in self.partitions:
            known = recorded.topics.get(tp.topic) if recorded else None
            if known is not None:
                self._check_identity(tp, known.topic_id, known.partitions, "progress")
                _report_difference(tp, known.position, committed[tp])
                if known.position > ends[tp]:
                    where = f"{tp.topic}-{tp.partition}"
                    raise TakeOverError.beyond_end(where, known.position, ends[tp])
            elif committed[tp] is not None:
                logger.info(
                    "%s-%d: no position is recorded in `progress`; the group's commit, %d, decides",
                    tp.topic, tp.partition, committed[tp],
                )  # fmt: skip
            position = known.position if known else min(committed[tp] or 0, ends[tp])
            if known is not None and position < starts[tp]:
                self.context.metrics.expired(tp.topic, starts[tp] - position)
                logger.error(
                    "%s-%d: %d records expired before they were applied (retention is shorter than the outage); "
                    "going on at %d",
                    tp.topic, tp.partition, starts[tp] - position, starts[tp],
                )  # fmt: skip
            latest_ms = round((self.context.clock() + CLOCKS_APART_S) * 1000)
            appended_ms = min(known.appended_ms, latest_ms) if known else 0
            cursors[tp] = Cursor(tp, max(position, starts[tp]), log, appended_ms)
        return cursors

    def _check_identity(self, tp: TopicPartition, topic_id: str, partitions: int, where: str) -> None:
        now = self.context.identities[tp.topic]
        if (topic_id, partitions) != (now.topic_id, now.partitions):
            raise TakeOverError.another_topic(tp.topic, topic_id, partitions, now.topic_id, now.partitions, where)

    def progress(self, positions: Mapping[TopicPartition, int], joined: int = 0) -> Progress:
        """Progress record of these positions."""
        topics = {}
        for tp, position in positions.items():
            topic, appended_ms = self.context.identities[tp.topic], self.cursors[tp].appended_ms
            topics[tp.topic] = TopicProgress(topic.topic_id, topic.partitions, position, appended_ms)
        return Progress(v=VERSION, task=self.name, topics=topics, joined=joined)

    def positions(self) -> dict[TopicPartition, int]:
        """Position of each partition now."""
        return {tp: cursor.position for tp, cursor in self.cursors.items()}

    async def flush(self, *, last: bool = False) -> None:
        """Publish if the task holds a state and no flush is under way; `last` waits for that and publishes again."""
        if self.cursors and (last or not self._flushing.locked()):
            cursors = self.cursors
            async with self._flushing:
                if self.cursors is cursors:  # a restored state has new cursors
                    await self.publish()

    @property
    def owned(self) -> bool:
        """Whether the partitions are ours as far as we know."""
        return self._owned.is_set()

    async def checkpoint(self, progress: Progress) -> None:
        """Write the progress record once everything enqueued before is acknowledged; then tell the group."""
        producer = self.context.producer
        await producer.wait_acked(producer.mark())
        topics = {topic: (at.topic_id, at.position) for topic, at in progress.topics.items()}
        record = progress.joined, progress.histories, topics
        if record != self._recorded:
            number = self.partitions[0].partition
            key, value = encode_progress(progress)
            partition = number % self.context.partitions("progress")
            producer.enqueue(self.context.name("progress"), partition, key, value)
            await producer.wait_acked(producer.mark())
            self._recorded = record
            self.context.commit({TopicPartition(topic, number): at.position for topic, at in progress.topics.items()})

    # -- dead letters ----------------------------------------------------------------------------------------------

    def send_to_dead_letters(self, record: Record, error: RecordError) -> None:
        """Send a record to the dead letters."""
        key, value = dead_letter(record, error, round(self.context.clock() * 1000))
        partition = record.partition % self.context.partitions("dead-letters")
        self.context.producer.enqueue(self.context.name("dead-letters"), partition, key, value, shorter_dead_letter)
        self.context.metrics.dead_letters.labels(record.topic).inc()
        self.context.bad_records.write(record.topic, error, "is sent to dead-letters")


def _report_difference(tp: TopicPartition, recorded: int, committed: int | None) -> None:
    """Say where the group's commit is not the recorded position. Commits lag, so only a greater one is strange."""
    if committed is not None and committed != recorded:
        logger.log(
            logging.WARNING if committed > recorded else logging.INFO,
            "%s-%d: the position recorded in `progress` is %d, and the group has committed %d; going on at %d, as only "
            "recorded positions count",
            tp.topic, tp.partition, recorded, committed, recorded,
        )  # fmt: skip


class TaskKind(NamedTuple):
    """A kind of partition task."""

    name: str
    """Prefix of its tasks' names."""
    topics: Sequence[str]
    """Short names; a task has the same partition number of all of them."""
    make: Callable[[str, Sequence[TopicPartition], WorkerContext], PartitionTask]
