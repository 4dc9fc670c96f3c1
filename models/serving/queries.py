"""Queries in columns: what is asked is packed once, when an event is applied, and a batch is taken as arrays.

A kernel splits the packed rows into columns, so nothing is done in Python for each query of a batch but to join the
histories of those shoppers who have one.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.boxes import boxed
from models.jit import cached_njit
from models.sequence.prediction import WindowBatch
from models.sequence.predictor import Expected, SequencePredictor
from models.serving.batch import Joined
from models.sessions.histories import CELL, NOTHING, History
from models.sessions.look_kernel import Snapshots
from models.thread_team import ALONE, ThreadTeam

QUERY = np.dtype(
    [
        ("at", np.float64),  # event time, epoch seconds
        ("key", np.int64),  # the shopper's, as of `models.sequence.predictor.shopper_key`
        ("baskets", np.float64),  # of the shopper's history
        ("trigger", np.int32),  # items of the trigger, and of the lists below
        ("cart", np.int32),
        ("bought", np.int32),
        ("own", np.int32),  # cells of the shopper's history
        ("arm", np.int8),
        ("upsells", np.int8),  # whether the action may have any
        ("windowed", np.int8),  # whether the sequence model is asked
    ],
    align=True,
)
QUERY_FORMAT = "=dqdiiiibbb5x"
"""Of `QUERY`, for `struct`."""

_pack = struct.Struct(QUERY_FORMAT).pack_into
_QUERY_BYTES = QUERY.itemsize
_NO_ITEMS = np.empty(0, np.int32)

KEPT = 64
"""Queries of a batch for whose columns room is kept; those of a larger one are its own."""


class _Columns(NamedTuple):
    """Room for the columns of the queries that were taken last."""

    at: NDArray[np.float64]
    keys: NDArray[np.int64]
    arms: NDArray[np.int8]
    upsells: NDArray[np.bool_]
    windowed: NDArray[np.bool_]
    baskets: NDArray[np.float64]
    seeds: NDArray[np.uint64]
    logged: NDArray[np.int64]
    trigger_ends: NDArray[np.int64]  # one more than queries, as all ends
    cart_ends: NDArray[np.int64]
    bought_ends: NDArray[np.int64]
    own_ends: NDArray[np.int64]


@dataclass(slots=True)
class QueryColumns:
    """Queries of a batch; ends may be followed by some that mean nothing.

    Those of a batch of at most `KEPT` are in force until the next ones are taken, unless they were taken to keep.
    """

    at: NDArray[np.float64]
    """(queries,) event times, epoch seconds."""
    keys: NDArray[np.int64]
    """(queries,) of the shoppers, as of `models.sequence.predictor.shopper_key`."""
    arms: NDArray[np.int8]
    """(queries,) indices into `models.shop.policy.ARMS`."""
    upsells: NDArray[np.bool_]
    """(queries,): whether the action may have any."""
    windowed: NDArray[np.bool_]
    """(queries,): whether the sequence model is asked."""
    trigger: Joined
    cart: Joined
    """Latest last."""
    bought: Joined
    own: NDArray[Any]
    """Of `models.sessions.histories.CELL`: what the shoppers have bought, one after the other."""
    own_ends: NDArray[np.int64]
    baskets: NDArray[np.float64]
    """(queries,) of the histories."""
    seeds: NDArray[np.uint64]
    """(queries,): decide what is left to chance. 0; to be set where the policy explores."""
    logged: NDArray[np.int64]
    """(queries,): see `models.serving.batch.Batch`. -1; set by `log`."""
    longest: int
    """Cells of the longest history."""
    all_windowed: bool
    pools: int = 0
    """Queries whose pools are wanted."""

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.at)

    def log(self, rows: NDArray[np.integer[Any]]) -> None:
        """Want the pools of the queries in some rows, which are given in ascending order."""
        self.pools = len(rows)
        self.logged[rows] = np.arange(len(rows))

    @property
    def nbytes(self) -> int:
        """Memory that they take. The columns of few queries are the room that `Queries` counts, too."""
        columns = (self.at, self.keys, self.arms, self.upsells, self.windowed, self.baskets, self.seeds, self.logged)
        joined = (*self.trigger, *self.cart, *self.bought, self.own, self.own_ends)
        return sum(array.nbytes for array in (*columns, *joined))

    def held(self) -> NDArray[np.int64]:
        """Indices of their items."""
        lists = (self.trigger.items, self.cart.items, self.bought.items, self.own["item"])
        return np.concatenate(lists, dtype=np.int64)


class Queries:
    """Queries that wait to be answered, in the order in which they were added. Not for several threads at once.

    A query takes 48 bytes, four for each item, and keeps the shopper's history as it was. The room never shrinks: it
    is for the most queries that have ever waited.

    >>> queries = Queries()
    >>> for at in (5.0, 6.0, 7.0):
    ...     queries.add(1, at, upsells=True, arm=0, windowed=False, trigger=[3], cart=[4, int(at)], bought=[])
    >>> taken = queries.take(2)
    >>> taken.at.tolist(), taken.cart.items.tolist(), taken.cart.ends[:3].tolist(), len(queries)
    ([5.0, 6.0], [4, 5, 4, 6], [0, 2, 4], 1)
    """

    def __init__(self) -> None:
        self._raw = bytearray(64 * _QUERY_BYTES)
        self._rows = np.frombuffer(self._raw, QUERY)
        self._count = 0
        self._trigger, self._cart, self._bought = array("i"), array("i"), array("i")
        self._cells: list[NDArray[np.void]] = []  # of the queries that have any
        self._own = 0  # cells in them
        self._columns = _room(KEPT)
        self._box = boxed(self._columns)

    def __len__(self) -> int:
        """Number of queries that wait."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory that it takes, with that of the histories."""
        items = len(self._trigger) + len(self._cart) + len(self._bought)
        kept = len(self._raw) + 4 * items + CELL.itemsize * self._own
        return kept + sum(column.nbytes for column in self._columns)

    def held(self) -> NDArray[np.int64]:
        """Indices of the items of the queries that wait."""
        lists = [np.array(items, np.int64) for items in (self._trigger, self._cart, self._bought)]
        return np.concatenate([*lists, *(cells["item"] for cells in self._cells)], dtype=np.int64)

    def add(
        self,
        key: int,
        at: float,
        *,
        upsells: bool,
        arm: int,
        windowed: bool,
        trigger: Sequence[int],
        cart: Sequence[int],
        bought: Sequence[int],
        history: History = NOTHING,
    ) -> None:
        """Add a query; arguments as `QueryColumns` describes them."""
        number = self._count
        if number == len(self._rows):
            self._make_room(number + 1)
        self._count = number + 1
        own = 0
        if history is not NOTHING and (own := len(history.cells)):
            self._cells.append(history.cells)
            self._own += own
        _pack(
            self._raw, number * _QUERY_BYTES, at, key, history.baskets,
            len(trigger), len(cart), len(bought), own, arm, upsells, windowed,
        )  # fmt: skip
        self._trigger.extend(trigger)
        if cart:
            self._cart.extend(cart)
        if bought:
            self._bought.extend(bought)

    def add_many(
        self,
        rows: NDArray[Any],
        trigger: NDArray[np.int32],
        cart: NDArray[np.int32],
        bought: NDArray[np.int32],
        cells: Iterable[NDArray[np.void]],
    ) -> None:
        """Add queries as rows of `QUERY`, with their items one after the other; `cells` are of those that have any."""
        number = self._count
        self._make_room(number + len(rows))
        self._rows[number : number + len(rows)] = rows
        self._count = number + len(rows)
        for kept, items in ((self._trigger, trigger), (self._cart, cart), (self._bought, bought)):
            kept.frombytes(items.tobytes())
        self._cells.extend(cells)
        self._own += int(rows["own"].sum())

    def take(self, queries: int, *, keep: bool = False) -> QueryColumns:
        """The queries added first, which are forgotten here; to `keep` when others are taken."""
        columns, box = self._columns, self._box
        if keep or queries > KEPT:
            columns = _room(queries)
            box = boxed(columns)
        longest, windowed, owners = _split(self._rows[:queries], box)
        own_cells = self._cells[:owners]
        own = np.frombuffer(bytearray().join([cells.tobytes() for cells in own_cells]), CELL)
        trigger, cart, bought = map(_array, (self._trigger, self._cart, self._bought))
        left = self._count - queries
        if left:
            ends = (columns.trigger_ends[queries], columns.cart_ends[queries], columns.bought_ends[queries])
            trigger, cart, bought = trigger[: ends[0]], cart[: ends[1]], bought[: ends[2]]
            for kept, end in zip((self._trigger, self._cart, self._bought), ends, strict=True):
                del kept[:end]
            self._rows[:left] = self._rows[queries : self._count].copy()
            del self._cells[:owners]
            self._count, self._own = left, self._own - len(own)
        else:
            self.clear()
        return QueryColumns(
            columns.at[:queries],
            columns.keys[:queries],
            columns.arms[:queries],
            columns.upsells[:queries],
            columns.windowed[:queries],
            Joined(trigger, columns.trigger_ends),
            Joined(cart, columns.cart_ends),
            Joined(bought, columns.bought_ends),
            own,
            columns.own_ends,
            columns.baskets[:queries],
            columns.seeds[:queries],
            columns.logged[:queries],
            longest,
            windowed == queries,
        )

    def clear(self) -> None:
        """Forget all queries that wait."""
        self._count = self._own = 0
        self._cells = []
        for kept in (self._trigger, self._cart, self._bought):
            del kept[:]

    def _make_room(self, queries: int) -> None:
        """Make room for so many queries."""
        if queries > len(self._rows):
            more = max(queries, 2 * len(self._rows)) * _QUERY_BYTES - len(self._raw)
            self._raw = self._raw + bytes(more)
            self._rows = np.frombuffer(self._raw, QUERY)


