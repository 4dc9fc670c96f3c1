"""Reasons of listed items as arrays, their codes, and their order. Which there are is up to the sources."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import forward_njit
from models.serving.rules import QueryState
from models.serving.state import Pool
from models.shop.events import PAIR_KINDS
from models.shop.kinds import UPSELL

MOST_REASONS = PAIR_KINDS + 1
"""Reasons an item at most: one of each kind of co-occurrence and of the sequence model, in the column of the share. The
shares after these have no reason. An item without evidence has one, in the first column."""

OF_VISIT, OF_AN_ANCHOR, OF_OWN_ANCHOR = 0, 1, 2
"""Whose evidence it is, the better last: of an item of the visit, of an anchor, of the one that the item is for."""


class Reasons(NamedTuple):
    """Reasons of the items of one list, (places, MOST_REASONS), or with a first axis more, of many.

    Places beyond a list's size mean nothing.
    """

    source: NDArray[np.int8]  # its code, strongest first, then -1: column of a share, or a relation
    anchor: NDArray[np.int32]  # item of the evidence, -1 for none
    events: NDArray[np.int64]  # behind the reason
    of_views: NDArray[np.bool_]  # they are views
    whose: NDArray[np.int8]  # the evidence is: of the visit, an anchor, the item's own anchor
    lift: NDArray[np.float64]  # NaN where it is not defined
    strength: NDArray[np.float64]  # which they are ordered by


def empty_reasons(lists: int, places: int) -> Reasons:
    """Arrays for the reasons of many lists."""
    shape = (lists, places, MOST_REASONS)
    return Reasons(
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.bool_),
        np.zeros(shape, np.int8),
        np.zeros(shape),
        np.zeros(shape),
    )


@forward_njit
def clear(size: int, found: Reasons) -> None:
    """Let the items of a list have no reasons yet."""
    for index in range(size):
        for column in range(MOST_REASONS):
            found.source[index, column] = -1
            found.anchor[index, column] = -1
            found.events[index, column] = 0
            found.of_views[index, column] = False
            found.whose[index, column] = OF_VISIT
            found.lift[index, column] = math.nan
            found.strength[index, column] = 0.0


@forward_njit
def explain_relation(
    candidate: Any, index: int, events: int, of_views: bool, query: QueryState, found: Reasons
) -> None:
    """Explain an item without evidence by its relation."""
    found.source[index, 0] = candidate.relation
    if candidate.kin >= 0:
        found.anchor[index, 0] = query.anchors[candidate.kin]
    found.events[index, 0] = events
    found.of_views[index, 0] = of_views
    found.strength[index, 0] = 1.0


@forward_njit
def put_in_order(chosen: NDArray[np.int32], size: int, pool: Pool, found: Reasons) -> None:
    """Put the reasons of a list's items in order; of an upsell those about its anchor go before all others."""
    for index in range(size):
        _order(index, pool.candidates[chosen[index]].kind == UPSELL, found)


@forward_njit
def _order(index: int, own_first: bool, found: Reasons) -> None:
    """Put an item's reasons in order, strongest first; places without one last.

    With `own_first`, those about the anchor that the item is for go before all others.
    """
    for last in range(MOST_REASONS - 1, 0, -1):
        for kind in range(last):
            swap = found.strength[index, kind] < found.strength[index, kind + 1]
            if own_first:
                own = found.whose[index, kind] == OF_OWN_ANCHOR
                if own != (found.whose[index, kind + 1] == OF_OWN_ANCHOR):
                    swap = not own
            if swap:
                _swap(found.source[index], kind)
                _swap(found.anchor[index], kind)
                _swap(found.events[index], kind)
                _swap(found.of_views[index], kind)
                _swap(found.whose[index], kind)
                _swap(found.lift[index], kind)
                _swap(found.strength[index], kind)


@forward_njit
def _swap(row: NDArray[Any], kind: int) -> None:
    row[kind], row[kind + 1] = row[kind + 1], row[kind]
