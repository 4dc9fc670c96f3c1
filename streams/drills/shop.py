"""A shop so small that no item has as many neighbours as a row holds, so that every cell can be compared.

Its events are as irregular as real ones: some come late, some come twice, some are of items that are not in the
catalogue, or not any more.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from streams.connectors.replay import SourceEvent
from streams.connectors.simulated_shop import SimulatedShop
from streams.wire.codec import written

OCCASIONS = ("tea", "coffee")
"""Of the items: 96, so that a row has 95 neighbours at most; rows are published with 100."""

SHOPPERS = 2_000
PACE_PER_S = 100.0
"""Shoppers, and events a second in event time. Few shoppers, who return often: windows fill up, purchases meet carts,
and every take-over has state to restore."""

LATE_SHARE = 0.05
LATE_S = 3.0
"""Share of events sent later than they happened, and by how much at most: longer than the two seconds for which a
purchase waits for its views."""

TWICE_SHARE = 0.01
TWICE_AFTER = 400
"""Share of events sent a second time, and after how many others at most: about a second, so that some are repeated
across a take-over."""

NOT_IN_CATALOG, WITHDRAWN, OUT_OF_STOCK, NOT_RATED = 5, 11, 3, 6
"""Numbers of such items in each dozen."""

DOZEN = 12

UNSEEN_CATEGORIES = tuple(f"Attic/Sort {number}" for number in range(300))
UNSEEN_BRANDS = 800
"""Of the items without events: as many as large shops have."""


class SentRecord(NamedTuple):
    """A record to send."""

    topic: str  # short name
    key: bytes
    value: bytes | None


class DrillShop:
    """The shop. `unseen` items without events make its catalogue as large as a big shop's."""

    def __init__(self, seed: int, unseen: int = 0) -> None:
        self._unseen = unseen
        self._shop = SimulatedShop(seed, SHOPPERS)
        self._models = [model for model in self._shop.models if model.occasion in OCCASIONS]
        self.item_ids = frozenset(model.item_id for model in self._models)  # those with events
        self._chance = random.Random(f"drill {seed}")

    def catalog(self) -> Iterator[SentRecord]:
        """Records of the catalogue: items, then tombstones of some of them."""
        withdrawn = []
        for number, model in enumerate(self._models):
            place, value = number % DOZEN, model.record()
            if place == NOT_IN_CATALOG:
                continue
            if place == OUT_OF_STOCK:
                value["in_stock"] = False
            if place == NOT_RATED:
                del value["rating"]
            if place == WITHDRAWN:
                withdrawn.append(SentRecord("catalog", model.item_id.encode(), None))
            yield SentRecord("catalog", model.item_id.encode(), orjson.dumps(value))
        yield from withdrawn
        for number in range(self._unseen):
            value = {
                "v": 1,
                "item_id": f"unseen-{number}",
                "title": f"Unseen {number}",
                "category": UNSEEN_CATEGORIES[number % len(UNSEEN_CATEGORIES)],
                "price": 5.0 + number % 97,
                "currency": "EUR",
                "brand": f"Brand {number % UNSEEN_BRANDS}",
                "in_stock": True,
            }
            yield SentRecord("catalog", f"unseen-{number}".encode(), orjson.dumps(value))

    def events(self) -> Iterator[tuple[SentRecord, float]]:
        """Clicks and purchases without end, each with its age in seconds when it is sent; `stamped` adds the time."""
        chance = self._chance
        again: deque[tuple[int, SentRecord]] = deque()
        for number, (topic, _, value) in enumerate(self._kept()):
            late_s = chance.uniform(0.0, LATE_S) if chance.random() < LATE_SHARE else 0.0
            del value["at"]
            sent = SentRecord(topic, value["user_id"].encode(), orjson.dumps(value))
            yield sent, late_s
            if chance.random() < TWICE_SHARE:
                again.append((number + chance.randrange(TWICE_AFTER), sent))
            while again and again[0][0] <= number:
                yield again.popleft()[1], 0.0

    def _kept(self) -> Iterator[SourceEvent]:
        """Events of the simulated shop, without the items that this one does not sell."""
        for event in self._shop.events(PACE_PER_S, start_s=1e9):
            value = event.value
            if event.topic == "purchases":
                value["items"] = [line for line in value["items"] if line["item_id"] in self.item_ids]
                if value["items"]:
                    yield event
            elif value["item_id"] in self.item_ids:
                yield event


def stamped(value: bytes, at_s: float) -> bytes:
    """A value with its time added.

    >>> stamped(b'{"v":1}', 1773480413.5)
    b'{"v":1,"at":"2026-03-14T09:26:53.500Z"}'
    """
    return value[:-1] + b',"at":"' + written(at_s).encode() + b'"}'
