"""The probabilities that several sources give the same candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.shop.items import UNKNOWN

FLOOR = 1e-5
"""Probability of a candidate that a source does not know: less than that of one item of many, so that one source's
silence does not outvote the others."""

SILENCE = math.log(FLOOR) + 1e-9
"""Logarithms up to this mean that a source does not know the candidate."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Candidates and what each source says of them.

    Attributes:
        items: (n,) distinct indices.
        logs: (n, sources) logarithms of probabilities; those of one source sum to about 1.
        more: (n, columns) other numbers of each candidate, for a blend that learns.
        context: numbers of the query, such as how many looks there were.
    """

    items: NDArray[np.int32]
    logs: NDArray[np.float64]
    more: NDArray[np.float64]
    context: tuple[float, ...]

    def place(self, item: int) -> int:
        """Place of an item among the candidates, UNKNOWN if it is none."""
        found = np.flatnonzero(self.items == item)
        return int(found[0]) if len(found) else UNKNOWN


def shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) scores of one source, 0 for what it does not know, to logarithms of probabilities.

    >>> shares(np.array([3.0, 1.0, 0.0])).round(2).tolist()
    [-0.29, -1.39, -11.51]
    """
    total = float(scores.sum())
    logs: NDArray[np.float64] = np.log((scores / total if total > 0.0 else scores) + FLOOR)
    return logs
