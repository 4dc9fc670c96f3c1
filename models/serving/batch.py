"""A batch of queries, and its answers, as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ranking.candidate_pool import MOST
from models.ranking.features import WIDTH
from models.sequence.predictor import Expected
from models.serving.explanations import Reasons, empty_reasons


class Joined(NamedTuple):
    """Lists of items one after the other: that of query `q` is from `ends[q]` to `ends[q + 1]`."""

    items: NDArray[np.int32]
    ends: NDArray[np.int64]  # (queries + 1,)

    def part(self, rows: slice) -> Joined:
        """The lists of some consecutive queries; items are not copied."""
        return Joined(self.items, self.ends[rows.start : rows.stop + 1])


class Batch(NamedTuple):
    """Queries as arrays."""

    serial: int  # of the first
    at: NDArray[np.float64]  # (queries,) epoch seconds
    seeds: NDArray[np.uint64]  # (queries,)
    upsells: NDArray[np.bool_]  # (queries,): whether the action may have any
    trigger: Joined
    cart: Joined  # latest last
    bought: Joined
    visit: Joined  # latest first
    ages_s: NDArray[np.float64]  # of the visits' items
    expected: Expected
    arms: NDArray[np.int8]  # (queries,): indices into `models.shop.policy.ARMS`
    own: NDArray[Any]  # of `models.sessions.histories.CELL`: what the shoppers have bought, one after the other
    own_ends: NDArray[np.int64]  # (queries + 1,)
    own_baskets: NDArray[np.float64]  # (queries,)
    logged: NDArray[np.int64]  # (queries,): row of `Answers` for the query's pool, -1: it is not wanted

    def part(self, rows: slice) -> Batch:
        """Some consecutive queries; nothing is copied, and their pools keep their rows."""
        items, shares, ends = self.expected
        return Batch(
            self.serial + rows.start,
            self.at[rows],
            self.seeds[rows],
            self.upsells[rows],
            self.trigger.part(rows),
            self.cart.part(rows),
            self.bought.part(rows),
            self.visit.part(rows),
            self.ages_s,
            Expected(items, shares, ends[rows.start : rows.stop + 1]),
            self.arms[rows],
            self.own,
            self.own_ends[rows.start : rows.stop + 1],
            self.own_baskets[rows],
            self.logged[rows],
        )


class Answers(NamedTuple):
    """Lists of suggestions, best first. Places beyond a list's size, and rows beyond a pool's, mean nothing."""

    size: NDArray[np.int64]  # (queries,)
    item: NDArray[np.int32]  # (queries, places)
    kind: NDArray[np.int8]  # (queries, places)
    anchor: NDArray[np.int32]  # (queries, places): item
    score: NDArray[np.float64]  # (queries, places)
    propensity: NDArray[np.float64]  # (queries, places)
    pool_size: NDArray[np.int64]  # (pools,): candidates of each pool that is logged
    pool_item: NDArray[np.int32]  # (pools, MOST)
    pool_kind: NDArray[np.int8]  # (pools, MOST)
    pool_features: NDArray[np.float64]  # (pools, MOST, WIDTH): as `models.serving.pooling` describes them


class Output(NamedTuple):
    """What the kernel writes for a batch. There may be room for more queries and pools than it has."""

    answers: Answers
    reasons: Reasons

    def part(self, rows: slice) -> Output:
        """Room for some consecutive queries, and for all pools; nothing is copied."""
        lists, why = self.answers, self.reasons
        return Output(
            Answers(
                lists.size[rows],
                lists.item[rows],
                lists.kind[rows],
                lists.anchor[rows],
                lists.score[rows],
                lists.propensity[rows],
                *lists[6:],
            ),
            Reasons(
                why.source[rows],
                why.anchor[rows],
                why.events[rows],
                why.of_views[rows],
                why.whose[rows],
                why.lift[rows],
                why.strength[rows],
            ),
        )


def empty_output(queries: int, places: int, pools: int) -> Output:
    """Arrays for the answers of a batch."""
    return Output(_empty_answers(queries, places, pools), empty_reasons(queries, places))


def _empty_answers(queries: int, places: int, pools: int) -> Answers:
    shape = (queries, places)
    return Answers(
        np.zeros(queries, np.int64),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int32),
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(pools, np.int64),
        np.empty((pools, MOST), np.int32),
        np.empty((pools, MOST), np.int8),
        np.empty((pools, MOST, WIDTH)),
    )
