"""A sequence model small enough to be taught within a test: three chains of four items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from models.sequence.config import CODE, MODEL, LearnerConfig, NetworkConfig
from models.sequence.features import Contents, gap_classes
from models.sequence.learner import Learner
from models.sequence.scorer import Scorer
from models.sequence.window_buffer import LookWindow
from models.snapshot import Snapshot

SMALL = LearnerConfig(NetworkConfig(units=16, dropout=0.0), chunk=64, replay=4, recent=256, negatives=16, batch=16)
CHAINS = [(0, 1, 2, 3), (10, 11, 12, 13), (20, 11, 22, 23)]
"""What is looked at after item 11 depends on what was before it."""


def window(items: Sequence[int], at: float = 0.0) -> LookWindow:
    times = [at + 10.0 * place for place in range(len(items))]
    return LookWindow(items, [0] * len(items), gap_classes(times), len(items), times[-1])


def taught(visits: int, config: LearnerConfig = SMALL, contents: Contents | None = None) -> Learner:
    learner = Learner(config, contents or Contents(), seed=7)
    for number in range(visits):
        if learner.add(window(CHAINS[number % 3], 100.0 * number)):
            learner.learn()
    return learner


@cache
def well_taught() -> Learner:
    """A learner that knows the chains; all tests share it, and none changes it."""
    return taught(1280)


def scorer(learner: Learner, contents: Contents | None = None) -> Scorer:
    return Scorer(learner.arrays(), learner.vocabulary.item, contents or Contents(), 16.0)


def frozen(learner: Learner, **changes: Any) -> Snapshot:
    names = tuple("" if item < 0 else f"item {item}" for item in learner.vocabulary.item)
    fields: dict[str, Any] = {
        "model": MODEL,
        "code": CODE,
        "arrays": learner.arrays(),
        "vocabulary": names,
        "config": asdict(SMALL),
        "positions": {},
        "learnt": {"events": learner.learnt},
        "metrics": {},
        "at": 1e9,
    }
    return Snapshot(**(fields | changes))
