"""The most bought items of the shop, as cross-sells, for a learnt order to rank.

They have no share, and the reason of a fallback: in how many baskets the item was bought.
"""

from __future__ import annotations

from models.jit import forward_njit
from models.serving.batch import Batch
from models.serving.pooling import join_top
from models.serving.sources.source import Source
from models.serving.state import ServingState
from models.shop.kinds import CROSS_SELL

MOST_BOUGHT = 40
"""Cross-sells that join the pool."""


@forward_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Let the first of the shop's list join the pool."""
    join_top(state.most_bought, 0, CROSS_SELL, -1, MOST_BOUGHT, batch.at[query], state)


SOURCE = Source(join=join)
