"""Our counting in protocol A: the worker's own visits, rows and neighbours, asked for what comes next.

Clicks go through [`Visits`][models.sessions.visits.Visits] into
[`CoOccurrence`][models.cooccurrence.counter.CoOccurrence], whose rows are mirrored into
[`Neighbours`][models.cooccurrence.index.Neighbours] as a worker's are; the ranking is that of
[`models.evaluation.next_item.neighbour_ranking`][], over whole rows, before any rule. Beside it stands what leads back
to items of the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.evaluation.next_item.methods import Scores
from models.evaluation.next_item.neighbour_ranking import NextItemConfig, next_items
from models.evaluation.next_item.returns import DEPTH, Returns
from models.sessions.visits import VisitConfig, Visits
from models.shop.events import Action, Click
from models.shop.items import Items

FLUSH_PAIRS = 20_000
"""Pairs that are counted together; what is asked sees all that was learnt before."""


class Counted(NamedTuple):
    """What counting says of items."""

    items: NDArray[np.int32]
    """(n,) ascending."""
    scores: NDArray[np.float64]
    """(n,) by all items of the session."""
    last: NDArray[np.float64]
    """(n,) by its last item alone."""


class CoOccurrenceMethod:
    """Co-occurrence as the worker keeps it.

    Args:
        items: whose numbers are those of the sessions.
        visits: what a visit is.
        counting: how much is remembered.
        ranking: how evidence is weighed.
    """

    def __init__(
        self, items: Items, visits: VisitConfig, counting: CoOccurrenceConfig, ranking: NextItemConfig
    ) -> None:
        self._items = items
        self._ranking = ranking
        self._visits = Visits(items, visits)
        self._rows = CoOccurrence(items, counting)
        self._neighbours = Neighbours(items, counting.half_life_s)
        self._returns = Returns()
        self._pairs: list[tuple[int, int, int, float]] = []
        self._ats: list[float] = []
        self._mirrored = True
        self._shopper = 0
        self._clicks = 0

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`Method.learn`][]."""
        self._shopper += 1
        self._returns.learn(items)
        for item, at in zip(items, times, strict=True):
            click = Click(f"session {self._shopper}", self._items.name(item), Action.VIEW, at)
            _, pairs = self._visits.apply_click(click, at, self._clicks)
            self._clicks += 1
            self._pairs += pairs
            self._ats += [at] * len(pairs)
        if len(self._pairs) >= FLUSH_PAIRS:
            self._count()

    def _count(self) -> None:
        a, b, kind, weight = zip(*self._pairs, strict=True)
        self._rows.learn_many(
            np.array(a, np.int32),
            np.array(b, np.int32),
            np.array(kind, np.int8),
            np.array(weight, np.float64),
            np.array(self._ats, np.float64),
            self._clicks,
        )
        self._pairs, self._ats, self._mirrored = [], [], False

    def _publish(self) -> None:
        """Count what was learnt and mirror the rows that it changed, if any."""
        if self._pairs:
            self._count()
        if self._mirrored:
            return
        for index in self._rows.dirty():
            self._neighbours.put(self._rows.row(index, 1))
            self._rows.published(index)
        self._mirrored = True

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`Method.score`][]."""
        found = self.new(items, times)
        return with_returns(items, found.items, found.scores, self._returns)

    def new(self, items: Sequence[int], times: Sequence[float]) -> Counted:
        """What may come next and is nothing to go back to, in the order of the items' numbers."""
        self._publish()
        latest = np.array(items[::-1], np.int32)
        ages_s = times[-1] - np.array(times[::-1], np.float64)
        ids, scores = next_items(latest, ages_s, times[-1], self._neighbours, self._ranking)
        of_last, by_last = next_items(latest[:1], ages_s[:1], times[-1], self._neighbours, self._ranking)
        last = np.zeros(len(ids))
        last[np.searchsorted(ids, of_last)] = by_last
        new = ~np.isin(ids, to_go_back_to(items))
        return Counted(ids[new], scores[new], last[new])

    def views(self, at: float) -> NDArray[np.float64]:
        """(items,) looks at each, decayed to a time."""
        self._publish()
        rows = self._neighbours
        views: NDArray[np.float64] = rows.own[:, 0] * 2.0 ** (np.minimum(0.0, rows.at - at) / rows.half_life_s)
        return views


def with_returns(items: Sequence[int], ids: NDArray[np.int32], scores: NDArray[np.float64], returns: Returns) -> Scores:
    """Scores as probabilities: so much for each item to go back to, the rest shared among the others by their scores.

    Args:
        items: of the session so far, in order.
        ids: (n,) items with a score, none of them one `to_go_back_to`.
        scores: (n,) above 0.
        returns: how likely it is to go back.

    Returns:
        (m,) distinct items and (m,) probabilities; those not in the session are in the order of their scores.
    """
    shares = returns.shares(len(set(items)))
    if len(scores):
        scores = scores * ((1.0 - shares.sum()) / scores.sum())
    return np.concatenate([ids, to_go_back_to(items)]), np.concatenate([scores, shares])


def to_go_back_to(items: Sequence[int]) -> NDArray[np.int32]:
    """Those items of a session that a look back may lead to, latest first."""
    return np.array(list(dict.fromkeys(reversed(items)))[:DEPTH], np.int32)
