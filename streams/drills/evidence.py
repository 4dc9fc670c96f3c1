"""Reads whole topics after a drill, by JSON and the contracts alone."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import orjson

from streams.kafka.blocking import TopicReader
from streams.settings import Settings
from streams.wire.record import Header

INPUTS = ("clicks", "purchases", "catalog", "profiles", "feedback")
"""Topics that a shop writes to."""


Place = tuple[str, int, int]
"""Topic (full name), partition and offset of a record."""


class Raw(NamedTuple):
    """A record of a topic."""

    topic: str  # full name
    partition: int
    offset: int
    timestamp: int  # epoch milliseconds
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()

    @property
    def id(self) -> str:
        """Id of the suggestion that answers it."""
        return f"{self.topic}-{self.partition}-{self.offset}"


class StoredTopic:
    """The records of a topic (short name) but the bad ones, each partition in order.

    Every iteration reads them from the broker: they may be more than memory should hold. It raises `BrokerError` if the
    broker does not answer, and `TopicsError` if the topic does not exist.
    """

    def __init__(self, settings: Settings, topic: str, bad: Container[Place] = ()) -> None:
        self._settings, self._topic, self._bad = settings, topic, bad

    def __iter__(self) -> Iterator[Raw]:
        with TopicReader(self._settings, [self._topic]) as reader:
            for record in chain.from_iterable(reader.read(from_start=True, until_end=True)):
                place = (record.topic, record.partition, record.offset)
                if place not in self._bad:  # the value of a bad one may not even be readable
                    yield Raw(*place, record.timestamp, record.key, record.value)


def read(settings: Settings, topic: str, bad: Container[Place] = ()) -> list[Raw]:
    """All records of a topic (short name) but the bad ones, by partition and offset.

    Raises:
        BrokerError: the broker does not answer.
        TopicsError: the topic does not exist.
    """
    return sorted(StoredTopic(settings, topic, bad), key=lambda record: (record.partition, record.offset))


@dataclass(frozen=True, slots=True)
class Event:
    """A click or a purchase."""

    record: Raw
    action: str  # view, click, add_to_cart, remove_from_cart, or purchase
    user_id: str
    item_ids: tuple[str, ...]  # without repetitions, in order
    at_s: float  # event time, epoch seconds

    @property
    def triggers(self) -> bool:
        """Whether it must be answered."""
        return self.action != "remove_from_cart"

    @property
    def appended_s(self) -> float:
        """Append time, epoch seconds."""
        return self.record.timestamp / 1000


def first_events(records: Sequence[Raw]) -> list[Event]:
    """Events of a topic, in order, without those that repeat an event id or order id of their shopper."""
    events, known = [], set()
    for record in records:
        value = orjson.loads(record.value or b"null")
        user_id = value["user_id"]
        purchase = "order_id" in value
        name = value.get("order_id" if purchase else "event_id")
        if name is not None and (user_id, name) in known:
            continue
        known.add((user_id, name))
        ids = [line["item_id"] for line in value["items"]] if purchase else [value["item_id"]]
        action = "purchase" if purchase else value["action"]
        events.append(Event(record, action, user_id, tuple(dict.fromkeys(ids)), epoch_s(value["at"])))
    return events


def epoch_s(at: str | int) -> float:
    """Epoch seconds of an `at` of the contract.

    >>> epoch_s("1970-01-01T00:00:01.500Z"), epoch_s(1500)
    (1.5, 1.5)
    """
    return at / 1000 if isinstance(at, int) else datetime.fromisoformat(at).timestamp()


def last_values(records: Sequence[Raw]) -> dict[str, dict[str, Any]]:
    """Values of a compacted topic by key, tombstones applied."""
    values: dict[str, dict[str, Any]] = {}
    for record in records:
        key = (record.key or b"").decode()
        values.pop(key, None)
        if record.value is not None:
            values[key] = orjson.loads(record.value)
    return values


@dataclass(frozen=True, slots=True)
class Evidence:
    """The topics of one prefix."""

    clicks: list[Raw]
    purchases: list[Raw]
    catalog: dict[str, dict[str, Any]]  # what is offered, by item id
    suggestions: Iterable[Raw]
    neighbours: Iterable[Raw]
    snapshots: list[Raw] = field(default_factory=list)
    dead_letters: Iterable[Raw] = ()
    histories: Iterable[Raw] = ()


def gather(settings: Settings, bad: Container[Place] = ()) -> Evidence:
    """Read the topics of a prefix, without the bad records."""
    return Evidence(
        clicks=read(settings, "clicks", bad),
        purchases=read(settings, "purchases", bad),
        catalog=last_values(read(settings, "catalog", bad)),
        suggestions=StoredTopic(settings, "suggestions", bad),
        neighbours=StoredTopic(settings, "neighbours", bad),
        snapshots=read(settings, "snapshots", bad),
        dead_letters=StoredTopic(settings, "dead-letters", bad),
        histories=StoredTopic(settings, "histories", bad),
    )
