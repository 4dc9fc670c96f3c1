"""Sends a data set to the topics, in time order, at a chosen speed.

A [`DataSet`][] is a catalogue, events in time order, and notes on what was left out. Event times are kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import orjson

from streams.connectors.jsonl import DECODERS, Line, Sends
from streams.errors import CrosscurrentError, RecordError
from streams.wire.codec import written

KEYS = {"catalog": "item_id", "clicks": "user_id", "purchases": "user_id"}
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


CART_STEP_S = 0.001
"""Between two products added to a cart; small enough that orders of a shopper never overlap."""


def cart_clicks(user_id: str, order_id: str, at: float, item_ids: Sequence[str]) -> Iterator[SourceEvent]:
    """The items of an order, added to the cart one by one just before the order, for sources that have orders only."""
    for number, item_id in enumerate(item_ids):
        added_at = at - (len(item_ids) - number) * CART_STEP_S
        click = {"v": 1, "user_id": user_id, "item_id": item_id, "action": "add_to_cart", "at": written(added_at)}
        yield SourceEvent("clicks", added_at, click | {"session_id": order_id, "event_id": f"{order_id}-{number}"})


class BadLines:
    """Counts the bad lines of a file by kind, and reports the first few."""

    def __init__(self, file: str, report: Callable[[str], None]) -> None:
        self._file = file
        self._report = report
        self.counts: Counter[str] = Counter()  # by kind

    def add(self, line: int, kind: str, got: str) -> None:
        """Count a line, by number from 1; `kind` says what was expected."""
        self.counts[kind] += 1
        if self.counts.total() <= NAMED:
            self._report(f"{self._file}:{line}: {kind}, got {got[:60]!r}")
        elif self.counts.total() == NAMED + 1:
            self._report(f"{self._file}: more lines are bad; they are counted")


class RejectedRecords:
    """Counts would-be dead letters, and reports the first few."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self.count = 0

    def __call__(self, error: RecordError) -> None:
        """Count a record."""
        self.count += 1
        if self.count <= NAMED:
            self._report(f"{error}; left out")
        elif self.count == NAMED + 1:
            self._report("more are bad; they are counted")


class CheckedSender:
    """Sends what a worker would take; would-be dead letters are rejected, such as the 17th click as `clicks 17`.

    Attributes:
        sent: number of records passed on, by topic.
    """

    def __init__(self, sender: Sends, rejected: RejectedRecords) -> None:
        self._sender, self._rejected = sender, rejected
        self._places: Counter[str] = Counter()
        self.sent = dict.fromkeys(KEYS, 0)

    def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """See [`Sends`][streams.connectors.jsonl.Sends]."""
        self._places[topic] += 1
        try:
            DECODERS[topic](Line(topic, round(time.time() * 1000), key, value))
            self._sender.send(topic, key, value)
        except RecordError as error:
            self._rejected(RecordError(error.path, error.expected, error.got, f"{topic} {self._places[topic]}"))
        else:
            self.sent[topic] += 1


@dataclass
class DataSet:
    """A data set to be sent."""

    catalog: list[dict[str, Any]]  # values of the catalog topic
    events: Iterable[SourceEvent]  # in time order; can be iterated once
    count: int  # number of events, for a progress bar
    notes: list[str] = field(default_factory=list)  # what was left out, a sentence each


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
    """Send the catalogue, then clicks and purchases, `limit` of them at most; returns the records sent by topic.

    `speed` is in seconds of event time per second; at infinite speed the sender sets the pace. `on_sent` is called
    after each click and purchase.
    """
    sent = {"catalog": len(data.catalog), "clicks": 0, "purchases": 0}
    for value in data.catalog:
        _send(sender, "catalog", value)
    started, first_at = clock(), None
    for topic, at, value in islice(data.events, limit):
        if first_at is None:
            first_at = at
        ahead_s = started + (at - first_at) / speed - clock()
        if ahead_s > 0:
            sleep(ahead_s)
        _send(sender, topic, value)
        sent[topic] += 1
        on_sent()
    return sent


def _send(sender: Sends, topic: str, value: dict[str, Any]) -> None:
    sender.send(topic, value[KEYS[topic]].encode(), orjson.dumps(value))
