"""How sure a ratio is: the interval of its mean over turns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

WITHIN = 0.15
"""A ratio is settled when no bound of its interval is farther from it than this part of it."""

MOST_TURNS = 10
"""Most turns: a ratio that has not settled by then is not measured well, and the figures say so."""

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t for 95 %, two-sided, by turns from two on."""


def mean(ratios: Sequence[float]) -> float:
    """Geometric mean: a ratio and its inverse average to 1."""
    return statistics.geometric_mean(ratios)


def interval(ratios: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the geometric mean of 2 to `MOST_TURNS` ratios, by Student's t; None: there are fewer.

    >>> interval([1.0, 1.0, 1.0]), interval([2.0])
    ((1.0, 1.0), None)
    """
    if len(ratios) < 2:
        return None
    logs = [math.log(ratio) for ratio in ratios]
    centre, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    reach = _T[len(logs) - 2] * error
    return math.exp(centre - reach), math.exp(centre + reach)


def settled(ratios: Sequence[float], within: float = WITHIN) -> bool:
    """Whether the interval is narrow enough. One more turn is of use where it is not.

    >>> settled([1.0, 1.02, 0.99]), settled([1.0, 1.5, 0.8])
    (True, False)
    """
    found = interval(ratios)
    return found is not None and found[1] <= mean(ratios) * (1.0 + within)
