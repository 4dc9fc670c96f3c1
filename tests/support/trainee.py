"""A trainer on an in-memory log: real training and snapshots, no group and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import TopicPartition

from models.sequence.config import GateConfig, LearnerConfig, NetworkConfig
from models.shop.events import CatalogItem
from models.shop.kinds import CROSS_SELL
from models.shop.policy import Policy
from streams.kafka.global_tables import GlobalTables
from streams.kafka.producer import BatchingProducer
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.trainer.leadership import Leadership
from streams.trainer.metrics import TrainerMetrics
from streams.trainer.service import TRAINER_TABLES, TrainingLoop
from streams.trainer.state import TrainerState
from streams.wire.announcements import decode_announcement
from streams.wire.codec import written
from streams.wire.partitioner import partition_of
from streams.wire.pool_records import Trigger, encode_pool
from streams.wire.topics import Identity
from tests.support.world import PARTITIONS, TOPICS, MemoryFollower, Shop

SMALL = LearnerConfig(
    NetworkConfig(units=8, dropout=0.0), chunk=16, replay=2, buffer=500, recent=64, negatives=8, batch=16, looks=5
)
SETTINGS = Settings(learner=SMALL, gate=GateConfig(share=0.2, least=10), train_every_s=1.0, batch_records=10)


class Trainee:
    """A trainer's inside, without group and clock: the test says when it leads and what time it is."""

    def __init__(
        self,
        shop: Shop,
        folder: Path,
        settings: Settings = SETTINGS,
        topic_id: str = "id",
        *,
        refuses_misplaced: bool = False,
    ) -> None:
        self.shop, self.now = shop, 0.0
        self.store = SnapshotStore(str(folder))
        self.metrics = TrainerMetrics()
        policy = Policy(misplaced="dead-letter" if refuses_misplaced else "warn")
        identities = {topic: Identity(f"{topic_id}-of-{topic}", PARTITIONS) for topic in TOPICS}
        self.training = TrainerState(settings, shop.log, self.store, identities, self._offer, self.metrics, policy)
        self.tables = GlobalTables(
            settings,
            self.metrics,
            TRAINER_TABLES,
            on_forgotten=lambda forgotten: self.training.forget(forgotten.user_id, forgotten.before),
            on_offered=self.training.offered,
        )
        self.table_reader = MemoryFollower(shop.log, self.tables)
        self.failures: list[BaseException] = []
        self.producer = BatchingProducer(shop.log, timeout_s=1, on_failure=self.failures.append)
        self.leadership = Leadership(TopicPartition("snapshots", 0))
        self.leadership.on_assigned({TopicPartition("snapshots", 0)})
        self.training_loop = TrainingLoop(
            settings,
            self.training,
            self.store,
            self.table_reader,
            self.producer,
            identities,
            self.leadership,
            self.metrics,
            lambda: self.now,
        )

    def _offer(self, item_id: str) -> CatalogItem | None:
        return self.tables.catalog.get(self.tables.items.find(item_id))

    async def take_over(self) -> Trainee:
        await self.training_loop.hold_state()
        return self

    async def apply(self, most: int | None = None) -> int:
        """Apply what the log has, or at most so many runs; chunks are learnt when they are due."""
        applied = runs = 0
        while most is None or runs < most:
            if not (some := await self.training.apply_some()) and not await self.training.look_ahead():
                break
            applied, runs = applied + some, runs + 1
            if self.training.window_builder.due:
                await self.training.learn()
        return applied

    async def publish(self) -> str | None:
        stored = await self.training_loop.publish(self.leadership.term)
        return None if stored is None else stored.manifest.version

    @property
    def looks(self) -> int:
        """Looks that are learnt, wait to be, or are held back."""
        window_builder = self.training.window_builder
        return (
            window_builder.events + window_builder.held + sum(fresh.count for fresh in window_builder._fresh.values())
        )

    def announced(self) -> list[str]:
        """All announcements, in order."""
        records = (record for number in range(PARTITIONS) for record in self.shop.log.records("snapshots", number))
        found = (decode_announcement(record)[1] for record in records)
        return [announcement.version for announcement in found if announcement is not None]

    def mirror_of(self, model: str) -> str:
        """Version that is announced of a model."""
        for number in range(PARTITIONS):
            for record in self.shop.log.records("snapshots", number):
                self.tables.apply(record)
        return self.tables.announced[model].version

    def count(self, outcome: str) -> float:
        labels = {"outcome": outcome}
        return self.metrics.registry.get_sample_value("crosscurrent_trainer_snapshots_total", labels) or 0.0


def trigger_of(shop: Shop, user: str) -> Trigger:
    """The last click of a shopper, as the event that a worker answers."""
    number = partition_of(user.encode(), PARTITIONS)
    return Trigger("clicks", number, len(shop.log.records("clicks", number)) - 1)


def pool(
    shop: Shop, user: str, at_s: float, items: Mapping[str, Sequence[float]], kind: int = CROSS_SELL
) -> tuple[bytes, bytes]:
    """Key and value of the pool that a worker logs for the last click of a shopper: items and their features."""
    kinds, features = np.full(len(items), kind, np.int8), np.array(list(items.values()), np.float32)
    return encode_pool(user, 1_699_990_000 + at_s, trigger_of(shop, user), list(items), kinds, features)


def log_pool(shop: Shop, key: bytes, value: bytes, partition: int | None = None) -> None:
    """Append a record to `pools`."""
    shop.now_ms += 1
    shop.log.append("pools", partition_of(key, PARTITIONS) if partition is None else partition, key, value)


def suggestion(shop: Shop, user: str, at_s: float, items: Iterable[str]) -> dict[str, Any]:
    """What a worker sends for the last click of a shopper."""
    trigger = trigger_of(shop, user)
    return {
        "v": 1,
        "suggestion_id": trigger.suggestion_id,
        "user_id": user,
        "at": written(1_699_990_000 + at_s),
        "trigger": {
            **trigger._asdict(),
            "action": "view",
            "item_ids": ["kettle"],
        },
        "items": [
            {
                "item_id": item,
                "kind": "cross-sell",
                "anchor": "kettle",
                "score": 0.5,
                "price": 8.0,
                "category": "Mugs",
                "title": item,
                "reasons": [],
                "propensity": 1.0,
            }
            for item in items
        ],
        "models": {},
        "policy": "",
        "arm": "default",
        "latency_ms": 1.0,
    }
