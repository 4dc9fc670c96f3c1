"""A whole Crosscurrent on an in-memory log: real tasks, real models, no broker, and faults on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import orjson
from aiokafka import TopicPartition

from models.shop.policy import Policy
from streams.kafka.global_tables import GlobalTables
from streams.kafka.memory_log import MemoryLog
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.announcements import Announcement
from streams.wire.checkpoints import Forgotten
from streams.wire.history_rows import decode_history
from streams.wire.neighbour_rows import POSITION_KEY, decode_row
from streams.wire.partitioner import partition_of
from streams.wire.record import Header
from streams.wire.topics import Identity
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask
from streams.worker.service import TASK_KINDS
from streams.worker.shopper_task import ShopperTask

PARTITIONS = 2
TOPICS = (
    "clicks", "purchases", "profiles", "feedback", "catalog", "suggestions", "dead-letters",
    "pools", "pairs", "neighbours", "histories", "progress", "forgotten", "snapshots",
)  # fmt: skip


class Shop:
    """The log of one shop and its clock."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.log = MemoryLog(clock=lambda: self.now_ms, batch=7)

    def publish(self, topic: str, key: str, value: dict[str, Any] | None) -> int:
        """Append a record as a shop would; a millisecond passes."""
        self.now_ms += 1
        raw = None if value is None else orjson.dumps(value)
        return self.log.append(topic, partition_of(key.encode(), PARTITIONS), key.encode(), raw)

    def click(self, user: str, item: str, at_s: float, action: str = "view", **more: Any) -> None:
        """A click at `at_s` seconds of the shop's day."""
        at = 1_699_990_000_000 + round(at_s * 1000)
        self.publish("clicks", user, {"v": 1, "user_id": user, "item_id": item, "action": action, "at": at, **more})

    def buy(self, user: str, items: Iterable[str], at_s: float, order: str) -> None:
        """A purchase."""
        at = 1_699_990_000_000 + round(at_s * 1000)
        lines = [{"item_id": item} for item in items]
        self.publish("purchases", user, {"v": 1, "user_id": user, "order_id": order, "at": at, "items": lines})

    def offer(self, item: str, category: str, price: float, **more: Any) -> None:
        """An item of the catalogue."""
        value = {"v": 1, "item_id": item, "title": item.title(), "category": category, "price": price, **more}
        self.publish("catalog", item, value)

    def mark(self, headers: tuple[Header, ...]) -> None:
        """Give headers to all clicks and purchases so far, as if they had been sent so."""
        for tp, records in self.log._records.items():
            if tp.topic in ("clicks", "purchases"):
                records[:] = [replace(record, headers=headers) for record in records]

    def values(self, topic: str) -> list[dict[str, Any]]:
        """All values of a topic, partition by partition."""
        return [orjson.loads(r.value) for p in range(PARTITIONS) for r in self.log.records(topic, p) if r.value]

    def rows(self) -> dict[str, dict[str, Any]]:
        """Published rows: the one with the greatest position of each item."""
        rows: dict[str, Any] = {}
        for p in range(PARTITIONS):
            for record in self.log.records("neighbours", p):
                if record.key == POSITION_KEY:
                    continue
                if record.value is None:
                    rows.pop((record.key or b"").decode(), None)
                    continue
                row = decode_row(record)
                if row.item_id not in rows or row.position >= rows[row.item_id].position:
                    rows[row.item_id] = row
        return {
            item: {
                "own": tuple(round(x, 7) for x in row.own),
                "own_count": tuple(row.own_count),
                "at": row.at,
                "cells": {
                    name: (tuple(round(float(x), 7) for x in row.weights[i]), tuple(int(x) for x in row.counts[i]))
                    for i, name in enumerate(row.neighbours)
                },
            }
            for item, row in rows.items()
        }

    def histories(self) -> dict[str, Any]:
        """What compaction leaves of `histories`: the last row of each shopper, up to the rounding of sums."""
        rows: dict[str, Any] = {}
        for p in range(PARTITIONS):
            for record in self.log.records("histories", p):
                user_id = (record.key or b"").decode()
                rows.pop(user_id, None)
                if record.value is not None:
                    row = decode_history(record).row
                    history, names = row.history, ("count", "first", "last", "fast", "slow")
                    columns = [history.cells[name].round(7).tolist() for name in names]
                    rows[user_id] = {
                        "baskets": (history.baskets, round(history.slow, 7)),
                        "times": (history.first, history.last),
                        "items": dict(zip(row.item_ids, zip(*columns, strict=True), strict=True)),
                    }
        return rows