def no_expectations(queries: int) -> Expected:
    """What is expected without a sequence model."""
    return Expected(np.empty(0, np.int32), np.empty(0), np.zeros(queries + 1, np.int64))


def predicted(
    predictor: SequencePredictor | None, queries: QueryColumns, looks: Snapshots, team: ThreadTeam = ALONE
) -> Expected:
    """What a sequence model, if there is one, expects the shoppers of queries to look at next.

    May be called in a thread, one call at a time; the work is divided among a team. `looks` are those of the queries.
    """
    if predictor is None:
        return no_expectations(len(queries))
    items, actions, ats, ends = looks[5:]
    if not queries.all_windowed:
        sizes = np.diff(ends)
        kept = np.repeat(queries.windowed, sizes)
        items, actions, ats = items[kept], actions[kept], ats[kept]
        ends = np.concatenate([[0], np.cumsum(np.where(queries.windowed, sizes, 0))])
    return predictor.expect_batch(queries.keys, WindowBatch(items, actions, ats, ends), team)


def _array(items: array[int]) -> NDArray[np.int32]:
    return np.array(items, np.int32) if items else _NO_ITEMS


def _room(queries: int) -> _Columns:
    """Room for the columns of so many queries."""
    ends = (np.zeros(queries + 1, np.int64) for _ in range(4))
    return _Columns(
        np.empty(queries, np.float64),
        np.empty(queries, np.int64),
        np.empty(queries, np.int8),
        np.empty(queries, np.bool_),
        np.empty(queries, np.bool_),
        np.empty(queries, np.float64),
        np.empty(queries, np.uint64),
        np.empty(queries, np.int64),
        *ends,
    )


@cached_njit(nogil=True)
def _split(rows: NDArray[Any], box: Any) -> tuple[int, int, int]:
    """Write rows of `QUERY` to `_Columns` in a box, with seeds of 0 and no pool wanted.

    Returns the most cells of a query, and how many queries are windowed, and have cells.
    """
    columns = box.held
    longest, windowed, owners = 0, 0, 0
    for query in range(len(rows)):
        row = rows[query]
        columns.at[query], columns.keys[query] = row.at, row.key
        columns.arms[query], columns.baskets[query] = row.arm, row.baskets
        columns.upsells[query], columns.windowed[query] = row.upsells != 0, row.windowed != 0
        columns.seeds[query], columns.logged[query] = 0, -1
        columns.trigger_ends[query + 1] = columns.trigger_ends[query] + row.trigger
        columns.cart_ends[query + 1] = columns.cart_ends[query] + row.cart
        columns.bought_ends[query + 1] = columns.bought_ends[query] + row.bought
        columns.own_ends[query + 1] = columns.own_ends[query] + row.own
        longest = max(longest, row.own)
        windowed += row.windowed != 0
        owners += row.own > 0
    return longest, windowed, owners
