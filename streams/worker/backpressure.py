"""Back-pressure: the one place that compares what waits in a worker with its bounds.

Records wait in their tasks, queries in the batcher, messages in the producer. Full tasks pause their own partitions; a
full producer pauses all partitions, the tasks, their flushes and the answers; a full batcher makes the shopper tasks
wait. `load` shows how near the fullest of them is to its bound.

The producer is checked before each step that fills it: a run of records, with their dead letters; a batch of answers;
a message of pairs; a slice of rows. So what waits in it exceeds the bound by one such step at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from streams.kafka.producer import BatchingProducer
from streams.settings import Settings
from streams.worker.suggestion_batcher import SuggestionBatcher

if TYPE_CHECKING:
    from streams.worker.partition_task import PartitionTask

CHANNEL_BATCHES = 4
"""Polls whose batches wait in an agent's channel; the consumer waits with those of the next one."""

MOST_WAITING = 3
"""Batches of queries that may wait behind one that is being answered. With fewer, tasks and answers wait for each other
in a backlog, whenever a flush or a table takes the time of a batch."""

HELD_RUNS = 4
"""Runs of `batch_records` that a task may hold before its partitions are paused: enough work until the next fetch."""


class Backpressure:
    """Decides who has to wait; the settings give the bounds."""

    def __init__(self, producer: BatchingProducer, batcher: SuggestionBatcher, settings: Settings) -> None:
        self._producer, self._batcher = producer, batcher
        self._max_bytes, self._max_held = settings.outbox_bytes, HELD_RUNS * settings.batch_records
        self._tasks: dict[TopicPartition, PartitionTask] = {}

    def track(self, task: PartitionTask) -> None:
        """Take a task into account."""
        self._tasks |= dict.fromkeys(task.partitions, task)

    def untrack(self, task: PartitionTask) -> None:
        """Forget a task."""
        for partition in task.partitions:
            self._tasks.pop(partition, None)

    @property
    def load(self) -> float:
        """Largest share of any bound that is in use; above 1 somebody waits."""
        held = max((task.held for task in self._tasks.values()), default=0)
        waiting = self._batcher.waiting / self._most_waiting
        return max(held / self._max_held, waiting, self._producer.bytes / self._max_bytes)

    def pauses(self, partition: TopicPartition) -> bool:
        """Whether a partition must not be fetched now."""
        task = self._tasks.get(partition)
        return task is None or self._producer_full or not task.cursors or task.held > self._max_held

    def idle(self, partition: TopicPartition) -> bool:
        """Whether nothing keeps a partition from being read further: no record waits and the producer has capacity."""
        task = self._tasks.get(partition)
        return task is not None and not task.held and not self._producer_full

    @property
    def _producer_full(self) -> bool:
        return self._producer.bytes > self._max_bytes

    async def wait_for_producer(self) -> None:
        """Return when the producer has capacity, so that flushes stay short.

        Raises:
            SendError: the producer has failed.
        """
        await self._producer.wait_below(self._max_bytes)

    @property
    def batch_is_full(self) -> bool:
        """Whether as many queries wait as are answered together."""
        return self._batcher.waiting >= self._batcher.max_batch

    @property
    def _most_waiting(self) -> int:
        """Queries that may wait behind a batch that is being answered."""
        return MOST_WAITING * self._batcher.max_batch

    async def wait_for_batcher(self) -> None:
        """Have the waiting queries answered; return when none waits, or few enough behind a batch under way.

        Raises:
            SendError: the producer has failed.
            Exception: the first failure of answering, now or earlier.
        """
        await self.wait_for_producer()
        self._batcher.flush()
        while self._batcher.waiting >= (self._most_waiting if self._batcher.busy else 1):
            await self._batcher.step()
