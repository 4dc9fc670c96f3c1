"""Where a microsecond of an event goes: the worker's own code, timed without a broker.

The same events twice through the real lanes: once as they are, for the total, once with a stopwatch around each stage.
What the stages do not account for is the lanes, the cursors and the event loop. In full runs, as of a backlog, and a
few events at a time, as they come when a worker is at the head of the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

import models.serving.recommender
import streams.kafka.global_tables
import streams.worker.neighbour_task
import streams.worker.shopper_task
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.serving.recommender import Recommender
from models.sessions.visits import Visits
from streams.bench.events import Event
from streams.bench.stopwatch import Stopwatch
from streams.bench.workbench import Workbench
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.pair_deltas import PairBatch
from streams.worker.suggestion_batcher import SuggestionBatcher

REST = "lanes, cursors, event loop"


PUBLISH_BYTES_PER_S = Settings().publish_bytes_per_s
"""Rows go out as a worker with default settings sends them: all that have changed, then none until that is paid off."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How events come."""

    name: str
    max_batch: int
    """Events offered at once, over all lanes."""
    events_per_s: int
    """How many fall between two flushes, which come by the second."""
    seconds: int
    """How many such seconds are timed, and as many left alone."""


BACKLOG = Pace("backlog", 4_000, 8_000, 2)
STEADY = Pace("steady", 8, 2_000, 3)
PACES = (BACKLOG, STEADY)
EVENTS = sum(2 * pace.seconds * pace.events_per_s for pace in PACES)
"""How many events are needed, besides those to warm up with."""


def stages(bench: Workbench) -> list[tuple[Any, str, str]]:
    """Every function that is timed: where it is found, its name, its stage. In the order an event goes through them."""
    shopper, item, tables = (
        vars(streams.worker.shopper_task),
        vars(streams.worker.neighbour_task),
        vars(streams.kafka.global_tables),
    )
    return [
        (shopper, "decode_click", "decode clicks and purchases"),
        (shopper, "decode_purchase", "decode clicks and purchases"),
        (Visits, "apply_click", "visits: apply, make pairs"),
        (Visits, "apply_purchase", "visits: apply, make pairs"),
        (Visits, "ripen", "visits: apply, make pairs"),
        (Visits, "snapshot", "visits: snapshot"),
        (Recommender, "suggest_each", "suggest: around the kernel"),
        (Recommender, "_batch", "suggest: queries into arrays"),
        (vars(models.serving.recommender), "answer", "suggest: kernel"),
        (Recommender, "_suggested", "suggest: answers into records"),
        (SuggestionBatcher, "_answer", "suggestions: around the encoder"),
        (orjson, "dumps", "suggestions: orjson"),
        (Metrics, "suggested", "metrics"),
        (Metrics, "outcomes", "metrics"),
        (bench.metrics.latency_s, "observe", "metrics"),
        (BatchingProducer, "enqueue", "outbox: put"),
        (bench.packer, "pack", "outbox: record batches"),
        (PairBatch, "add", "pairs: collect"),
        (PairBatch, "messages", "pairs: encode"),
        (item, "decode_pairs", "pairs: decode"),
        (CoOccurrence, "learn_many", "pairs: count"),
        (CoOccurrence, "row", "rows: encode"),
        (item, "encode_row", "rows: encode"),
        (tables, "decode_row", "rows: decode, mirror"),
        (Neighbours, "put", "rows: decode, mirror"),
    ]


def breakdown(
    catalog: Iterable[Event], warm_up: Sequence[Event], events: Iterable[Event], paces: Sequence[Pace] = PACES
) -> dict[str, Any]:
    """Microseconds an event, by pace and stage.

    Args:
        catalog: records of the catalogue.
        warm_up: what the shop has learnt from before.
        events: what is timed: `EVENTS` of them for `PACES`.
        paces: how they come.

    Returns:
        By the name of each pace: `total_us` as the code runs, `stages_us` by stage, with what is left for the rest.
    """
    return asyncio.run(_breakdown(catalog, warm_up, iter(events), paces))


async def _breakdown(
    catalog: Iterable[Event], warm_up: Sequence[Event], events: Iterator[Event], paces: Sequence[Pace]
) -> dict[str, Any]:
    figures = {}
    async with Workbench(catalog, round(time.time() * 1000)) as bench:
        for first in range(0, len(warm_up), BACKLOG.events_per_s):
            await _Second(bench, BACKLOG).run(warm_up[first : first + BACKLOG.events_per_s])
        for pace in paces:
            bare, watched = _Second(bench, pace), _Second(bench, pace, Stopwatch(), Stopwatch())
            for _ in range(pace.seconds):  # by turns, so that both meet the same machine
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


class _Second:
    """Seconds of one pace, applied and published.

    Args:
        bench: on which.
        pace: how events come.
        watch: for the stages of the events and their pairs; None: the code runs as it is.
        row_watch: for the stages of the rows.
    """

    def __init__(
        self, bench: Workbench, pace: Pace, watch: Stopwatch | None = None, row_watch: Stopwatch | None = None
    ) -> None:
        self._bench, self._pace = bench, pace
        self._watch, self._row_watch = watch, row_watch
        self._places = stages(bench)
        self._events = 0
        self._events_s = self._rows_s = 0.0
        self._row_bytes = self._flushes = 0

    async def run(self, events: Sequence[Event]) -> None:
        """One second."""
        bench = self._bench
        bench.pass_a_second()
        records = bench.records(events)
        self._events += len(events)
        with self._watch.around(self._places) if self._watch else nullcontext():
            started = time.thread_time()
            await bench.apply(records, self._pace.max_batch)
            await bench.flush_pairs()
            self._events_s += time.thread_time() - started
        with self._row_watch.around(self._places) if self._row_watch else nullcontext():
            started = time.thread_time()
            self._row_bytes += await bench.flush_rows()
            self._rows_s += time.thread_time() - started
        self._flushes += 1

    @property
    def _row_share(self) -> float:
        """Of all rows that changed in a second, what a worker's byte budget lets out in a second."""
        return min(1.0, PUBLISH_BYTES_PER_S * self._flushes / max(1, self._row_bytes))

    def total_us(self) -> float:
        """Microseconds an event, rows included as far as the budget goes."""
        return (self._events_s + self._rows_s * self._row_share) / self._events * 1e6

    def stages_us(self) -> dict[str, float]:
        """Microseconds an event by stage, in the order an event goes through them."""
        assert self._watch is not None and self._row_watch is not None  # noqa: S101, PT018
        names = dict.fromkeys(stage for _, _, stage in self._places)
        watch, row_watch, share = self._watch, self._row_watch, self._row_share
        return {name: (watch.seconds(name) + share * row_watch.seconds(name)) / self._events * 1e6 for name in names}
