"""The events of the benchmark, as the bytes that are sent.

Five simulated shops together have some two thousand items and a hundred thousand shoppers with a few visits each, so
that windows, carts and rows of neighbours are as long as in a real shop.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from streams.connectors.replay import SourceEvent
from streams.connectors.simulated_shop import SimulatedShop
from streams.wire.partitioner import partition_of

BRANCHES = 5
"""Simulated shops, 396 items each."""

SHOPPERS, EVENTS_PER_S = 20_000, 200.0
"""Of each branch, in event time: 300,000 events span five minutes, about one and a half visits a shopper."""

QUIET_ACTION = "remove_from_cart"
"""The only action that is not answered."""


class Event(NamedTuple):
    """A record to publish."""

    topic: str  # short name
    partition: int
    key: bytes
    value: bytes

    @property
    def triggers(self) -> bool:
        """Whether the worker answers it."""
        return self.topic == "purchases" or QUIET_ACTION.encode() not in self.value


class BenchShop:
    """Five simulated shops as one, with seeds from `seed` on, and events from `start_s` (epoch seconds) on."""

    def __init__(self, seed: int, partitions: int, start_s: float) -> None:
        self._partitions = partitions
        self._shops = [SimulatedShop(seed + branch, SHOPPERS) for branch in range(BRANCHES)]
        branches = (_of_branch(branch, shop.events(EVENTS_PER_S, start_s)) for branch, shop in enumerate(self._shops))
        self._happening = heapq.merge(*branches, key=lambda event: event.at)

    def catalog(self) -> list[Event]:
        """Records of the whole catalogue."""
        records = []
        for branch, shop in enumerate(self._shops):
            for value in shop.catalog():
                item_id = _in_branch(branch, value["item_id"])
                records.append(self._record("catalog", item_id, value | {"item_id": item_id}))
        return records

    def take(self, count: int) -> list[Event]:
        """The next clicks and purchases, in the order of their times."""
        return [self._record(topic, value["user_id"], value) for topic, _, value in islice(self._happening, count)]

    def _record(self, topic: str, name: str, value: dict[str, Any]) -> Event:
        key = name.encode()
        return Event(topic, partition_of(key, self._partitions), key, orjson.dumps(value))


def _of_branch(branch: int, events: Iterator[SourceEvent]) -> Iterator[SourceEvent]:
    """Events with ids that begin with the number of the branch."""
    for topic, at, value in events:
        for name in ("user_id", "item_id", "session_id", "event_id", "order_id"):
            if name in value:
                value[name] = _in_branch(branch, value[name])
        if topic == "purchases":
            value["items"] = [line | {"item_id": _in_branch(branch, line["item_id"])} for line in value["items"]]
        yield SourceEvent(topic, at, value)


def _in_branch(branch: int, name: str) -> str:
    return f"{branch + 1}.{name}"


_events = msgspec.msgpack.Decoder(list[Event])


def write(path: Path, events: Sequence[Event]) -> None:
    """Write events to a file, for the process that feeds them."""
    path.write_bytes(msgspec.msgpack.encode(events))


def read(path: Path) -> list[Event]:
    """Read events from a file."""
    return _events.decode(path.read_bytes())
