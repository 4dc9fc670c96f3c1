"""The suggestion batcher: tasks are answered together, slow answers come from a thread, and before positions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from models.ranking.features import LEARNT, no_order
from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL
from models.sequence.predictor import SequencePredictor
from models.serving import kernel
from models.serving.recommender import Learnt
from models.sessions.visits import Collected
from models.shop.policy import ARMS, Policy
from streams.errors import SendError
from streams.kafka.producer import LEFT_OUT, Message
from streams.settings import PoolConfig, Settings
from streams.wire.codec import written
from streams.wire.pool_records import decode_pool
from streams.wire.record_batches import Block, decoded_records
from streams.worker.shopper_task import ShopperTask
from streams.worker.suggestion_batcher import STAGES
from tests.support.item_vectors import scorer_of
from tests.support.silent_model import SilentModel
from tests.support.world import PARTITIONS, Process, Shop

USERS = 6


async def _clicked(model: SequencePredictor | None, settings: Settings | None = None) -> Process:
    """A worker whose shopper tasks are about to apply clicks."""
    shop = Shop()
    process = Process(shop, settings=settings)
    await process.take_over_all()
    process.context.batcher.predictor = model
    shop.offer("kettle", "Kettles", 30.0)
    shop.offer("better", "Kettles", 40.0)
    for number in range(USERS):
        shop.click(f"user {number}", "kettle", float(number))
    assert all(shop.log.records("clicks", number) for number in range(PARTITIONS))
    await process.context.table_reader.caught_up([])
    for task in process.tasks.values():
        for tp, cursor in task.cursors.items():
            cursor.expect((await shop.log.ends([tp]))[tp])
            while cursor.needs_reading:
                await cursor.fill()
            cursor.skip_trailing_hole()
    return process


async def _apply(process: Process, number: int) -> None:
    """Apply everything a shopper task holds, without answering."""
    task = process.tasks[f"shoppers-{number}"]
    while records := task.next_run():
        task.apply(records)


async def _sent(process: Process) -> list[str]:
    """Ids of the suggestions that are acknowledged."""
    await process.producer.wait_acked(process.producer.mark())
    return [value["suggestion_id"] for value in process.shop.values("suggestions")]


async def test_queries_of_several_tasks_in_one_turn_are_one_batch() -> None:
    model = SilentModel("inline_limit", inline_limit=1000)
    process = await _clicked(model)
    for name in ("shoppers-0", "shoppers-1"):
        process.tasks[name]._owned.set()
    tasks = [
        asyncio.create_task(process.tasks[f"shoppers-{n}"]._go_on(process.tasks[f"shoppers-{n}"]._term)) for n in (0, 1)
    ]
    await asyncio.wait(tasks, timeout=0.2)
    assert model.asked == [(USERS, threading.get_ident())]
    assert len(await _sent(process)) == USERS
    for task in tasks:
        task.cancel()
    await process.die()


async def test_a_suggestion_names_a_hundred_items_of_its_trigger_and_counts_more() -> None:
    process = Process(Shop(), Policy(emit_empty=True))
    await process.take_over_all()
    for number in (100, 101):
        process.shop.buy("ann", [f"item {line}" for line in range(number)], number, f"order {number}")
    await process.complete()
    triggers = [value["trigger"] for value in process.shop.values("suggestions")]
    assert [(len(trigger["item_ids"]), trigger.get("item_count")) for trigger in triggers] == [(100, None), (100, 101)]
    assert triggers[1]["item_ids"] == [f"item {line}" for line in range(100)]
    await process.die()


async def test_slow_predictions_run_in_a_thread_and_positions_wait_for_them() -> None:
    model = SilentModel("slow", inline_limit=0)
    model.let.clear()
    process = await _clicked(model)
    task = process.tasks["shoppers-0"]
    await _apply(process, 0)
    await asyncio.wait_for(task.finish_run(), 5)  # does not wait for the answers
    flush = asyncio.create_task(task.flush())
    await asyncio.wait([flush], timeout=0.1)
    assert not flush.done()
    assert not process.shop.log.records("progress", 0)
    assert not await _sent(process)
    model.let.set()
    await asyncio.wait_for(flush, 5)
    assert len(await _sent(process)) == len(process.shop.log.records("clicks", 0))
    assert process.shop.log.records("progress", 0)
    [(_, thread)] = model.asked
    assert thread != threading.get_ident()
    await process.die()


async def test_what_changes_tables_waits_for_a_batch_in_a_thread_and_goes_before_the_next_one() -> None:
    model = SilentModel("slow", inline_limit=0, max_batch=2)
    model.let.clear()
    process = await _clicked(model)
    batcher, seen = process.context.batcher, list[tuple[bool, int]]()

    async def change() -> None:
        await batcher.still()
        seen.append((batcher.busy, len(model.asked)))

    await change()
    for number in range(PARTITIONS):
        await _apply(process, number)
    batcher.flush()
    changes = [asyncio.create_task(change()) for _ in range(3)]
    await asyncio.wait(changes, timeout=0.1)
    assert len(seen) == 1
    changes[2].cancel()
    model.let.set()
    await asyncio.wait_for(asyncio.gather(*changes[:2]), 5)
    assert seen == [(False, 0), (False, 1), (False, 1)]
    async with asyncio.timeout(5):
        while batcher.waiting:  # the rest is begun by nobody else
            await asyncio.sleep(0.001)
        await batcher.drain()
    assert len(await _sent(process)) == USERS
    await process.die()


async def test_queries_submitted_during_a_batch_are_answered_after_it_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.worker.backpressure.MOST_WAITING", 1)
    model = SilentModel("slow", inline_limit=0, max_batch=2)
    model.let.clear()
    process = await _clicked(model)
    completing = []
    for number in (0, 1):
        await _apply(process, number)
        completing.append(asyncio.create_task(process.tasks[f"shoppers-{number}"].finish_run()))
    await asyncio.wait(completing, timeout=0.1)
    assert not any(task.done() for task in completing)  # too many queries wait for more
    model.let.set()
    await asyncio.wait_for(asyncio.gather(*completing), 5)
    await asyncio.wait_for(process.context.batcher.drain(), 5)
    assert [asked for asked, _ in model.asked] == [2, 2, 2]
    for number in range(PARTITIONS):
        offsets = [
            v["trigger"]["offset"] for v in process.shop.values("suggestions") if v["trigger"]["partition"] == number
        ]
        assert offsets == sorted(offsets)
    assert len(await _sent(process)) == USERS
    await process.die()


async def test_full_batches_are_begun_behind_the_one_under_way_as_many_as_there_are_threads() -> None:
    model = SilentModel("slow", inline_limit=0, max_batch=2)
    model.let.clear()
    process = await _clicked(model)
    batcher = process.context.batcher
    await _apply(process, 0)
    batcher.flush()
    assert [batcher.busy] == [True]
    before = batcher.waiting
    for number in range(1, PARTITIONS):
        await _apply(process, number)
    for _ in STAGES[1:]:
        assert batcher.takes_more
        batcher.flush()
    begun = before + USERS - len(process.shop.log.records("clicks", 0)) - batcher.waiting
    assert begun == 2 * len(STAGES[1:])
    assert not batcher.takes_more
    held = set(batcher.held().tolist())
    batcher.flush()
    assert set(batcher.held().tolist()) == held
    model.let.set()
    await asyncio.wait_for(batcher.drain(), 5)
    assert [batcher.busy] == [False]
    assert len(await _sent(process)) == USERS
    await process.die()


@pytest.mark.parametrize("inline_limit", [0, 1000])
async def test_where_answering_fails_the_task_fails_and_no_position_is_written(inline_limit: int) -> None:
    process = await _clicked(SilentModel("broken", inline_limit, error=ValueError("a bug")))
    task = process.tasks["shoppers-0"]
    await _apply(process, 0)
    with pytest.raises(ValueError, match="a bug"):
        await task.finish_run()
        await task.flush()
    with pytest.raises(ValueError, match="a bug"):
        await process.tasks["shoppers-1"].flush()
    assert not any(process.shop.log.records("progress", number) for number in range(PARTITIONS))
    assert not await _sent(process)
    assert [str(failure) for failure in process.failures] == ["a bug"]
    await process.die()


async def test_a_record_names_the_version_that_answered_even_if_another_is_installed_meanwhile() -> None:
    old, new = SilentModel("old", inline_limit=0), SilentModel("new", inline_limit=0)
    old.let.clear()
    process = await _clicked(old)
    await _apply(process, 0)
    await process.tasks["shoppers-0"].finish_run()
    await asyncio.sleep(0)  # it is being asked
    process.context.batcher.predictor = new
    old.let.set()
    await process.context.batcher.drain()
    assert await _sent(process)
    assert {value["models"][MODEL] for value in process.shop.values("suggestions")} == {"old"}
    await process.die()


async def test_without_a_sequence_model_everything_is_answered_at_once() -> None:
    process = await _clicked(None)
    await _apply(process, 0)
    await process.tasks["shoppers-0"].finish_run()
    assert len(await _sent(process)) == len(process.shop.log.records("clicks", 0))
    await process.die()


async def test_events_before_one_that_fails_are_answered_before_their_positions_are_written() -> None:
    process = await _clicked(None)
    task = process.tasks["shoppers-0"]
    assert isinstance(task, ShopperTask)
    collect, seen, error = task.visits.collect_clicks, list[int](), ValueError("a bug")

    def collect_clicks(buffer: Any, rows: Any, first: int, end: int, *rest: Any) -> Collected:
        if rows["offset"][first] == 1:
            raise error
        collected = collect(buffer, rows, first, first + 1, *rest)
        seen.extend(rows["offset"][first : collected.next].tolist())
        return collected

    task.visits.collect_clicks = collect_clicks  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="a bug"):
        await _apply(process, 0)
    await task.flush()
    assert seen == [0]
    assert len(await _sent(process)) == 1
    assert process.shop.values("progress")[0]["topics"]["clicks"]["position"] == 1
    await process.die()


async def test_a_model_installed_between_query_and_answer_is_not_named() -> None:
    process = await _clicked(None)
    await _apply(process, 0)
    process.context.batcher.predictor = SilentModel("new", inline_limit=1000)
    await process.tasks["shoppers-0"].finish_run()
    assert await _sent(process)
    assert not any(MODEL in value["models"] for value in process.shop.values("suggestions"))
    await process.die()


async def test_a_closed_batcher_sends_nothing() -> None:
    model = SilentModel("slow", inline_limit=0)
    model.let.clear()
    process = await _clicked(model)
    await _apply(process, 0)
    await process.tasks["shoppers-0"].finish_run()
    await _apply(process, 1)
    await asyncio.sleep(0)
    await asyncio.wait_for(process.context.batcher.close(), 5)
    model.let.set()
    await asyncio.sleep(0.05)
    assert not await _sent(process)
    await process.die()


async def test_each_shopper_gets_the_lists_of_his_arm_and_what_is_withheld_is_recorded() -> None:
    policy = Policy(arms=(("none", 0.25), ("popular", 0.25), ("fixed", 0.25)))
    process = Process(Shop(), policy)
    await process.take_over_all()
    process.shop.offer("kettle", "Kettles", 30.0)
    process.shop.offer("mug", "Mugs", 8.0)
    await process.context.table_reader.caught_up([])
    order = no_order()
    order.serves[:] = LEARNT
    process.context.recommender.learnt = Learnt(order, "ranker-1")
    model = SilentModel("model-1", inline_limit=1000)
    process.context.batcher.predictor = model
    for number in range(40):
        process.shop.click(f"user {number}", "kettle", float(number))
        process.shop.click(f"user {number}", "unknown", float(number))
    await process.complete()
    sent = process.shop.values("suggestions")
    assert len(sent) == 40  # of the unknown item nothing is withheld, as nothing can be suggested
    counted = {"cooccurrence": "counts-1"}
    with_model = counted | {MODEL: "model-1"}
    models = {"none": {}, "popular": counted, "fixed": with_model, "default": with_model | {RANKER: "ranker-1"}}
    for value in sent:
        assert value["arm"] == ARMS[policy.arm_of(value["user_id"])]
        assert [item["item_id"] for item in value["items"]] == ([] if value["arm"] == "none" else ["mug"])
        assert value["models"] == models[value["arm"]]
    assert {value["arm"] for value in sent} == set(ARMS)
    withheld = sum(value["arm"] == "none" for value in sent)
    exposed = process.context.metrics.registry.get_sample_value
    outcomes = {"withheld": withheld, "suggested": 40 - withheld, "nothing to suggest": 40}
    for outcome, n in outcomes.items():
        assert exposed("crosscurrent_events_total", {"topic": "clicks", "outcome": outcome}) == n
    assert exposed("crosscurrent_suggested_items_total", {"kind": "cross-sell"}) == 40 - withheld
    await process.die()


async def test_pools_of_the_arms_that_learn_are_logged_behind_their_lists() -> None:
    policy = Policy(arms=(("none", 0.25), ("popular", 0.25), ("fixed", 0.25)))
    process = Process(Shop(), policy, Settings(pools=PoolConfig(bytes_per_s=10**9)))
    await process.take_over_all()
    for item in ("kettle", "mug", "tea", "pot"):
        process.shop.offer(item, f"{item}s", 30.0)
    await process.context.table_reader.caught_up([])
    sent, enqueue, enqueue_block = list[str](), process.producer.enqueue, process.producer.enqueue_block

    def noted(topic: str, partition: int, *message: Any) -> None:
        if topic == "pools":
            sent.append("pool of " + orjson.loads(message[1])["suggestion_id"])
        enqueue(topic, partition, *message)

    def noted_block(topic: str, partition: int, block: Block, *shorten: Any) -> None:
        sent.extend(orjson.loads(value)["suggestion_id"] for _, value in decoded_records(block.records) if value)
        enqueue_block(topic, partition, block, *shorten)

    process.producer.enqueue = noted  # type: ignore[assignment,method-assign]
    process.producer.enqueue_block = noted_block  # type: ignore[assignment,method-assign]
    for user in range(12):
        process.shop.buy(f"user {user}", ["kettle", "mug", "tea"], float(user), f"order {user}")
    await process.complete()
    for user in range(40):
        process.shop.click(f"visitor {user}", "kettle", 100.0 + user)
        process.shop.click(f"visitor {user}", "unknown", 100.0 + user)
    await process.complete()
    lists = {value["suggestion_id"]: value for value in process.shop.values("suggestions")}
    records = [record for number in range(PARTITIONS) for record in process.shop.log.records("pools", number)]
    found = [decode_pool(record, PARTITIONS) for record in records]
    wanted = {name for name, value in lists.items() if value["arm"] in ("default", "fixed") and value["items"]}
    assert {pool.trigger.suggestion_id for pool in found} == wanted
    assert len(wanted) == len(found)
    assert {lists[pool.trigger.suggestion_id]["arm"] for pool in found} == {"default", "fixed"}
    for pool in found:
        value = lists[pool.trigger.suggestion_id]
        assert (pool.user_id, written(pool.at)) == (value["user_id"], value["at"])
        assert {item["item_id"] for item in value["items"]} <= set(pool.item_ids)
    for number, name in enumerate(sent):
        if name.startswith("pool of "):
            assert name.removeprefix("pool of ") in sent[:number]
    counted = process.context.metrics.registry.get_sample_value
    assert counted("crosscurrent_pools_written_total") == len(records)
    assert counted("crosscurrent_pools_bytes_total") == sum(len(record.value or b"") for record in records)
    await process.die()


async def test_a_pool_that_the_broker_finds_too_large_is_left_out_and_everything_goes_on() -> None:
    process = Process(Shop())
    left_out: list[tuple[str, str]] = []
    process.producer._on_too_large = lambda topic, outcome: left_out.append((topic, outcome))
    send = process.shop.log.send_packet

    async def refusing(topic: str, partition: int, packet: Sequence[Message]) -> None:
        if topic == "pools":
            raise SendError(topic, partition, "too large", too_large=True)
        await send(topic, partition, packet)

    process.shop.log.send_packet = refusing  # type: ignore[method-assign]
    await process.take_over_all()
    for item in ("kettle", "mug"):
        process.shop.offer(item, f"{item}s", 30.0)
    for user in range(4):
        process.shop.buy(f"user {user}", ["kettle", "mug"], float(user), f"order {user}")
    await process.complete()
    process.shop.click("visitor", "kettle", 100.0)
    await process.complete()
    assert ("pools", LEFT_OUT) in left_out
    assert process.shop.values("pools") == []
    assert "visitor" in {value["user_id"] for value in process.shop.values("suggestions")}
    assert not process.failures
    await process.die()


async def test_lists_are_the_same_whether_their_pools_are_logged_or_not() -> None:
    sent = []
    for budget in (0, 10**9):
        process = Process(Shop(), settings=Settings(pools=PoolConfig(bytes_per_s=budget)))
        await process.take_over_all()
        for number in range(12):
            process.shop.offer(f"item {number}", f"aisle {number % 5}", 10.0 + number)
        for user in range(20):
            bought = [f"item {user * step % 12}" for step in (1, 3, 7)]
            for number, item in enumerate(bought):
                process.shop.click(f"user {user}", item, 10.0 * user + number)
            process.shop.buy(f"user {user}", bought, 10.0 * user + 5, f"order {user}")
            if user % 5 == 0:
                await process.complete()
        await process.complete()
        sent.append({value["suggestion_id"]: value["items"] for value in process.shop.values("suggestions")})
        assert bool(process.shop.values("pools")) == bool(budget)
        await process.die()
    assert sent[0] == sent[1]
    assert sum(len(items) > 2 for items in sent[0].values()) > 20


async def test_small_batches_in_threads_are_answered_as_large_ones_at_once() -> None:
    sent = list[list[tuple[bytes | None, list[Any]]]]()
    for inline_limit, max_batch in ((1000, 1000), (0, 3)):
        process = Process(Shop(), Policy(emit_empty=True, max_suggestion_age_s=0))
        await process.take_over_all()
        shop = process.shop
        for place in range(24):
            shop.offer(f"item {place}", f"aisle {place % 5}", 10.0 + place % 7)
        await process.context.table_reader.caught_up([])
        model = SequencePredictor(scorer_of(np.random.default_rng(5).normal(size=(24, 12)).astype(np.float32)), "1")
        model.inline_limit, model.max_batch = inline_limit, max_batch
        process.context.batcher.predictor = model
        for user in range(90):
            for step in (1, 3, 7):
                action = "add_to_cart" if step == 3 else "view"
                shop.click(f"user {user % 40}", f"item {user * step % 24}", 10.0 * user + step, action)
            if user % 30 == 29:
                await process.complete()
        records = [r for number in range(PARTITIONS) for r in shop.log.records("suggestions", number)]
        sent.append([(record.key, orjson.loads(record.value or b"")["items"]) for record in records])
        assert not process.failures
        await process.die()
    assert sent[0] == sent[1]
    assert sum(len(items) > 1 for _, items in sent[0]) > 150


def _divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide even the smallest batches among threads."""
    monkeypatch.setattr("models.serving.recommender.LEAST_QUERIES", 1)
    monkeypatch.setattr("models.sequence.predictor.LEAST_COMPARED", 1)


