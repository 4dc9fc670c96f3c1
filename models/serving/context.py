"""The context of a query: the items that evidence is looked up for, each with its recency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.elementary import exp, exp2
from models.jit import forward_njit
from models.serving.rules import ANCHORS, QueryState
from models.serving.state import MAX_CONTEXT, Pool, ServingState


@forward_njit
def find_context(
    trigger: NDArray[np.int32],
    cart: NDArray[np.int32],
    visit: NDArray[np.int32],
    ages_s: NDArray[np.float64],
    state: ServingState,
) -> None:
    """List the items with their recency: 1 for the trigger's, less the further back; the greater of cart and visit.

    The cart's latest item is its last, the visit's its first.
    """
    weights = state.weights
    state.pool.size[1] = 0
    for item in trigger:
        _add(item, 1.0, state.query, state.pool)
    recency = weights.cart
    for place in range(len(cart) - 1, -1, -1):
        _add(cart[place], recency, state.query, state.pool)
        recency *= weights.cart_back
    own_look = 0 if len(visit) and len(trigger) and visit[0] == trigger[0] else 1  # the triggering look is not back
    for place in range(len(visit)):
        age = exp2(-ages_s[place] / weights.age_half_life_s)
        _add(visit[place], exp(-weights.back * (place + own_look)) * age, state.query, state.pool)


@forward_njit
def _add(item: int, recency: float, query: QueryState, pool: Pool) -> None:
    size = pool.size[1]
    for place in range(size):
        if pool.context[place] == item:
            pool.recency[place] = max(pool.recency[place], recency)
            return
    if size == MAX_CONTEXT:
        return
    pool.context[size] = item
    pool.recency[size] = recency
    pool.anchor_of[size] = -1
    for place in range(query.now[ANCHORS]):
        if query.anchors[place] == item:
            pool.anchor_of[size] = place
            break
    pool.size[1] += 1
