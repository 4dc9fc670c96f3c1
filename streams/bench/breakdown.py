"""Where the time of an event goes: the worker's own code, timed without a broker.

Events go through the real partition tasks alternately unwatched, for the total, and with a stopwatch around each stage.
The rest, which no stage accounts for, is partition tasks, cursors and event loop. Events come in large batches, as of a
backlog, and a few at a time, as at the head of the log. Processor time of all threads counts: the sequence model
answers large batches in one of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import models.serving.recommender
import streams.kafka.global_tables
import streams.worker.neighbour_task
import streams.worker.shopper_task
import streams.worker.suggestion_batcher
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.serving.queries import Queries
from models.serving.recommender import Recommender
from models.sessions.look_table import LookTable
from models.sessions.visits import Visits
from models.snapshot import Snapshot
from streams.bench.events import Event
from streams.bench.stopwatch import Stopwatch
from streams.bench.workbench import Workbench
from streams.kafka.global_tables import GlobalTables
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.neighbour_rows import RowWriter
from streams.wire.pair_deltas import PairBatch
from streams.wire.suggestion_writer import SuggestionWriter
from streams.wire.waiting_requests import WaitingRequests
from streams.worker.expected_pairs import ExpectedPairs
from streams.worker.suggestion_batcher import SuggestionBatcher

REST = "lanes, cursors, event loop"

PUBLISH_BYTES_PER_S = Settings().publish_bytes_per_s
"""Byte budget of a worker by default: it publishes all changed rows, then none until the budget allows."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How events come."""

    name: str
    max_batch: int  # events offered at once, over all partition tasks
    events_per_s: int  # events between two flushes, one second apart
    seconds: int  # seconds that are timed by stage, and as many again without a stopwatch


BACKLOG = Pace("backlog", 4_000, 8_000, 2)
STEADY = Pace("steady", 8, 2_000, 3)
PACES = (BACKLOG, STEADY)
EVENTS = sum(2 * pace.seconds * pace.events_per_s for pace in PACES)
"""Events needed, besides the warm-up."""


def stages(bench: Workbench) -> list[tuple[Any, str, str]]:
    """Every function that is timed: owner, name, stage; in the order that an event goes through them."""
    modules = (
        streams.worker.shopper_task,
        streams.worker.neighbour_task,
        streams.worker.suggestion_batcher,
        streams.kafka.global_tables,
    )
    shopper, item, batcher, tables = map(vars, modules)
    return [
        (shopper, "scan_clicks", "decode clicks and purchases"),
        (shopper, "decode_click", "decode clicks and purchases"),
        (shopper, "decode_purchase", "decode clicks and purchases"),
        (Visits, "collect_clicks", "visits: consent, repeats, carts"),
        (Visits, "collect_click", "visits: consent, repeats, carts"),
        (Visits, "_change_cart", "visits: consent, repeats, carts"),
        (Visits, "collect_purchase", "visits: consent, repeats, carts"),
        (Visits, "collect_ripe", "visits: consent, repeats, carts"),
        (shopper, "collect_visit", "visits: consent, repeats, carts"),
        (Visits, "finish", "visits: consent, repeats, carts"),
        (LookTable, "run", "visits: looks, pairs, snapshots"),
        (LookTable, "take", "visits: looks, pairs, snapshots"),
        (batcher, "predicted", "sequence model"),
        (Recommender, "answer_batch", "suggest: around the kernel"),
        (SuggestionBatcher, "submit", "suggest: queries into arrays"),
        (SuggestionBatcher, "submit_clicks", "suggest: queries into arrays"),
        (Queries, "take", "suggest: queries into arrays"),
        (WaitingRequests, "take", "suggest: queries into arrays"),
        (Recommender, "_batch", "suggest: queries into arrays"),
        (vars(models.serving.recommender), "answer", "suggest: kernel"),
        (SuggestionBatcher, "_answers", "suggestions: around the writer"),
        (SuggestionBatcher, "_send", "suggestions: around the writer"),
        (SuggestionWriter, "write", "suggestions: write"),
        (SuggestionBatcher, "_count", "metrics"),
        (Metrics, "outcomes", "metrics"),
        (BatchingProducer, "enqueue", "outbox: put"),
        (BatchingProducer, "enqueue_all", "outbox: put"),
        (bench.packer, "pack", "outbox: record batches"),
        (PairBatch, "add_events", "pairs: collect"),
        (PairBatch, "messages", "pairs: encode"),
        (ExpectedPairs, "take", "pairs: decode"),
        (item, "decode_pairs", "pairs: decode"),
        (CoOccurrence, "learn_many", "pairs: count"),
        (CoOccurrence, "cut_rows", "rows: encode"),
        (RowWriter, "write", "rows: encode"),
        (GlobalTables, "apply_some", "rows: decode, mirror"),
        (tables, "decode_row", "rows: decode, mirror"),
        (Neighbours, "put", "rows: decode, mirror"),
        (Neighbours, "put_rows", "rows: decode, mirror"),
    ]


