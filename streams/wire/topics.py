"""All topics: names, keys, partitions, cleanup and retention. `streams.kafka.topic_admin` creates and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

Count = Literal["shoppers", "items", "catalog"]
"""Topics of one kind have the same number of partitions, so that a key is in the same partition of each."""

APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
"""The broker stamps records on arrival. Memory, latency and `max_suggestion_age_s` count from then. With senders'
timestamps, replayed events of last year would be deleted at once, and a wrong clock would distort the memory."""

MANY_COPIES = 3
"""From this replication on, at least two copies acknowledge a write: the loss of one broker loses nothing."""


def _compaction(lag_ms: int) -> dict[str, str]:
    """Settings that keep a compacted topic small: every process reads it whole at start.

    A record is kept for at least `lag_ms`, even if a later one has its key.
    """
    return {
        # The newest segment is never compacted. By default it stays open for a week, and every start would read up to
        # a week of old rows.
        "segment.ms": str(10 * MINUTE_MS),
        # Compact once a tenth is outdated instead of half: a start reads at most a ninth more than it needs.
        "min.cleanable.dirty.ratio": "0.1",
        "min.compaction.lag.ms": str(lag_ms),
        # A reader that started before a tombstone must still read it: longer than any start takes.
        "delete.retention.ms": str(DAY_MS),
    }


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells a topic from another of the same name."""

    topic_id: str
    """As the broker gives it; a recreated topic has another."""
    partitions: int


@dataclass(frozen=True)
class Topic:
    """Definition of a topic."""

    name: str
    """Without prefix."""
    written_by: str
    read_by: str
    key: str = "user_id"
    """Meaning of its records' keys."""
    partitions: Count = "shoppers"
    retention_ms: int | None = None
    """How long records are kept; None: the newest of each key is kept."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Further settings, as the broker names them."""
    internal: bool = False
    """Only workers and trainers read and write it."""

    @property
    def cleanup(self) -> Literal["delete", "compact"]:
        """The broker's cleanup policy."""
        return "compact" if self.retention_ms is None else "delete"

    @property
    def all_configs(self) -> dict[str, str]:
        """All settings, as the broker names them."""
        retention = {} if self.retention_ms is None else {"retention.ms": str(self.retention_ms)}
        return {"cleanup.policy": self.cleanup, **retention, **self.configs}


_LATE_OWNER_MS = HOUR_MS
"""Longest pause that a worker may have. After it, the worker may publish old rows. As long as compaction keeps the
newer records, the owner sees that rows are old and publishes its own again."""

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="clicks",
        retention_ms=7 * DAY_MS,  # two days of memory and five of outage
        configs=APPEND_TIME,
        written_by="the shop",
        read_by="worker, trainer",
    ),
    Topic(
        name="purchases",
        retention_ms=60 * DAY_MS,  # 35 days of memory and 25 of outage
        configs=APPEND_TIME,
        written_by="the shop",
        read_by="worker, trainer",
    ),
    Topic(
        name="profiles",
        configs={**APPEND_TIME, **_compaction(0)},
        written_by="the shop (optional)",
        read_by="worker",
    ),
    Topic(
        name="feedback",
        retention_ms=30 * DAY_MS,  # a month to learn from
        configs=APPEND_TIME,
        written_by="the shop (optional)",
        read_by="worker, trainer",
    ),
    Topic(
        name="suggestions",
        retention_ms=7 * DAY_MS,  # a shop uses them at once; the trainer joins them with events of the days after
        written_by="worker",
        read_by="the shop, trainer",
    ),
    Topic(
        name="pools",
        retention_ms=3 * DAY_MS,  # the trainer joins them with events of the hour after; days of outage
        configs={"segment.ms": str(HOUR_MS)},  # retention deletes whole segments
        internal=True,
        written_by="worker",
        read_by="trainer",
    ),
    Topic(
        name="catalog",
        key="item_id",
        partitions="catalog",
        configs=_compaction(0),
        written_by="the shop",
        read_by="every process, whole",
    ),
    Topic(
        name="dead-letters",
        key="full name of the source topic",
        retention_ms=30 * DAY_MS,  # time to look, fix the sender and replay
        written_by="worker",
        read_by="people",
    ),
    Topic(
        name="pairs",
        key="source, such as clicks-3",
        partitions="items",
        retention_ms=DAY_MS,  # owners apply them within seconds; a day of outage
        configs={"segment.ms": str(HOUR_MS)},  # retention deletes whole segments: by the hour instead of by the week
        internal=True,
        written_by="worker",
        read_by="worker that owns the item partition",
    ),
    Topic(
        name="neighbours",
        key="item_id; empty for the position record of a partition",
        partitions="items",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker that owns the item partition",
        read_by="every worker, whole",
    ),
    Topic(
        name="histories",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker that owns the partition",
        read_by="worker that takes it over",
    ),
    Topic(
        name="progress",
        key="lane",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker",
        read_by="every worker, whole",
    ),
    Topic(
        name="forgotten",
        configs=_compaction(0),
        internal=True,
        written_by="worker",
        read_by="every worker, whole",
    ),
    Topic(
        name="snapshots",
        key="model",
        configs=_compaction(0),
        internal=True,
        written_by="trainer, `models rollback`, `models import`",
        read_by="every worker, whole",
    ),
)
"""All topics."""


def full_name(prefix: str, name: str) -> str:
    """Name of a topic on the broker.

    >>> full_name("spring-", "clicks")
    'spring-clicks'
    """
    return prefix + name
