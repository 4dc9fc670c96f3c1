"""What shoppers are expected to look at next, for the recommender: the best of the sequence model and their shares.

A shopper's hidden state is kept from one look to the next. It is a function of his window alone: where that is not the
window before with one more look (a late look, a window that is full, another worker's shopper, other weights), it is
made anew. So answers do not depend on what a worker happened to have seen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sequence.features import gap_classes
from models.sequence.nearest import finder
from models.sequence.scorer import Hidden, Look, Scorer
from models.visits import Window

ITEMS = 50
"""Items that are expected of each shopper, at most: many times a list, as most are no cross-sell and no upsell of
anything."""

SHOPPERS = 50_000
"""Shoppers whose states are kept, the latest: 40 MB."""

ROWS = 32
"""Shoppers that are scored together: bounds memory, 4 bytes an item and shopper."""


class Expected(NamedTuple):
    """What is expected of shoppers, one after the other: of shopper `s` from `ends[s]` to `ends[s + 1]`."""

    items: NDArray[np.int32]
    shares: NDArray[np.float64]
    """Probabilities, greater than 0."""
    ends: NDArray[np.int64]


class Expectations:
    """Answers from one set of weights.

    Args:
        scorer: of the weights.
        version: of them.

    Attributes:
        recall: share of what is most expected that is found; below 1 only where there are too many items to compare.

    Raises:
        ModuleNotFoundError: there are that many, and usearch is not installed.
    """

    def __init__(self, scorer: Scorer, version: str) -> None:
        self.version = version
        self._scorer = scorer
        self._items = scorer.items.astype(np.int32)
        self._finder = finder(scorer.vectors)
        self.recall = self._finder.recall
        self._kept: OrderedDict[str, tuple[Window, int]] = OrderedDict()  # and where: a row of both
        self._hidden, self._cell = self._scorer.start(1024)

    def expect(self, shoppers: Sequence[tuple[str, Window]]) -> Expected:
        """What is expected of each shopper, most likely first; of one who has looked at nothing, nothing.

        Args:
            shoppers: ids and windows.
        """
        items: list[NDArray[np.int32]] = []
        shares: list[NDArray[np.float64]] = []
        ends = np.zeros(len(shoppers) + 1, np.int64)
        looking = [place for place, (_, window) in enumerate(shoppers) if window.items]
        for first in range(0, len(looking) if len(self._items) else 0, ROWS):
            rows = looking[first : first + ROWS]
            state = self._states([shoppers[row] for row in rows])
            found = self._finder.nearest(self._scorer.expected(state), self._scorer.scale, ITEMS)
            items.append(self._items[found.places].reshape(-1))
            shares.append(found.shares.reshape(-1))
            ends[np.array(rows) + 1] = found.places.shape[1]
        return Expected(
            np.concatenate([np.empty(0, np.int32), *items]), np.concatenate([np.empty(0), *shares]), np.cumsum(ends)
        )

    def _states(self, shoppers: Sequence[tuple[str, Window]]) -> Hidden:
        """State of each shopper after his window."""
        state = self._scorer.start(len(shoppers))
        same: list[int] = []
        on: list[int] = []
        anew: list[int] = []
        before = self._before(shoppers)
        kept = np.array([self._place(user_id, window) for user_id, window in shoppers])
        for row, (_, window) in enumerate(shoppers):
            looks = len(window.items) - 1
            if before[row] == window:
                same.append(row)
            elif before[row] == (window.items[:looks], window.actions[:looks], window.ats[:looks]):
                on.append(row)
            else:
                anew.append(row)
        if same:
            state.hidden[same], state.cell[same] = self._hidden[kept[same]], self._cell[kept[same]]
        if on:
            windows = [shoppers[row][1] for row in on]
            gaps = [gap_classes(window.ats[-2:])[-1] for window in windows]
            look = Look(
                np.array([window.items[-1] for window in windows]),
                np.array([window.actions[-1] for window in windows]),
                np.array(gaps),
            )
            after = self._scorer.step(Hidden(self._hidden[kept[on]], self._cell[kept[on]]), look)
            state.hidden[on], state.cell[on] = after
        if anew:
            windows = [shoppers[row][1] for row in anew]
            read = self._scorer.read([(window.items, window.actions, gap_classes(window.ats)) for window in windows])
            state.hidden[anew], state.cell[anew] = read
        self._hidden[kept], self._cell[kept] = state
        return state

    def _before(self, shoppers: Sequence[tuple[str, Window]]) -> list[Window | None]:
        """The window that each shopper's state is kept for; None: none, or he is asked about twice."""
        found: list[Window | None] = []
        asked: set[str] = set()
        for user_id, _ in shoppers:
            found.append(self._kept[user_id][0] if user_id in self._kept and user_id not in asked else None)
            asked.add(user_id)
        return found

    def _place(self, user_id: str, window: Window) -> int:
        """Where a shopper's state is kept from now on, as that after a window: the row he has, or another's."""
        kept = self._kept.pop(user_id, None)  # comes back as the latest
        if kept is not None:
            place = kept[1]
        elif len(self._kept) >= SHOPPERS:
            place = self._kept.popitem(last=False)[1][1]
        else:
            place = len(self._kept)
            if place >= len(self._hidden):
                more = np.zeros_like(self._hidden)
                self._hidden, self._cell = np.concatenate([self._hidden, more]), np.concatenate([self._cell, more])
        self._kept[user_id] = window, place
        return place
