"""Event logs to measure on: catalogue and events of the past in the order of their times, checked as a worker would.

A log is a data set as `replay` sends it, the simulated shop, or a folder of the contract's values as `publish` takes
them: `catalog.jsonl`, `clicks.jsonl`, `purchases.jsonl`, and `profiles.jsonl` where there is one. What would be a dead
letter is named and counted. Data sets keep their order. In a folder events are put in the order of their times; at
equal times profiles come first, then clicks, then purchases, and those of one file in the order of their lines.
`crosscurrent tail` writes such files from the topics of a shop that runs; a null value (an item withdrawn, a profile
taken back) is a line that does not say whose it is, and is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import msgspec
import orjson

from models.evaluation.prequential.replay import Event
from models.evaluation.prequential.sent import Moment, SentLists
from models.shop.events import CatalogItem
from streams.connectors.jsonl import DECODERS, Line, usable
from streams.connectors.replay import KEYS, NAMED, DataMissingError, Happening, Past
from streams.connectors.simulated_shop import SimulatedShop
from streams.errors import RecordError
from streams.wire.codec import NEWEST_MS

SIMULATED_PER_S = 0.05
"""Events a second of the simulated shop: a visit after the other, some 4,300 events a day, so that days go by."""

SIMULATED_START_S = 1_735_689_600.0
"""When the simulated shop opens: 2025 begins. Any time of the past does."""

SIMULATED_EVENTS = 50_000
"""Of the simulated shop, which has no end: eleven and a half days."""

WITH_NULLS = ("catalog", "profiles")
"""Topics whose values may be null."""

FILES = ("profiles", "clicks", "purchases")
"""Of a folder, by topic, in the order of what happens at one time."""


class Refused:
    """What would be dead letters: all counted, the first few named.

    Args:
        complain: told a sentence about each that is named.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self.count = 0

    def __call__(self, error: RecordError) -> None:
        """Note one."""
        self.count += 1
        if self.count <= NAMED:
            self._complain(f"{error}; left out")
        elif self.count == NAMED + 1:
            self._complain("more are bad; they are counted")


@dataclass
class EventLog:
    """A log to go through once."""

    catalog: list[CatalogItem]
    events: Iterator[Event]
    """In the order of their times."""
    count: int
    """How many events there are at most, for a progress bar."""
    refused: Refused
    """Grows while the events are read."""
    notes: list[str] = field(default_factory=list)
    """What was left out, a sentence each."""


def log_of_past(past: Past, limit: int | None, now_ms: int, complain: Callable[[str], None]) -> EventLog:
    """A data set.

    Args:
        past: as `replay` sends it.
        limit: most events; None: all.
        now_ms: epoch milliseconds that times are compared with.
        complain: told a sentence about what cannot be used.
    """
    refused = Refused(complain)
    values = (Happening("catalog", 0.0, value) for value in past.catalog)
    catalog = list(_decoded(values, now_ms, refused))
    events = _decoded(islice(past.happenings, limit), now_ms, refused)
    return EventLog(catalog, events, past.count if limit is None else min(limit, past.count), refused, past.notes)


def simulated(seed: int, events: int) -> Past:
    """So many events of the simulated shop."""
    shop = SimulatedShop(seed)
    happenings = (
        Happening(event.topic, event.at, event.value) for event in shop.events(SIMULATED_PER_S, SIMULATED_START_S)
    )
    return Past(list(shop.catalog()), islice(happenings, events), events)


def log_of_folder(folder: Path, limit: int | None, now_ms: int, complain: Callable[[str], None]) -> EventLog:
    """A folder of JSON lines. All of it is held in memory, about half a kilobyte an event.

    Args:
        folder: where the files are.
        limit: most clicks and purchases; None: all.
        now_ms: epoch milliseconds that times are compared with.
        complain: told a sentence about what cannot be used.

    Raises:
        DataMissingError: a file cannot be read.
    """
    refused = Refused(complain)
    catalog = {item.item_id: item for item in _lines(folder, "catalog", now_ms, refused)}
    events: list[Event] = []
    for topic in FILES:
        if topic != "profiles" or (folder / "profiles.jsonl").exists():
            events += _lines(folder, topic, now_ms, refused)
    events.sort(key=attrgetter("at"))
    events = events[:limit]
    return EventLog(list(catalog.values()), iter(events), len(events), refused)


def sent_of(file: Path, complain: Callable[[str], None]) -> SentLists:
    """Suggestions that workers sent, as `crosscurrent tail suggestions --json` prints them, in any order.

    Args:
        file: JSON lines.
        complain: told a sentence about what cannot be used.

    Raises:
        DataMissingError: the file cannot be read.
    """
    refused = Refused(complain)
    found = []
    try:
        with file.open("rb") as lines:
            for number, _, _, (record, at) in usable("suggestions", lines, file.name, lambda: NEWEST_MS, refused):
                trigger = record.trigger
                moment = Moment(record.user_id, round(at * 1000), trigger.action, tuple(trigger.item_ids))
                found.append((trigger.topic, trigger.partition, trigger.offset, number, record, moment))
    except OSError as error:
        message = (
            f"{file} cannot be read ({error.strerror}): `crosscurrent tail suggestions --json --from-start "
            "--until-end` writes what is asked for"
        )
        raise DataMissingError(message) from error
    sent = SentLists()
    for *_, record, moment in sorted(found, key=itemgetter(0, 1, 2, 3)):
        sent.add(record.suggestion_id, moment, msgspec.to_builtins(record.items))
    return sent


def _decoded(values: Iterator[Happening], now_ms: int, refused: Refused) -> Iterator[Any]:
    """Values as a worker decodes them."""
    places: Counter[str] = Counter()
    for topic, _, value in values:
        places[topic] += 1
        try:
            yield DECODERS[topic](Line(topic, now_ms, value[KEYS[topic]].encode(), orjson.dumps(value)))
        except RecordError as error:
            refused(RecordError(error.path, error.expected, error.got, f"{topic} {places[topic]}"))


def _lines(folder: Path, topic: str, now_ms: int, refused: Refused) -> Iterator[Any]:
    path = folder / f"{topic}.jsonl"
    try:
        with path.open("rb") as lines:
            said = (b"" if topic in WITH_NULLS and line.strip() == b"null" else line for line in lines)
            for *_, meaning in usable(topic, said, path.name, lambda: now_ms, refused):
                yield meaning
    except OSError as error:
        message = (
            f"{path} cannot be read ({error.strerror}): a folder of events holds catalog.jsonl, clicks.jsonl and "
            "purchases.jsonl, a value of the topic a line"
        )
        raise DataMissingError(message) from error
