"""The tasks of a process are flushed in turns; a flush that hangs or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from aiokafka import TopicPartition

from streams.errors import BrokerError, TakeOverError, TopicsError
from streams.wire.topics import Identity
from streams.worker.assignment import TaskManager
from streams.worker.catalog_task import CatalogTask
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask, TaskKind
from streams.worker.service import TASK_KINDS
from tests.support.world import PARTITIONS, TOPICS, Process, Shop

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
        look_at_topics=lambda: process.context.identities,
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


def _topics(**partitions: int) -> dict[str, Identity]:
    """Topics as they are at the start, but for these partition counts."""
    return {topic: Identity(f"id-of-{topic}", partitions.get(topic, PARTITIONS)) for topic in TOPICS}


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (_topics, "a member of the group is no worker of this version"),
        (lambda: _topics(clicks=3), "clicks changed since this worker started; topics must not be deleted or get"),
        (TopicsError("topics are not as they must be: missing: purchases"), "missing: purchases; topics must not be"),
        (BrokerError("none"), "a member of the group is no worker of this version"),
    ],
)
async def test_partitions_that_come_apart_are_explained(
    look: Callable[[], dict[str, Identity]] | Exception, reason: str
) -> None:
    def look_at_topics() -> dict[str, Identity]:
        if isinstance(look, Exception):
            raise look
        return look()

    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    tasks = TaskManager(
        TASK_KINDS,
        Process(Shop()).context,
        revoke_flush_s=1.0,
        on_failure=failed.set_result,
        look_at_topics=look_at_topics,
    )
    for _ in range(2):  # the group may answer again meanwhile
        tasks.on_assigned({TopicPartition("clicks", 1), TopicPartition("pairs", 0)})
    error = await asyncio.wait_for(failed, 5)
    assert isinstance(error, TakeOverError)
    assert str(error).startswith("lane shoppers-1 got partitions of clicks only, and needs those of clicks, purchases")
    assert reason in str(error)
    await tasks.close()
