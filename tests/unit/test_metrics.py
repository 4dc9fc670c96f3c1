"""Metrics of batches are those of their values one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from streams.metrics import LATENCY_BUCKETS_S, Metrics

TOPICS, NAMES, KINDS = ("clicks", "purchases"), ("nothing to suggest", "suggested", "withheld"), ("", "upsell")


def _lines(exposition: bytes, name: str) -> list[str]:
    lines = exposition.decode().splitlines()
    return sorted(line for line in lines if line.startswith(f"crosscurrent_{name}") and "_created" not in line)


@pytest.mark.parametrize("seed", range(3))
def test_batches_of_suggestions_are_counted_as_prometheus_client_counts_one_after_the_other(seed: int) -> None:
    chance, metrics, registry = np.random.default_rng(seed), Metrics(), CollectorRegistry()
    counts = metrics.suggestions(TOPICS, NAMES, KINDS)
    events = Counter("crosscurrent_events", "", ["topic", "outcome"], registry=registry)
    items = Counter("crosscurrent_suggested_items", "", ["kind"], registry=registry)
    latency = Histogram("crosscurrent_suggestion_latency_seconds", "", buckets=LATENCY_BUCKETS_S, registry=registry)
    for _ in range(20):
        outcomes = chance.integers(0, 3, (2, 3)) * (chance.random((2, 3)) < 0.3)
        kinds = chance.integers(0, 9, 2) * np.array([0, 1])
        exact = [round(10_000 * bound) for bound in LATENCY_BUCKETS_S]
        tenths = np.concatenate([chance.choice(exact, 3), chance.integers(-1, 10**6, 5), [-1]])
        counts.add(outcomes, kinds, tenths)
        metrics.outcomes({("clicks", "suggested"): 2, ("clicks", "too old"): 1})
        for (topic, name), number in {("clicks", "suggested"): 2, ("clicks", "too old"): 1}.items():
            events.labels(topic, name).inc(number)
        for topic, row in zip(TOPICS, outcomes.tolist(), strict=True):
            for name, number in zip(NAMES, row, strict=True):
                if number:
                    events.labels(topic, name).inc(number)
        if kinds[1]:
            items.labels("upsell").inc(int(kinds[1]))
        for value in tenths[tenths >= 0].tolist():
            latency.observe(value / 10_000)
    for name in ("events", "suggested_items", "suggestion_latency_seconds"):
        ours, theirs = (_lines(text, name) for text in (metrics.exposition(), generate_latest(registry)))
        assert ours == theirs
