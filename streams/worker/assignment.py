"""The partition tasks of a process: started and stopped with the assignment, flushed in turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from aiokafka import TopicPartition

from streams.errors import BrokerError, TakeOverError, TopicsError
from streams.threads import run_in_daemon_thread, spawn
from streams.wire.record import Record
from streams.wire.topics import Identity
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask, TaskKind

logger = logging.getLogger(__name__)


class TaskManager:
    """Tasks of the partitions that the group has assigned to us.

    Args:
        revoke_flush_s: longest flush before a rebalance; the next owner repeats the rest, with the same effect.
        on_failure: called when a task fails.
        look_at_topics: identities of all topics now, by full name, or the TopicsError that says what is wrong with
            them; may block.
    """

    def __init__(
        self,
        kinds: Iterable[TaskKind],
        context: WorkerContext,
        *,
        revoke_flush_s: float,
        on_failure: Callable[[BaseException], None],
        look_at_topics: Callable[[], Mapping[str, Identity]],
    ) -> None:
        self._kinds = {context.name(topic): kind for kind in kinds for topic in kind.topics}
        self._context = context
        self._revoke_flush_s = revoke_flush_s
        self._on_failure, self._look_at_topics = on_failure, look_at_topics
        self._explaining: asyncio.Task[None] | None = None
        self._tasks: dict[str, PartitionTask] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self.fresh: set[TopicPartition] = set()
        """Partitions whose consumer has to seek to their task's position once that is known."""

    def __iter__(self) -> Iterator[PartitionTask]:
        return iter(list(self._tasks.values()))

    def _name(self, partition: TopicPartition) -> str:
        return f"{self._kinds[partition.topic].name}-{partition.partition}"

    def of(self, partition: TopicPartition) -> PartitionTask | None:
        """The task of a partition, if it is ours."""
        return self._tasks.get(self._name(partition))

    @property
    def all_ready(self) -> bool:
        """Whether every task holds its state; true without tasks."""
        return all(task.ready.is_set() for task in self._tasks.values())

    # -- assignment ------------------------------------------------------------------------------------------------

    async def on_revoked(self) -> None:
        """A rebalance begins: stop applying and flush, for a bounded time."""
        for task in self._tasks.values():
            task.on_revoked()
        try:
            await asyncio.wait_for(self.flush_last(), self._revoke_flush_s)
        except TimeoutError:
            logger.info("not everything was written down before the group was rearranged; successors repeat it")

    def on_assigned(self, partitions: set[TopicPartition]) -> None:
        """These partitions are ours now, and no others. Partitions that belong together must come together.

        A failure is reported, not raised: aiokafka swallows what its listener raises.
        """
        if self._closed:
            return  # the group may still answer while we leave it
        wanted: dict[str, list[TopicPartition]] = {}
        for partition in sorted(partitions):
            wanted.setdefault(self._name(partition), []).append(partition)
        for name in set(self._tasks) - set(wanted):
            self._drop(name)
        for name, members in wanted.items():
            kind = self._kinds[members[0].topic]
            if len(members) != len(kind.topics):
                topics = [self._context.name(topic) for topic in kind.topics]
                if self._explaining is None:
                    parted = self._explain_parted(name, [tp.topic for tp in members], topics)
                    self._explaining = spawn(parted, "look at the topics", self._on_failure)
                return
            if name not in self._tasks:
                task = self._tasks[name] = kind.make(name, members, self._context)
                self._context.backpressure.track(task)
                self._running[name] = spawn(task.run(), name, self._on_failure)
            if not self._tasks[name].cursors:
                self.fresh.update(members)
            self._tasks[name].on_assigned()

    async def _explain_parted(self, name: str, got: Sequence[str], wanted: Sequence[str]) -> None:
        """Fail, and say why partitions that belong together did not come together."""
        try:
            now = await run_in_daemon_thread(self._look_at_topics, "topics")
        except TopicsError as error:
            changes = str(error)
        except BrokerError:
            changes = ""
        else:
            changed = [topic for topic in wanted if now[topic] != self._context.identities[topic]]
            changes = f"{', '.join(changed)} changed since this worker started" if changed else ""
        raise TakeOverError.parted(name, got, wanted, changes)

    def _drop(self, name: str) -> None:
        task = self._tasks.pop(name)
        self._running.pop(name).cancel()
        task.dropped()
        self._context.backpressure.untrack(task)
        self.fresh.difference_update(task.partitions)

    # -- delivery --------------------------------------------------------------------------------------------------

    def offer(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Pass a delivered batch to its task; it is dropped if the partition is no longer ours."""
        if (task := self.of(partition)) is not None:
            task.offer(records)

    def expected(self, partition: TopicPartition) -> int | None:
        """Offset from which to deliver a partition; None while that is not known."""
        task = self.of(partition)
        cursor = task.cursors.get(partition) if task else None
        return cursor.expected if cursor else None

    # -- flushing --------------------------------------------------------------------------------------------------

    async def keep_flushing(self, interval_s: float) -> None:
        """Flush each task once in an interval, until cancelled; a task skips its turn while its flush is under way.

        Flushes are spread over the interval: all at once would delay events.
        """
        flushes: set[asyncio.Task[None]] = set()
        try:
            while True:
                tasks = sorted(self, key=lambda task: task.partitions[0].partition)  # kinds mixed
                for task in tasks:
                    if self._tasks.get(task.name) is task:
                        flush = spawn(task.flush(), f"flush of {task.name}", self._on_failure)
                        flushes.add(flush)
                        flush.add_done_callback(flushes.discard)
                    await asyncio.sleep(interval_s / len(tasks))
                if not tasks:
                    await asyncio.sleep(interval_s)
        finally:
            for flush in flushes:
                flush.cancel()

    async def flush_last(self) -> None:
        """Flush all tasks concurrently, after the flushes under way."""
        await asyncio.gather(*(task.flush(last=True) for task in self))

    async def close(self) -> None:
        """Stop all tasks; none is started any more."""
        self._closed = True
        running = [*self._running.values(), *([self._explaining] if self._explaining else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
