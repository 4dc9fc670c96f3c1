"""Shoppers' histories on an in-memory log: whatever dies, repeats or comes late, the published rows are the same."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.sessions.histories import HistoryConfig
from streams.settings import Settings
from streams.wire.history_rows import decode_history
from streams.worker.id_sweep import IdSweep
from streams.worker.shopper_task import ShopperTask
from tests.support.world import PARTITIONS, Process, Shop

USERS = ["ann", "bob", "cat", "dan"]
GOODS = ["kettle", "mug", "tea", "pot", "tray"]
AT_MS = 1_699_990_000_000

Event = tuple[str, str, list[str], float]

baskets = st.lists(st.sampled_from(GOODS), min_size=1, max_size=3, unique=True)
times = st.floats(0, 5_000).map(lambda at_s: round(at_s, 3))


def events(*actions: str) -> st.SearchStrategy[list[Event]]:
    return st.lists(
        st.tuples(st.sampled_from(["buy", "buy", "again", *actions]), st.sampled_from(USERS), baskets, times),
        min_size=1,
        max_size=40,
    )


faults = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "flush", "flush", "kill", "zombie", "move", "read on"]),
        st.integers(0, 40),
        st.integers(1, 9),
    ),
    max_size=25,
)


def happen(shop: Shop, number: int, history: list[Event]) -> None:
    """One event; `again` sends the shopper's last purchase once more."""
    what, user, items, at_s = history[number]
    if what == "again":
        before = [n for n in range(number) if history[n][:2] == ("buy", user)]
        if not before:
            return
        number = before[-1]
        what, user, items, at_s = history[number]
    if what == "buy":
        shop.buy(user, items, at_s, f"order-{number}")
    else:
        refused = any(history[n][:2] == ("refuse", user) for n in range(number + 1))  # and never consents again
        wish = {"forget": what == "forget", "consent": not refused}
        shop.publish("profiles", user, {"v": 1, "user_id": user, "at": AT_MS + round(at_s * 1000), **wish})


def started(shop: Shop, most_items: int, flush_bytes: int) -> Process:
    config = HistoryConfig(most_items=most_items, fast_s=1_000.0, slow_s=3_000.0, flush_bytes=flush_bytes)
    return Process(shop, settings=Settings(histories=config))


def shopper_tasks(process: Process) -> list[ShopperTask]:
    return [task for task in process.tasks.values() if isinstance(task, ShopperTask)]


async def complete(process: Process) -> None:
    """Until all rows are published, and those that a late owner wrote over are published again."""
    for _ in range(2):
        process.shop.now_ms += 61_000
        await process.complete()
        while any(task.histories.next_changed() is not None for task in shopper_tasks(process)):
            await process.flush()


async def deliver(process: Process, at: int, length: int) -> None:
    """Bring the purchases of some offsets to the task of a partition."""
    number = at % PARTITIONS
    if batch := [r for r in process.shop.log.records("purchases", number) if at <= r.offset < at + length]:
        process.tasks[f"shoppers-{number}"].offer(batch)
        await process.work(f"shoppers-{number}")


def sweep(process: Process) -> None:
    """Free all ids that nobody refers to."""
    swept = IdSweep(process.context, process.tasks.values, least=0)
    while swept.step():
        pass


async def undisturbed(history: list[Event], most_items: int) -> dict[str, Any]:
    shop = Shop()
    for number in range(len(history)):
        happen(shop, number, history)
    process = started(shop, most_items, 1 << 20)
    await process.take_over_all()
    await complete(process)
    await process.die()
    return shop.histories()


async def disturbed(history: list[Event], steps: list[tuple[str, int, int]], most_items: int) -> Shop:
    shop, dead = Shop(), list[Process]()
    process = started(shop, most_items, 1)  # one row a flush
    await process.take_over_all()
    told = iter(range(len(history)))
    for what, at, length in steps:
        for _, number in zip(range(length), told, strict=False):
            happen(shop, number, history)
        if what == "deliver":
            await deliver(process, at, length)
        elif what == "flush":
            await process.flush()
        elif what == "read on":
            await process.read_on()
        elif what == "kill":
            dead.append(process)
            process = started(shop, most_items, 1)
            await process.take_over_all()
        elif what == "zombie" and dead:
            await dead[at % len(dead)].read_on()
            await dead[at % len(dead)].flush()
        elif what == "move":
            name, before = f"shoppers-{at % PARTITIONS}", process
            process = started(shop, most_items, 1)
            await process.take_over(name)
            dead.append(before)
            await process.take_over(*(other for other in before.tasks if other != name))
        sweep(process)
    for number in told:
        happen(shop, number, history)
    await complete(process)
    for each in [process, *dead]:
        assert not each.failures
        await each.die()
    return shop


