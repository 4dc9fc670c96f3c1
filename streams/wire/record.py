"""A record as all readers see it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from streams.errors import RecordError

logger = logging.getLogger(__name__)

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A [`Record`][] that the Kafka client could not parse. Its value raises, so every decoder refuses it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    recovered_value: bytes | None
    """The value, where it could be read; None where not."""
    fault: str
    """What is wrong with the record."""

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
    try:
        return decode(record.value or b"")
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(where(record), what, error) from error


def where(record: Record) -> str:
    """Topic, partition and offset, such as `clicks-3@81245`."""
    return f"{record.topic}-{record.partition}@{record.offset}"
