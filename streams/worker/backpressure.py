"""Back-pressure: the one place that compares what waits in a worker with its bounds.

Records wait in their tasks, queries in the batcher, messages in the producer. Full tasks pause their own partitions; a
full producer pauses all partitions and the tasks; a full batcher makes the shopper tasks wait. `load` shows how near
the fullest of them is to its bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from aiokafka import TopicPartition

from streams.kafka.producer import BatchingProducer
from streams.worker.suggestion_batcher import SuggestionBatcher

CHANNEL_BATCHES = 4
"""Fetched batches that wait in an agent's channel; the consumer waits with the next one."""

HELD_RUNS = 4
"""Runs of `batch_records` that a task may hold before its partitions are paused: enough work until the next fetch."""


class Holder(Protocol):
    """A partition task, as far as back-pressure looks at it."""

    partitions: tuple[TopicPartition, ...]

    @property
    def cursors(self) -> Mapping[TopicPartition, Any]:
        """Empty while the state is being restored."""

    @property
    def held(self) -> int:
        """Records that wait."""


class Backpressure:
    """Decides who has to wait.

    Args:
        producer: whose unacknowledged bytes count.
        batcher: whose queries count.
        max_bytes: bound of the producer.
        batch_records: records of one run of a task.
    """

    def __init__(
        self, producer: BatchingProducer, batcher: SuggestionBatcher, *, max_bytes: int, batch_records: int
    ) -> None:
        self._producer, self._batcher = producer, batcher
        self._max_bytes, self._max_held = max_bytes, HELD_RUNS * batch_records
        self._holders: dict[TopicPartition, Holder] = {}

    def track(self, holder: Holder) -> None:
        """Take a task into account."""
        self._holders |= dict.fromkeys(holder.partitions, holder)

    def untrack(self, holder: Holder) -> None:
        """Forget a task."""
        for partition in holder.partitions:
            self._holders.pop(partition, None)

    @property
    def load(self) -> float:
        """Largest share of any bound that is in use; above 1 somebody waits."""
        held = max((holder.held for holder in self._holders.values()), default=0)
        return max(
            self._producer.bytes / self._max_bytes,
            self._batcher.waiting / self._batcher.max_batch,
            held / self._max_held,
        )

    def pauses(self, partition: TopicPartition) -> bool:
        """Whether a partition must not be fetched now."""
        holder = self._holders.get(partition)
        return holder is None or self._producer_full or not holder.cursors or holder.held > self._max_held

    def idle(self, partition: TopicPartition) -> bool:
        """Whether nothing keeps a partition from being read further: no record waits and the producer has capacity."""
        holder = self._holders.get(partition)
        return holder is not None and not holder.held and not self._producer_full

    @property
    def _producer_full(self) -> bool:
        return self._producer.bytes > self._max_bytes

    async def wait_for_producer(self) -> None:
        """Return when the producer has capacity, so that flushes stay short.

        Raises:
            SendError: the producer has failed.
        """
        await self._producer.wait_below(self._max_bytes)

    async def wait_for_batcher(self) -> None:
        """Have the waiting queries answered; return when less than a full batch waits, or none is being answered.

        Raises:
            Exception: whatever answering has failed with, now or before.
        """
        self._batcher.flush()
        while self._batcher.busy and self._batcher.waiting >= self._batcher.max_batch:
            await self._batcher.step()
