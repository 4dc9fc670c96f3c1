"""Co-occurrence in protocol A: the worker's visits, counting and rows, asked for the next item.

The ranking is that of [`models.evaluation.next_item.neighbour_ranking`][], over whole rows, before any rule; what leads
back to items of the session is added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.next_item.methods import Scores, SingleMethod
from models.evaluation.next_item.neighbour_ranking import NextItemConfig, next_items
from models.evaluation.next_item.returns import DEPTH, Returns
from models.evaluation.worker_counts import WorkerCounts
from models.sessions.visits import VisitConfig
from models.shop.events import Action, Click
from models.shop.items import Items


class Counted(NamedTuple):
    """Scores by co-occurrence."""

    items: NDArray[np.int32]
    """(n,) ascending."""
    scores: NDArray[np.float64]
    """(n,) from all items of the session."""
    last: NDArray[np.float64]
    """(n,) from its last item alone."""


class CoOccurrenceMethod(SingleMethod):
    """Co-occurrence as the worker counts it; `items` numbers the items as the sessions do.

    Attributes:
        counts: what is counted.
    """

    names: Sequence[str] = ("cooccurrence",)

    def __init__(
        self, items: Items, visits: VisitConfig, counting: CoOccurrenceConfig, ranking: NextItemConfig
    ) -> None:
        self._items = items
        self._ranking = ranking
        self.counts = WorkerCounts(items, visits, counting)
        self._returns = Returns()
        self._sessions = 0

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][]."""
        self._sessions += 1
        self._returns.learn(items)
        for item, at in zip(items, times, strict=True):
            self.counts.learn(Click(f"session {self._sessions}", self._items.name(item), Action.VIEW, at))

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`SingleMethod.score`][]."""
        found = self.new(items, times)
        return with_returns(items, found.items, found.scores, self._returns)

    def new(self, items: Sequence[int], times: Sequence[float]) -> Counted:
        """Scores of what may come next, without the items of `items_to_return_to`."""
        self.counts.publish()
        rows = self.counts.neighbours.arrays()
        latest = np.array(items[::-1], np.int32)
        ages_s = times[-1] - np.array(times[::-1], np.float64)
        ids, scores = next_items(latest, ages_s, times[-1], rows, self._ranking)
        of_last, by_last = next_items(latest[:1], ages_s[:1], times[-1], rows, self._ranking)
        last = np.zeros(len(ids))
        last[np.searchsorted(ids, of_last)] = by_last
        new = ~np.isin(ids, items_to_return_to(items))
        return Counted(ids[new], scores[new], last[new])

    def views(self, at: float) -> NDArray[np.float64]:
        """(items,) views of each, decayed to a time."""
        self.counts.publish()
        rows = self.counts.neighbours.arrays()
        views: NDArray[np.float64] = rows.own[:, 0] * 2.0 ** (np.minimum(0.0, rows.at - at) / rows.half_life_s)
        return views


def with_returns(items: Sequence[int], ids: NDArray[np.int32], scores: NDArray[np.float64], returns: Returns) -> Scores:
    """Scores as probabilities: each item to return to gets its share, the others divide the rest by their scores.

    Args:
        items: of the session so far, in order.
        ids: (n,) items with a score, none of them in `items_to_return_to`.
        scores: (n,) above 0.
        returns: how likely a return is.
    """
    shares = returns.shares(len(set(items)))
    if len(scores):
        scores = scores * ((1.0 - shares.sum()) / scores.sum())
    return np.concatenate([ids, items_to_return_to(items)]), np.concatenate([scores, shares])


def items_to_return_to(items: Sequence[int]) -> NDArray[np.int32]:
    """The items of a session that a return may lead to, latest first."""
    return np.array(list(dict.fromkeys(reversed(items)))[:DEPTH], np.int32)
