"""The metrics of a process, for Prometheus. Hot paths add once for each run of records, not for each record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from models.boxes import boxed
from models.jit import cached_njit

OUTCOMES = (
    "suggested",
    "withheld",
    "nothing to suggest",
    "backfilled",
    "no trigger",
    "too old",
    "forgotten",
    "repeated",
    "dead letter",
    "noted",
)
"""Outcomes of a record. The first nine add up to all clicks and purchases; `noted` are valid profiles, feedback and
catalogue records."""

LATENCY_BUCKETS_S = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
)  # fmt: skip
"""From a millisecond, as a hop takes a few, to the age above which nothing is suggested (60 s by default)."""


Labels = TypeVar("Labels", bound=tuple[str, ...])


class HistogramArrays(NamedTuple):
    """What a histogram adds to."""

    bounds: NDArray[np.float64]
    """Of the buckets, the last one infinite."""
    counts: NDArray[np.int64]
    """Of the values in each bucket alone."""
    total: NDArray[np.float64]
    """(1,): sum of the values."""


class BatchHistogram(Collector):
    """A histogram that observes many values at once; prometheus_client's own takes one after the other.

    >>> latency = BatchHistogram("latency", "of a hop", (0.5, 1.0))
    >>> latency.observe(np.array([0.1, 0.5, 7.0]))
    >>> [sample.value for family in latency.collect() for sample in family.samples]
    [2, 2, 3, 3, 7.6]
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, bounds_and_all = name, text, np.array([*bounds, np.inf])
        self.arrays = HistogramArrays(bounds_and_all, np.zeros(len(bounds_and_all), np.int64), np.zeros(1))

    def observe(self, values: NDArray[np.float64]) -> None:
        """Add values."""
        bounds, counts, total = self.arrays
        np.add.at(counts, np.searchsorted(bounds, values), 1)
        total += values.sum()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        bounds, counts, total = self.arrays
        buckets = list(zip(map(floatToGoString, bounds.tolist()), accumulate(counts.tolist()), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets, float(total[0]))


class BatchCounter(Collector):
    """A counter with labels that adds up many events at once, in a dictionary: a tenth of prometheus_client's time.

    >>> items = BatchCounter("items", "suggested", ["kind"])
    >>> items.add({("upsell",): 2})
    >>> items.add({("upsell",): 3})
    >>> [(sample.labels, sample.value) for family in items.collect() for sample in family.samples]
    [({'kind': 'upsell'}, 5)]
    """

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: dict[tuple[str, ...], int] = {}
        self._groups: list[tuple[Sequence[tuple[str, ...]], NDArray[np.int64]]] = []

    def group(self, labels: Sequence[Labels]) -> NDArray[np.int64]:
        """Counts for these values of the labels, to be added to."""
        counts = np.zeros(len(labels), np.int64)
        self._groups.append((labels, counts))
        return counts

    def add(self, counts: Mapping[Labels, int]) -> None:
        """Add to the counts, by the values of the labels."""
        mine = self._counts
        for labels, count in counts.items():
            mine[labels] = mine.get(labels, 0) + count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        counts = dict(self._counts)
        for group, numbers in self._groups:
            for labels, number in zip(group, numbers.tolist(), strict=True):
                if number:
                    counts[labels] = counts.get(labels, 0) + number
        for labels, count in counts.items():
            family.add_metric(labels, count)
        yield family


class SuggestionCounts:
    """Counts batches of suggestions: their outcomes, the items in them, and their latencies.

    Args:
        outcomes: counter of records, by topic and outcome.
        items: counter of items, by kind.
        latency_s: of suggestions.
        topics: of triggers, in the order of the rows that `add` takes.
        names: of the outcomes, in the order of their columns.
        kinds: of items, likewise.
    """

    def __init__(
        self,
        outcomes: BatchCounter,
        items: BatchCounter,
        latency_s: BatchHistogram,
        topics: Sequence[str],
        names: Sequence[str],
        kinds: Sequence[str],
    ) -> None:
        by_outcome = outcomes.group([(topic, name) for topic in topics for name in names])
        by_kind = items.group([(kind,) for kind in kinds])
        self._box = boxed(_Counts(by_outcome.reshape(len(topics), len(names)), by_kind, latency_s.arrays))

    def add(self, outcomes: NDArray[np.int64], kinds: NDArray[np.int64], latency_tenths: NDArray[np.int64]) -> None:
        """Count a batch: queries by topic and outcome, items by kind, and latencies in tenths of a millisecond.

        A negative latency is none.
        """
        _add(self._box, outcomes, kinds, latency_tenths)


class _Counts(NamedTuple):
    """What `SuggestionCounts` adds to."""

    outcomes: NDArray[np.int64]
    kinds: NDArray[np.int64]
    latency_s: HistogramArrays


@cached_njit()
def _add(box: Any, outcomes: NDArray[np.int64], kinds: NDArray[np.int64], latency_tenths: NDArray[np.int64]) -> None:
    to_outcomes, to_kinds, (bounds, counts, total) = box.held
    for topic in range(to_outcomes.shape[0]):
        for outcome in range(to_outcomes.shape[1]):
            to_outcomes[topic, outcome] += outcomes[topic, outcome]
    for kind in range(len(to_kinds)):
        to_kinds[kind] += kinds[kind]
    for tenths in latency_tenths:
        if tenths >= 0:
            seconds, place = tenths / 10_000, 0
            while seconds > bounds[place]:
                place += 1
            counts[place] += 1
            total[0] += seconds


class Metrics:
    """All metrics of one process; names start with `crosscurrent_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = self._batch_counter(
            "events", "Records applied, by topic and by what became of them", "topic", "outcome"
        )
        self.dead_letters = self._counter("dead_letters", "Records sent to the dead letters", "topic")
        self._too_large = self._counter(
            "too_large", "Records over the broker's limit, and whether they were sent shortened", "topic", "outcome"
        )
        self.unusable = self._counter("mirror_unusable", "Records of mirrored topics passed over", "topic")
        self._expired = self._counter("expired", "Records retention deleted before they were applied", "topic")
        self._repeated = self._counter("delivered_again", "Records delivered more than once and skipped", "topic")
        self._range_reads = self._counter(
            "range_reads", "Ranges read from the log because delivery left them out", "topic"
        )
        self._holes = self._counter("holes", "Offsets the log does not have (compaction, markers)", "topic")
        self._suggested = self._batch_counter("suggested_items", "Items suggested", "kind")
        self.pools_written = self._counter("pools_written", "Pools of candidates logged for the trainer")
        self.pools_bytes = self._counter("pools_bytes", "Bytes of pools logged")
        self._lag = self._gauge("lag", "Records not yet applied", "topic", "partition")
        self._unstable = self._gauge(
            "open_transaction", "Records that wait for a transaction to end; not in the lag", "topic", "partition"
        )
        self.clock_ahead_s = self._gauge(
            "clock_ahead_seconds", "Least lead of our clock over the brokers'; negative: behind; 0: no difference seen"
        )
        self.latency_s = BatchHistogram(
            "crosscurrent_suggestion_latency_seconds",
            "From the trigger's append to the hand-over of the suggestion to the producer",
            LATENCY_BUCKETS_S,
        )
        self.registry.register(self.latency_s)
        self.take_over_s = Histogram(
            "crosscurrent_take_over_seconds", "Building the state of a partition taken over", registry=self.registry
        )
        self.replayed = self._counter("replayed", "Records read again to build shoppers' state")
        self.pairs = self._counter("pairs", "Pair deltas counted into rows")
        self.rows_published = self._counter("rows_published", "Rows of neighbours published")
        self.rows_bytes = self._counter("rows_bytes", "Bytes of rows published")
        self.histories = self._gauge("histories", "Shoppers whose purchases are remembered beyond visits")
        self.histories_published = self._counter("histories_published", "Rows of shoppers' histories published")
        self.histories_bytes = self._counter("histories_bytes", "Bytes of such rows published")
        self.histories_dropped = self._counter("histories_dropped", "Shoppers dropped as there were too many")
        self.unknown_rows = self._counter("unknown_rows_dropped", "Rows of items in no catalogue that were dropped")
        self.foreign_rows = self._counter("foreign_rows", "Rows a late owner published over newer ones")
        self.misplaced = self._counter("misplaced", "Records in a partition other than their key's")
        self.commit_failures = self._counter(
            "commit_failures", "Commits the group refused (harmless: positions decide)"
        )
        self.watchdog_reads = self._counter("watchdog_reads", "Times delivery stood still and the log was read instead")
        self.rebalances = self._counter("rebalances", "Times the group was rearranged")
        self.retries = self._gauge("send_retries", "Packets sent again after a failure")
        self.outbox_bytes = self._gauge("outbox_bytes", "Bytes waiting to be acknowledged")
        self.load = self._gauge("backpressure", "Largest share in use of the bounds on what waits; above 1: a pause")
        self.tasks = self._gauge("lanes", "Lanes owned and ready")
        self.items = self._gauge("items", "Items known by id")
        self.catalog_items = self._gauge("catalog_items", "Items in the catalogue")
        self.rows = self._gauge("rows", "Rows of neighbours held")
        self._state_bytes = self._gauge("state_bytes", "Memory of what is held, about", "state")
        self.snapshot_faults = self._counter(
            "snapshot_faults", "Announced snapshots that could not be taken", "model", "fault"
        )
        self._snapshot_swaps = self._counter("snapshot_swaps", "Snapshots taken", "model")
        self._snapshot_at = self._gauge(
            "snapshot_at_seconds", "Event time of the last event behind the snapshot in use", "model"
        )
        self.snapshot_behind = self._gauge(
            "snapshot_behind", "1 while the announced snapshot is not the one in use", "model"
        )
        self.policy_reads = self._counter("policy_reads", "Times the policy was read again at SIGHUP", "result")
        self._tallies: dict[Any, tuple[int, ...]] = {}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"crosscurrent_{name}", text, labels, registry=self.registry)

    def _batch_counter(self, name: str, text: str, *labels: str) -> BatchCounter:
        counter = BatchCounter(f"crosscurrent_{name}", text, labels)
        self.registry.register(counter)
        return counter

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"crosscurrent_{name}", text, labels, registry=self.registry)

    def outcomes(self, outcomes: Mapping[tuple[str, str], int]) -> None:
        """Count the outcomes of a run of records, by topic and outcome."""
        self._events.add(outcomes)

    def too_large(self, topic: str, outcome: str) -> None:
        """Count a record that the broker found too large."""
        self._too_large.labels(topic, outcome).inc()

    def suggestions(self, topics: Sequence[str], names: Sequence[str], kinds: Sequence[str]) -> SuggestionCounts:
        """What counts the suggestions for triggers of some topics; arguments as of `SuggestionCounts`."""
        return SuggestionCounts(self._events, self._suggested, self.latency_s, topics, names, kinds)

    def states(self, sizes: Mapping[str, int]) -> None:
        """Set the memory of what is held, in bytes by state."""
        for state, size in sizes.items():
            self._state_bytes.labels(state).set(size)

    def snapshot_taken(self, model: str, at: float) -> None:
        """A snapshot was installed; `at` is the event time of the last event behind it, in epoch seconds."""
        self._snapshot_swaps.labels(model).inc()
        self._snapshot_at.labels(model).set(at)

    def expired(self, topic: str, n: int) -> None:
        """Count records deleted before they were applied."""
        self._expired.labels(topic).inc(n)

    def cursor(self, cursor: Any) -> None:
        """Add what a cursor has counted since the last call."""
        now = astuple(cursor.tally)
        before = self._tallies.get(cursor.partition, (0, 0, 0, 0))
        if any(a < b for a, b in zip(now, before, strict=True)):
            before = (0, 0, 0, 0)  # the task has restored its state: a new cursor
        counters = (self._repeated, self._range_reads, self._holes, self._expired)
        for counter, a, b in zip(counters, now, before, strict=True):
            if a > b:
                counter.labels(cursor.partition.topic).inc(a - b)
        self._tallies[cursor.partition] = now

    def lag(self, topic: str, partition: int, n: int) -> None:
        """Set the records of an owned partition that are not applied yet."""
        self._lag.labels(topic, str(partition)).set(n)

    def unstable(self, topic: str, partition: int, n: int) -> None:
        """Set the records of an owned partition that wait for a transaction to end."""
        self._unstable.labels(topic, str(partition)).set(n)

    def revoked(self, topic: str, partition: int) -> None:
        """Drop the gauges of a revoked partition."""
        for gauge in (self._lag, self._unstable):
            try:
                gauge.remove(topic, str(partition))
            except KeyError:
                pass

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
