"""What has changed lately, for those who have to follow: a ring of the last changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KEPT = 1 << 14
"""Changes that are kept: 64 kB. Who is behind by more has to look at everything."""


class ChangeLog:
    """Indices of what has changed, in the order of the changes. Not for use by several threads at once.

    >>> log = ChangeLog()
    >>> log.add(7)
    >>> log.add(np.array([3, 7]))
    >>> log.since(1)
    array([3, 7], dtype=int32)
    >>> log.count, len(log.since(3))
    (3, 0)
    """

    def __init__(self) -> None:
        self.count = 0
        """Changes so far."""
        self._last = np.zeros(KEPT, np.int32)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self._last.nbytes

    def add(self, indices: int | NDArray[np.integer]) -> None:
        """Note what has changed: one index, or many."""
        if isinstance(indices, int):
            self._last[self.count % KEPT] = indices
            self.count += 1
            return
        noted = indices[-KEPT:]
        self.count += len(indices)
        self._last[np.arange(self.count - len(noted), self.count) % KEPT] = noted

    def since(self, count: int) -> NDArray[np.int32] | None:
        """What has changed after so many changes; None: more than is kept."""
        behind = self.count - count
        return None if behind > KEPT else self._last[np.arange(count, self.count) % KEPT]
