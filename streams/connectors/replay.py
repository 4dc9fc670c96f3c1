"""Events of the past, sent again: from data sets to the topics, in their order, at a chosen speed.

A data set is a [`Past`][]: a catalogue, events in time order, and what was wrong with it. Event times stay as they
were; `complete_journey` and `rees46` say how theirs are made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import orjson

from streams.connectors.jsonl import Sends
from streams.errors import CrosscurrentError

KEYS = {"clicks": "user_id", "purchases": "user_id", "catalog": "item_id"}
MAX_SPEED = float("inf")
NAMED = 20
"""Bad lines that are named; the rest is counted: a file of the wrong kind would fill the screen."""


class DataMissingError(CrosscurrentError):
    """A data set is not installed or cannot be read. Operator action: the message says which, and what to do."""


class Happening(NamedTuple):
    """A click or a purchase of the past."""

    topic: str  # short name
    at: float  # event time in epoch seconds
    value: dict[str, Any]  # as in the contract


class Faults:
    """What is wrong with a file, by line; counts all, names the first few.

    Args:
        file: what to call it.
        complain: told a sentence about each that is named.
    """

    def __init__(self, file: str, complain: Callable[[str], None]) -> None:
        self._file = file
        self._complain = complain
        self.counts: dict[str, int] = {}
        """How many of each kind."""

    def found(self, line: int, kind: str, got: str) -> None:
        """Note one.

        Args:
            line: number, from 1.
            kind: a few words, the same for all of the kind.
            got: what stood there.
        """
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if sum(self.counts.values()) <= NAMED:
            self._complain(f"{self._file}:{line}: {kind}, got {got[:60]!r}")
        elif sum(self.counts.values()) == NAMED + 1:
            self._complain(f"{self._file}: more lines are bad; they are counted")


@dataclass
class Past:
    """A data set to be sent."""

    catalog: list[dict[str, Any]]
    """Values of the catalog topic."""
    happenings: Iterable[Happening]
    """In time order; can be gone through once."""
    count: int
    """How many there are, for a progress bar."""
    notes: list[str] = field(default_factory=list)
    """What was left out of it, a sentence each."""


def replay(
    past: Past,
    sender: Sends,
    *,
    limit: int | None = None,
    speed: float = MAX_SPEED,
    on_sent: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, int]:
    """Send the catalogue, then clicks and purchases.

    Args:
        past: what.
        sender: takes the records.
        limit: most clicks and purchases to send; None: all.
        speed: seconds of event time a second; infinite: as fast as they are taken.
        on_sent: called after each click and purchase.
        clock: seconds, from any start.
        sleep: waits for so many seconds.

    Returns:
        Records sent, by topic.
    """
    sent = {"catalog": len(past.catalog), "clicks": 0, "purchases": 0}
    for value in past.catalog:
        _send(sender, "catalog", value)
    for topic, value in _paced(islice(past.happenings, limit), speed, clock, sleep):
        _send(sender, topic, value)
        sent[topic] += 1
        on_sent()
    return sent


def _paced(
    happenings: Iterator[Happening], speed: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    started, first_at = clock(), None
    for topic, at, value in happenings:
        if first_at is None:
            first_at = at
        ahead_s = started + (at - first_at) / speed - clock()
        if ahead_s > 0:
            sleep(ahead_s)
        yield topic, value


def _send(sender: Sends, topic: str, value: dict[str, Any]) -> None:
    sender.send(topic, value[KEYS[topic]].encode(), orjson.dumps(value))