def breakdown(
    worker: ServingWorker, warm_up: Sequence[Event], events: Iterable[Event], paces: Sequence[Pace] = PACES
) -> dict[str, Any]:
    """Microseconds an event, by name of the pace: `total_us` without a stopwatch, `stages_us` with the rest.

    The events of the warm-up are applied first. `EVENTS` events are timed for `PACES`.
    """
    return asyncio.run(_breakdown(worker, warm_up, iter(events), paces))


async def _breakdown(
    worker: ServingWorker, warm_up: Sequence[Event], events: Iterator[Event], paces: Sequence[Pace]
) -> dict[str, Any]:
    figures = {}
    async with worker.running(warm_up) as bench:
        for pace in paces:
            bare, watched = Second(bench, pace, watched=False), Second(bench, pace, watched=True)
            for _ in range(pace.seconds):  # alternately, under the same conditions
                await bare.run(list(islice(events, pace.events_per_s)))
                await watched.run(list(islice(events, pace.events_per_s)))
            total_us, stages_us = bare.total_us(), watched.stages_us()
            figures[pace.name] = {
                "total_us": round(total_us, 2),
                "stages_us": {stage: round(us, 2) for stage, us in stages_us.items()}
                | {REST: round(total_us - sum(stages_us.values()), 2)},
                "events_offered_together": pace.max_batch,
            }
    return figures


class ServingWorker(NamedTuple):
    """What a worker without a broker knows before the first event."""

    catalog: Iterable[Event]
    snapshots: Iterable[Snapshot] = ()
    histories: Iterable[Event] = ()

    @asynccontextmanager
    async def running(self, warm_up: Sequence[Event]) -> AsyncIterator[Workbench]:
        """Run it, after it has applied the warm-up as a backlog."""
        async with Workbench(self.catalog, round(time.time() * 1000), self.histories) as bench:
            bench.install(self.snapshots)
            for first in range(0, len(warm_up), BACKLOG.events_per_s):
                await Second(bench, BACKLOG, watched=False).run(warm_up[first : first + BACKLOG.events_per_s])
            yield bench


class Second:
    """Seconds of one pace, applied and published; where `watched`, the stages are timed."""

    def __init__(self, bench: Workbench, pace: Pace, watched: bool) -> None:
        self._bench, self._pace = bench, pace
        self._watch = Stopwatch() if watched else None  # of events and pairs
        self._row_watch = Stopwatch() if watched else None
        self._places = stages(bench)
        self._events = 0
        self._events_s = self._rows_s = 0.0
        self._row_bytes = self._flushes = 0

    async def run(self, events: Sequence[Event]) -> None:
        """Run one second."""
        bench = self._bench
        bench.pass_a_second()
        records = bench.records(events)
        self._events += len(events)
        with self._watch.around(self._places) if self._watch else nullcontext():
            started = time.process_time()
            await bench.apply(records, self._pace.max_batch)
            await bench.flush_pairs()
            self._events_s += time.process_time() - started
        with self._row_watch.around(self._places) if self._row_watch else nullcontext():
            started = time.process_time()
            self._row_bytes += await bench.flush_rows()
            self._rows_s += time.process_time() - started
        self._flushes += 1

    @property
    def _row_share(self) -> float:
        """Share of the rows changed in a second that the byte budget lets a worker publish."""
        return min(1.0, PUBLISH_BYTES_PER_S * self._flushes / max(1, self._row_bytes))

    def total_us(self) -> float:
        """Microseconds an event, with the share of the rows that is published."""
        return (self._events_s + self._rows_s * self._row_share) / self._events * 1e6

    def stages_us(self) -> dict[str, float]:
        """Microseconds an event by stage, in the order that an event goes through them."""
        assert self._watch is not None and self._row_watch is not None  # noqa: S101, PT018
        names = dict.fromkeys(stage for _, _, stage in self._places)
        watch, row_watch, share = self._watch, self._row_watch, self._row_share
        return {name: (watch.seconds(name) + share * row_watch.seconds(name)) / self._events * 1e6 for name in names}
