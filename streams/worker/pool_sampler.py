"""Which lists' pools are logged: as many as a budget of bytes a second pays for.

A token bucket of one second: a batch takes as many pools as the bytes left pay for, at the recent mean size, and what
they cost more is paid back before the next. Of a batch with more lists than that, those with the smallest hashes of
their ids are taken, so that the sample does not depend on the place in a burst.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from models.shop.policy import DEFAULT, FIXED

FIRST_BYTES = 8_000.0
"""Taken for the mean size of a pool before there was one."""

FADE = 0.9
"""What the mean size keeps of itself at each pool."""

_NONE = np.empty(0, np.int64)


class PoolSampler:
    """Picks the queries whose pools are logged.

    Args:
        bytes_per_s: the budget; 0: no pool is logged.
        clock: seconds.
    """

    def __init__(self, bytes_per_s: int, clock: Callable[[], float]) -> None:
        self._bytes_per_s, self._clock = float(bytes_per_s), clock
        self._left, self._at = self._bytes_per_s, clock()
        self._mean = FIRST_BYTES

    def pick(self, arms: NDArray[np.int8], seeds: Callable[[list[int]], list[int]]) -> NDArray[np.int64]:
        """Rows of the queries of a batch whose pools are logged, ascending.

        `seeds` gives the hashes of the ids of the lists in some rows: [`seed_of`][models.serving.recommender.seed_of].
        """
        now = self._clock()
        gained = self._bytes_per_s * max(0.0, now - self._at)
        self._left, self._at = min(self._bytes_per_s, self._left + gained), now
        most = ceil(self._left / self._mean)
        if most <= 0:
            return _NONE
        eligible = np.flatnonzero((arms == DEFAULT) | (arms == FIXED))
        if len(eligible) > most:
            hashes = np.array(seeds(eligible.tolist()), np.uint64)
            eligible = np.sort(eligible[np.argsort(hashes, kind="stable")[:most]])
        return eligible

    def spend(self, size: int) -> None:
        """Pay for a pool that was logged, in bytes."""
        self._left -= size
        self._mean += (1.0 - FADE) * (size - self._mean)
