"""The tasks of a process are flushed in turns; a flush that hangs or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition

from streams.worker.assignment import TaskManager
from streams.worker.catalog_task import CatalogTask
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask, TaskKind
from tests.support.world import PARTITIONS, Process, Shop

INTERVAL_S = 0.2
NUMBERS = range(PARTITIONS)


class _Noted(CatalogTask):
    """A task that notes when it is flushed."""

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
    """Tasks of two partitions that do nothing."""
    process, made = Process(Shop()), []

    def make(name: str, members: Sequence[TopicPartition], context: WorkerContext) -> PartitionTask:
        made.append(_Noted(name, members, context))
        return made[-1]

    tasks = TaskManager(
        [TaskKind("catalog", ["catalog"], make)],
        process.context,
        revoke_flush_s=1.0,
        on_failure=failures.append,
    )
    tasks.on_assigned({TopicPartition("catalog", number) for number in NUMBERS})
    return tasks, made


async def test_each_task_is_flushed_once_in_an_interval_and_not_all_at_once() -> None:
    tasks, (first, second) = _tasks([])
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(3.2 * INTERVAL_S)
    flushing.cancel()
    await tasks.close()
    assert first.flushed_at == pytest.approx([INTERVAL_S * turn for turn in (0, 1, 2, 3)])
    assert second.flushed_at == pytest.approx([INTERVAL_S * (turn + 0.5) for turn in (0, 1, 2)])


async def test_a_flush_that_hangs_delays_no_other_and_is_cancelled() -> None:
    tasks, (first, second) = _tasks([])
    first.hangs = True
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(3.2 * INTERVAL_S)
    assert second.flushed_at == pytest.approx([INTERVAL_S * (turn + 0.5) for turn in (0, 1, 2)])
    flushing.cancel()
    await asyncio.wait([flushing])
    await asyncio.sleep(0)
    assert first.cancelled
    await tasks.close()


async def test_a_failed_flush_is_reported() -> None:
    failures: list[BaseException] = []
    tasks, (first, _) = _tasks(failures)
    first.error = ValueError("a bug")
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(0.5 * INTERVAL_S)
    flushing.cancel()
    await tasks.close()
    assert failures[:1] == [first.error]


async def test_a_revoked_task_is_flushed_no_more() -> None:
    tasks, (first, second) = _tasks([])
    flushing = asyncio.create_task(tasks.keep_flushing(INTERVAL_S))
    await asyncio.sleep(0.1 * INTERVAL_S)
    tasks.on_assigned({TopicPartition("catalog", 0)})
    await asyncio.sleep(2 * INTERVAL_S)
    flushing.cancel()
    await tasks.close()
    assert first.flushed_at == pytest.approx([INTERVAL_S * turn for turn in (0, 1, 2)])
    assert not second.flushed_at
