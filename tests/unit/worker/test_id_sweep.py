"""Indices of made-up ids are given again, and nobody who still uses one notices."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from models.cooccurrence.config import CoOccurrenceConfig
from models.sessions.visits import VisitConfig
from models.shop.items import Items
from streams.settings import Settings
from streams.worker.id_sweep import IdSweep
from streams.worker.neighbour_task import NeighbourTask
from streams.worker.shopper_task import ShopperTask
from tests.support.world import Process, Shop

KNOWN = [f"item-{n}" for n in range(12)]
SETTINGS = Settings(cooccurrence=CoOccurrenceConfig(unknown_items=20), visits=VisitConfig(items=3))


def shop() -> Shop:
    made = Shop()
    for n, item in enumerate(KNOWN):
        made.offer(item, f"Shop/{n % 3}", 10.0 + n)
    return made


def good_events(made: Shop, turn: int) -> None:
    for n in range(20):
        made.click(f"ann-{n % 3}", KNOWN[(turn + n) % 12], 100 * turn + n)
    made.buy("ann-0", [KNOWN[turn % 12], KNOWN[(turn + 3) % 12]], 100 * turn + 30, f"order-{turn}")


async def started(made: Shop) -> Process:
    process = Process(made, settings=SETTINGS)
    await process.take_over_all()
    return process


def run(sweep: IdSweep) -> None:
    while sweep.step():
        pass


def indices_seen(process: Process) -> set[int]:
    """All indices that anybody of a worker could use."""
    context, found = process.context, set[int]()
    for task in process.tasks.values():
        if isinstance(task, ShopperTask):
            for user_id in task.visits.shoppers():
                found.update(task.visits.held(user_id))
            found.update(task.pending_items())
        elif isinstance(task, NeighbourTask):
            found.update(task.rows.held().tolist())
    for held in (context.tables.neighbours, context.tables.catalog, context.recommender):
        found.update(held.held().tolist())
    return found - {-1}


def items_of(suggestions: list[dict[str, Any]]) -> list[Any]:
    return [
        (one["user_id"], one["at"], [(item["item_id"], item["score"], item["reasons"]) for item in one["items"]])
        for one in suggestions
        if one["user_id"].startswith("ann")
    ]


def test_made_up_ids_leave_and_what_is_learnt_and_suggested_is_the_same() -> None:
    async def scenario() -> None:
        attacked, calm = shop(), shop()
        process, undisturbed = await started(attacked), await started(calm)
        sweep, used = IdSweep(process.context, process.tasks.values, least=50), []
        for turn in range(12):
            for n in range(150):
                attacked.click(f"robot-{n % 4}", f"id-{turn}-{n}", 100 * turn + n / 2)
            await process.read_on()
            await process.flush()
            for made, each in ((attacked, process), (calm, undisturbed)):
                made.now_ms = 1_700_000_100_000 + turn * 60_000
                good_events(made, turn)
                await each.complete()
            run(sweep)
            used.append(process.context.items.used)
            names = [process.context.items.name(index) for index in indices_seen(process)]
            assert len(set(names)) == len(names)  # every index in use has a name, and of no other
        assert max(used) < 500 < 12 * 150
        rows = {item: row for item, row in attacked.rows().items() if item in KNOWN}
        assert rows == calm.rows()
        assert items_of(attacked.values("suggestions")) == items_of(calm.values("suggestions"))
        for each in (process, undisturbed):
            assert not each.failures
            await each.die()

    asyncio.run(scenario())


def test_nothing_is_freed_while_a_thread_or_a_flush_keeps_indices() -> None:
    async def scenario() -> None:
        made = shop()
        process = await started(made)
        await process.complete()
        items = process.context.items
        sweep = IdSweep(process.context, process.tasks.values, least=0)
        with items.kept():
            items.index("nobody has it")
            run(sweep)
            assert items.find("nobody has it") >= 0
        run(sweep)
        run(sweep)
        assert items.find("nobody has it") == -1
        assert items.used == len(KNOWN)
        await process.die()

    asyncio.run(scenario())


def test_a_freed_index_is_given_again_and_what_came_meanwhile_stays() -> None:
    items = Items()
    for name in ("kettle", "mug", "tea"):
        items.index(name)
    items.begin()
    items.mark(np.array([-1, 2]))
    assert items.index("pot") == 3
    assert items.free().tolist() == [0, 1]
    assert (items.used, len(items)) == (2, 4)
    assert [items.index(name) for name in ("tray", "cup", "jug")] == [0, 1, 4]
    assert items.name(0) == "tray"
    assert int(items.order[0, 0]) == int.from_bytes(b"tray".ljust(8, b"\0"), "big")
