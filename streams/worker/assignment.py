"""All lanes of a process: who owns what, who gets which batch, when everything is written down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from aiokafka import TopicPartition

from streams.errors import TakeOverError
from streams.kafka.producer import BatchingProducer
from streams.wire.record import Record
from streams.worker.partition_task import MakeTask, PartitionTask

logger = logging.getLogger(__name__)


class TaskManager:
    """The lanes of the partitions that the group has given us.

    Args:
        kinds: which lane a topic's partitions belong to: full topic name to (name of the kind, its topics, maker).
        make: builds a lane from its name and partitions.
        outbox: congestion there pauses everything.
        revoke_flush_s: longest time to write down what is done before others take over; what is not written down by
            then they do again, to the same effect.
        on_failure: told when a lane's task fails; the worker stops then.
    """

    def __init__(
        self,
        kinds: Mapping[str, tuple[str, Sequence[str], MakeTask]],
        make: Callable[[MakeTask, str, Sequence[TopicPartition]], PartitionTask],
        producer: BatchingProducer,
        *,
        revoke_flush_s: float,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kinds = kinds
        self._make = make
        self._producer = producer
        self._revoke_flush_s = revoke_flush_s
        self._on_failure = on_failure
        self._tasks: dict[str, PartitionTask] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self.fresh: set[TopicPartition] = set()
        """Partitions whose consumer has to be sent to their lane's position once that is known."""

    def __iter__(self) -> Iterator[PartitionTask]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def _name(self, partition: TopicPartition) -> str:
        return f"{self._kinds[partition.topic][0]}-{partition.partition}"

    def of(self, partition: TopicPartition) -> PartitionTask | None:
        """The lane a partition belongs to, if it is ours."""
        return self._tasks.get(self._name(partition))

    @property
    def all_ready(self) -> bool:
        """Whether every lane holds its state; true with no lane."""
        return all(task.ready.is_set() for task in self._tasks.values())

    async def on_revoked(self) -> None:
        """The group is being rearranged: stop applying, write down what is done, for a bounded time."""
        for task in self._tasks.values():
            task.disown()
        try:
            await asyncio.wait_for(self.flush_last(), self._revoke_flush_s)
        except TimeoutError:
            logger.info("not everything was written down before the group was rearranged; successors repeat it")

    def on_assigned(self, partitions: set[TopicPartition]) -> None:
        """These partitions are ours now, and only these; the worker fails where those that belong together were parted.

        The failure is told, not raised: aiokafka swallows what its listener raises.
        """
        if self._closed:
            return  # the group may answer while we leave it
        wanted: dict[str, list[TopicPartition]] = {}
        for partition in sorted(partitions):
            wanted.setdefault(self._name(partition), []).append(partition)
        for name in set(self._tasks) - set(wanted):
            self._drop(name)
        for name, members in wanted.items():
            kind, topics, maker = self._kinds[members[0].topic]
            if len(members) != len(topics):
                self._on_failure(TakeOverError.parted(name, [tp.topic for tp in members], list(topics)))
                return
            if name not in self._tasks:
                self._tasks[name] = self._make(maker, name, members)
                self._start(name)
            if not self._tasks[name].cursors:
                self.fresh.update(members)
            self._tasks[name].own()

    def _start(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._tasks[name].run(), name=name)
        task.add_done_callback(self._ended)
        self._running[name] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    def _drop(self, name: str) -> None:
        task = self._tasks.pop(name)
        self._running.pop(name).cancel()
        self.fresh.difference_update(task.partitions)

    def offer(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """A delivered batch; one of a partition that is not ours any more is left to its owner."""
        if (task := self.of(partition)) is not None:
            task.offer(records)

    def congested(self, partition: TopicPartition, most: int) -> bool:
        """Whether a partition should not be fetched now."""
        task = self.of(partition)
        return task is None or self._producer.full or not task.cursors or task.held > most

    def expected(self, partition: TopicPartition) -> int | None:
        """Offset from which a partition's delivery is wanted; None while that is not known."""
        task = self.of(partition)
        cursor = task.cursors.get(partition) if task else None
        return cursor.expected if cursor else None

    async def keep_flushing(self, interval_s: float) -> None:
        """Publish and write down each lane once in an interval, until cancelled.

        By turns: all at once would take so long that events wait.

        Args:
            interval_s: between two turns of a lane; one that is not done by its next turn passes it.
        """
        flushes: set[asyncio.Task[None]] = set()
        try:
            while True:
                tasks = sorted(self._tasks.values(), key=lambda task: task.partitions[0].partition)  # kinds mixed
                for task in tasks:
                    if self._tasks.get(task.name) is task:
                        flush = asyncio.get_running_loop().create_task(task.flush(), name=f"flush of {task.name}")
                        flushes.add(flush)
                        flush.add_done_callback(flushes.discard)
                        flush.add_done_callback(self._ended)
                    await asyncio.sleep(interval_s / len(tasks))
                if not tasks:
                    await asyncio.sleep(interval_s)
        finally:
            for flush in flushes:
                flush.cancel()

    async def flush_last(self) -> None:
        """Publish and write down all lanes, side by side, after what is under way."""
        await asyncio.gather(*(task.flush(last=True) for task in list(self._tasks.values())))

    async def close(self) -> None:
        """Stop all lanes; none is begun any more."""
        self._closed = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
