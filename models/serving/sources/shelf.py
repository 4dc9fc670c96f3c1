"""The shelf of each of the first anchors: the top items of its category, as upsells, for a learnt order to rank.

They have no share, and the reason of a fallback: in how many baskets the item was bought, or how often it was viewed.
"""

from __future__ import annotations

from models.jit import forward_njit
from models.serving.batch import Batch
from models.serving.pooling import join_top
from models.serving.popularity import MAX_ANCHORS, PLACES
from models.serving.rules import ANCHORS, MAY_UPSELL
from models.serving.sources.source import Source
from models.serving.state import ServingState
from models.shop.kinds import UPSELL


@forward_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Let the upsells of the categories' lists join the pool."""
    rules, now = state.rules, state.query.now
    for anchor in range(min(now[ANCHORS], MAX_ANCHORS) if now[MAY_UPSELL] else 0):
        group = rules.group[rules.facts[state.query.anchors[anchor]].category]
        join_top(state.by_category, group, UPSELL, anchor, PLACES, batch.at[query], state)


SOURCE = Source(join=join)
