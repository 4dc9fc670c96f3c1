"""What a worker writes down for its successor: positions of a lane, and shoppers who asked to be forgotten.

Both are compacted topics. A progress record says: the effects of everything below these positions are acknowledged.
Records of a late owner and of its successor may mix; each says the truth, so positions merge by the maximum.
"""

from __future__ import annotations

import msgspec

from streams.errors import RecordError
from streams.wire.record import Record, where

VERSION = 1


class TopicProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Position in one partition, and which topic that was."""

    topic_id: str
    """Identity of the topic as the broker gives it; another id means another topic of the same name."""
    partitions: int
    """Partitions the topic had; with another number the keys lie elsewhere."""
    position: int
    """Offset of the next record to apply."""
    appended_ms: int = 0
    """Greatest append time below the position."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Positions of all topics of one lane, one consistent cut."""

    v: int
    task: str = msgspec.field(name="lane")
    topics: dict[str, TopicProgress]
    """By full topic name."""
    joined: int = 0
    """Purchases below this offset have their viewed-then-bought pairs counted."""

    def merged(self, other: Progress | None) -> Progress:
        """The later of both, topic by topic."""
        if other is None:
            return self
        topics = dict(other.topics)
        for name, mine in self.topics.items():
            theirs = topics.get(name)
            if theirs is None or mine.topic_id != theirs.topic_id or mine.position >= theirs.position:
                topics[name] = mine
        return Progress(v=VERSION, task=self.task, topics=topics, joined=max(self.joined, other.joined))


class Forgotten(msgspec.Struct, frozen=True):
    """A shopper who asked to be forgotten; sticky, whatever his profile says later."""

    v: int
    user_id: str
    before: float
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
    """Decode a progress record.

    Raises:
        RecordError: the value is not one of ours.
    """
    try:
        progress = _decode_progress(record.value or b"")
    except msgspec.DecodeError as error:
        raise RecordError.undecodable(where(record), "a progress record", error) from error
    return progress


def decode_forgotten(record: Record) -> Forgotten:
    """Decode a record of `forgotten`.

    Raises:
        RecordError: the value is not one of ours.
    """
    try:
        forgotten = _decode_forgotten(record.value or b"")
    except msgspec.DecodeError as error:
        raise RecordError.undecodable(where(record), "a record of a forgotten shopper", error) from error
    return forgotten
