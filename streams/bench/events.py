"""The events of the benchmark, as the bytes that are sent.

Five simulated shops together have some two thousand items and a hundred thousand shoppers with a few visits each, so
that windows, carts and rows of neighbours are as long as in a real shop.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from models.sessions.histories import CELL, DAY_S, History, HistoryRow
from models.shop.events import CatalogItem, Click, Purchase
from streams.connectors.replay import SourceEvent
from streams.connectors.simulated_shop import SimulatedShop
from streams.kafka.memory_log import StoredRecord
from streams.wire.codec import decode_catalog, decode_click, decode_purchase
from streams.wire.history_rows import encode_history
from streams.wire.partitioner import partition_of
from streams.wire.topics import Identity

BRANCHES = 5
"""Simulated shops, 396 items each."""

SHOPPERS, EVENTS_PER_S = 20_000, 200.0
"""Of each branch, in event time: 300,000 events span five minutes, about one and a half visits a shopper."""

LEAD_S = 3000.0
"""How long ago the first event happened: event times may be at most an hour ahead of append times."""

BOUGHT = 10
"""Items of a shopper's history: a few baskets."""

YEAR_S = 365 * DAY_S

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
        self._seed, self._partitions, self._start_s = seed, partitions, start_s
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

    def histories(self, purchases: Identity) -> Iterator[Event]:
        """A row of each shopper's history, with items of the branch, for the topic `purchases` of that identity."""
        chance = np.random.default_rng(self._seed)
        for branch, shop in enumerate(self._shops):
            item_ids = [_in_branch(branch, model.item_id) for model in shop.models]
            for number in range(SHOPPERS):
                bought = [item_ids[item] for item in chance.choice(len(item_ids), BOUGHT, replace=False)]
                yield history(_in_branch(branch, shop.user_id(number)), bought, chance, purchases, self._start_s)

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


def history(
    user_id: str, item_ids: Sequence[str], chance: np.random.Generator, purchases: Identity, now_s: float
) -> Event:
    """A made-up row of what a shopper has bought in the year before; no purchase is in the log."""
    items = len(item_ids)
    cells = np.zeros(items, CELL)
    cells["count"] = chance.geometric(0.4, items)
    for name in ("fast", "slow"):
        cells[name] = 1.0 + (cells["count"] - 1) * chance.random(items)
    bought = now_s - YEAR_S * chance.random((2, items))
    cells["first"], cells["last"] = bought.min(0), bought.max(0)
    baskets = int(cells["count"].sum())
    made_up = History(cells, baskets, float(baskets), float(bought.min()), float(bought.max()), 0)
    key = user_id.encode()
    value = encode_history(HistoryRow(user_id, list(item_ids), made_up), purchases)
    return Event("histories", partition_of(key, purchases.partitions), key, value)


def decoded(events: Iterable[Event]) -> Iterator[Click | Purchase]:
    """Clicks and purchases as a worker reads them."""
    for event in events:
        yield (decode_purchase if event.topic == "purchases" else decode_click)(_record(event))


def item_of(event: Event) -> CatalogItem:
    """The item of a record of the catalogue."""
    item = decode_catalog(_record(event))
    assert item is not None  # noqa: S101  none is withdrawn
    return item


def _record(event: Event) -> StoredRecord:
    return StoredRecord(event.topic, event.partition, 0, round(time.time() * 1000), event.key, event.value)


_events = msgspec.msgpack.Decoder(list[Event])


def write(path: Path, events: Sequence[Event]) -> None:
    """Write events to a file, for the process that feeds them."""
    path.write_bytes(msgspec.msgpack.encode(events))


def read(path: Path) -> list[Event]:
    """Read events from a file."""
    return _events.decode(path.read_bytes())
