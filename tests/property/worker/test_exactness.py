"""The whole worker on an in-memory log: whatever dies, repeats or comes late, the published rows are the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cooccurrence.config import CoOccurrenceConfig
from models.shop.policy import Policy
from streams.settings import Settings
from streams.wire.partitioner import partition_of
from streams.worker.id_sweep import IdSweep
from tests.support.silent_model import SilentModel
from tests.support.world import PARTITIONS, Process, Shop

USERS = ["ann", "bob", "cat", "dan"]
GOODS = ["kettle", "mug", "tea", "pot", "tray"]
STRANGE = [f"strange-{n}" for n in range(9)]
"""In no catalogue."""

Event = tuple[str, str, str, float]


def events(goods: list[str]) -> st.SearchStrategy[list[Event]]:
    return st.lists(
        st.tuples(
            st.sampled_from(["view", "view", "add_to_cart", "remove_from_cart", "buy"]),
            st.sampled_from(USERS),
            st.sampled_from(goods),
            st.floats(0, 5000).map(lambda x: round(x, 3)),
        ),
        min_size=1,
        max_size=60,
    )


faults = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "flush", "kill", "zombie", "move", "read on"]),
        st.integers(0, 50),
        st.integers(1, 9),
    ),
    max_size=30,
)


def stage(shop: Shop) -> None:
    for n, item in enumerate(GOODS):
        shop.offer(item, f"House/{'AB'[n % 2]}", 10.0 + n)


def happen(shop: Shop, number: int, event: Event) -> None:
    what, user, item, at_s = event
    if what == "buy":
        goods = GOODS if item in GOODS else GOODS + STRANGE
        shop.buy(user, [item, goods[(goods.index(item) + number) % len(goods)]], at_s, f"order-{number}")
    else:
        shop.click(user, item, at_s, what, event_id=f"event-{number % 50}")


async def undisturbed(history: list[Event]) -> dict[str, Any]:
    shop = Shop()
    stage(shop)
    for number, event in enumerate(history):
        happen(shop, number, event)
    process = Process(shop)
    await process.take_over_all()
    await process.complete()
    await process.die()
    return shop.rows()


async def deliver(process: Process, at: int, length: int) -> None:
    """Bring the records of some offsets to the tasks of a partition."""
    for topic in ("clicks", "purchases", "pairs"):
        batch = [r for r in process.shop.log.records(topic, at % PARTITIONS) if at <= r.offset < at + length]
        task = process.tasks[f"{'items' if topic == 'pairs' else 'shoppers'}-{at % PARTITIONS}"]
        if batch:
            task.offer(batch)
            await process.work(task.name)


def sweep(process: Process) -> None:
    """Free all ids that nobody refers to."""
    swept = IdSweep(process.context, process.tasks.values, least=0)
    while swept.step():
        pass


async def disturbed(
    history: list[Event], steps: list[tuple[str, int, int]], unknown_items: int = 10_000
) -> tuple[dict[str, Any], Shop]:
    """Events and faults by turns, all suggestions being made beside the event loop."""
    shop = Shop()
    stage(shop)

    def started() -> Process:
        counting = Settings(cooccurrence=CoOccurrenceConfig(unknown_items=unknown_items))
        process = Process(shop, Policy(emit_empty=True, max_suggestion_age_s=0), counting)
        process.context.batcher.predictor = SilentModel("slow", inline_limit=0)
        return process

    process, dead = started(), list[Process]()

    await process.take_over_all()
    told = iter(enumerate(history))
    for what, at, length in steps:
        sweep(process)
        for number, event in [pair for _, pair in zip(range(length), told, strict=False)]:
            happen(shop, number, event)
        if what == "deliver":
            await deliver(process, at, length)
        elif what == "flush":
            await process.flush()
        elif what == "read on":
            await process.read_on()
        elif what == "kill":
            dead.append(process)
            process = started()
            await process.take_over_all()
        elif what == "zombie" and dead:
            await dead[at % len(dead)].read_on()  # a paused worker wakes, goes on and writes
            await dead[at % len(dead)].flush()
        elif what == "move":  # half-way: another process takes one task
            name = f"{'items' if at % 2 else 'shoppers'}-{length % PARTITIONS}"
            other = started()
            await other.take_over(name)
            dead.append(process)
            left = [n for n in process.tasks if n != name]
            process = other
            await process.take_over(*left)
    for number, event in told:
        happen(shop, number, event)
    await process.complete()
    sweep(process)
    await process.complete()
    for each in [process, *dead]:
        assert not each.failures
        await each.die()
    return shop.rows(), shop


@given(events([*GOODS, *STRANGE]), faults)
@settings(max_examples=60, deadline=None)
def test_dropping_rows_of_unknown_items_changes_no_row_of_a_known_one(
    history: list[Event], steps: list[tuple[str, int, int]]
) -> None:
    expected = asyncio.run(undisturbed(history))
    rows, _ = asyncio.run(disturbed(history, steps, unknown_items=2))
    assert {item: rows.get(item) for item in GOODS} == {item: expected.get(item) for item in GOODS}


@given(events(GOODS), faults)
@settings(max_examples=120, deadline=None)
def test_rows_are_the_same_whatever_happens(history: list[Event], steps: list[tuple[str, int, int]]) -> None:
    expected = asyncio.run(undisturbed(history))
    rows, shop = asyncio.run(disturbed(history, steps))
    assert rows == expected
    triggers = Counter(
        f"{topic}-{p}-{r.offset}" for topic in ("clicks", "purchases") for p in range(PARTITIONS)
        for r in shop.log.records(topic, p) if r.value and b"remove_from_cart" not in r.value
    )  # fmt: skip
    answered = {s["suggestion_id"] for s in shop.values("suggestions")}
    repeated = {k for k in triggers if k not in answered}
    assert len(repeated) <= max(0, len(history) - 50)  # only repeated event ids stay without a record


def test_records_that_expired_under_a_stopped_worker_are_counted_and_the_stream_goes_on() -> None:
    async def scenario() -> None:
        shop = Shop()
        stage(shop)
        first = Process(shop)
        await first.take_over_all()
        for n in range(40):
            shop.click(USERS[n % 4], GOODS[n % 5], n, event_id=f"e{n}")
        await first.complete()
        await first.die()
        for n in range(40, 80):
            shop.click(USERS[n % 4], GOODS[n % 5], n, event_id=f"e{n}")
        for p in range(PARTITIONS):
            tp = TopicPartition("clicks", p)
            shop.log.expire(tp, shop.log._ends[tp] - 3)
        second = Process(shop)
        await second.take_over_all()
        await second.complete()
        text = second.context.metrics.exposition().decode()
        gone = sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("crosscurrent_expired_total")
        )
        assert gone == 80 - 40 - 3 * PARTITIONS
        assert (
            second.tasks["shoppers-0"].positions()[TopicPartition("clicks", 0)]
            == shop.log._ends[TopicPartition("clicks", 0)]
        )
        await second.die()

    asyncio.run(scenario())


def test_a_forgotten_shopper_stays_forgotten_after_a_take_over_whatever_his_profile_says_later() -> None:
    async def scenario() -> None:
        shop = Shop()
        stage(shop)
        first = Process(shop)
        await first.take_over_all()
        shop.click("ann", "kettle", 10)
        shop.publish("profiles", "ann", {"v": 1, "user_id": "ann", "at": 1_699_990_000_000 + 100_000, "forget": True})
        await first.complete()
        shop.publish("profiles", "ann", {"v": 1, "user_id": "ann", "at": 1_699_990_000_000 + 200_000})
        for p in range(PARTITIONS):  # the topic is compacted: only the later profile is left
            records = shop.log.records("profiles", p)
            for record in records[:-1]:
                shop.log.remove(TopicPartition("profiles", p), record.offset)
        await first.complete()
        await first.die()
        before = shop.rows()
        second = Process(shop)
        await second.take_over_all()
        shop.click("ann", "mug", 50)  # happened before she asked
        await second.complete()
        assert shop.rows() == before
        shop.click("ann", "mug", 150)  # and after
        await second.complete()
        assert shop.rows()["mug"]["own_count"] == (1, 0)
        assert "kettle" not in shop.rows()["mug"]["cells"]
        await second.die()

    asyncio.run(scenario())


def test_what_came_before_a_consent_given_again_stays_unused_after_a_take_over() -> None:
    async def scenario() -> None:
        shop = Shop()
        stage(shop)
        first = Process(shop)
        await first.take_over_all()
        at = 1_699_990_000_000
        shop.publish("profiles", "ann", {"v": 1, "user_id": "ann", "at": at + 1_000, "consent": False})
        await first.read_on()
        shop.click("ann", "kettle", 10)
        await first.read_on()
        shop.publish("profiles", "ann", {"v": 1, "user_id": "ann", "at": at + 20_000, "consent": True})
        await first.complete()
        await first.die()
        second = Process(shop)
        await second.take_over_all()
        shop.click("ann", "mug", 30)
        await second.complete()
        assert set(shop.rows()) == {"mug"}
        assert shop.rows()["mug"]["cells"] == {}
        # A profile that is withdrawn gives consent back, too: as of when that was said.
        shop.publish("profiles", "bob", {"v": 1, "user_id": "bob", "at": at + 1_000, "consent": False})
        await second.read_on()
        shop.click("bob", "tea", 10)
        await second.read_on()
        shop.publish("profiles", "bob", None)
        await second.complete()
        await second.die()
        third = Process(shop)
        await third.take_over_all()
        shop.click("bob", "pot", 11_000)
        await third.complete()
        assert "tea" not in shop.rows()
        assert shop.rows()["pot"]["cells"] == {}
        await third.die()

    asyncio.run(scenario())


def test_records_in_another_partition_than_their_keys_are_used_and_counted() -> None:
    async def scenario() -> None:
        shop = Shop()
        stage(shop)
        process = Process(shop)
        await process.take_over_all()
        for user in USERS:
            shop.click(user, "kettle", 10, "remove_from_cart")  # asks for nothing
            record = shop.log.records("clicks", partition_of(user.encode(), PARTITIONS))[-1]
            other = 1 - partition_of(user.encode(), PARTITIONS)
            shop.log.append("clicks", other, record.key, record.value)
        await process.complete()
        text = process.context.metrics.exposition().decode()
        assert f"crosscurrent_misplaced_total {len(USERS)}.0" in text
        await process.die()

    asyncio.run(scenario())
