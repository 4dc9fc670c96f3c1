"""Sends a data set to the topics, in time order, at a chosen speed.

A [`DataSet`][] is a catalogue, events in time order, and notes on what was left out. Event times are kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import orjson

from streams.connectors.jsonl import Sends
from streams.errors import CrosscurrentError

KEYS = {"clicks": "user_id", "purchases": "user_id", "catalog": "item_id"}
MAX_SPEED = float("inf")
NAMED = 20
"""Bad lines that are named. The rest is counted, or a file of the wrong kind would fill the screen."""


class DataMissingError(CrosscurrentError):
    """A data set is not installed or cannot be read. Operator action: the message says which, and what to do."""


class SourceEvent(NamedTuple):
    """A click or a purchase of a data source."""

    topic: str  # short name: clicks, purchases
    at: float  # event time in epoch seconds, as in the value
    value: dict[str, Any]  # as in the contract


class BadLines:
    """Counts the bad lines of a file by kind, and names the first few.

    Args:
        file: its name in messages.
        report: called with a sentence about each that is named.
    """

    def __init__(self, file: str, report: Callable[[str], None]) -> None:
        self._file = file
        self._report = report
        self.counts: Counter[str] = Counter()
        """By kind."""

    def add(self, line: int, kind: str, got: str) -> None:
        """Count one.

        Args:
            line: number, from 1.
            kind: what was expected, the same for all of the kind.
            got: what came.
        """
        self.counts[kind] += 1
        if self.counts.total() <= NAMED:
            self._report(f"{self._file}:{line}: {kind}, got {got[:60]!r}")
        elif self.counts.total() == NAMED + 1:
            self._report(f"{self._file}: more lines are bad; they are counted")


@dataclass
class DataSet:
    """A data set to be sent."""

    catalog: list[dict[str, Any]]
    """Values of the catalog topic."""
    events: Iterable[SourceEvent]
    """In time order; can be iterated once."""
    count: int
    """Number of events, for a progress bar."""
    notes: list[str] = field(default_factory=list)
    """What was left out, a sentence each."""


def replay(
    data: DataSet,
    sender: Sends,
    *,
    limit: int | None = None,
    speed: float = MAX_SPEED,
    on_sent: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, int]:
    """Send the catalogue, then clicks and purchases.

    Args:
        data: to send.
        sender: takes the records.
        limit: most clicks and purchases to send; None: all.
        speed: seconds of event time per second; infinite: as fast as the sender takes them.
        on_sent: called after each click and purchase.
        clock: seconds, from any start.
        sleep: waits for a number of seconds.

    Returns:
        Records sent, by topic.
    """
    sent = {"catalog": len(data.catalog), "clicks": 0, "purchases": 0}
    for value in data.catalog:
        _send(sender, "catalog", value)
    for topic, value in _paced(islice(data.events, limit), speed, clock, sleep):
        _send(sender, topic, value)
        sent[topic] += 1
        on_sent()
    return sent


def _paced(
    events: Iterator[SourceEvent], speed: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    started, first_at = clock(), None
    for topic, at, value in events:
        if first_at is None:
            first_at = at
        ahead_s = started + (at - first_at) / speed - clock()
        if ahead_s > 0:
            sleep(ahead_s)
        yield topic, value


def _send(sender: Sends, topic: str, value: dict[str, Any]) -> None:
    sender.send(topic, value[KEYS[topic]].encode(), orjson.dumps(value))
