"""Figures of protocol E: revenue of each arm, and what it is above that of the arm without lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.evaluation.ranks import intervals_of_sums
from models.evaluation.uplift.loop import Loop
from models.shop.kinds import KIND_NAMES

NONE = "none"
"""The arm without lists."""


def figures(loops: Mapping[str, Loop], seed: int) -> dict[str, dict[str, Any]]:
    """Figures by arm, acceptance in percent of the items shown; one arm is NONE.

    Intervals of 95 % resample the paired differences of the shoppers. Their orders of their own are the same in every
    arm and every resample, so they say how sure the difference is, and nothing of the spread of revenue.
    """
    return {name: _of_arm(loop, loops[NONE], seed) for name, loop in loops.items()}


def _of_arm(loop: Loop, none: Loop, seed: int) -> dict[str, Any]:
    kinds, shoppers = KIND_NAMES[1:], none.shoppers
    gains = [
        [loop.revenue.get(user_id, 0.0) - none.revenue.get(user_id, 0.0) for user_id in shoppers],
        *([loop.gained.get((kind, user_id), 0.0) for user_id in shoppers] for kind in kinds),
    ]
    sums = np.array(gains, np.float64).T
    n = len(shoppers)
    means = intervals_of_sums(sums, np.ones((n, 1)), seed)  # of a shopper, times 100
    totals = [round(float(total), 2) for total in sums.sum(axis=0)]
    intervals = [[round(n * end / 100, 2) for end in interval] for interval in means]
    return {
        "revenue": round(sum(loop.revenue.values()), 2),
        "uplift": totals[0],
        "uplift_interval": intervals[0],
        "uplift_per_1000_lists": round(1000 * totals[0] / loop.lists, 2) if loop.lists else 0.0,
        "lists": loop.lists,
        "accepted": {kind: round(100 * loop.accepted[kind] / max(1, loop.shown[kind]), 3) for kind in kinds},
        "by_kind": {
            kind: {"shown": loop.shown[kind], "accepted": loop.accepted[kind], "uplift": total, "interval": interval}
            for kind, total, interval in zip(kinds, totals[1:], intervals[1:], strict=True)
        },
    }
