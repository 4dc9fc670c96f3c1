"""Forward decay: weights that fade in event time, in sums to which events may be added in any order.

An event of weight `w` at `t` is worth `w * 2 ** ((t - now) / half_life)` now. A sum is not kept as of now but as of a
landmark, to which an event of any time is brought by a factor of its own; so nothing has to be faded as time goes by,
and late events need no care (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay: A Practical Time Decay Model for
Streaming Systems", ICDE 2009). Different here: every landmark is a whole number of half-lives since the epoch, the one
that the newest event of the sum has passed last. Moving on to the next divides by a power of two, which floating point
does without rounding, and no factor grows beyond 2, however many years go by.
"""

from __future__ import annotations

import math

from models.jit import cached_njit


@cached_njit("Tuple((float64, float64))(float64, float64)")
def landmark(at: float, half_life_s: float) -> tuple[float, float]:
    """The landmark before a time, and what a weight of that time is worth there.

    Args:
        at: epoch seconds.
        half_life_s: seconds in which a weight falls to a half.

    Returns:
        Half-lives since the epoch, a whole number, and a factor from 1 up to 2.

    >>> landmark(250.0, 100.0)
    (2.0, 1.4142135623730951)
    """
    half_lives = at / half_life_s
    passed = math.floor(half_lives)
    return float(passed), 2.0 ** (half_lives - passed)


@cached_njit("float64(float64, float64, float64, float64)")
def decayed(weight: float, since: float, at: float, half_life_s: float) -> float:
    """What a weight as of `since` is worth as of `at`; more than it was where `at` is earlier.

    Args:
        weight: as of `since`.
        since: epoch seconds.
        at: epoch seconds.
        half_life_s: seconds in which a weight falls to a half.

    >>> decayed(8.0, 1000.0, 1200.0, 100.0)
    2.0
    """
    return weight * math.pow(2.0, (since - at) / half_life_s)