@pytest.mark.parametrize("inline_limit", [0, 1000])
async def test_records_are_the_same_to_the_byte_however_many_threads_answer(
    inline_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _divided(monkeypatch)
    policy = Policy(explore=0.3, arms=(("none", 0.2), ("popular", 0.2), ("fixed", 0.2)), max_suggestion_age_s=0)
    sent = list[dict[str, list[tuple[bytes | None, bytes | None]]]]()
    threads = set[str]()

    def answer(*arguments: Any) -> None:
        threads.add(threading.current_thread().name)
        kernel.answer(*arguments)

    monkeypatch.setattr("models.serving.recommender.answer", answer)
    for number in (1, 2, 3):
        threads.clear()
        process = Process(Shop(), policy, Settings(pools=PoolConfig(bytes_per_s=10**9), threads=number))
        await process.take_over_all()
        shop = process.shop
        for place in range(24):
            shop.offer(f"item {place}", f"aisle {place % 5}", 10.0 + place % 7, brand=f"brand {place % 3}")
        await process.context.table_reader.caught_up([])
        vectors = np.random.default_rng(5).normal(size=(24, 12)).astype(np.float32)
        model = SequencePredictor(scorer_of(vectors), "model-1")
        model.inline_limit = inline_limit
        process.context.batcher.predictor = model
        order = no_order()
        order.serves[:] = LEARNT
        order.weights[:] = np.random.default_rng(6).normal(size=order.weights.shape)
        process.context.recommender.learnt = Learnt(order, "ranker-1")
        for user in range(60):
            looked_at = [f"item {(user * step + user // 7) % 24}" for step in (1, 3, 7)]
            for step, item in enumerate(looked_at):
                shop.click(f"user {user % 40}", item, 10.0 * user + step, "add_to_cart" if step == 2 else "view")
            if user % 2:
                shop.buy(f"user {user % 40}", looked_at, 10.0 * user + 5, f"order {user}")
            if user % 10 == 9:
                await process.complete()
        first = threading.current_thread().name if inline_limit else "batch_0"
        assert threads == {first, *(f"answers-{other}" for other in range(1, number))}
        topics = ("suggestions", "pools")
        records = {topic: [r for p in range(PARTITIONS) for r in shop.log.records(topic, p)] for topic in topics}
        sent.append({topic: [(record.key, record.value) for record in records[topic]] for topic in topics})
        assert not process.failures
        await process.die()
    assert sent[0] == sent[1] == sent[2]
    values = [orjson.loads(value or b"") for _, value in sent[0]["suggestions"]]
    assert {value["arm"] for value in values} == set(ARMS)
    assert any(item["propensity"] < 1.0 for value in values for item in value["items"])
    assert {reason["source"] for value in values for item in value["items"] for reason in item["reasons"]} >= {MODEL}
    assert len(values) > 200
    assert len(sent[0]["pools"]) > 50


async def test_where_one_of_several_threads_fails_nothing_of_the_batch_counts_as_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _divided(monkeypatch)
    error = ValueError("a bug")

    def answer(*arguments: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise error
        kernel.answer(*arguments)

    monkeypatch.setattr("models.serving.recommender.answer", answer)
    process = await _clicked(None, Settings(threads=2))
    task = process.tasks["shoppers-0"]
    await _apply(process, 0)
    for _ in range(2):
        with pytest.raises(ValueError, match="a bug"):
            await task.finish_run()
            await task.flush()
    assert not any(process.shop.log.records("progress", number) for number in range(PARTITIONS))
    assert not await _sent(process)
    assert [str(failure) for failure in process.failures] == ["a bug"]
    await process.die()
