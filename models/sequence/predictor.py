"""The sequence model's best items for each shopper, and their shares, for the recommender.

A shopper's hidden state is kept from one look to the next. It depends on the window alone: unless the window is the
last one with one more look, it is computed again. So answers do not depend on what a worker has seen before.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sequence.features import gap_classes
from models.sequence.kernels import Hidden, LookBatch
from models.sequence.scorer import Scorer
from models.sequence.vector_index import finder
from models.sessions.visits import Window

ITEMS = 50
"""Most items of a shopper: many times a list, as most are neither cross-sell nor upsell of anything."""

SHOPPERS = 50_000
"""Shoppers whose states are kept, the most recent: 40 MB."""

KEPT_BYTES = 1_500
"""Of a window that is kept, with its shopper: up to twenty looks, each in three lists."""

ROWS = 32
"""Shoppers that are scored together: bounds memory, which is 4 bytes an item and shopper."""


class Expected(NamedTuple):
    """What shoppers are expected to look at next: of shopper `s` from `ends[s]` to `ends[s + 1]`."""

    items: NDArray[np.int32]
    shares: NDArray[np.float64]
    """Probabilities, greater than 0."""
    ends: NDArray[np.int64]


class SequencePredictor:
    """Answers from one set of weights.

    Attributes:
        recall: share of the most expected items that is found; below 1 only where there are too many to compare.
        max_batch: most shoppers of one call: the more items, the fewer.
        inline_limit: most shoppers that take a few milliseconds only.

    Raises:
        PackageMissingError: there are too many items to compare, and usearch is not installed.
    """

    def __init__(self, scorer: Scorer, version: str) -> None:
        self.version = version
        self._scorer = scorer
        self._items = scorer.items.astype(np.int32)
        self._finder = finder(scorer.vectors)
        self.recall = self._finder.recall
        self.max_batch, self.inline_limit = self._finder.max_batch, self._finder.inline_limit
        self._kept: OrderedDict[str, tuple[Window, int]] = OrderedDict()  # and its row in both arrays
        self._free: list[int] = []  # rows of forgotten shoppers
        self._to_forget: deque[str] = deque()
        self._outdated = False
        self._hidden, self._cell = self._scorer.start(1024)

    def expect(self, shoppers: Sequence[tuple[str, Window]]) -> Expected:
        """What each shopper, by id and window, will probably look at next, most likely first; nothing without looks."""
        if self._outdated:
            self._outdated = False
            self._free += [place for _, place in self._kept.values()]
            self._kept.clear()
        while self._to_forget:
            if (kept := self._kept.pop(self._to_forget.popleft(), None)) is not None:
                self._free.append(kept[1])
        items: list[NDArray[np.int32]] = []
        shares: list[NDArray[np.float64]] = []
        ends = np.zeros(len(shoppers) + 1, np.int64)
        looking = [place for place, (_, window) in enumerate(shoppers) if window.items and len(self._items)]
        state = self._states([shoppers[place] for place in looking])
        for first in range(0, len(looking), ROWS):
            some = Hidden(state.hidden[first : first + ROWS], state.cell[first : first + ROWS])
            found = self._finder.nearest(self._scorer.expected(some), self._scorer.scale, ITEMS)
            items.append(self._items[found.places].reshape(-1))
            shares.append(found.shares.reshape(-1))
            ends[np.array(looking[first : first + ROWS]) + 1] = found.places.shape[1]
        return Expected(
            np.concatenate([np.empty(0, np.int32), *items]), np.concatenate([np.empty(0), *shares]), np.cumsum(ends)
        )

    def forget(self, user_id: str) -> None:
        """Drop what is kept of a shopper, at the next `expect`; may be called by another thread during one."""
        self._to_forget.append(user_id)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about: vectors of items, states and windows of shoppers."""
        return self._scorer.vectors.nbytes + self._hidden.nbytes + self._cell.nbytes + KEPT_BYTES * len(self._kept)

    def held(self) -> NDArray[np.int64]:
        """Indices of the items that it has vectors of."""
        return self._scorer.items

    def clear(self) -> None:
        """Drop what is kept of all shoppers, as `forget` does; their states are computed again when they are needed."""
        self._outdated = True

    def _states(self, shoppers: Sequence[tuple[str, Window]]) -> Hidden:
        """State of each shopper after the window; a shopper may come several times, and is processed in this order."""
        state = self._scorer.start(len(shoppers))
        for turn in _turns([user_id for user_id, _ in shoppers]):
            self._carry_on(turn, shoppers, state)
        return state

    def _carry_on(self, rows: Sequence[int], shoppers: Sequence[tuple[str, Window]], state: Hidden) -> None:
        """States of some rows, each of another shopper: kept, carried on by a look, or computed from the window."""
        looks: list[tuple[Sequence[int], Sequence[int], Sequence[int]]] = []
        places: list[int] = []
        for row in rows:
            user_id, window = shoppers[row]
            before = self._kept[user_id][0] if user_id in self._kept else None
            place = self._place(user_id, window)
            places.append(place)
            last = len(window.items) - 1
            if before == window:
                looks.append(((), (), ()))
            elif before == (window.items[:last], window.actions[:last], window.ats[:last]):
                looks.append((window.items[last:], window.actions[last:], gap_classes(window.ats[last - 1 :])[1:]))
            else:
                self._hidden[place] = self._cell[place] = 0.0
                looks.append((window.items, window.actions, gap_classes(window.ats)))
        carried = Hidden(self._hidden[places], self._cell[places])
        self._scorer.carry_on(carried, LookBatch.of(looks))
        self._hidden[places], self._cell[places] = carried
        state.hidden[rows], state.cell[rows] = carried

    def _place(self, user_id: str, window: Window) -> int:
        """Row of a shopper's state from now on, which is that after a window."""
        kept = self._kept.pop(user_id, None)  # goes to the end, as the latest
        if kept is not None:
            place = kept[1]
        elif self._free:
            place = self._free.pop()
        elif len(self._kept) >= SHOPPERS:
            place = self._kept.popitem(last=False)[1][1]
        else:
            place = len(self._kept)
            if place >= len(self._hidden):
                more = np.zeros_like(self._hidden)
                self._hidden, self._cell = np.concatenate([self._hidden, more]), np.concatenate([self._cell, more])
        self._kept[user_id] = window, place
        return place


def _turns(user_ids: Sequence[str]) -> list[list[int]]:
    """Rows in turns that have no shopper twice, each as early as possible.

    >>> _turns(["ann", "bob", "ann", "cid", "ann"])
    [[0, 1, 3], [2], [4]]
    """
    turns: list[list[int]] = []
    times: dict[str, int] = {}
    for row, user_id in enumerate(user_ids):
        turn = times.get(user_id, 0)
        if turn == len(turns):
            turns.append([])
        turns[turn].append(row)
        times[user_id] = turn + 1
    return turns
