"""Reads partitions from the log where the group's delivery stands still."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import TopicPartition

from streams.errors import TakeOverError
from streams.kafka.log import Log
from streams.metrics import Metrics
from streams.worker.assignment import TaskManager

PATIENCE_CHECKS = 5
"""Checks in a row that a partition may stand still while others are delivered."""


class Watchdog:
    """Compares the positions with the ends of the log and measures the lag.

    Args:
        idle: whether nothing keeps a partition from being read further.
        delivered: number of records delivered so far, of all partitions.
    """

    def __init__(
        self,
        tasks: TaskManager,
        log: Log,
        idle: Callable[[TopicPartition], bool],
        delivered: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._tasks, self._log, self._idle, self._delivered, self._metrics = tasks, log, idle, delivered, metrics
        self._before = 0
        self._still: dict[TopicPartition, tuple[int, int]] = {}  # expected offset, checks since it moved

    async def check(self) -> None:
        """Read a partition whose log has more, but whose delivery has brought nothing since the last check.

        While other partitions' records are delivered, its turn may just not have come, so it is given more time.

        Raises:
            TakeOverError: a position lies beyond the end of the log.
        """
        before, self._before = self._before, self._delivered()
        tasks = [task for task in self._tasks if task.ready.is_set()]
        # Positions move on while the ends are asked for.
        watched = [(task, cursor, cursor.position) for task in tasks for cursor in task.cursors.values()]
        if not watched:
            return
        ends = await self._log.ends([cursor.partition for _, cursor, _ in watched])
        patience = PATIENCE_CHECKS if self._delivered() > before else 1
        for task, cursor, position in watched:
            partition, end = cursor.partition, ends[cursor.partition]
            if end < position:
                where = f"{partition.topic}-{partition.partition}"
                raise TakeOverError.beyond_end(where, position, end)
            self._metrics.lag(partition.topic, partition.partition, max(0, end - cursor.position))
            expected, checks = self._still.get(partition, (-1, 0))
            checks = checks + 1 if expected == cursor.expected else 0
            if end > cursor.expected and checks >= patience and self._idle(partition):
                self._metrics.watchdog_reads.inc()
                task.read_to(partition, end)
            self._still[partition] = cursor.expected, checks
