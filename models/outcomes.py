"""What became of what was suggested."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Closed(NamedTuple):
    """A list whose window has closed, and what each of its items was worth."""

    at: float
    """Event time of its trigger, epoch seconds."""
    kinds: NDArray[np.int8]
    """(n,) `models.rules.CROSS_SELL` or `UPSELL`."""
    places: NDArray[np.int16]
    """(n,) in the list, 0 first."""
    features: NDArray[np.float32]
    """(n, `models.leaders.WIDTH`) as sent."""
    rewards: NDArray[np.float32]
    """(n,) from 0 to 1."""
    examined: NDArray[np.bool_]
    """(n,) False: the shop said that it was not shown."""
    learnable: NDArray[np.bool_]
    """(n,) False: suggested without evidence."""