@given(events(), faults, st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_histories_are_the_same_whatever_happens(
    history: list[Event], steps: list[tuple[str, int, int]], most_items: int
) -> None:
    shop = asyncio.run(disturbed(history, steps, most_items))
    assert shop.histories() == asyncio.run(undisturbed(history, most_items))


@given(events("forget", "refuse"), faults)
@settings(max_examples=100, deadline=None)
def test_what_is_forgotten_or_refused_is_in_no_history_and_the_rest_is(
    history: list[Event], steps: list[tuple[str, int, int]]
) -> None:
    shop = asyncio.run(disturbed(history, steps, len(GOODS)))
    rows = shop.histories()
    assert rows == asyncio.run(undisturbed(history, len(GOODS)))
    for user in USERS:
        wishes = [(what, at_s) for what, of, _, at_s in history if of == user and what in ("forget", "refuse")]
        before = max((float("inf") if what == "refuse" else at_s for what, at_s in wishes), default=-1.0)
        bought = [(items, at_s) for what, of, items, at_s in history if (what, of) == ("buy", user) and at_s > before]
        assert rows.get(user, {"baskets": (0,)})["baskets"][0] == len(bought)


def test_a_take_over_reads_no_more_purchases_than_memory_and_what_is_unpublished() -> None:
    async def scenario() -> None:
        shop = Shop()
        first = started(shop, 9, 1 << 20)
        await first.take_over_all()
        for day in range(60):
            shop.now_ms += 86_400_000
            shop.buy("ann", ["mug"], 86_400 * day, f"order-{day}")
            await first.read_on()
            if day != 59:
                await first.flush()
        await first.die()
        second = started(shop, 9, 1 << 20)
        await second.take_over_all()
        replayed = second.context.metrics.registry.get_sample_value("crosscurrent_replayed_total")
        assert replayed is not None
        assert 30 <= replayed <= 36  # days of memory
        (row,) = (task.histories.of("ann") for task in shopper_tasks(second) if len(task.histories))
        assert row.baskets == 59
        await complete(second)
        assert shop.histories()["ann"]["baskets"][0] == 60
        await second.die()

    asyncio.run(scenario())


def test_unpublished_purchases_from_before_memory_are_read_again_with_their_repeats() -> None:
    async def scenario() -> None:
        shop = Shop()
        first = started(shop, 9, 1)
        await first.take_over_all()
        shop.buy("ann", ["mug"], 0, "first")
        shop.now_ms += 20 * 86_400_000
        for user in USERS:
            shop.buy(user, ["tea"], 1, "second")
        shop.buy("ann", ["mug"], 0, "first")
        shop.now_ms += 30 * 86_400_000
        shop.buy("bob", ["pot"], 50 * 86_400, "third")
        await first.read_on()
        await first.flush()  # a row of each partition
        await first.die()
        second = started(shop, 9, 1)
        await second.take_over_all()
        await complete(second)
        rows = shop.histories()
        assert {user: row["baskets"][0] for user, row in rows.items()} == {"ann": 2, "bob": 2, "cat": 1, "dan": 1}
        await second.die()

    asyncio.run(scenario())


def test_a_row_that_a_late_owner_writes_over_a_newer_one_or_a_tombstone_is_corrected() -> None:
    async def scenario() -> None:
        shop = Shop()
        process = started(shop, 9, 1 << 20)
        await process.take_over_all()
        for user in ("ann", "bob"):
            shop.buy(user, ["mug"], 1, "first")
        await complete(process)
        old = {r.key: r for p in range(PARTITIONS) for r in shop.log.records("histories", p)}
        shop.buy("ann", ["tea"], 2, "second")
        shop.publish("profiles", "bob", {"v": 1, "user_id": "bob", "at": AT_MS + 5_000, "forget": True})
        await complete(process)
        right = shop.histories()
        assert set(right) == {"ann"}
        for record in old.values():
            shop.log.append("histories", record.partition, record.key, record.value)
        assert shop.histories() != right
        await complete(process)
        assert shop.histories() == right
        rows = [r for p in range(PARTITIONS) for r in shop.log.records("histories", p)]
        assert [r.value for r in rows if r.key == b"bob"][-1] is None
        assert decode_history([r for r in rows if r.key == b"ann"][-1]).row.history.baskets == 2
        await process.die()

    asyncio.run(scenario())
