"""A trainer's inside without a log: curriculum, learner and gate, beside an engine, in the time of its events.

What differs from a trainer is time only. A chunk is learnt at the moment it is due, and takes none; what was learnt
answers from the first event on that comes `snapshot_every_s` of event time after the last time, if the gate lets it. In
times without events nothing is done. There is one partition of everything, and nothing is stored.

The only part of the engine that needs torch: imported where the sequence model is asked for.
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
"""Of the only partition."""


class StreamTraining:
    """Learns from events, and gives what it has learnt now and then.

    Args:
        items: numbers the items; the engine's.
        catalog: what they are; filled, and the same ever after.
        visits: what a visit is.
        learner: how the network is taught.
        gate: when what was learnt may answer.
        train_every_s: event time after which what has gathered is learnt.
        snapshot_every_s: event time between two times that what was learnt may answer.
        seed: of everything that is drawn.

    Attributes:
        learner: what learns.
        snapshots: times that something newly learnt was given, since the first.
        refused: times that the gate held it back.
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
        self._given = 0  # looks that were handed on when something was given last
        self.snapshots = self.refused = 0

    # -- events ----------------------------------------------------------------------------------------------------

    def click(self, event: Click, appended_s: float, offset: int) -> None:
        """Take a click, and learn if it is time; arguments as of `WindowBuilder.click`."""
        self._window_builder.click(_NUMBER, event, appended_s, offset)
        if self._window_builder.due:
            self._learn()

    def purchase(self, event: Purchase, appended_s: float, offset: int) -> None:
        """Take a purchase; arguments as of `click`."""
        self._window_builder.purchase(_NUMBER, event, appended_s, offset)

    def profile(self, event: Profile) -> None:
        """Take what a shopper says of himself, with the same effect as on a trainer."""
        self._window_builder.apply_profile(_NUMBER, event)

    # -- what is learnt --------------------------------------------------------------------------------------------

    def due(self, at: float) -> bool:
        """Whether it is time to ask for a `snapshot` before an event of this time is taken."""
        return at >= self._snapshot_at

    def snapshot(self, at: float) -> SequencePredictor | None:
        """What answers from now on; None where nothing new was learnt, or where it is worse than what answers.

        Args:
            at: event time, epoch seconds; `due` again `snapshot_every_s` later.
        """
        self._snapshot_at = at + self._every_s
        if self._window_builder.waiting or self.learner.waiting:
            self._learn()
        if self._window_builder.events == self._given:
            return None
        self._given = self._window_builder.events
        candidate = self.learner.arrays(), self.learner.vocabulary.item.copy()
        gate = self._window_builder.gate
        if self._served is not None and len(gate) >= self._least:  # with fewer windows a candidate passes
            judged = [Scorer(*one, self._contents, self._scale) for one in (candidate, self._served)]
            if gate.compare(*judged).worse:
                self.refused += 1
                return None
        self.snapshots += 1
        self._served = candidate
        return SequencePredictor(Scorer(*candidate, self._contents, self._scale, self._cold), str(self._given))

    def _learn(self) -> None:
        self._window_builder.gather()
        self.learner.learn()
        self._window_builder.begin_chunk()
