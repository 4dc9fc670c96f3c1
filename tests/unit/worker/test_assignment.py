"""All lanes of a process: by turns, and what becomes of a flush that hangs or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from streams.worker.assignment import TaskManager
from streams.worker.catalog_task import CatalogTask
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask
from tests.support.world import PARTITIONS, Process, Shop

INTERVAL_S = 0.2
NUMBERS = range(PARTITIONS)


class _Noted(CatalogTask):
    """A lane that notes when it was to be flushed."""

    def __init__(self, name: str, partitions: Sequence[TopicPartition], context: WorkerContext) -> None:
        super().__init__(name, partitions, context)
        self.flushed_at: list[float] = []
        self.hangs = False
        self.error: Exception | None = None
        self.cancelled = False

    async def flush(self, *, last: bool = False) -> None:
        self.flushed_at.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error
        try:
            await asyncio.sleep(3600 if self.hangs else 0)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def _tasks(failures: list[BaseException]) -> tuple[TaskManager, list[_Noted]]:
    """Lanes of two partitions, owned, whose tasks do nothing."""
    process, made = Process(Shop()), []

    def make(maker: object, name: str, members: Sequence[TopicPartition]) -> PartitionTask:
        made.append(_Noted(name, members, process.context))
        return made[-1]

    tasks = TaskManager(
        {"catalog": ("catalog", ["catalog"], CatalogTask)},
        make,
        process.producer,
        revoke_flush_s=1.0,
        on_failure=failures.append,
    )
    tasks.on_assigned({TopicPartition("catalog", number) for number in NUMBERS})
    return tasks, made


async def test_each_lane_publishes_once_in_an_interval_and_not_all_at_once() -> None:
    tasks, (first, second) = _tasks([])
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(5.2 * INTERVAL_S)
    flushing.cancel()
    await tasks.close()
    assert 3 <= len(first.flushed_at) <= 6
    assert abs(len(first.flushed_at) - len(second.flushed_at)) <= 1
    times = sorted(first.flushed_at + second.flushed_at)
    assert min(later - at for at, later in zip(times, times[1:], strict=False)) > 0.25 * INTERVAL_S


async def test_a_flush_that_hangs_holds_up_no_other_and_ends_with_all() -> None:
    tasks, (first, second) = _tasks([])
    first.hangs = True
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(3.2 * INTERVAL_S)
    assert len(second.flushed_at) >= 2
    flushing.cancel()
    await asyncio.wait([flushing])
    await asyncio.sleep(0)
    assert first.cancelled
    await tasks.close()


async def test_a_flush_that_fails_is_told() -> None:
    failures: list[BaseException] = []
    tasks, (first, _) = _tasks(failures)
    first.error = ValueError("a bug")
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(0.5 * INTERVAL_S)
    flushing.cancel()
    await tasks.close()
    assert failures[:1] == [first.error]


async def test_a_lane_that_is_taken_away_is_flushed_no_more() -> None:
    tasks, (first, second) = _tasks([])
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(0.1 * INTERVAL_S)
    tasks.on_assigned({TopicPartition("catalog", 0)})
    await asyncio.sleep(2 * INTERVAL_S)
    flushing.cancel()
    await tasks.close()
    assert len(first.flushed_at) >= 2
    assert not second.flushed_at
