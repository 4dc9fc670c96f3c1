"""How far two items belong together beyond what their popularity explains.

Counts may be decayed weights, if a basket of n items weighs w(n) in all four numbers alike (the pair's, both items',
all baskets'). The lift is then that of the weighted baskets.
"""

from __future__ import annotations

from models.elementary import log
from models.jit import cached_njit, inline_njit

_LEAST, _MOST = 2.3e-308, 1.7e308
"""Numbers that have a logarithm by `models.elementary`."""

STRENGTH = 1.0
"""How much evidence for independence a pair starts with, in expected baskets of weight 1 (two items, or one).

One basket of two items that nobody else has bought has a lift of 2 instead of the number of all baskets; five of them
have 6. Less lets single coincidences lead; far more hides the pairs of small shops.
"""


@cached_njit("float64(float64, float64, float64, float64, float64)", error_model="numpy", forceinline=True)
def shrunk_lift(n_ab: float, n_a: float, n_b: float, n: float, strength: float) -> float:
    """How many times as often as by chance two items share a basket, shrunk towards 1 where little has been seen.

    It is the posterior mean of a Poisson rate under a gamma prior of mean 1 (DuMouchel, "Bayesian Data Mining in Large
    Frequency Tables", The American Statistician 53, 1999), with one prior of a given strength instead of a fitted
    mixture of two: a prior fitted to a stream would move every lift with every event.

    Args:
        n_ab: baskets with both.
        n_a: baskets with the one.
        n_b: baskets with the other.
        n: all baskets.
        strength: expected baskets that the prior is worth; 0 gives the lift itself.

    Returns:
        1 for independent items, also where one of them, or the shop, has no baskets yet.

    >>> shrunk_lift(8, 40, 50, 1000, 2), shrunk_lift(2, 2, 2, 4, 1)
    (2.5, 1.5)
    """
    known = (n_a > 0.0) & (n_b > 0.0) & (n > 0.0)
    expected = n_a / n * n_b
    return (n_ab + strength) / (expected + strength) if known else 1.0


@inline_njit
def _surprise(observed: float, expected: float, total: float) -> float:
    """One cell of the likelihood ratio. A cell of 0 adds nothing, nor one so small that `expected` is rounded to 0."""
    counts = (observed > 0.0) & (expected > 0.0)
    ratio = observed / expected * total if counts else 1.0
    return observed * log(min(_MOST, max(_LEAST, ratio)))


@cached_njit("float64(float64, float64, float64, float64)", error_model="numpy", forceinline=True)
def log_likelihood_ratio(k11: float, k12: float, k21: float, k22: float) -> float:
    """How surely two items are not independent, whichever way: G squared of the two-by-two table.

    Dunning, "Accurate Methods for the Statistics of Surprise and Coincidence", Computational Linguistics 19, 1993.
    Chi-squared with one degree of freedom: above 10.83, one table of independent items in a thousand.

    Args:
        k11: baskets with both.
        k12: baskets with the one only.
        k21: baskets with the other only.
        k22: baskets with neither.

    Returns:
        0 or more. A negative cell, as where a pair has arrived before its items' own counts, is taken for 0.

    >>> log_likelihood_ratio(10, 10, 10, 10), round(log_likelihood_ratio(110, 2442, 111, 29114), 2)
    (0.0, 270.72)
    """
    k11, k12, k21, k22 = max(k11, 0.0), max(k12, 0.0), max(k21, 0.0), max(k22, 0.0)
    row1, row2, column1, column2 = k11 + k12, k21 + k22, k11 + k21, k12 + k22
    total = row1 + row2
    ratio = _surprise(k11, row1 * column1, total) + _surprise(k12, row1 * column2, total)
    ratio += _surprise(k21, row2 * column1, total) + _surprise(k22, row2 * column2, total)
    return max(0.0, 2.0 * ratio)
