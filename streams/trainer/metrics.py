"""Metrics of a trainer, besides those of every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

from models.ranking.attribution import COUNTED, Attribution
from models.ranking.ranker import RANKED_KINDS, Ranker
from models.sequence.gate import Comparison
from models.sequence.windowing import WindowBuilder
from streams.metrics import Metrics

if TYPE_CHECKING:
    from models.sequence.learner import Learner


class TrainerMetrics(Metrics):
    """All metrics of a trainer; those of suggestions and rows stay at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.leads = self._gauge("trainer_leads", "1 while this trainer learns, 0 while it stands by")
        self._looks = self._gauge("trainer_looks", "Looks learnt as new ones since the log's start")
        self._held = self._gauge("trainer_held_looks", "Looks held back to judge snapshots by")
        self._chunks = self._counter("trainer_chunks", "Chunks learnt")
        self._positions = self._counter("trainer_positions", "Looks predicted while learning, those again included")
        self.learning_s = self._counter("trainer_learning_seconds", "Time spent learning")
        self._loss = self._gauge("trainer_loss", "Mean cross-entropy of the last chunk, in nats")
        self._snapshots: Counter = self._counter("trainer_snapshots", "Snapshots, by what became of them", "outcome")
        self._lists = self._gauge("trainer_lists", "Lists of suggestions since the log's start, by state", "state")
        self._pools = self._gauge("trainer_pools", "Pools of candidates since the log's start, by state", "state")
        self._late = self._gauge("trainer_late_answers", "Looks, carts and purchases that may be too late to count")
        self._answers = self._gauge(
            "trainer_suggested_items", "Items of closed lists, by what became of them", "kind", "fate"
        )
        self._ranker = self._gauge(
            "trainer_ranker", "How good orders have been recently, which serves, alarms", "metric"
        )
        self._scores = self._gauge(
            "trainer_score", "Of the last snapshot and of the one that served then, on what is held back", "metric"
        )

    def learnt(self, window_builder: WindowBuilder, learner: Learner, positions: int, chunks: int) -> None:
        """Record that a chunk is learnt from so many predicted looks; 0 chunks where everything is held back."""
        self._looks.set(window_builder.events)
        self._held.set(window_builder.held)
        self._chunks.inc(chunks)
        self._positions.inc(positions)
        self._loss.set(learner.loss)

    def ranked(self, attribution: Attribution, pools: Attribution, ranker: Ranker) -> None:
        """Record that closed lists are counted, and closed pools learnt."""
        for gauge, held in ((self._lists, attribution), (self._pools, pools)):
            gauge.labels("open").set(len(held))
            gauge.labels("closed").set(held.closed)
            gauge.labels("skipped").set(held.skipped)
        self._pools.labels("learnt").set(ranker.learnt)
        self._late.set(attribution.late)
        for kind, name in RANKED_KINDS.items():
            for count, n in zip(COUNTED, attribution.counts[kind].tolist(), strict=True):
                self._answers.labels(name, count).set(n)
        for name, value in ranker.metrics().items():
            self._ranker.labels(name).set(value)

    def snapshot(self, outcome: str) -> None:
        """Count a snapshot: `stored`, `announced`, `refused` by the gate, `overtaken` by another's, or `failed`."""
        self._snapshots.labels(outcome).inc()

    def judged(self, comparison: Comparison) -> None:
        """Record how a snapshot compares with the one that serves."""
        for name, value in comparison.metrics().items():
            self._scores.labels(name).set(value)
