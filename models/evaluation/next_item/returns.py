"""Returns: how often a shopper views the item of n items ago again, by number of items so far.

Half of the next items in public session data were in the session before. Suggestions are of new items and make no use
of this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DEPTH = 10
"""Latest distinct items that a return may lead to."""

PRIOR = 20.0
"""Views without a return that each count starts with."""


class Returns:
    """Shares of views that return, by number of distinct items so far and place among them, latest first.

    >>> returns = Returns()
    >>> for _ in range(80):
    ...     returns.learn([1, 2, 1])
    >>> returns.shares(2)  # all 80 views after two items went to the one before the latest; the prior adds 20
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
        """(min(distinct, DEPTH),) estimated probability of a return to each of the latest items, latest first."""
        row = min(distinct, DEPTH) - 1
        shares: NDArray[np.float64] = self._back[row, : row + 1] / self._looks[row]
        return shares
