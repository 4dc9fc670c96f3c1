"""Going back: how often a shopper looks again at the item he looked at n items ago, counted by how many there are.

Half of what comes next in public session data has been in the session before. What is learnt here is where such a look
leads; it is no part of a suggestion, which is of something new.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DEPTH = 10
"""How many of the latest distinct items are told apart; nobody can go back further here."""

PRIOR = 20.0
"""Looks ahead that are taken to have been seen at each number of items, none of them back."""


class Returns:
    """Shares of looks that lead back, by number of distinct items so far and place among them, latest first.

    >>> returns = Returns()
    >>> for _ in range(80):
    ...     returns.learn([1, 2, 1])
    >>> returns.shares(2)  # 80 of 80 looks after two items led to the one before the latest; 20 are the prior
    array([0. , 0.8])
    """

    def __init__(self) -> None:
        self._back = np.zeros((DEPTH, DEPTH))  # by number of items - 1, place
        self._looks = np.full(DEPTH, PRIOR)

    def learn(self, items: Sequence[int]) -> None:
        """Learn a session's items, in order."""
        latest: list[int] = []
        for item in items:
            if latest:
                row = min(len(latest), DEPTH) - 1
                self._looks[row] += 1.0
                if item in latest[:DEPTH]:
                    self._back[row, latest.index(item)] += 1.0
            if item in latest:
                latest.remove(item)
            latest.insert(0, item)

    def shares(self, distinct: int) -> NDArray[np.float64]:
        """Estimated probability of going back to each of the latest distinct items; the rest is for new ones.

        Args:
            distinct: how many there are, at least 1.

        Returns:
            (min(distinct, DEPTH),) latest first.
        """
        row = min(distinct, DEPTH) - 1
        shares: NDArray[np.float64] = self._back[row, : row + 1] / self._looks[row]
        return shares
