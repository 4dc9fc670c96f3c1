"""The shopper's history: what he has bought before, for longer than the visit remembers.

It has no share: a learnt order ranks its items by how often, how long ago and in what rhythm the shopper bought them.
The reason counts in how many baskets he did.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import forward_njit
from models.serving.batch import Batch
from models.serving.candidates import place_of
from models.serving.explanations import Reasons, explain_relation
from models.serving.pooling import join_pool
from models.serving.sources.sentence import Sentence
from models.serving.sources.source import Source
from models.serving.state import JOINED, OWN, ServingState
from models.shop.kinds import NEITHER


@forward_njit
def join(query: int, batch: Batch, state: ServingState) -> None:
    """Let all items of the history join the pool."""
    own = batch.own[batch.own_ends[query] : batch.own_ends[query + 1]]
    for index in range(len(own)):
        place = place_of(own[index].item, state.rules, state.query, state.pool)
        candidate = state.pool.candidates[place]
        if candidate.kind == NEITHER:
            continue
        candidate.own = index
        join_pool(place, -1, batch.at[query], state)
        if candidate.tier == JOINED:
            candidate.relation = OWN


@forward_njit
def explain(
    chosen: NDArray[np.int32], size: int, query: int, batch: Batch, state: ServingState, found: Reasons
) -> None:
    """Explain the items that joined and were bought before."""
    own = batch.own[batch.own_ends[query] : batch.own_ends[query + 1]]
    for index in range(size):
        candidate = state.pool.candidates[chosen[index]]
        if candidate.relation == OWN:
            explain_relation(candidate, index, own[candidate.own].count, False, state.query, found)


_SENTENCE = Sentence("history", "An alternative to {title}, {known} before", alone="Bought before, {times}")

SOURCE = Source(join=join, explain=explain, sentences={OWN: _SENTENCE})
