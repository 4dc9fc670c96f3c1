"""What the lanes share, handed in: the log, the outbox, the mirror, the models, the clock. Nothing here is global."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from models.serving.recommender import Recommender
from models.shop.items import Items
from streams.kafka.global_tables import CatchesUp, GlobalTables
from streams.kafka.log import Log
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.topics import Identity, full_name
from streams.worker.suggestion_batcher import SuggestionBatcher


@dataclass(slots=True)
class WorkerContext:
    """Everything a lane needs of its surroundings."""

    settings: Settings
    log: Log
    producer: BatchingProducer
    tables: GlobalTables
    table_reader: CatchesUp
    items: Items
    recommender: Recommender
    metrics: Metrics
    identities: Mapping[str, Identity]
    """By full topic name."""
    clock: Callable[[], float]
    """Wall clock in epoch seconds: only for ages, latencies and idleness, never for what is learnt."""
    highwater: Callable[[TopicPartition], int | None]
    """End of a partition as the last fetch told, None before the first; costs nothing."""
    commit: Callable[[Mapping[TopicPartition, int]], None]
    """Tell the group how far we are, for lag tools; the positions in our own topics decide."""
    batcher: SuggestionBatcher = field(init=False)
    """Where lanes ask for suggestions."""

    def __post_init__(self) -> None:
        self.batcher = SuggestionBatcher(
            self.recommender,
            self.producer,
            self.metrics,
            self.name("suggestions"),
            self.partitions("suggestions"),
            self.settings.batch_records,
            self.clock,
        )

    def name(self, topic: str) -> str:
        """Full name of a topic."""
        return full_name(self.settings.prefix, topic)

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, by its short name."""
        return self.identities[self.name(topic)].partitions
