"""What a query is answered from, as the arrays that compiled code works on: rows, rules, limits and working memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cache_lines import zeros_on_lines
from models.cooccurrence.index import Rows
from models.ranking.candidate_pool import MOST
from models.ranking.features import SOURCES, WIDTH, Order
from models.serving.category_lifts import PairSums
from models.serving.popularity import TopItems
from models.serving.rules import QueryState, Rules

SHARES = len(SOURCES)
"""Columns of a candidate's shares, one for each of `SOURCES`. A column is also the code of the share's reason."""

BRAND, NEAR, POPULAR, OWN = range(SHARES, SHARES + 4)
"""Relations of candidates without evidence, and codes of their reasons: of the brand of an anchor, of a category close
to its one, neither; or bought before by the shopper."""

MAX_CONTEXT = 64
"""Most items of a query's context: the trigger's items, then the cart's, then the visit's, latest first."""

TOP = 48
"""Best candidates of each kind by the sum of their evidence that a learnt order ranks, and a logged pool has."""

EVIDENCE, FALL_BACK, JOINED = 1, 2, 3
"""Tiers of candidates, the better first: those with evidence; queued without any; without any, but of the pool that a
learnt order ranks. 0: none of them yet."""

CROSS_SELLS, UPSELLS = 0, 1
"""The queues of candidates."""

COUNTS = 16
"""Plain counts of a shopper's purchases whose features are computed once a query."""

BLOCK = 16
"""Places of a block of a queue: between the roots of a hundred, as a learnt order queues, and of a thousand."""

VECTOR = 8
"""Numbers that the compiler computes together, at most."""

CANDIDATE = np.dtype(
    [
        ("score", np.float64),  # an upper bound until `exact`
        ("evidence", np.float64),  # the score by its evidence alone, without the step of an upsell
        ("base", np.float64),  # share of the unknown baskets of the context, taken to be like those of the shop
        ("strongest", np.float64),  # greatest bought-together share with one item of the context
        ("significance", np.float64),  # of the bought-together share, once `exact`
        ("direct", np.float64),  # greatest sum of the shares with one anchor that the item fits
        ("item", np.int32),
        ("anchor", np.int32),  # place of the anchor of `direct`, or of the first that the item fits
        ("cell", np.int32),  # of `strongest` in the row of its partner
        ("own", np.int32),  # place of the item in the shopper's history, -1: it is not in there, or nobody looked
        ("partner", np.int8),  # place of the item of `strongest` in the context
        ("kin", np.int8),  # without evidence: place of the anchor that it is related to, -1: none
        ("kind", np.int8),
        ("tier", np.int8),
        ("relation", np.int8),  # without evidence: see `BRAND`, 0: none yet
        ("exact", np.bool_),
        ("seen", np.bool_),  # in the visit
        ("chosen", np.int8),  # place in the list, -1: not in it
    ],
    align=True,
)


class Weights(NamedTuple):
    """How evidence is weighed; `models.serving.recommender.RecommenderConfig` says why."""

    back: float
    age_half_life_s: float
    cart: float
    cart_back: float
    view_shrinkage: float
    basket_shrinkage: float
    chance: float
    seen: float
    least_step: float
    step_power: float
    fall_back: float
    fast_s: float  # half-lives of the counts of a shopper's history
    slow_s: float
    min_support: int
    worth: NDArray[np.float64]  # (3, SHARES): of a share, by kind of suggestion; 0 for none


class Limits(NamedTuple):
    """Caps of a list, by the policy; 0 for brand and category: no cap."""

    items: int
    cross_sell: int
    upsell: int
    per_brand: int
    per_category: int
    explore: float


class Queues(NamedTuple):
    """Both queues of candidates; see `models.serving.queues`."""

    length: NDArray[np.int64]  # (2,): popped ones included
    places: NDArray[np.int32]  # (2, items): of candidates, -1 where one was popped
    scores: NDArray[np.float64]  # (2, items): theirs
    best: NDArray[np.int32]  # (2, blocks): place in the queue of the best of a block, -1 if it is empty


