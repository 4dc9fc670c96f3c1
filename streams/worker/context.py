"""What partition tasks depend on, handed in at construction; nothing here is global."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field

from aiokafka import TopicPartition

from models.serving.recommender import Recommender, RecommenderConfig
from models.sessions.look_table import LookTable
from models.sessions.visits import look_table
from models.shop.items import Items
from models.shop.policy import Policy
from models.thread_team import ThreadTeam
from streams.kafka.global_tables import CatchesUp, GlobalTables
from streams.kafka.log import Log
from streams.kafka.producer import BatchingProducer
from streams.log_throttle import BadRecordLog
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.neighbour_rows import RowWriter
from streams.wire.quoted_ids import shared_quoted_ids
from streams.wire.topics import Identity, full_name
from streams.worker.backpressure import Backpressure
from streams.worker.expected_pairs import ExpectedPairs
from streams.worker.placement import Placement
from streams.worker.source_ends import SourceEnds
from streams.worker.suggestion_batcher import SuggestionBatcher
from streams.worker.turns import Turns

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class WorkerContext:
    """The dependencies of the partition tasks, and what they share: recommender, batcher, back-pressure."""

    settings: Settings
    log: Log
    producer: BatchingProducer
    table_reader: CatchesUp
    metrics: Metrics
    identities: Mapping[str, Identity]
    """By full topic name."""
    clock: Callable[[], float]
    """Wall clock in epoch seconds: only for ages, latencies and idleness, never for what is learnt."""
    highwater: Callable[[TopicPartition], int | None]
    """End of a partition according to the last fetch, None before the first; no request is made."""
    commit: Callable[[Mapping[TopicPartition, int]], None]
    """Commit positions to the group, for lag tools; the positions in our own topics decide."""
    policy: InitVar[Policy]
    on_failure: InitVar[Callable[[BaseException], None]]
    """Called when answering fails."""
    tables: GlobalTables = field(init=False)
    items: Items = field(init=False)
    looks: LookTable = field(init=False)
    recommender: Recommender = field(init=False)
    batcher: SuggestionBatcher = field(init=False)
    backpressure: Backpressure = field(init=False)
    turns: Turns = field(init=False)
    source_ends: SourceEnds = field(init=False)
    row_writer: RowWriter = field(init=False)
    expected_pairs: ExpectedPairs = field(init=False)
    placement: Placement = field(init=False)
    bad_records: BadRecordLog = field(init=False)

    def __post_init__(self, policy: Policy, on_failure: Callable[[BaseException], None]) -> None:
        tables = self.tables = self.table_reader.tables
        self.items = tables.items
        self.recommender = Recommender(
            tables.items,
            tables.catalog,
            tables.neighbours,
            policy,
            RecommenderConfig(),
            self.settings.histories,
            ThreadTeam(self.settings.threads, "answers"),
        )
        self.row_writer, self.expected_pairs = RowWriter(tables.items), ExpectedPairs()
        self.looks = look_table(self.settings.visits)
        self.batcher = SuggestionBatcher(
            self.recommender,
            self.producer,
            self.metrics,
            self.settings,
            self.identities,
            self.clock,
            on_failure,
            self.looks,
        )
        self.backpressure = Backpressure(self.producer, self.batcher, self.settings)
        self.turns = Turns(self.looks, self.backpressure, on_failure)
        self.placement = Placement(self.identities, self.metrics)
        self.bad_records = BadRecordLog(logger)
        self.source_ends = SourceEnds(self.log, self.highwater, self.identities, self.settings.prefix)

    def sizes(self) -> dict[str, int]:
        """Memory of what is not a task's, in bytes by state."""
        tables, predictor = self.tables, self.batcher.predictor
        return {
            "item ids": tables.items.nbytes + shared_quoted_ids(tables.items).nbytes,
            "catalog": tables.catalog.nbytes,
            "neighbours": tables.row_bytes,
            "forgotten": tables.forgotten_bytes,
            "views": self.looks.nbytes,
            "serving": self.recommender.nbytes + self.batcher.nbytes,
            "sequence model": predictor.nbytes if predictor is not None else 0,
            "waiting queries": self.batcher.waiting_bytes,
            "outbox": self.producer.bytes + self.expected_pairs.nbytes,
        }

    def name(self, topic: str) -> str:
        """Full name of a topic."""
        return full_name(self.settings.prefix, topic)

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, by its short name."""
        return self.identities[self.name(topic)].partitions

    def all_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic, by its short name."""
        return [TopicPartition(self.name(topic), number) for number in range(self.partitions(topic))]
