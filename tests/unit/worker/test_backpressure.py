"""Back-pressure: what pauses a partition, and the number that shows how near the bounds are; and the watchdog."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest
from aiokafka import TopicPartition

from models.shop.policy import Policy
from streams.kafka.memory_log import MemoryLog
from streams.kafka.producer import Message
from streams.settings import Settings
from streams.worker.assignment import TaskManager
from streams.worker.backpressure import HELD_RUNS
from streams.worker.service import TASK_KINDS
from streams.worker.watchdog import PATIENCE_CHECKS, Watchdog
from tests.support.world import PARTITIONS, Process, Shop

CLICKS = TopicPartition("clicks", 0)
SETTINGS = Settings(batch_records=10, outbox_bytes=1 << 20)


async def _with_clicks(number: int) -> Process:
    """A worker, and as many clicks in the log that are not delivered."""
    process = Process(Shop(), settings=SETTINGS)
    await process.take_over("shoppers-0")
    process.context.backpressure.track(process.tasks["shoppers-0"])
    for place in range(number):
        process.shop.log.append("clicks", 0, b"ann", b"{}", place)
    return process


async def test_a_partition_pauses_while_its_task_holds_too_much() -> None:
    process = await _with_clicks(HELD_RUNS * 10 + 1)
    backpressure, records = process.context.backpressure, process.shop.log.records("clicks", 0)
    process.tasks["shoppers-0"].offer(records[:-1])
    assert not backpressure.pauses(CLICKS)
    assert backpressure.load == 1.0
    process.tasks["shoppers-0"].offer(records[-1:])
    assert backpressure.pauses(CLICKS)
    assert backpressure.load > 1.0
    await process.die()


async def test_all_partitions_pause_while_the_producer_is_full() -> None:
    process = await _with_clicks(0)
    backpressure = process.context.backpressure
    assert backpressure.load == 0.0
    assert backpressure.idle(CLICKS)
    process.producer.enqueue("suggestions", 0, b"", bytes(SETTINGS.outbox_bytes))
    assert backpressure.pauses(CLICKS)
    assert not backpressure.idle(CLICKS)
    await backpressure.wait_for_producer()
    assert not backpressure.pauses(CLICKS)
    await process.die()


class Paused(MemoryLog):
    """A broker that acknowledges nothing until `go_on` is set."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(clock=lambda: shop.now_ms)
        self.go_on = asyncio.Event()

    async def send_packet(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        await self.go_on.wait()
        await super().send_packet(topic, partition, packet)


async def test_what_waits_in_the_producer_exceeds_its_bound_by_one_step_at_most() -> None:
    shop = Shop()
    shop.log = log = Paused(shop)
    process = Process(shop, Policy(emit_empty=True), Settings(outbox_bytes=1 << 20))
    for number in range(3_000):
        shop.click(f"user {number}", "kettle", number)
        shop.buy(f"user {number}", [f"item {number} {line} {'x' * 200}" for line in range(20)], number, str(number))
    for number in range(200):
        log.append("clicks", number % PARTITIONS, b"bad", b"x" * 300_000)
    await process.take_over_all()
    tasks = list(process.tasks.values())
    running = [asyncio.create_task(task.run()) for task in tasks]
    for task in tasks:
        for tp, end in (await log.ends(task.partitions)).items():
            task.read_to(tp, end)
    await asyncio.sleep(1)
    flushing = asyncio.gather(*(task.flush() for task in tasks))
    await asyncio.sleep(1)
    waited = process.producer.bytes
    assert 1 << 20 < waited < 3 << 20
    assert all(sum(task.positions().values()) < 3_000 for task in tasks)
    log.go_on.set()
    await flushing
    assert not process.failures
    for running_task in running:
        running_task.cancel()
    await process.die()


async def test_a_partition_pauses_without_a_task_or_without_its_state() -> None:
    process = await _with_clicks(0)
    task, backpressure = process.tasks["shoppers-0"], process.context.backpressure
    assert not backpressure.pauses(CLICKS)
    task.cursors = {}
    assert backpressure.pauses(CLICKS)
    backpressure.untrack(task)
    assert backpressure.pauses(CLICKS)
    await process.die()


@pytest.mark.parametrize(("delivers", "checks"), [(0, 1), (1, PATIENCE_CHECKS)])
async def test_the_watchdog_reads_what_is_not_delivered_sooner_if_nothing_is(delivers: int, checks: int) -> None:
    process = Process(Shop(), settings=SETTINGS)
    tasks = TaskManager(
        TASK_KINDS,
        process.context,
        revoke_flush_s=1.0,
        on_failure=process.failures.append,
        look_at_topics=lambda: process.context.identities,
    )
    tasks.on_assigned({TopicPartition(topic, 0) for topic in TASK_KINDS[0].topics})
    (task,) = tasks
    await task.ready.wait()
    process.shop.log.append("clicks", 0, b"ann", b"{}")
    delivered, metrics = count(0, delivers), process.context.metrics
    watchdog = Watchdog(tasks, process.shop.log, process.context.backpressure.idle, lambda: next(delivered), metrics)
    for _ in range(checks):
        await watchdog.check()
        assert not task.cursors[CLICKS].needs_reading
    await watchdog.check()
    assert task.cursors[CLICKS].needs_reading
    await tasks.close()
    await process.die()