class Pool(NamedTuple):
    """Candidates and context of the current query; the memory is used again for the next one."""

    size: NDArray[np.int64]  # (2,): of candidates, of the context
    candidates: NDArray[Any]  # (items,) of `CANDIDATE`
    shares: NDArray[np.float64]  # (items, SHARES): of each candidate, by source
    where: NDArray[np.int32]  # (items,): place of the item among the candidates, if that is the item's
    slots: NDArray[np.int16]  # (items,): number of the item in the pool, from 1 on; 0 if it is not, as between queries
    context: NDArray[np.int32]  # (MAX_CONTEXT,): items
    recency: NDArray[np.float64]  # (MAX_CONTEXT,)
    anchor_of: NDArray[np.int32]  # (MAX_CONTEXT,): place among the anchors, -1: none
    per_view: NDArray[np.float64]  # (MAX_CONTEXT,): what a weight of views in the item's row counts
    per_basket: NDArray[np.float64]  # (MAX_CONTEXT,): ... of baskets
    queues: Queues
    top: NDArray[np.int32]  # (2, MOST // 2): places of the candidates that a learnt order ranks, by queue
    top_sizes: NDArray[np.int64]  # (2,)
    ranked: NDArray[np.int32]  # (items,): places, while the best are chosen; cells, while sources describe the pool
    linked: NDArray[np.float64]  # (MOST + 1,): a sum of each of those, by slot
    features: NDArray[np.float64]  # (WIDTH, MOST // 2): of those of one queue
    totals: NDArray[np.float64]  # (items + MOST,): a number of each candidate, while many are computed together
    due: NDArray[np.float64]  # (MOST // 2 * WIDTH,): numbers whose logarithms are features
    due_for: NDArray[np.int32]  # (MOST // 2 * WIDTH,): the feature and candidate of each
    aged: NDArray[np.float64]  # (4,): when an item was last bought, what both counts fade to since, its feature of that
    counted: NDArray[np.float64]  # (COUNTS,): features of plain counts of purchases, NaN where not known yet


class Shared(NamedTuple):
    """What queries are answered from. Answering reads it only: several threads may share it."""

    rows: Rows
    weights: Weights
    rules: Rules
    limits: Limits
    by_category: TopItems
    by_brand: TopItems
    most_bought: TopItems
    category_pairs: PairSums
    parent: NDArray[np.int32]  # (nodes,) of the category tree
    learnt: Order
    id_order: NDArray[np.uint64]  # (items, 2): settles ties by item id


class Memory(NamedTuple):
    """What answering writes on the way: working memory of one thread."""

    query: QueryState
    pool: Pool


class ServingState(NamedTuple):
    """All that the functions of the kernel are handed: the fields of `Shared`, then those of `Memory`."""

    rows: Rows
    weights: Weights
    rules: Rules
    limits: Limits
    by_category: TopItems
    by_brand: TopItems
    most_bought: TopItems
    category_pairs: PairSums
    parent: NDArray[np.int32]  # (nodes,) of the category tree
    learnt: Order
    id_order: NDArray[np.uint64]  # (items, 2): settles ties by item id
    query: QueryState
    pool: Pool


def empty_pool(items: int) -> Pool:
    """A pool for queries over so many items. Memory is taken only as far as it is used."""
    queued = items + MOST
    queues = Queues(
        np.zeros(2, np.int64),
        np.empty((2, queued), np.int32),
        np.empty((2, queued)),
        np.empty((2, queued // BLOCK + 1), np.int32),
    )
    return Pool(
        np.zeros(2, np.int64),
        zeros_on_lines(items, CANDIDATE),
        np.empty((items, SHARES)),
        np.zeros(items, np.int32),
        np.zeros(items, np.int16),
        np.zeros(MAX_CONTEXT, np.int32),
        np.zeros(MAX_CONTEXT),
        np.zeros(MAX_CONTEXT, np.int32),
        np.zeros(MAX_CONTEXT),
        np.zeros(MAX_CONTEXT),
        queues,
        np.zeros((2, MOST // 2), np.int32),
        np.zeros(2, np.int64),
        np.empty(items, np.int32),
        np.zeros(MOST + 1),
        np.zeros((WIDTH, MOST // 2)),
        np.empty(items + MOST),
        np.empty(MOST // 2 * WIDTH),
        np.empty(MOST // 2 * WIDTH, np.int32),
        np.zeros(4),
        np.zeros(COUNTS),
    )
