"""The record header of history: events that workers and the trainer learn from, and that are never answered."""

from __future__ import annotations

from typing import NamedTuple

from streams.wire.record import Header, Record

NAME = "crosscurrent-backfill"
"""Of the header. Any value marks a record; `crosscurrent backfill` writes the record's place in its source."""


class Place(NamedTuple):
    """Of an event in its source."""

    source: str
    """Tells a source from any other."""
    number: int
    """From 0, in the source's order."""

    @property
    def header(self) -> tuple[str, bytes]:
        """As a record carries it."""
        return NAME, f"{self.source} {self.number}".encode()


def is_backfilled(record: Record) -> bool:
    """Whether a record is history."""
    return bool(record.headers) and any(name == NAME for name, _ in record.headers)


def place_of(record: Record) -> Place | None:
    """Where a record stands in its source; None if `crosscurrent backfill` did not write it."""
    return next((_place(header) for header in record.headers if header[0] == NAME), None)


def _place(header: Header) -> Place | None:
    source, _, number = (header[1] or b"").decode(errors="replace").rpartition(" ")
    return Place(source, int(number)) if number.isascii() and number.isdigit() else None
