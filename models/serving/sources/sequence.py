"""The sequence model: what visits like this one look at next.

    share = probability that the item is looked at next

The reason counts how often the item was viewed or added to a cart by anybody. Of an item that nobody has looked at the
model knows its content only, and the sentence says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import forward_njit
from models.ranking.features import SOURCES
from models.serving.batch import Batch
from models.serving.candidates import place_of
from models.serving.explanations import OF_OWN_ANCHOR, Reasons
from models.serving.sources.sentence import Sentence
from models.serving.sources.source import Source, Worth
from models.serving.state import EVIDENCE, ServingState
from models.shop.events import VIEWED_THEN_BOUGHT, VIEWED_WITH
from models.shop.kinds import UPSELL

NAME = "sequence"

_SHARE = SOURCES.index(NAME)


@forward_njit
def add(query: int, batch: Batch, state: ServingState) -> None:
    """Add the items that the model expects next; they are distinct."""
    expected = batch.expected
    for at in range(expected.ends[query], expected.ends[query + 1]):
        place = place_of(expected.items[at], state.rules, state.query, state.pool)
        state.pool.shares[place, _SHARE] = expected.shares[at]


@forward_njit
def explain(
    chosen: NDArray[np.int32], size: int, query: int, batch: Batch, state: ServingState, found: Reasons
) -> None:
    """Explain the items that the model expects.

    Where nothing was counted about an upsell and its anchor, the reason says whose upsell it is.
    """
    rows, pool = state.rows, state.pool
    for index in range(size):
        candidate, share = pool.candidates[chosen[index]], pool.shares[chosen[index], _SHARE]
        if candidate.tier != EVIDENCE or not share > 0.0:
            continue
        found.source[index, _SHARE] = _SHARE
        found.strength[index, _SHARE] = state.weights.worth[candidate.kind, _SHARE] * share
        found.events[index, _SHARE] = rows.own_count[candidate.item, 0] if candidate.item < len(rows.at) else 0
        found.of_views[index, _SHARE] = True
        counted = max(found.whose[index, VIEWED_WITH], found.whose[index, VIEWED_THEN_BOUGHT])
        if candidate.kind == UPSELL and counted < OF_OWN_ANCHOR:
            found.anchor[index, _SHARE] = state.query.anchors[candidate.anchor]
            found.whose[index, _SHARE] = OF_OWN_ANCHOR


_EXPECTED = "xpected next in visits like this one"
_ALIKE = f"imilar in {{traits}} to what is e{_EXPECTED}"

_SENTENCE = Sentence(
    NAME,
    f"An alternative to {{title}}, e{_EXPECTED}",
    uncounted=f"An alternative to {{title}}, s{_ALIKE}",
    alone=f"E{_EXPECTED}: {{known}}",
    uncounted_alone=f"S{_ALIKE}",
)

SOURCE = Source(
    # what is looked at next, like what is looked at together, seldom completes what is looked at now
    worth={NAME: Worth(cross_sell=0.2, upsell=0.5)},
    add=add,
    explain=explain,
    sentences={_SHARE: _SENTENCE},
)
