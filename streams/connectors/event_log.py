"""Event logs for the evaluation: catalogue and events in time order, checked as a worker checks them.

A log is a data set as `replay` sends it, the simulated shop, or a folder of JSON lines as `publish` takes them:
`catalog.jsonl`, `clicks.jsonl`, `purchases.jsonl`, optionally `profiles.jsonl`. Would-be dead letters are named and
counted. Data sets keep their order. Events of a folder are sorted by time; at equal times profiles come first, then
clicks, then purchases, and lines of one file in their order. `crosscurrent tail` writes such files from the topics of a
running shop; null values (items withdrawn, profiles removed) lack their key there and are skipped.
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
from streams.connectors.folder import usable_lines
from streams.connectors.jsonl import DECODERS, Line, usable
from streams.connectors.replay import KEYS, DataMissingError, DataSet, RejectedRecords, SourceEvent
from streams.connectors.simulated_shop import SimulatedShop
from streams.errors import RecordError
from streams.wire.codec import NEWEST_MS

SIMULATED_PER_S = 0.05
"""Events a second of the simulated shop: one visit at a time, some 4,300 events a day."""

SIMULATED_START_S = 1_735_689_600.0
"""Start of the simulated shop, 2025-01-01. Any past time does."""

SIMULATED_EVENTS = 50_000
"""Default number of events of the simulated shop: eleven and a half days."""

FILES = ("profiles", "clicks", "purchases")
"""Topics of a folder, in the order of events with equal times."""


@dataclass
class EventLog:
    """A log; its events can be iterated once."""

    catalog: list[CatalogItem]
    events: Iterator[Event]  # in time order
    count: int  # upper bound of the events, for a progress bar
    rejected: RejectedRecords  # grows while the events are read
    notes: list[str] = field(default_factory=list)  # what was left out, a sentence each


def log_of_data_set(data: DataSet, limit: int | None, now_ms: int, report: Callable[[str], None]) -> EventLog:
    """A data set as an event log; times are compared with `now_ms`, epoch milliseconds."""
    rejected = RejectedRecords(report)
    values = (SourceEvent("catalog", 0.0, value) for value in data.catalog)
    catalog = list(_decoded(values, now_ms, rejected))
    events = _decoded(islice(data.events, limit), now_ms, rejected)
    return EventLog(catalog, events, data.count if limit is None else min(limit, data.count), rejected, data.notes)


def simulated(seed: int, events: int) -> DataSet:
    """The first events of the simulated shop."""
    shop = SimulatedShop(seed)
    stream = shop.events(SIMULATED_PER_S, SIMULATED_START_S)
    return DataSet(list(shop.catalog()), islice(stream, events), events)


def log_of_folder(folder: Path, limit: int | None, now_ms: int, report: Callable[[str], None]) -> EventLog:
    """A folder of JSON lines as an event log. It is held in memory, about half a kilobyte an event.

    Raises:
        DataMissingError: a file cannot be read.
    """
    rejected = RejectedRecords(report)
    catalog = {item.item_id: item for *_, item in usable_lines(folder, "catalog", now_ms, rejected)}
    events: list[Event] = []
    for topic in FILES:
        if topic != "profiles" or (folder / "profiles.jsonl").exists():
            events += [event for *_, event in usable_lines(folder, topic, now_ms, rejected)]
    events.sort(key=attrgetter("at"))
    events = events[:limit]
    return EventLog(list(catalog.values()), iter(events), len(events), rejected)


def sent_of(file: Path, report: Callable[[str], None]) -> SentLists:
    """Suggestions that workers sent, as `crosscurrent tail suggestions --json` prints them, in any order.

    Raises:
        DataMissingError: the file cannot be read.
    """
    rejected, found = RejectedRecords(report), []
    try:
        with file.open("rb") as lines:
            for number, _, _, (record, at) in usable("suggestions", lines, file.name, lambda: NEWEST_MS, rejected):
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


def _decoded(values: Iterator[SourceEvent], now_ms: int, rejected: RejectedRecords) -> Iterator[Any]:
    """Values, decoded as by a worker."""
    places: Counter[str] = Counter()
    for topic, _, value in values:
        places[topic] += 1
        try:
            yield DECODERS[topic](Line(topic, now_ms, value[KEYS[topic]].encode(), orjson.dumps(value)))
        except RecordError as error:
            rejected(RecordError(error.path, error.expected, error.got, f"{topic} {places[topic]}"))
