"""Queries that wait in columns, against lists of them: whatever is added and taken in between, nothing is mixed up."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.sequence.predictor import shopper_key
from models.serving.batch import Joined
from models.serving.queries import QUERY, Queries, QueryColumns
from models.sessions.histories import CELL, NOTHING, History


class Asked(NamedTuple):
    """A query as it was added."""

    key: int
    at: float
    upsells: bool
    arm: int
    windowed: bool
    trigger: list[int]
    cart: list[int]
    bought: list[int]
    own: list[int]
    baskets: int

    @property
    def history(self) -> History:
        if not self.baskets:
            return NOTHING
        cells = np.zeros(len(self.own), CELL)
        cells["item"], cells["last"] = self.own, self.at
        return NOTHING._replace(cells=cells, baskets=self.baskets)


numbers = st.lists(st.integers(0, 2**31 - 1), max_size=4)
asked = st.builds(
    Asked,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
    numbers,
    numbers,
    numbers,
    numbers,
    st.integers(0, 9),
)
steps = st.lists(st.tuples(st.sampled_from(["one by one", "many", "take"]), st.lists(asked, max_size=90)), max_size=8)


def add(queries: Queries, query: Asked) -> None:
    queries.add(
        query.key,
        query.at,
        upsells=query.upsells,
        arm=query.arm,
        windowed=query.windowed,
        trigger=query.trigger,
        cart=query.cart,
        bought=query.bought,
        history=query.history,
    )


def add_many(queries: Queries, some: list[Asked]) -> None:
    packed = []
    for query in some:
        lists = len(query.trigger), len(query.cart), len(query.bought), len(query.history.cells)
        packed.append((query.at, query.key, query.history.baskets, *lists, query.arm, query.upsells, query.windowed))
    rows = np.array(packed, QUERY)
    queries.add_many(
        rows,
        np.array([item for query in some for item in query.trigger], np.int32),
        np.array([item for query in some for item in query.cart], np.int32),
        np.array([item for query in some for item in query.bought], np.int32),
        [query.history.cells for query in some if len(query.history.cells)],
    )


def lists_of(joined: Joined, queries: int) -> list[list[int]]:
    return [joined.items[joined.ends[row] : joined.ends[row + 1]].tolist() for row in range(queries)]


def compare(taken: QueryColumns, wanted: list[Asked]) -> None:
    count = len(wanted)
    assert len(taken) == count
    assert taken.keys.tolist() == [query.key for query in wanted]
    assert taken.at.tolist() == [query.at for query in wanted]
    assert taken.arms.tolist() == [query.arm for query in wanted]
    assert taken.upsells.tolist() == [query.upsells for query in wanted]
    assert taken.windowed.tolist() == [query.windowed for query in wanted]
    assert taken.all_windowed == all(query.windowed for query in wanted)
    assert taken.baskets.tolist() == [query.history.baskets for query in wanted]
    assert taken.seeds.tolist() == [0] * count
    assert taken.logged.tolist() == [-1] * count
    for joined, lists in (
        (taken.trigger, [query.trigger for query in wanted]),
        (taken.cart, [query.cart for query in wanted]),
        (taken.bought, [query.bought for query in wanted]),
    ):
        assert lists_of(joined, count) == lists
    cells = [query.history.cells for query in wanted]
    assert taken.own_ends[: count + 1].tolist() == [0, *accumulate(map(len, cells))]
    assert taken.own.tobytes() == b"".join(some.tobytes() for some in cells)
    assert taken.longest == max(map(len, cells), default=0)
    assert sorted(taken.held().tolist()) == held(wanted)


def held(some: list[Asked]) -> list[int]:
    own = [item for query in some for item in query.history.cells["item"].tolist()]
    return sorted([*(item for query in some for item in query.trigger + query.cart + query.bought), *own])


@given(steps)
def test_what_is_taken_is_what_was_added_first(steps: list[tuple[str, list[Asked]]]) -> None:
    queries, waiting = Queries(), list[Asked]()
    for step, some in steps:
        if step == "take":
            number = min(len(waiting), len(some))
            if number:
                compare(queries.take(number), waiting[:number])
                waiting = waiting[number:]
        elif step == "many":
            add_many(queries, some)
            waiting += some
        else:
            for query in some:
                add(queries, query)
            waiting += some
        assert len(queries) == len(waiting)
        assert sorted(queries.held().tolist()) == held(waiting)
    if waiting:
        compare(queries.take(len(waiting)), waiting)
    assert (len(queries), queries.held().tolist()) == (0, [])


def test_what_was_taken_stays_while_others_are_added() -> None:
    queries = Queries()
    some = [Asked(row, float(row), True, 0, True, [row], [row + 1], [], [row], 1) for row in range(100)]
    for query in some[:70]:
        add(queries, query)
    taken = queries.take(70)
    for query in some[70:] * 5:
        add(queries, query)
    compare(taken, some[:70])


def test_histories_of_waiting_queries_count_as_memory() -> None:
    queries = Queries()
    before = queries.nbytes
    add(queries, Asked(1, 0.0, True, 0, True, [1], [], [], list(range(200)), 1))
    assert queries.nbytes - before == 4 + 200 * CELL.itemsize
    queries.take(1)
    assert queries.nbytes == before


def test_the_key_of_a_shopper_is_the_same_in_every_process() -> None:
    assert [shopper_key(name) for name in ("", "ann", "é日😀")] == [0, 3877663347, 781981932]
