"""The topics: the one place that knows their names, keys, partitions, cleaning and retention.

`streams.kafka.topic_admin` creates and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

Count = Literal["shoppers", "items", "catalog"]
"""Topics of one kind have as many partitions as each other, so that the same keys are in the same numbers."""

APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
"""Records are stamped when they arrive. Memory, latency and `max_suggestion_age_s` count from then; with the senders'
clocks, replayed events of last year would be deleted as they come, and a clock gone wrong would bend the memory."""

MANY_COPIES = 3
"""From so many copies on, a write is acknowledged by at least two, so that the loss of one broker loses nothing."""


def _compaction(lag_ms: int) -> dict[str, str]:
    """Settings of a compacted topic of which every process reads the whole at start, so that it stays small.

    Args:
        lag_ms: a record stays at least so long, even where a later one has its key.
    """
    return {
        # The newest segment is never compacted. By default it lives for a week: up to a week of old rows, flush by
        # flush, would be read at every start.
        "segment.ms": str(10 * MINUTE_MS),
        # Compact once a tenth is outdated instead of half: a start reads at most a ninth more than it needs.
        "min.cleanable.dirty.ratio": "0.1",
        "min.compaction.lag.ms": str(lag_ms),
        # A reader that began before a tombstone must still meet it: longer than any start takes.
        "delete.retention.ms": str(DAY_MS),
    }


@dataclass(frozen=True, slots=True)
class Identity:
    """Which topic stands behind a name."""

    topic_id: str
    """As the broker gives it; the same name with another id is another topic."""
    partitions: int


@dataclass(frozen=True)
class Topic:
    """What a topic is."""

    name: str
    """Without prefix."""
    key: str
    """What the key of its records is."""
    partitions: Count
    """With which others it agrees on their number."""
    cleanup: Literal["delete", "compact"]
    written_by: str
    read_by: str
    retention_ms: int | None = None
    """How long records stay, for `delete`."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """More settings, as the broker names them."""
    internal: bool = False
    """Whether it is the workers' own: others neither read nor write it."""

    @property
    def all_configs(self) -> dict[str, str]:
        """All settings, as the broker names them."""
        retention = {} if self.retention_ms is None else {"retention.ms": str(self.retention_ms)}
        return {"cleanup.policy": self.cleanup, **retention, **self.configs}


_LATE_OWNER_MS = HOUR_MS
"""Longest pause of a worker that is survived. One that wakes later can publish old rows; as long as the record they
are compared with is still there, in its place, the owner sees that they are old and publishes its own again."""

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="clicks",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=7 * DAY_MS,  # two days of memory and five of outage
        configs=APPEND_TIME,
        written_by="the shop",
        read_by="worker, trainer",
    ),
    Topic(
        name="purchases",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=60 * DAY_MS,  # 35 days of memory and 25 of outage
        configs=APPEND_TIME,
        written_by="the shop",
        read_by="worker, trainer",
    ),
    Topic(
        name="profiles",
        key="user_id",
        partitions="shoppers",
        cleanup="compact",
        configs={**APPEND_TIME, **_compaction(0)},
        written_by="the shop (optional)",
        read_by="worker",
    ),
    Topic(
        name="feedback",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=30 * DAY_MS,  # a month of outcomes to learn from
        configs=APPEND_TIME,
        written_by="the shop (optional)",
        read_by="worker, trainer",
    ),
    Topic(
        name="suggestions",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=7 * DAY_MS,  # a shop uses them at once; the trainer joins them with outcomes of the days after
        written_by="worker",
        read_by="the shop, trainer",
    ),
    Topic(
        name="catalog",
        key="item_id",
        partitions="catalog",
        cleanup="compact",
        configs=_compaction(0),
        written_by="the shop",
        read_by="every process, whole",
    ),
    Topic(
        name="dead-letters",
        key="full name of the source topic",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=30 * DAY_MS,  # somebody has to look, mend the sender and replay
        written_by="worker",
        read_by="people",
    ),
    Topic(
        name="pairs",
        key="source, such as clicks-3",
        partitions="items",
        cleanup="delete",
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
        cleanup="compact",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker that owns the item partition",
        read_by="every worker, whole",
    ),
    Topic(
        name="progress",
        key="lane",
        partitions="shoppers",
        cleanup="compact",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker",
        read_by="every worker, whole",
    ),
    Topic(
        name="forgotten",
        key="user_id",
        partitions="shoppers",
        cleanup="compact",
        configs=_compaction(0),
        internal=True,
        written_by="worker",
        read_by="every worker, whole",
    ),
    Topic(
        name="snapshots",
        key="model",
        partitions="shoppers",
        cleanup="compact",
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
