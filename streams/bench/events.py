"""What happens in the shop, as the bytes that go over the wire: the same for both sides.

Five simulated shops under one roof make a catalogue of some two thousand items and a hundred thousand shoppers, a few
visits each, so that windows, carts and rows of neighbours are as long as they are in a shop.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from streams.connectors.replay import SourceEvent
from streams.connectors.simulated_shop import SimulatedShop
from streams.wire.partitioner import partition_of

BRANCHES = 5
"""Shops under the roof: 396 items each."""

SHOPPERS = 20_000
"""Of each branch."""

EVENTS_PER_S = 200.0
"""Of each branch, in event time: a run of 300,000 events spans five minutes, some visit and a half a shopper."""

QUIET_ACTION = "remove_from_cart"
"""The one action that asks for no suggestion."""


class Event(NamedTuple):
    """A record that will be published."""

    topic: str  # short name
    partition: int
    key: bytes
    value: bytes

    @property
    def triggers(self) -> bool:
        """Whether the worker answers it."""
        return self.topic == "purchases" or QUIET_ACTION.encode() not in self.value


class BenchShop:
    """The shops.

    Args:
        seed: of the first; the others have the next ones.
        partitions: of the topics keyed by shopper.
        start_s: event time of the first event, in epoch seconds.
    """

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
                item_id = _branded(branch, value["item_id"])
                key = item_id.encode()
                record = orjson.dumps(value | {"item_id": item_id})
                records.append(Event("catalog", partition_of(key, self._partitions), key, record))
        return records

    def take(self, count: int) -> list[Event]:
        """The next so many clicks and purchases, in the order of their times."""
        return [self._record(topic, value) for topic, _, value in islice(self._happening, count)]

    def _record(self, topic: str, value: dict[str, Any]) -> Event:
        key = value["user_id"].encode()
        return Event(topic, partition_of(key, self._partitions), key, orjson.dumps(value))


def _of_branch(branch: int, events: Iterator[SourceEvent]) -> Iterator[SourceEvent]:
    """Events whose ids say which branch they are of."""
    for topic, at, value in events:
        for name in ("user_id", "item_id", "session_id", "event_id", "order_id"):
            if name in value:
                value[name] = _branded(branch, value[name])
        if topic == "purchases":
            value["items"] = [line | {"item_id": _branded(branch, line["item_id"])} for line in value["items"]]
        yield SourceEvent(topic, at, value)


def _branded(branch: int, name: str) -> str:
    return f"{branch + 1}.{name}"


_events = msgspec.msgpack.Decoder(list[Event])


def write(path: Path, events: list[Event]) -> None:
    """Put events into a file, for the process that feeds them."""
    path.write_bytes(msgspec.msgpack.encode(events))


def read(path: Path) -> list[Event]:
    """Events of a file."""
    return _events.decode(path.read_bytes())
