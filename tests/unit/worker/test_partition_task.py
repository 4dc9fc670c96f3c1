"""A partition task across rebalances."""

from __future__ import annotations

import asyncio

from streams.settings import Settings
from streams.worker.partition_task import PartitionTask
from tests.support.silent_model import SilentModel
from tests.support.world import Process, Shop


async def test_an_idle_task_that_is_revoked_and_assigned_again_checks_its_state() -> None:
    process = Process(Shop())
    await process.take_over("shoppers-0")
    task = process.tasks["shoppers-0"]
    looked: list[bool] = []
    overtaken = task.overtaken
    task.overtaken = lambda: looked.append(True) or overtaken()  # type: ignore[method-assign, func-returns-value]
    running = asyncio.create_task(task.run())
    try:
        for times in (1, 2, 3):
            await asyncio.wait_for(task.ready.wait(), 5)
            await asyncio.sleep(0.05)  # nothing arrives
            assert len(looked) == times
            task.on_revoked()
            assert not task.ready.is_set()
            if times == 1:
                await asyncio.sleep(0.01)
            task.on_assigned()  # the second time at once: before the task has had its turn
    finally:
        running.cancel()
        await process.die()


async def _with_many_dirty_rows(shop: Shop, publish_bytes_per_s: int) -> Process:
    process = Process(shop, settings=Settings(publish_bytes_per_s=publish_bytes_per_s))
    await process.take_over_all()
    for number in range(60):
        for place in range(4):
            shop.click(f"user {number}", f"item {4 * number + place}", 10.0 * number + place)
    await process.read_on()
    for name in ("shoppers-0", "shoppers-1"):
        await process.tasks[name].flush()
    for name in ("items-0", "items-1"):
        task = process.tasks[name]
        cursor = next(iter(task.cursors.values()))
        cursor.expect((await shop.log.ends([cursor.partition]))[cursor.partition])
        await process.work(name)
    return process


async def _slowly_flushing(process: Process) -> tuple[PartitionTask, asyncio.Task[None]]:
    """One of its neighbour tasks, while it publishes rows."""
    task = process.tasks["items-0"]
    flush = asyncio.create_task(task.flush())
    await asyncio.sleep(0.05)
    assert not flush.done()
    return task, flush


async def test_a_flush_under_way_ends_when_its_state_is_given_up() -> None:
    """A paused worker wakes while it publishes rows, and another owner has gone further meanwhile."""
    shop = Shop()
    sleeper = await _with_many_dirty_rows(shop, 10_000)
    task, flush = await _slowly_flushing(sleeper)
    for number in range(60):
        shop.click(f"user {number}", "item 0", 700.0)
    other = Process(shop)
    await other.take_over_all()
    await other.complete()
    published = len(shop.log.records("neighbours", 0))
    task.on_revoked()
    task.on_assigned()
    await asyncio.wait_for(task._hold_state(), 5)
    await asyncio.wait_for(flush, 5)
    assert task.positions() == other.tasks["items-0"].positions()
    assert len(shop.log.records("neighbours", 0)) <= published + 25  # a slice at most
    await task.flush()
    assert not sleeper.failures
    for process in (sleeper, other):
        await process.die()


async def test_rows_do_not_delay_a_rebalance_and_are_published_by_the_next_owner() -> None:
    shop = Shop()
    leaver = await _with_many_dirty_rows(shop, 10_000)
    task, flush = await _slowly_flushing(leaver)
    task.on_revoked()
    await asyncio.wait_for(task.flush(last=True), 5)
    await asyncio.wait_for(flush, 5)
    await leaver.die()
    heir = Process(shop)
    await heir.take_over_all()
    await heir.complete()
    assert len(shop.rows()) == 240
    await heir.die()


async def test_no_batch_is_larger_than_the_model_allows() -> None:
    shop = Shop()
    process = Process(shop)
    await process.take_over_all()
    process.context.batcher.predictor = slow = SilentModel("slow", inline_limit=3, max_batch=3)
    shop.offer("kettle", "Kettles", 30.0)
    for number in range(40):
        shop.click(f"user {number}", "kettle", float(number))
    await process.read_on()
    assert sum(asked for asked, _ in slow.asked) == 40
    assert max(asked for asked, _ in slow.asked) == 3
    await process.die()
