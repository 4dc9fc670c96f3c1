"""What a worker leaves to its successor: positions of a partition task, and shoppers who asked to be forgotten.

Both topics are compacted. A progress record says that the effects of everything below its positions are acknowledged.
Records of a former owner and of its successor may interleave; both are true, so positions merge by the maximum.
"""

from __future__ import annotations

import msgspec

from streams.wire.record import Record, decoded

VERSION = 1


class TopicProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Position in one partition, and the identity of its topic."""

    topic_id: str
    """As the broker gives it; another id means another topic of the same name."""
    partitions: int
    """Partitions that the topic had; with another number, keys go to other partitions."""
    position: int
    """Offset of the next record to apply."""
    appended_ms: int = 0
    """Largest append time below the position."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Positions of all topics of one partition task: a consistent cut."""

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
    """A shopper who asked to be forgotten. Later profiles do not undo it."""

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
    """Decode a progress record. Raises RecordError if it is none."""
    return decoded(_decode_progress, record, "a progress record")


def decode_forgotten(record: Record) -> Forgotten:
    """Decode a record of `forgotten`. Raises RecordError if it is none."""
    return decoded(_decode_forgotten, record, "a record of a forgotten shopper")