class MemoryFollower:
    """Feeds global tables from a memory log."""

    def __init__(self, log: MemoryLog, tables: GlobalTables) -> None:
        self._log, self.tables = log, tables
        self._positions: dict[TopicPartition, int] = {}

    async def caught_up(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Apply everything, whatever is asked for."""
        for topic in self.tables.topics:
            for p in range(PARTITIONS):
                tp = TopicPartition(topic, p)
                for record in self._log.records(topic, p):
                    if record.offset >= self._positions.get(tp, 0):
                        self.tables.apply(record)
                        self._positions[tp] = record.offset + 1


class Process:
    """A worker without its consumer: the test delivers."""

    def __init__(
        self,
        shop: Shop,
        policy: Policy | None = None,
        settings: Settings | None = None,
        on_announced: Callable[[str, Announcement | None], None] = lambda model, announcement: None,
    ) -> None:
        self.shop = shop
        self.settings = settings or Settings()
        self.failures: list[BaseException] = []
        self.tasks: dict[str, PartitionTask] = {}
        metrics = Metrics()
        self.producer = BatchingProducer(shop.log, timeout_s=1, on_failure=self.failures.append)
        tables = GlobalTables(self.settings, metrics, on_forgotten=self._forget, on_announced=on_announced)
        self.context = WorkerContext(
            settings=self.settings,
            log=shop.log,
            producer=self.producer,
            table_reader=MemoryFollower(shop.log, tables),
            metrics=metrics,
            identities={topic: Identity(f"id-of-{topic}", PARTITIONS) for topic in TOPICS},
            clock=self._clock,
            highwater=lambda tp: shop.log._ends[tp],
            commit=lambda positions: shop.log.commits.update(positions),
            policy=policy or Policy(),
            on_failure=self.failures.append,
        )

    def _clock(self) -> float:
        return self.shop.now_ms / 1000

    def _forget(self, forgotten: Forgotten) -> None:
        for task in self.tasks.values():
            if isinstance(task, ShopperTask):
                task.forget(forgotten.user_id, forgotten.before)

    async def take_over(self, *names: str) -> None:
        """Own tasks such as `shoppers-0`; they restore their state."""
        kinds = {kind.name: kind for kind in TASK_KINDS}
        for name in names:
            kind, number = kinds[name.rsplit("-", 1)[0]], int(name.rsplit("-", 1)[1])
            task = kind.make(name, [TopicPartition(topic, number) for topic in kind.topics], self.context)
            self.tasks[name] = task
            task.on_assigned()
            await task._hold_state()

    async def take_over_all(self) -> None:
        """Own everything."""
        await self.take_over(*(f"{kind}-{n}" for kind in ("shoppers", "items", "catalog") for n in range(PARTITIONS)))

    async def work(self, name: str) -> None:
        """Apply what has been delivered to a task."""
        task = self.tasks[name]
        while True:
            for cursor in task.cursors.values():
                await cursor.fill()
                cursor.skip_trailing_hole()
            records = task.next_run()
            if not records:
                if any(cursor.needs_reading for cursor in task.cursors.values()):
                    continue
                if task.held:
                    self.shop.now_ms += 100  # a merge that waits for the other side
                    continue
                return
            task.apply(records)
            await task.finish_run()

    async def read_on(self) -> None:
        """As the watchdog: read from the log what has not been delivered; then apply it."""
        await self.context.table_reader.caught_up([])
        for name, task in self.tasks.items():
            for tp, cursor in task.cursors.items():
                cursor.expect((await self.shop.log.ends([tp]))[tp])
            await self.work(name)

    async def flush(self) -> None:
        """Flush everything."""
        for task in list(self.tasks.values()):
            await task.flush()

    async def complete(self) -> None:
        """Until nothing more changes: apply, join what waits, publish, count the pairs, publish the rows."""
        for _ in range(3):
            await self.read_on()
            await self.context.batcher.drain()  # a record says how late it is
            self.shop.now_ms += 5_000
            await self.flush()
        await self.context.table_reader.caught_up([])

    async def die(self) -> None:
        """kill -9: what is not acknowledged is gone."""
        await self.context.turns.close()
        await self.producer.close()
        await asyncio.sleep(0)
