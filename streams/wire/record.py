"""A record as every reader here sees it."""

from __future__ import annotations

from typing import Protocol


class Record(Protocol):
    """One record as every reader here sees it (aiokafka's and kafka-python's `ConsumerRecord` are such)."""

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
        """Append time in epoch milliseconds (create time where the topic is set so)."""

    @property
    def key(self) -> bytes | None:
        """Key as sent."""

    @property
    def value(self) -> bytes | None:
        """Value as sent; None is a tombstone."""


def where(record: Record) -> str:
    """Topic, partition and offset, such as `clicks-3@81245`."""
    return f"{record.topic}-{record.partition}@{record.offset}"
