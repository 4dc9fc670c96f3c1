"""Sends a shop's history to the topics: workers and the trainer learn from it, and nothing of it is answered.

Each click and purchase carries a header with its place in the source. A run first reads back which places the topics
hold, and sends the others. All events of a stretch are acknowledged before the first of the next one is sent, so only
the places of the last stretch are compared one by one, and retention may have deleted those of earlier ones.

The catalogue goes first. Items that the topic has are left as they are: they are newer than a shop's history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from streams.connectors.jsonl import DECODERS, Line
from streams.connectors.replay import KEYS, DataSet, RejectedRecords
from streams.errors import RecordError
from streams.wire.backfill import Place, place_of
from streams.wire.record import Record

STRETCH = 20_000
"""Events of a source between two waits for all acknowledgements, which cost some milliseconds each."""


class SendsHistory(Protocol):
    """Takes records with headers: a [`Sender`][streams.kafka.blocking.Sender], or a test double."""

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Return when everything is acknowledged."""


class Published:
    """The places of a source that the topics hold."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._last = -1  # the last stretch of which anything is held
        self._numbers: set[int] = set()  # of that stretch

    def add(self, records: Iterable[Record]) -> None:
        """Take records that were read back, in any order."""
        for record in records:
            place = place_of(record)
            if place is None or place.source != self.source:
                continue
            stretch = place.number // STRETCH
            if stretch > self._last:
                self._last, self._numbers = stretch, set()
            if stretch == self._last:
                self._numbers.add(place.number)

    def __contains__(self, number: int) -> bool:
        return number // STRETCH < self._last or number in self._numbers

    def __bool__(self) -> bool:
        """Whether the topics hold any event of the source."""
        return bool(self._numbers)


@dataclass(slots=True)
class Backfilled:
    """Outcome of a run."""

    sent: dict[str, int]
    """Records by topic."""
    known: int = 0
    """Events that the topics held already."""


def backfill(
    data: DataSet,
    sender: SendsHistory,
    published: Published,
    known_items: Collection[bytes],
    rejected: RejectedRecords,
    on_event: Callable[[], None] = lambda: None,
) -> Backfilled:
    """Send what the topics do not hold of a source; what a worker would not take is rejected.

    Args:
        data: catalogue and events.
        sender: of catalog, clicks and purchases.
        published: what was read back of the events.
        known_items: keys of the catalogue's topic.
        rejected: takes the errors, such as of the 17th event.
        on_event: called after each event, sent or not.
    """
    done = Backfilled(dict.fromkeys(KEYS, 0))

    def send(topic: str, value: dict[str, Any], place: str, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        key, raw = value[KEYS[topic]].encode(), msgspec.json.encode(value)
        try:
            DECODERS[topic](Line(topic, round(time.time() * 1000), key, raw))
            sender.send(topic, key, raw, headers)
        except RecordError as error:
            rejected(RecordError(error.path, error.expected, error.got, place))
        else:
            done.sent[topic] += 1

    for number, value in enumerate(() if published else data.catalog, start=1):
        if value["item_id"].encode() not in known_items:
            send("catalog", value, f"catalog {number}")
    for number, (topic, _, value) in enumerate(data.events):
        if number % STRETCH == 0:
            sender.flush()
        if number in published:
            done.known += 1
        else:
            place = Place(published.source, number)
            if topic == "clicks" and value.get("event_id") is None:
                value = value | {"event_id": f"{place.source}-{number}"}
            send(topic, value, f"event {number + 1} of the source", [place.header])
        on_event()
    sender.flush()
    return done
