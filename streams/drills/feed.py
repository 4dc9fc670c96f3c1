"""Feeds events at a steady rate, from a thread of its own."""

from __future__ import annotations

import threading
import time

from streams.drills.errors import DrillError
from streams.drills.shop import DrillShop, stamped
from streams.kafka.blocking import Sender
from streams.settings import Settings

TICK_S = 0.005
"""Between two checks for events that are due."""

LAST_S = 30.0
"""Longest wait for the last acknowledgements."""


def publish_catalog(settings: Settings, shop: DrillShop) -> None:
    """Publish the whole catalogue and wait for the acknowledgements."""
    with Sender(settings, ["catalog"]) as sender:
        for record in shop.catalog():
            sender.send(*record)


class Feeder:
    """Sends the shop's events at a steady rate (events a second); late ones at once. A context manager."""

    def __init__(self, settings: Settings, shop: DrillShop, rate: float) -> None:
        self._settings = settings
        self._events = shop.events()
        self.rate = rate
        self._stop = threading.Event()
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self.sent = 0
        self.started_s = self.ended_s = 0.0  # epoch seconds

    def __enter__(self) -> Feeder:
        self._thread.start()
        self._started.wait(LAST_S)
        self.check()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._abandoned = kind is not None
        self._stop.set()
        self._thread.join(LAST_S)

    def check(self) -> None:
        """Raise `DrillError` if feeding has failed."""
        if self._failure is not None:
            message = f"feeding the drill's events failed: {self._failure}"
            raise DrillError(message) from self._failure

    def end(self) -> None:
        """Stop feeding and wait until everything is acknowledged; raises `DrillError` if something was not."""
        self._stop.set()
        self._thread.join(LAST_S)
        if self._thread.is_alive():
            message = f"the broker does not acknowledge the drill's events within {LAST_S:.0f} s"
            raise DrillError(message)
        self.check()

    def _run(self) -> None:
        try:
            with Sender(self._settings, ["clicks", "purchases"]) as sender:
                self._feed(sender)
        except Exception as error:
            self._failure = error
        finally:
            self._started.set()

    def _feed(self, sender: Sender) -> None:
        begin, self.started_s = time.monotonic(), time.time()
        self._started.set()
        while not self._stop.wait(TICK_S):
            due = int((time.monotonic() - begin) * self.rate)
            while self.sent < due:
                (topic, key, value), late_s = next(self._events)
                assert value is not None  # noqa: S101 - only the catalogue has tombstones
                sender.send(topic, key, stamped(value, time.time() - late_s))
                self.sent += 1
        self.ended_s = time.time()
        if self._abandoned:
            message = "the drill has ended before its time"
            raise DrillError(message)  # do not wait for acknowledgements
