"""What partition tasks depend on, handed in at construction; nothing here is global."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from models.serving.recommender import Recommender
from models.shop.items import Items
from streams.kafka.global_tables import CatchesUp, GlobalTables
from streams.kafka.log import Log
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.topics import Identity, full_name
from streams.worker.backpressure import Backpressure
from streams.worker.suggestion_batcher import SuggestionBatcher


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The dependencies of a partition task."""

    settings: Settings
    log: Log
    producer: BatchingProducer
    table_reader: CatchesUp
    items: Items
    recommender: Recommender
    batcher: SuggestionBatcher
    backpressure: Backpressure
    metrics: Metrics
    identities: Mapping[str, Identity]
    """By full topic name."""
    clock: Callable[[], float]
    """Wall clock in epoch seconds: only for ages, latencies and idleness, never for what is learnt."""
    highwater: Callable[[TopicPartition], int | None]
    """End of a partition according to the last fetch, None before the first; no request is made."""
    commit: Callable[[Mapping[TopicPartition, int]], None]
    """Commit positions to the group, for lag tools; the positions in our own topics decide."""

    @property
    def tables(self) -> GlobalTables:
        """Contents of the compacted topics."""
        return self.table_reader.tables

    def name(self, topic: str) -> str:
        """Full name of a topic."""
        return full_name(self.settings.prefix, topic)

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, by its short name."""
        return self.identities[self.name(topic)].partitions
