"""What a worker of the benchmark serves with: a sequence model and a learnt order, as snapshots like a trainer's.

A trainer learns an order from pools that close after an hour, which no benchmark waits for. Here the models learn from
the events of the benchmark in event time, with the trainer's own parts, and pools close after seconds. The order serves
in any case: what it costs is measured, not whether it is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.prequential.replay import Engine, Ranking
from models.ranking.attribution import AttributionConfig
from models.ranking.features import LEARNT
from models.ranking.ranker import CODE as RANKER_CODE
from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import Ranker, RankerConfig
from models.sequence.config import CODE, MODEL, GateConfig, LearnerConfig
from models.sequence.vocabulary import NOBODY
from models.sessions.visits import VisitConfig
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy
from models.snapshot import Snapshot
from streams.bench.events import Event, decoded, item_of
from streams.bench.scoring import one_thread

MODELS = (MODEL, RANKER)
"""Those that a worker serves with."""

OUTCOMES = AttributionConfig(window_s=10.0, upsell_window_s=10.0, late_s=1.0)
"""A visit of the benchmark takes half a minute, and its first events less: pools close well before the last event."""

SNAPSHOT_EVERY_S = 10.0
"""Of event time: the order learns from pools with what the sequence model expects."""

TAUGHT = 40_000
"""Events that both learn from, at most: more take longer and cost the worker the same."""

NAME = "all"


def learn(catalog: Iterable[Event], events: Sequence[Event], *, sequence: bool = True) -> list[Snapshot]:
    """Learn from the first events; without `sequence` the order only."""
    from models.evaluation.ordering import Ordering

    policy, learner = Policy(), LearnerConfig()
    ranking = Ranking(uses_sequence=sequence, uses_ranker=True)
    engine = Engine(policy, VisitConfig(), CoOccurrenceConfig(), {NAME: ranking}, flush_interval_s=1.0)
    for event in catalog:
        engine.catalog.put(item_of(event))
    order = Ordering(engine.items, OUTCOMES, RankerConfig(), SNAPSHOT_EVERY_S, inf, policy)
    engine.orderings[NAME] = order
    if sequence:
        from models.evaluation.prequential.training import StreamTraining

        engine.training = StreamTraining(
            engine.items, engine.catalog, VisitConfig(), learner, GateConfig(share=0.0), inf, SNAPSHOT_EVERY_S, seed=1
        )
    at = 0.0
    with one_thread() if sequence else nullcontext():
        for answered in engine.run(decoded(events[:TAUGHT])):
            at = answered.event.at
        order.snapshot(at)
        if engine.training is not None:
            engine.training.snapshot(at)
    snapshots = [_order_snapshot(order.ranker, engine.items, at)]
    if engine.training is not None:
        taught = engine.training.learner
        names = _names(engine.items, taught.vocabulary.item)
        snapshots.append(_snapshot(MODEL, CODE, taught.arrays(), names, asdict(learner), taught.positions, at))
    return snapshots


def _order_snapshot(ranker: Ranker, items: Items, at: float) -> Snapshot:
    slots, arrays = ranker.snapshot_arrays()
    arrays["serves"][[CROSS_SELL, UPSELL]] = LEARNT
    return _snapshot(RANKER, RANKER_CODE, arrays, _names(items, slots), ranker.config_of(), ranker.learnt, at)


def _names(items: Items, indices: NDArray[np.integer[Any]]) -> list[str]:
    return [items.name(item) if item != NOBODY else "" for item in indices.tolist()]


def _snapshot(
    model: str, code: str, arrays: dict[str, NDArray[Any]], names: Sequence[str], config: Any, events: int, at: float
) -> Snapshot:
    return Snapshot(
        model=model,
        code=code,
        arrays=arrays,
        vocabulary=tuple(names),
        config=config,
        positions={},
        learnt={"events": events},
        metrics={},
        at=at,
    )
