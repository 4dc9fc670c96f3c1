"""A partition task across rebalances."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from numpy.typing import NDArray

from streams.errors import TakeOverError
from streams.settings import Settings
from streams.wire.checkpoints import VERSION, Progress, TopicProgress, encode_progress
from streams.wire.pair_deltas import PairBatch
from streams.wire.partitioner import partition_of
from streams.worker import shopper_task
from streams.worker.partition_task import PartitionTask
from streams.worker.shopper_task import ShopperTask
from tests.support.silent_model import SilentModel
from tests.support.world import PARTITIONS, Process, Shop


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


async def test_pairs_are_flushed_before_there_are_too_many_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, waited, add = [], [], PairBatch.add_events

    def noted(batch: PairBatch, offsets: list[int], ats: list[float], ends: list[int], pairs: NDArray[Any]) -> None:
        add(batch, offsets, ats, ends, pairs)
        if not batch.source.startswith("joins"):  # joins that are ready are made together
            waited.append(len(batch))

    monkeypatch.setattr(PairBatch, "add_events", noted)
    for most in (1 << 40, 50):
        monkeypatch.setattr(shopper_task, "MOST_PAIRS", most)
        waited.clear()
        shop = Shop()
        process = Process(shop)
        await process.take_over_all()
        for number in range(60):
            shop.click(f"user {number % 2}", f"item {number % 9}", float(number))
            shop.buy(f"user {number % 2}", [f"item {n % 11}" for n in range(number, number + 5)], number, f"o {number}")
        await process.read_on()
        await process.complete()
        assert not process.failures
        rows.append(shop.rows())
        await process.die()
    assert rows[0] == rows[1]
    assert max(waited) <= 50 + 25


# -- where to go on ----------------------------------------------------------------------------------------------------

CLICKS = TopicPartition("clicks", 0)


USER = next(f"user {n}" for n in range(9) if partition_of(f"user {n}".encode(), PARTITIONS) == 0)
"""Of partition 0."""


def _clicked(events: int) -> Shop:
    """A shop with clicks in partition 0."""
    shop = Shop()
    for number in range(events):
        shop.click(USER, f"item {number}", float(number))
    return shop


async def _position_after(shop: Shop, commit: int) -> int:
    """Position of clicks-0 of the next worker, after the group has committed another."""
    shop.log.commits[CLICKS] = commit
    heir = Process(shop)
    await heir.take_over("shoppers-0")
    position = heir.tasks["shoppers-0"].cursors[CLICKS].position
    await heir.die()
    return position


@pytest.mark.parametrize("commit", [41, 60, 10**9])
async def test_a_foreign_commit_of_the_group_skips_no_event_and_is_said(
    commit: int, caplog: pytest.LogCaptureFixture
) -> None:
    shop = _clicked(40)
    first = Process(shop)
    await first.take_over_all()
    await first.complete()
    await first.die()
    for number in range(40, 80):
        shop.click(USER, f"item {number}", float(number))
    assert await _position_after(shop, commit) == 40
    [said] = [record for record in caplog.records if record.levelname == "WARNING" and "clicks-0" in record.message]
    assert "recorded in `progress` is 40" in said.message
    assert f"the group has committed {commit}" in said.message


@pytest.mark.parametrize(("commit", "position"), [(30, 30), (10**9, 40), (2, 5)])
async def test_the_groups_commit_decides_where_nothing_is_recorded_within_the_log(commit: int, position: int) -> None:
    shop = _clicked(40)
    shop.log.expire(CLICKS, 5)
    assert await _position_after(shop, commit) == position


async def test_a_recorded_position_beyond_the_end_refuses_the_start() -> None:
    shop = _clicked(3)
    identities = Process(shop).context.identities
    topic = TopicProgress(identities["clicks"].topic_id, PARTITIONS, 4)
    shop.log.append("progress", 0, *encode_progress(Progress(VERSION, "shoppers-0", {"clicks": topic})))
    with pytest.raises(
        TakeOverError, match=r"clicks-0 ends at offset 3, before the recorded position 4 \(in `progress`"
    ):
        await Process(shop).take_over("shoppers-0")


async def test_a_partition_that_is_dropped_gives_the_slots_of_its_shoppers_back() -> None:
    shop = Shop()
    process = Process(shop)
    await process.take_over_all()
    for number in range(20):
        shop.click(f"user {number}", "kettle", float(number))
    await process.read_on()
    looks, tasks = process.context.looks, [task for task in process.tasks.values() if isinstance(task, ShopperTask)]
    held = [task.visits.shoppers() for task in tasks]
    assert looks.new_slot() == sum(map(len, held)) == 20
    for task in tasks:
        task.dropped()
    assert {looks.new_slot() for _ in range(20)} == set(range(20))
    await process.die()
