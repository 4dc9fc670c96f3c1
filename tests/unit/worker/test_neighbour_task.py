"""Rows of items that are in no catalogue: learnt for a while, bounded, dropped with a tombstone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from models.cooccurrence.config import CoOccurrenceConfig
from streams.settings import Settings
from streams.wire.partitioner import partition_of
from tests.support.world import PARTITIONS, Process, Shop

MOST = 20
SETTINGS = Settings(cooccurrence=CoOccurrenceConfig(unknown_items=MOST))

HELD = MOST + 2 * PARTITIONS
"""Rows of unknown items after a flush: an eighth, and one, more in each partition before any is dropped."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def shop_with_kettle_and_mug() -> Shop:
    shop = Shop()
    for item in ("kettle", "mug"):
        shop.offer(item, f"Kitchen/{item}", 10.0)
    return shop


async def started(shop: Shop) -> Process:
    process = Process(shop, settings=SETTINGS)
    await process.take_over_all()
    return process


def strangers(process: Process) -> list[str]:
    """Unknown items whose rows the global tables hold."""
    return [item for item in process.context.tables.neighbours if item.startswith("id-")]


def dropped(process: Process) -> float:
    value = process.context.metrics.registry.get_sample_value("crosscurrent_unknown_rows_dropped_total")
    assert value is not None
    return value


def test_a_flood_of_ids_leaves_few_rows_in_every_process_and_known_ones_as_they_were() -> None:
    async def scenario() -> None:
        shop, calm = shop_with_kettle_and_mug(), shop_with_kettle_and_mug()
        process, undisturbed = await started(shop), await started(calm)
        for turn in range(4):
            for n in range(100):
                shop.click(f"robot-{n % 9}", f"id-{turn}-{n}", turn * 100 + n)
            for each in (shop, calm):
                each.click("ann", "kettle", 10 * turn)
                each.click("ann", "mug", 10 * turn + 1)
            await process.complete()
            await undisturbed.complete()
            assert 0 < len(strangers(process)) <= HELD
        assert dropped(process) >= 400 - HELD
        assert {item: row for item, row in shop.rows().items() if item in ("kettle", "mug")} == calm.rows()
        assert len(shop.rows()) == 2 + len(strangers(process))  # the log says the same as the tables
        await process.die()
        successor = await started(shop)
        assert strangers(successor) == strangers(process)
        await successor.complete()
        assert strangers(successor) == strangers(process)
        await successor.die()
        await undisturbed.die()

    run(scenario())


def test_an_item_that_comes_into_the_catalogue_keeps_what_was_learnt_of_it_before() -> None:
    async def scenario() -> None:
        shop = shop_with_kettle_and_mug()
        process = await started(shop)
        for n in range(3):
            shop.click(f"user-{n}", "new", n)
            shop.click(f"user-{n}", "kettle", n + 1)
        await process.complete()
        for n in range(200):
            shop.click("robot", f"id-{n}", 5_000 + n)
        await process.complete()
        shop.offer("new", "Kitchen/New", 5.0)
        await process.complete()
        for n in range(200):
            shop.click("robot", f"id-{200 + n}", 5_300 + n)
        await process.complete()
        assert shop.rows()["new"]["own_count"] == (3, 0)
        await process.die()

    run(scenario())


def test_rows_of_unknown_items_go_after_a_week_of_event_time_and_may_come_again() -> None:
    async def scenario() -> None:
        shop = shop_with_kettle_and_mug()
        process = await started(shop)
        shop.click("ann", "id-1", 0)
        shop.click("ann", "kettle", 1)
        await process.complete()
        assert strangers(process) == ["id-1"]
        shop.now_ms += 8 * 86_400_000
        shop.click("bob", "kettle", 8 * 86_400)
        await process.complete()
        await process.complete()
        assert strangers(process) == []
        assert (shop.rows()["kettle"]["own_count"], dropped(process)) == ((2, 0), 1)
        shop.click("cat", "id-1", 8 * 86_400)
        await process.complete()
        assert shop.rows()["id-1"]["own_count"] == (1, 0)
        await process.die()

    run(scenario())


def test_a_row_that_a_late_owner_removes_is_published_again() -> None:
    async def scenario() -> None:
        shop = shop_with_kettle_and_mug()
        process = await started(shop)
        shop.click("ann", "kettle", 0)
        await process.complete()
        before = shop.rows()
        shop.log.append("neighbours", partition_of(b"kettle", PARTITIONS), b"kettle", None)
        assert shop.rows() == {}
        await process.complete()
        assert shop.rows() == before
        await process.die()

    run(scenario())


def test_a_catalogue_that_is_being_published_again_costs_no_row_within_an_hour() -> None:
    async def scenario() -> None:
        shop = shop_with_kettle_and_mug()
        for n in range(100):
            shop.offer(f"id-{n}", "Kitchen/Mugs", 1.0)
        process = await started(shop)
        for n in range(100):
            shop.click(f"user-{n}", f"id-{n}", n)
        await process.complete()
        await process.die()
        for n in range(100):
            shop.publish("catalog", f"id-{n}", None)
        successor = await started(shop)
        shop.click("ann", "kettle", 3_000)
        await successor.complete()
        assert len(strangers(successor)) == 100
        for n in range(10):
            shop.click(f"late-{n}", f"id-{n}", 3_800)
        await successor.complete()
        await successor.complete()
        assert len(strangers(successor)) <= HELD
        await successor.die()

    run(scenario())
