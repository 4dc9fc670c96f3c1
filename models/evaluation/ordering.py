"""The trainer's ranker beside an engine: attribution of outcomes to pools, and learning from them, in event time.

The lists were never shown: what the shoppers of the log did is attributed to their pools as if they had been sent. Each
recommender learns from its own pools.
"""

from __future__ import annotations

from array import array
from math import inf

import numpy as np

from models.ranking.attribution import Attribution, AttributionConfig, Impression
from models.ranking.candidate_pool import CandidatePool
from models.ranking.features import MAX_FEATURE, WIDTH
from models.ranking.ranker import Ranker, RankerConfig
from models.ranking.upsell_attribution import UpsellAttribution
from models.serving.recommender import Learnt, Query
from models.shop.events import Click, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

_NUMBER = 0
"""Number of the only partition."""


class Ordering:
    """Trains the ranker of one recommender, and gives snapshots of it.

    Args:
        train_every_s: event time after which closed pools are learnt.
        snapshot_every_s: event time between two snapshots.

    Raises:
        ModuleNotFoundError: river is not installed.
    """

    def __init__(
        self,
        items: Items,
        outcomes: AttributionConfig,
        ranker: RankerConfig,
        train_every_s: float,
        snapshot_every_s: float,
        policy: Policy,
    ) -> None:
        self.outcomes, self._upsells = Attribution(outcomes, WIDTH), UpsellAttribution(outcomes, WIDTH, 1)
        self.ranker = Ranker(ranker, policy)
        self._items = items
        self._train_every_s, self._snapshot_every_s = train_every_s, snapshot_every_s
        self._train_at = self._snapshot_at = -inf
        self._given = 0  # pools learnt by the last snapshot; 0: there was none

    def record_impression(self, query: Query, topic: str, offset: int, pool: CandidatePool) -> None:
        """Open a pool by the topic and offset of its trigger; its outcomes may have come before it."""
        items, kinds = array("i", pool.items.tolist()), bytearray(pool.kinds)
        features = np.clip(pool.features, -MAX_FEATURE, MAX_FEATURE).astype(np.float16)  # as in a record
        logged = Impression(query.seed, query.user_id, query.at, topic, offset, items, kinds, features)
        for attribution in (self.outcomes, self._upsells):
            attribution.record_impression(_NUMBER, logged)

    def record_event(self, event: Click | Purchase, applied: bool, appended_s: float, offset: int) -> None:
        """Attribute an event to its shopper's pools; `applied`: whether it counts."""
        for attribution in (self.outcomes, self._upsells):
            attribution.record_event(_NUMBER, event, self._items.index, appended_s, offset, applied=applied)
        if appended_s >= self._train_at:
            self._train_at = appended_s + self._train_every_s
            self._learn()

    def forget(self, user_id: str, before: float) -> None:
        """Learn nothing of a shopper up to an event time."""
        for attribution in (self.outcomes, self._upsells):
            attribution.forget(user_id, before)

    def due(self, at: float) -> bool:
        """Whether to take a `snapshot` before an event of this time is answered."""
        return at >= self._snapshot_at

    def snapshot(self, at: float) -> Learnt | None:
        """What was learnt so far, for the recommender; None if that is nothing new."""
        self._snapshot_at = at + self._snapshot_every_s
        self._learn()
        if self.ranker.learnt == self._given:
            return None
        self._given = self.ranker.learnt
        return Learnt(self.ranker.order(), str(self._given))

    def _learn(self) -> None:
        for closed in self.outcomes.take():
            self.ranker.learn_one(closed)
        for closed in self._upsells.take():
            self.ranker.learn_one(closed, month=True)
