"""The pool of a query: all candidates that a list was chosen from, suggested or not, with their features.

Workers log the pools of a sample of lists, and the trainer learns from them what shoppers take of everything that could
have been suggested. Lists alone would only say what is taken of that which an earlier order put first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 400
"""Candidates of a pool at most, half of either kind."""


class CandidatePool(NamedTuple):
    """Candidates of one query, in no order that means anything."""

    items: NDArray[np.int32]
    """(n,) indices."""
    kinds: NDArray[np.int8]
    """(n,) `models.shop.kinds.CROSS_SELL` or `UPSELL`."""
    features: NDArray[np.float32]
    """(n, `models.ranking.features.WIDTH`)."""
