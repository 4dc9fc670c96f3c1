"""Publishes what happens in the simulated shop: its catalogue, a history at once, then events at a steady rate.

Each event is remembered for a minute by the id of its suggestion, together with what popularity suggests at that
moment, so that both are judged for the same event.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from kafka import KafkaProducer

from models.shop.policy import Policy
from streams.connectors.replay import SourceEvent
from streams.connectors.simulated_shop import SimulatedShop
from streams.demo.popularity import Popularity
from streams.settings import Settings
from streams.wire.topics import full_name

HISTORY_PER_S = 5.0
"""Events a second of event time in the history; decides only how long ago the history begins."""

RACE_S = 2.0
"""A purchase so shortly before a click may reach the worker after it: two topics have no common order."""

BATCH_BYTES = 128 << 10
"""Large, so that the history goes in few batches."""

REMEMBERED_S = 60.0
"""How long an event waits for its suggestion."""


@dataclass(slots=True)
class Shopper:
    """Cart and purchases of a shopper."""

    cart: dict[str, None] = field(default_factory=dict)
    bought: dict[str, float] = field(default_factory=dict)  # item id: when it was last bought, epoch seconds

    def bought_before(self, sent_s: float) -> list[str]:
        """Items certainly bought before a click that was sent at this time."""
        return [item_id for item_id, at in self.bought.items() if at < sent_s - RACE_S]

    def raced(self, sent_s: float, answered_s: float) -> bool:
        """Whether a purchase may have been applied before or after an event."""
        return any(sent_s - RACE_S <= at <= answered_s for at in self.bought.values())


@dataclass(slots=True)
class Published:
    """A published event that a suggestion may answer."""

    value: dict[str, Any]
    live: bool  # not of the history
    action: str
    item_ids: list[str]
    cart: list[str]  # after the event
    shopper: Shopper
    sent_s: float  # epoch seconds
    popular: list[tuple[str, str]]  # suggestions of popularity: (kind, item id)
    appended_ms: int = 0  # epoch milliseconds


class Feed:
    """Publishes catalogue, history and live events, at a rate a second. A context manager."""

    def __init__(self, settings: Settings, shop: SimulatedShop, policy: Policy, rate: float) -> None:
        self.live_events = 0
        self._shop = shop
        self._popularity = Popularity(shop.models, policy)
        self._prefix = settings.prefix
        self._rate = rate
        self._shoppers: defaultdict[str, Shopper] = defaultdict(Shopper)
        self._published: dict[str, Published] = {}
        self._live: Iterator[SourceEvent] = iter(())
        self._next: SourceEvent | None = None
        self._producer = KafkaProducer(**settings.kafka_python_options(), linger_ms=2, batch_size=BATCH_BYTES)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exception: object) -> None:
        self._producer.close(timeout=2.0)

    def publish_catalog(self) -> None:
        """Publish the catalogue."""
        for item in self._shop.catalog():
            self._send("catalog", item["item_id"], item)

    def publish_history(self, most: int) -> int:
        """Publish at most so many events, with times up to now; returns their number."""
        published, events = 0, self._shop.events(HISTORY_PER_S, time.time() - most / HISTORY_PER_S)
        while published < most and (event := next(events)).at <= time.time():
            self._publish(event, live=False)
            published += 1
        self._producer.flush()
        return published

    def open(self) -> None:
        """Start the live events."""
        self._live = self._shop.events(self._rate, time.time())
        self._next = next(self._live)

    def publish_due(self) -> None:
        """Publish the events that are due."""
        now = time.time()
        while self._next is not None and self._next.at <= now:
            self._publish(self._next, live=True)
            self.live_events += 1
            self._next = next(self._live)

    def take(self, suggestion_id: str) -> Published | None:
        """The event of a suggestion, once; None if it is not known yet, or not any more."""
        return self._published.pop(suggestion_id, None)

    def forget_old(self) -> None:
        """Drop events that were not answered."""
        horizon = (time.time() - REMEMBERED_S) * 1000
        for suggestion_id, event in list(self._published.items()):
            if event.appended_ms > horizon:
                break
            del self._published[suggestion_id]

    def _publish(self, event: SourceEvent, live: bool) -> None:
        value, shopper = event.value, self._shoppers[event.value["user_id"]]
        if event.topic == "purchases":
            action, item_ids = "purchase", list(dict.fromkeys(line["item_id"] for line in value["items"]))
            shopper.cart.clear()
        else:
            action, item_ids = value["action"], [value["item_id"]]
            if action == "add_to_cart":
                shopper.cart[item_ids[0]] = None
            elif action == "remove_from_cart":
                shopper.cart.pop(item_ids[0], None)
        now = time.time()
        popular = self._popularity.suggest(item_ids, shopper.cart, shopper.bought) if live else []
        published = Published(value, live, action, item_ids, list(shopper.cart), shopper, now, popular)
        if action == "purchase":
            published.popular = [(kind, item_id) for kind, item_id in popular if kind == "cross-sell"]
            shopper.bought.update(dict.fromkeys(item_ids, now))
        if action != "remove_from_cart":
            self._popularity.update(item_ids)

        def appended(metadata: Any) -> None:
            published.appended_ms = metadata.timestamp
            self._published[f"{metadata.topic}-{metadata.partition}-{metadata.offset}"] = published

        self._send(event.topic, value["user_id"], value).add_callback(appended)

    def _send(self, topic: str, key: str, value: dict[str, Any]) -> Any:
        return self._producer.send(full_name(self._prefix, topic), key=key.encode(), value=orjson.dumps(value))
