"""What a worker leaves to its successor: positions of a partition task, and shoppers who asked to be forgotten.

Both topics are compacted. A progress record says that the effects of everything below its positions are acknowledged.
Records of a former owner and of its successor may interleave; both are true, so positions merge by the maximum.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.wire.record import (
    Offset,
    Partitions,
    Record,
    Seconds,
    SomeId,
    TopicId,
    TopicName,
    check_key,
    decoded,
    refusal,
)

VERSION: Literal[1] = 1

MAX_TOPICS = 16
"""Of a partition task."""


class TopicProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Position in one partition, and the identity of its topic."""

    topic_id: TopicId
    """As the broker gives it; another id means another topic of the same name."""
    partitions: Partitions
    """Partitions that the topic had; with another number, keys go to other partitions."""
    position: Offset
    """Offset of the next record to apply."""
    appended_ms: Offset = 0
    """Largest append time below the position."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Positions of all topics of one partition task: a consistent cut."""

    v: Literal[1]
    task: Annotated[str, Meta(pattern=r"^(shoppers|items|catalog)-[0-9]{1,7}\Z")] = msgspec.field(name="lane")
    topics: Annotated[dict[TopicName, TopicProgress], Meta(max_length=MAX_TOPICS)]
    """By full topic name."""
    joined: Offset = 0
    """Purchases below this offset have their viewed-then-bought pairs counted."""
    histories: Offset = 0
    """Purchases below this offset are in the published histories of their shoppers."""

    @property
    def number(self) -> int:
        """Partition number that the task has of each of its topics."""
        return int(self.task.rpartition("-")[2])

    def merged(self, other: Progress | None) -> Progress:
        """The later of both, topic by topic; `other` was written before. Offsets of another topic are given up."""
        if other is None:
            return self
        topics, joined, histories = dict(other.topics), other.joined, other.histories
        for name, mine in self.topics.items():
            theirs = topics.get(name)
            if theirs is not None and mine.topic_id != theirs.topic_id:
                joined = histories = 0
            if theirs is None or mine.topic_id != theirs.topic_id or mine.position >= theirs.position:
                topics[name] = mine
        joined, histories = max(self.joined, joined), max(self.histories, histories)
        return Progress(v=VERSION, task=self.task, topics=topics, joined=joined, histories=histories)


class Forgotten(msgspec.Struct, frozen=True):
    """A shopper who asked to be forgotten. Later profiles do not undo it."""

    v: Literal[1]
    user_id: SomeId
    before: Seconds
    """Event time (epoch s): events at or before it are never used."""


_encode = msgspec.json.Encoder().encode
_decode_progress = msgspec.json.Decoder(Progress).decode
_decode_forgotten = msgspec.json.Decoder(Forgotten).decode


def encode_progress(progress: Progress) -> tuple[bytes, bytes]:
    """Key and value of a progress record."""
    return progress.task.encode(), _encode(progress)


def encode_forgotten(forgotten: Forgotten) -> tuple[bytes, bytes]:
    """Key and value of a record of `forgotten`."""
    return forgotten.user_id.encode(), _encode(forgotten)


def decode_progress(record: Record) -> Progress:
    """Decode a progress record. Raises RecordError if it is none, or its key is not its task."""
    progress = decoded(_decode_progress, record, "a progress record")
    check_key(record, "$.lane", progress.task)
    furthest = max((at.position for at in progress.topics.values()), default=0)
    for name in ("joined", "histories"):
        if (position := getattr(progress, name)) > furthest:
            raise refusal(record, f"$.{name}", f"at most the furthest position, {furthest}", str(position))
    return progress


def decode_forgotten(record: Record) -> Forgotten:
    """Decode a record of `forgotten`. Raises RecordError if it is none, or its key is not its shopper."""
    forgotten = decoded(_decode_forgotten, record, "a record of a forgotten shopper")
    check_key(record, "$.user_id", forgotten.user_id)
    return forgotten
