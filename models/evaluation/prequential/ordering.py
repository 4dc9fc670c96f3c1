"""A trainer's learning of an order of lists, without a log: outcomes and ranker, beside an engine, in its events' time.

What differs from a trainer is time, as in `models.evaluation.prequential.training`. And who learns from a log that is
past learns from lists that nobody saw: what its shoppers did is attributed to them as if they had been sent, and what a
shop says of those that it showed (`feedback`) is not heard. Each recommender learns from lists of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from models.ranking.attribution import Attribution, AttributionConfig, Impression, feature_rows
from models.ranking.ranker import Ranker, RankerConfig
from models.serving.recommender import Learnt, Query, SuggestedItem
from models.shop.events import Click, Purchase
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES

_NUMBER = 0
"""Of the only partition."""


class Ordering:
    """Learns the order of one recommender's lists, and gives it now and then.

    Args:
        items: numbers the items; the engine's.
        outcomes: what counts as an answer to a list.
        ranker: how an order is learnt.
        train_every_s: event time after which lists that have closed are learnt.
        snapshot_every_s: event time between two times that what was learnt may serve.
        seed: of everything that is drawn.

    Attributes:
        outcomes: open lists, and what became of others.
        ranker: what learns.

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
        seed: int,
    ) -> None:
        self.outcomes = Attribution(outcomes)
        self.ranker = Ranker(ranker, seed)
        self._items = items
        self._train_every_s, self._snapshot_every_s = train_every_s, snapshot_every_s
        self._train_at = self._snapshot_at = -inf
        self._given = 0  # lists behind what was given last; 0: nothing was

    def record_impression(self, query: Query, topic: str, offset: int, found: Sequence[SuggestedItem]) -> None:
        """A list was made; it may come later than what answers it.

        Args:
            query: what was asked.
            topic: of the trigger.
            offset: there.
            found: best first; nothing is learnt of a list without items.
        """
        if not found:
            return
        features = feature_rows([item.get("features") for item in found])
        items = [self._items.index(item["item_id"]) for item in found]
        kinds = [KIND_NAMES.index(item["kind"]) for item in found]
        sent = Impression(query.seed, query.user_id, query.at, topic, offset, items, kinds, features)
        self.outcomes.record_impression(_NUMBER, sent)

    def record_event(self, event: Click | Purchase, applied: bool, appended_s: float, offset: int) -> None:
        """Attribute what a shopper did to his lists.

        Args:
            event: what he did.
            applied: whether it counts.
            appended_s: append time.
            offset: of the event.
        """
        self.outcomes.record_event(_NUMBER, event, self._items.index, appended_s, offset, applied=applied)
        if appended_s >= self._train_at:
            self._train_at = appended_s + self._train_every_s
            self._learn()

    def forget(self, user_id: str, before: float) -> None:
        """Learn nothing of a shopper up to an event time."""
        self.outcomes.forget(user_id, before)

    def due(self, at: float) -> bool:
        """Whether it is time to ask for a `snapshot` before an event of this time is taken."""
        return at >= self._snapshot_at

    def snapshot(self, at: float) -> Learnt | None:
        """The order that serves from now on; None where nothing new was learnt, or where none may serve yet.

        Args:
            at: event time, epoch seconds; `due` again `snapshot_every_s` later.
        """
        self._snapshot_at = at + self._snapshot_every_s
        self._learn()
        if self.ranker.learnt == self._given or not (self._given or self.ranker.ready):
            return None
        self._given = self.ranker.learnt
        return Learnt(self.ranker.order(), str(self._given))

    def _learn(self) -> None:
        for closed in self.outcomes.take():
            self.ranker.learn_one(closed)
