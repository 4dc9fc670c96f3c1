"""The simulated shop at work: its catalogue, an hour of history at once, then customers at a steady pace.

What is published is remembered for a minute, by the id that its suggestion will have, together with what popularity
would have suggested at that moment: so both are judged for the same event.
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
"""Events a second of event time in the history. It decides how long ago the history begins, nothing else."""

RACE_S = 2.0
"""A purchase this short a time before a click may reach the worker after it: two topics have no common order."""

BATCH_BYTES = 128 << 10
"""So that the history goes in few batches, which is quicker to send and to fetch."""

REMEMBERED_S = 60.0
"""How long a published event waits for its suggestion."""


@dataclass(slots=True)
class Shopper:
    """What a shopper has done so far."""

    cart: dict[str, None] = field(default_factory=dict)
    bought: dict[str, float] = field(default_factory=dict)
    """Item id: when its purchase was sent last, epoch seconds."""

    def bought_before(self, sent_s: float) -> list[str]:
        """What was bought surely before a click sent at a time."""
        return [item_id for item_id, at in self.bought.items() if at < sent_s - RACE_S]

    def raced(self, sent_s: float, answered_s: float) -> bool:
        """Whether a purchase may have been applied before or after an event, as it happened."""
        return any(sent_s - RACE_S <= at <= answered_s for at in self.bought.values())


@dataclass(slots=True)
class Published:
    """A published event that a suggestion may answer."""

    value: dict[str, Any]
    """As published."""
    live: bool
    """Whether it is of the steady pace, not of the history."""
    action: str
    item_ids: list[str]
    cart: list[str]
    """Of its shopper, after the event."""
    shopper: Shopper
    sent_s: float
    """Epoch seconds."""
    popular: list[tuple[str, str]]
    """What popularity suggests: (kind, item id)."""
    appended_ms: int = 0
    """Append time."""


class Feed:
    """Publishes what happens in the shop. A context manager.

    Args:
        settings: where to.
        shop: what happens.
        policy: for the popular items.
        rate: events a second of the steady pace.
        history: events of the history.
    """

    def __init__(self, settings: Settings, shop: SimulatedShop, policy: Policy, rate: float, history: int) -> None:
        self.shop = shop
        self.popularity = Popularity(shop.models, policy)
        self.live_events = 0
        self.history_events = 0
        self._prefix = settings.prefix
        self._rate = rate
        self._history = history
        self._shoppers: defaultdict[str, Shopper] = defaultdict(Shopper)
        self._published: dict[str, Published] = {}
        self._live: Iterator[SourceEvent] = iter(())
        self._next: SourceEvent | None = None
        self._producer = KafkaProducer(**settings.kafka_python_options(), linger_ms=2, batch_size=BATCH_BYTES)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exception: object) -> None:
        self._producer.close(timeout=2.0)

    def publish_catalog(self) -> int:
        """Publish the whole catalogue; returns how many items that are."""
        for item in self.shop.catalog():
            self._send("catalog", item["item_id"], item)
        return len(self.shop.models)

    def publish_history(self) -> int:
        """Publish the history, with event times up to now; returns how many events that are."""
        start_s = time.time() - self._history / HISTORY_PER_S
        for event in self.shop.events(HISTORY_PER_S, start_s):
            if event.at > time.time() or self.history_events >= self._history:
                break
            self._publish(event, live=False)
            self.history_events += 1
        self._producer.flush()
        return self.history_events

    def open(self) -> None:
        """Start the steady pace, now."""
        self._live = self.shop.events(self._rate, time.time())
        self._next = next(self._live)

    def publish_due(self) -> None:
        """Publish what has happened since the last call."""
        now = time.time()
        while self._next is not None and self._next.at <= now:
            self._publish(self._next, live=True)
            self.live_events += 1
            self._next = next(self._live)

    def take(self, suggestion_id: str) -> Published | None:
        """The event behind a suggestion, once; None while it is not known (or no more)."""
        return self._published.pop(suggestion_id, None)

    def forget_old(self) -> None:
        """Drop events that nothing was suggested for."""
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
        popular = self.popularity.suggest(item_ids, shopper.cart, shopper.bought) if live else []
        published = Published(value, live, action, item_ids, list(shopper.cart), shopper, now, popular)
        if action == "purchase":
            published.popular = [one for one in popular if one[0] == "cross-sell"]
            shopper.bought.update(dict.fromkeys(item_ids, now))
        if action != "remove_from_cart":
            self.popularity.update(item_ids)

        def appended(metadata: Any) -> None:
            published.appended_ms = metadata.timestamp
            self._published[f"{metadata.topic}-{metadata.partition}-{metadata.offset}"] = published

        self._send(event.topic, value["user_id"], value).add_callback(appended)

    def _send(self, topic: str, key: str, value: dict[str, Any]) -> Any:
        return self._producer.send(full_name(self._prefix, topic), key=key.encode(), value=orjson.dumps(value))
