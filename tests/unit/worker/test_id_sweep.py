"""Indices of made-up ids are given again, and nobody who still uses one notices."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition

from models.cooccurrence.config import CoOccurrenceConfig
from models.sessions.visits import VisitConfig
from models.shop.items import Items
from streams.settings import Settings
from streams.wire.checkpoints import Forgotten
from streams.worker import id_sweep, neighbour_task
from streams.worker.id_sweep import IdSweep
from streams.worker.neighbour_task import NeighbourTask
from streams.worker.shopper_task import ShopperTask
from tests.support.silent_model import SilentModel
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
            for slot in task.visits.shoppers().tolist():
                found.update(task.visits.held(slot))
            for user_id in task.histories.shoppers():
                found.update(task.histories.held(user_id).tolist())
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


async def sweep_on(process: Process) -> None:
    """Sweep without a pause, until cancelled."""
    sweep, items = IdSweep(process.context, process.tasks.values, least=0), process.context.items
    while True:
        items._left = 0  # the next one begins at once
        sweep.step()
        await asyncio.sleep(0)


async def eventful(seed: int, *, sweeping: bool) -> tuple[dict[str, dict[str, Any]], list[Any]]:
    """What is learnt and suggested while made-up ids come, tasks move, shoppers are forgotten and workers crash."""
    chance, made = random.Random(seed), shop()
    process = await started(made)
    sweeper = asyncio.create_task(sweep_on(process)) if sweeping else None
    for turn in range(5):
        process.context.batcher.predictor = chance.choice([None, SilentModel("silent", inline_limit=0)])
        made.now_ms = 1_700_000_100_000 + turn * 60_000
        for n in range(30):
            robot = f"robot-{chance.randrange(4)}"
            made.click(robot, f"id-{turn}-{chance.randrange(40)}", 100 * turn + n / 2)
            if n % 10 == 0:
                made.buy(robot, [f"id-{turn}-{chance.randrange(40)}" for _ in range(4)], 100 * turn + n, f"{turn}-{n}")
        good_events(made, turn)
        match chance.choice(["nothing", "a shopper is forgotten", "tasks move", "a crash"]):
            case "a shopper is forgotten":
                await process.read_on()
                process._forget(Forgotten(1, f"robot-{chance.randrange(4)}", 1e10))
            case "tasks move":
                for name in list(process.tasks):
                    process.tasks.pop(name).dropped()
                await process.take_over_all()
            case "a crash":
                if sweeper is not None:
                    sweeper.cancel()
                await process.die()
                process = Process(made, settings=SETTINGS)
                sweeper = asyncio.create_task(sweep_on(process)) if sweeping else None
                await process.take_over_all()
        await process.complete()
    if sweeper is not None:
        assert not sweeper.done()
        sweeper.cancel()
    assert not process.failures
    await process.die()
    return made.rows(), items_of(made.values("suggestions"))


@pytest.mark.parametrize("seed", range(4))
def test_sweeping_all_the_time_changes_nothing_whatever_happens_meanwhile(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_sweep, "SLICE", 1)
    monkeypatch.setattr(neighbour_task, "ADOPT_SLICE", 1)
    swept, undisturbed = (asyncio.run(eventful(seed, sweeping=sweeping)) for sweeping in (True, False))
    assert swept == undisturbed


def test_a_query_in_a_thread_keeps_its_items_and_holds_up_no_sweep() -> None:
    async def scenario() -> None:
        made = shop()
        process = await started(made)
        items, batcher = process.context.items, process.context.batcher
        batcher.predictor = model = SilentModel("slow", inline_limit=0)
        made.click("robot", "made up", 10.0)
        await process.context.table_reader.caught_up([])
        model.let.clear()
        task = next(task for name, task in process.tasks.items() if made.log.records("clicks", int(name[-1])))
        cursor = task.cursors[TopicPartition("clicks", task.partitions[0].partition)]
        cursor.expect(1)
        await cursor.fill()
        task.apply(task.next_run())
        assert isinstance(task, ShopperTask)
        task.visits.forget("robot", float("inf"))
        task._pairs = task._new_pairs()  # only the query has the index now
        batcher.flush()
        assert [batcher.busy] == [True]
        batcher.predictor = None
        items.index("nobody has it")
        sweep = IdSweep(process.context, process.tasks.values, least=0)
        run(sweep)
        assert (items.find("made up") >= 0, items.find("nobody has it")) == (True, -1)
        model.let.set()
        while batcher.busy:
            await asyncio.sleep(0.001)
        items._left = 0
        run(sweep)
        assert items.find("made up") == -1
        await process.die()

    asyncio.run(scenario())


def test_pairs_that_are_being_sent_keep_their_items_and_hold_up_no_sweep() -> None:
    async def scenario() -> None:
        made = shop()
        process = await started(made)
        items = process.context.items
        for n in range(20):
            made.click("robot", f"made up {n}", float(n))
        await process.read_on()
        for task in process.tasks.values():
            if isinstance(task, ShopperTask):
                task.visits.forget("robot", float("inf"))
        run(IdSweep(process.context, process.tasks.values, least=0))
        assert {f"made up {n}" for n in range(20)} <= {items.name(index) for index in range(len(items))}
        process.producer.bytes += 1 << 40  # nothing more may wait
        flush = asyncio.create_task(process.flush())
        for _ in range(5):
            await asyncio.sleep(0)
        items.index("nobody has it")
        items._left = 0
        run(IdSweep(process.context, process.tasks.values, least=0))
        assert items.find("nobody has it") == -1
        made.offer("new in the shop", "Shop/0", 1.0)
        await process.context.table_reader.caught_up([])
        process.producer.bytes -= 1 << 40
        moved, process.producer._moved = process.producer._moved, asyncio.Event()
        assert moved is not None
        moved.set()
        await flush
        learnt = {name for value in made.values("pairs") for name in value["items"]}
        assert learnt == {f"made up {n}" for n in range(20)}
        await process.die()

    asyncio.run(scenario())


def test_nothing_is_freed_while_a_thread_numbers_what_nobody_has_yet() -> None:
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


def test_an_item_of_ever_new_categories_brands_and_currencies_takes_no_memory() -> None:
    async def scenario() -> None:
        made = shop()
        process = await started(made)
        sweep, catalog, seen = IdSweep(process.context, process.tasks.values, least_words=20), [], []
        for turn in range(30):
            path = "/".join(f"{turn}-{n}" for n in range(16))
            made.offer("restless", path, 5.0, brand=f"brand {turn}", currency=f"c{turn}")
            made.click("ann", "item-1", turn)
            await process.complete()
            run(sweep)
            catalog.append(process.context.tables.catalog.words)
            seen.append({item["category"] for item in made.values("suggestions")[-1]["items"]} - {path})
        assert max(catalog) < 100 < 30 * 18
        assert all(categories <= {"Shop/0", "Shop/1", "Shop/2"} for categories in seen)
        assert not process.failures
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
