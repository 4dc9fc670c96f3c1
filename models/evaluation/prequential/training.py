"""The trainer's sequence model beside an engine: window builder, learner and gate, in event time.

A chunk is learnt at the moment it is due, which takes no event time. Snapshots are taken at the first event at least
`snapshot_every_s` after the last one, and serve if the gate passes them. There is one partition; nothing is stored. No
other part of the engine needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sequence.config import GateConfig, LearnerConfig
from models.sequence.features import Contents, contents_of
from models.sequence.learner import Learner
from models.sequence.predictor import SequencePredictor
from models.sequence.scorer import Scorer
from models.sequence.windowing import WindowBuilder
from models.sessions.visits import VisitConfig
from models.shop.catalog import Catalog
from models.shop.events import Click, Profile, Purchase
from models.shop.items import Items

_NUMBER = 0
"""Number of the only partition."""


class StreamTraining:
    """Trains the sequence model, and gives snapshots of it. The catalogue must not change any more.

    Args:
        train_every_s: event time after which waiting windows are learnt.
        snapshot_every_s: event time between two snapshots.

    Attributes:
        snapshots: number of snapshots that were given.
        refused: number of snapshots that the gate refused.
    """

    def __init__(
        self,
        items: Items,
        catalog: Catalog,
        visits: VisitConfig,
        learner: LearnerConfig,
        gate: GateConfig,
        train_every_s: float,
        snapshot_every_s: float,
        seed: int,
    ) -> None:
        classes = contents_of(catalog)
        self._contents, self._cold = Contents(classes), np.flatnonzero(classes.any(axis=1))
        self._scale, self._least, self._every_s = learner.network.scale, gate.least, snapshot_every_s
        self.learner = Learner(learner, self._contents, seed)
        self._window_builder = WindowBuilder(items, visits, learner, gate, train_every_s, self.learner)
        self._snapshot_at = -inf
        self._served: tuple[Mapping[str, NDArray[Any]], NDArray[np.int64]] | None = None  # weights, items of slots
        self._given = 0  # views learnt by the last snapshot
        self.snapshots = self.refused = 0

    # -- events ----------------------------------------------------------------------------------------------------

    def click(self, event: Click, appended_s: float, offset: int) -> None:
        """Take a click, and learn if a chunk is due; arguments of `WindowBuilder.click`."""
        self._window_builder.click(_NUMBER, event, appended_s, offset)
        if self._window_builder.due:
            self._learn()

    def purchase(self, event: Purchase, appended_s: float, offset: int) -> None:
        """Take a purchase; arguments of `WindowBuilder.purchase`."""
        self._window_builder.purchase(_NUMBER, event, appended_s, offset)

    def profile(self, event: Profile) -> None:
        """Apply a profile as a trainer does."""
        self._window_builder.apply_profile(_NUMBER, event)

    # -- what is learnt --------------------------------------------------------------------------------------------

    def due(self, at: float) -> bool:
        """Whether to take a `snapshot` before an event of this time is answered."""
        return at >= self._snapshot_at

    def snapshot(self, at: float) -> SequencePredictor | None:
        """The predictor that serves from now on; None if it has learnt nothing new, or is worse than the last one."""
        self._snapshot_at = at + self._every_s
        if self._window_builder.waiting or self.learner.waiting:
            self._learn()
        if self._window_builder.events == self._given:
            return None
        self._given = self._window_builder.events
        candidate = self.learner.arrays(), self.learner.vocabulary.item.copy()
        gate = self._window_builder.gate
        if self._served is not None and len(gate) >= self._least:  # with fewer windows a candidate passes
            scorers = [Scorer(*weights, self._contents, self._scale) for weights in (candidate, self._served)]
            if gate.compare(*scorers).worse:
                self.refused += 1
                return None
        self.snapshots += 1
        self._served = candidate
        scorer = Scorer(*candidate, self._contents, self._scale, self._cold)
        return SequencePredictor(scorer, str(self._given), exact=len(scorer.items))  # so many indices would take long

    def _learn(self) -> None:
        self._window_builder.gather()
        self.learner.learn()
        self._window_builder.begin_chunk()
