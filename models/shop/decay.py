"""Forward decay: weights that fade in event time, in sums to which events may be added in any order.

An event of weight `w` at `t` is worth `w * 2 ** ((t - now) / half_life)` now. A sum is kept as of a landmark, to which
every event is scaled by its own factor, so late events need no special case (Cormode, Shkapenyuk, Srivastava and Xu,
"Forward Decay: A Practical Time Decay Model for Streaming Systems", ICDE 2009). Different here: landmarks are whole
numbers of half-lives since the epoch, and a sum uses the last one before its newest event. Moving to the next landmark
divides by a power of two, which is exact in floating point, and no factor exceeds 2.
"""

from __future__ import annotations

import math

from models.jit import cached_njit


@cached_njit("Tuple((float64, float64))(float64, float64)")
def landmark(at: float, half_life_s: float) -> tuple[float, float]:
    """The landmark before a time, in half-lives since the epoch, and the factor (1 up to 2) that scales to it.

    >>> landmark(250.0, 100.0)
    (2.0, 1.4142135623730951)
    """
    half_lives = at / half_life_s
    passed = math.floor(half_lives)
    return float(passed), 2.0 ** (half_lives - passed)


@cached_njit("float64(float64, float64, float64, float64)")
def decayed(weight: float, since: float, at: float, half_life_s: float) -> float:
    """A weight as of `since`, scaled to `at`, both epoch seconds; it grows where `at` is earlier.

    >>> decayed(8.0, 1000.0, 1200.0, 100.0)
    2.0
    """
    return weight * math.pow(2.0, (since - at) / half_life_s)
