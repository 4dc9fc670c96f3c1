"""A record as all readers see it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeAlias, TypeVar

from msgspec import Meta

from streams.errors import RecordError
from streams.wire.schemas import MAX_ID_BYTES, MAX_INT64

logger = logging.getLogger(__name__)

T = TypeVar("T")

Offset: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT64)]
"""In a partition; also a count, or a time in milliseconds."""

MAX_PARTITIONS = 1_000_000

Partitions: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_PARTITIONS)]
"""Number of partitions of a topic."""

NEWEST_S = 253_402_300_799
"""Latest event time, in epoch seconds: the end of the year 9999."""

AHEAD_S = 25 * 3600.0
"""How far an event time may be ahead: the hour that the shop's records may, and a day by which clocks may be wrong."""

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=NEWEST_S)]
"""Event time in epoch seconds."""

MAX_AMOUNT = 1e50

Amount: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_AMOUNT)]
"""A decayed count."""

TopicName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=249)]

TopicId: TypeAlias = Annotated[str, Meta(max_length=64)]
"""As the broker gives it; may be empty."""

SomeId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
"""Of an item or a shopper."""

Header: TypeAlias = tuple[str, bytes | None]
"""Name and value."""

SHOWN = 60
"""Characters of a wrong value or key that an error quotes: enough to find it, and the log stays readable."""


class Record(Protocol):
    """One record; aiokafka's and kafka-python's `ConsumerRecord` fit."""

    @property
    def topic(self) -> str:
        """Full name of the topic."""

    @property
    def partition(self) -> int:
        """Number of the partition."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time in epoch milliseconds (create time if the topic is configured so)."""

    @property
    def key(self) -> bytes | None:
        """Key as sent."""

    @property
    def value(self) -> bytes | None:
        """Value as sent; None: a tombstone."""

    @property
    def headers(self) -> Sequence[Header]:
        """Headers as sent."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A [`Record`][] that the Kafka client could not parse. Its value raises, so every decoder refuses it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    recovered_value: bytes | None
    """The value; None where it could not be read either."""
    fault: str
    """What is wrong with the record."""
    headers: tuple[Header, ...] = ()

    @property
    def value(self) -> bytes | None:
        """Never returns.

        Raises:
            RecordError: always.
        """
        raise refusal(self, None, "in a record that a Kafka client can parse", self.fault)


def raw_value(record: Record) -> bytes | None:
    """The value as sent; of an unreadable record what could be recovered."""
    return record.recovered_value if isinstance(record, Unreadable) else record.value


def readable(records: Iterable[Record]) -> Iterator[Record]:
    """Records without the unreadable ones, which are logged; for readers that send no dead letters."""
    for record in records:
        if isinstance(record, Unreadable):
            logger.warning("%s: passed over: %s", where(record), record.fault)
        else:
            yield record


def refusal(record: Record, path: str | None, expected: str, got: str) -> RecordError:
    """The error for a record that cannot be used."""
    return RecordError(path, expected, got, where(record))


def decoded(decode: Callable[[bytes], T], record: Record, what: str) -> T:
    """The decoded value of a record that only workers write. Raises RecordError if it is not `what`."""
    value = record.value or b""
    try:
        if not value.isascii():
            value.decode()  # the decoder skips unknown fields without looking at their bytes
        return decode(value)
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(where(record), what, error) from error


def check_key(record: Record, path: str, name: str) -> None:
    """Raise RecordError unless the record's key is the name at this path of its value."""
    if name.encode() != record.key:
        key = repr((record.key or b"")[:SHOWN])
        raise refusal(record, path, f"the record's key, {key}", repr(name[:SHOWN]))


def check_at(record: Record, at: float, now_s: float) -> None:
    """Raise RecordError for an event time that lies ahead of the record's own time and ours: it would age all else."""
    latest = max(record.timestamp / 1000, now_s) + AHEAD_S
    if at > latest:
        raise refusal(record, "$.at", f"at most {latest:.0f}, a day after its record", f"{at:.0f}")


def where(record: Record) -> str:
    """Topic, partition and offset, such as `clicks-3@81245`."""
    return f"{record.topic}-{record.partition}@{record.offset}"
