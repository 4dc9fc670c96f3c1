"""Shoppers' histories in a worker: what is published, adopted, refused and dropped, one case at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from models.sessions.histories import HistoryConfig
from models.shop.policy import Policy
from streams.errors import TakeOverError
from streams.settings import Settings
from streams.wire.backfill import NAME
from streams.wire.checkpoints import decode_progress, encode_progress
from streams.wire.history_rows import PublishedHistory, decode_history, encode_history
from streams.wire.partitioner import partition_of
from streams.worker.shopper_task import ShopperTask
from tests.support.world import PARTITIONS, Process, Shop

PARTITION = partition_of(b"ann", PARTITIONS)
AT_MS = 1_699_990_000_000


async def started(shop: Shop, **config: Any) -> Process:
    process = Process(shop, Policy(), Settings(histories=HistoryConfig(**config)))
    await process.take_over_all()
    return process


def task_of(process: Process) -> ShopperTask:
    task = process.tasks[f"shoppers-{PARTITION}"]
    assert isinstance(task, ShopperTask)
    return task


def count(process: Process, metric: str, **labels: str) -> float:
    return process.context.metrics.registry.get_sample_value(f"crosscurrent_{metric}", labels) or 0.0


async def published_once(shop: Shop) -> PublishedHistory:
    """A worker learns one purchase of ann, publishes her row, and dies."""
    shop.buy("ann", ["kettle", "mug"], 1, "first")
    process = await started(shop)
    await process.complete()
    await process.die()
    (record,) = shop.log.records("histories", PARTITION)
    return decode_history(record)


def test_one_row_is_published_a_flush_for_all_purchases_since_the_last() -> None:
    async def scenario() -> None:
        shop = Shop()
        process = await started(shop)
        for turn in range(3):
            for n in range(4):
                shop.buy("ann", ["mug"], 10 * turn + n, f"{turn}-{n}")
            await process.read_on()
            await process.flush()
        records = shop.log.records("histories", PARTITION)
        assert [decode_history(record).row.history.baskets for record in records] == [4, 8, 12]
        assert count(process, "histories_published_total") == 3
        assert count(process, "histories_bytes_total") == sum(len(record.value or b"") for record in records)
        await process.die()

    asyncio.run(scenario())


def test_a_flush_publishes_no_more_than_its_bytes_and_the_checkpoint_says_so() -> None:
    async def scenario() -> None:
        shop = Shop()
        users = [user for user in (f"user {n}" for n in range(40)) if partition_of(user.encode(), PARTITIONS) == 0]
        for user in users:
            shop.buy(user, ["mug"], 1, "first")
        process = await started(shop, flush_bytes=600)
        await process.read_on()
        recorded = []
        while process.tasks["shoppers-0"].histories.next_changed() is not None:  # type: ignore[attr-defined]
            sent = len(shop.log.records("histories", 0))
            await process.flush()
            records = shop.log.records("histories", 0)[sent:]
            assert sum(len(record.value or b"") for record in records[:-1]) < 600
            progress = [decode_progress(r) for r in shop.log.records("progress", 0) if r.key == b"shoppers-0"][-1]
            recorded.append(progress.histories)
            assert progress.histories == sent + len(records)
        assert len(recorded) > 3
        assert recorded[-1] == len(users)
        assert [(record.key or b"").decode() for record in shop.log.records("histories", 0)] == users
        await process.die()

    asyncio.run(scenario())


def test_backfilled_purchases_are_learnt_and_repeats_are_not() -> None:
    async def scenario() -> None:
        shop = Shop()
        shop.buy("ann", ["mug"], 1, "first")
        shop.mark(((NAME, b"1"),))
        shop.buy("ann", ["mug"], 1, "first")
        process = await started(shop)
        await process.complete()
        assert task_of(process).histories.of("ann").baskets == 1
        await process.die()

    asyncio.run(scenario())


def test_a_checkpoint_from_before_histories_makes_the_worker_learn_all_that_the_log_has() -> None:
    async def scenario() -> None:
        shop = Shop()
        for day in range(50):  # beyond the memory of visits
            shop.now_ms += 86_400_000
            shop.buy("ann", ["mug"], 86_400 * day, f"order-{day}")
        first = await started(shop)
        await first.complete()
        await first.die()
        for topic in ("progress", "histories"):
            for p in range(PARTITIONS):
                records = shop.log._records[TopicPartition(topic, p)]
                before = [r for r in records if topic == "progress" and b'"histories"' in (r.value or b"")]
                records.clear()
                if before:
                    old = msgspec.structs.replace(decode_progress(before[-1]), histories=0)
                    shop.log.append(topic, p, *encode_progress(old))
        second = await started(shop)
        assert task_of(second).histories.of("ann").baskets == 50
        await second.complete()
        assert shop.histories()["ann"]["baskets"][0] == 50
        await second.die()

    asyncio.run(scenario())


@pytest.mark.parametrize("changed", [{"topic_id": "another"}, {"partitions": 3}])
def test_rows_of_another_topic_of_purchases_stop_the_take_over(changed: dict[str, Any]) -> None:
    async def scenario() -> None:
        shop = Shop()
        row, purchases = await published_once(shop)
        shop.log.append("histories", PARTITION, b"ann", encode_history(row, replace(purchases, **changed)))
        with pytest.raises(TakeOverError, match="purchases is not the one whose positions are in `histories`"):
            await started(shop)

    asyncio.run(scenario())


def test_a_row_that_includes_purchases_beyond_the_end_is_passed_over_and_replaced() -> None:
    async def scenario() -> None:
        shop = Shop()
        row, purchases = await published_once(shop)
        forged = row._replace(history=row.history._replace(position=2, baskets=9))
        shop.log.append("histories", PARTITION, b"ann", encode_history(forged, purchases))
        process = await started(shop)
        assert count(process, "mirror_unusable_total", topic="histories") == 1
        shop.buy("ann", ["mug"], 2, "second")
        await process.complete()
        assert shop.histories()["ann"]["baskets"][0] == 2
        await process.die()

    asyncio.run(scenario())


@pytest.mark.parametrize(("order", "baskets"), [("bad tombstone row", 1), ("row bad tombstone", 0), ("row bad row", 1)])
def test_of_records_that_are_adopted_together_the_last_good_one_counts(order: str, baskets: int) -> None:
    async def scenario() -> None:
        shop = Shop()
        row, purchases = await published_once(shop)
        values = {"row": encode_history(row, purchases), "tombstone": None, "bad": b"{}"}
        for name in order.split():
            shop.log.append("histories", PARTITION, b"ann", values[name])
        process = await started(shop)
        assert task_of(process).histories.of("ann").baskets == baskets
        assert count(process, "mirror_unusable_total", topic="histories") == 1
        await process.die()

    asyncio.run(scenario())


def test_a_row_of_the_far_future_is_passed_over() -> None:
    async def scenario() -> None:
        shop = Shop()
        row, purchases = await published_once(shop)
        ahead = row._replace(history=row.history._replace(last=shop.now_ms / 1000 + 2 * 86_400))
        shop.log.append("histories", PARTITION, b"ann", encode_history(ahead, purchases))
        process = await started(shop)
        assert count(process, "mirror_unusable_total", topic="histories") == 1
        assert task_of(process).histories.of("ann").last < shop.now_ms / 1000
        await process.die()

    asyncio.run(scenario())


@pytest.mark.parametrize("wish", [{"forget": True}, {"consent": False}])
def test_a_row_that_a_late_owner_leaves_of_a_forgotten_shopper_is_not_adopted(wish: dict[str, bool]) -> None:
    async def scenario() -> None:
        shop = Shop()
        row, purchases = await published_once(shop)
        process = await started(shop)
        shop.publish("profiles", "ann", {"v": 1, "user_id": "ann", "at": AT_MS + 5_000, **wish})
        await process.complete()
        await process.die()
        assert shop.histories() == {}
        shop.log.append("histories", PARTITION, b"ann", encode_history(row, purchases))
        second = await started(shop)
        assert len(task_of(second).histories) == 0
        await second.complete()
        assert shop.histories() == {}
        await second.die()

    asyncio.run(scenario())


def test_a_shopper_whom_another_task_forgets_is_forgotten_here() -> None:
    async def scenario() -> None:
        shop = Shop()
        shop.buy("ann", ["mug"], 1, "first")
        shop.buy("ann", ["tea"], 9, "second")
        process = await started(shop)
        await process.complete()
        value = {"v": 1, "user_id": "ann", "before": AT_MS / 1000 + 5}
        shop.publish("forgotten", "ann", value)
        await process.complete()
        assert set(shop.histories()["ann"]["items"]) == {"tea"}
        await process.die()

    asyncio.run(scenario())


def test_shoppers_beyond_the_bound_are_dropped_with_tombstones() -> None:
    async def scenario() -> None:
        shop = Shop()
        process = await started(shop, most_shoppers=8 * PARTITIONS)
        users = [user for user in (f"user {n}" for n in range(40)) if partition_of(user.encode(), PARTITIONS) == 0]
        for at_s, user in enumerate(users[:10]):
            shop.buy(user, ["mug"], at_s, "first")
            await process.read_on()
            await process.flush()
        await process.complete()
        assert set(shop.histories()) == set(users[2:10])
        assert count(process, "histories_dropped_total") == 2
        assert {r.key for r in shop.log.records("histories", 0) if r.value is None} == {u.encode() for u in users[:2]}
        await process.die()

    asyncio.run(scenario())
