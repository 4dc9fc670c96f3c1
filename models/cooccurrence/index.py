"""All published rows, of all partitions of items: what suggestions are made from.

Flat arrays, by index of the item, and a pool of cells: a compiled function walks the rows of a whole visit without
touching a Python object. What is known of one item lies on one cache line. Values are kept as they were published, bit
for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.block_pool import NOWHERE, block_size, release, take
from models.boxes import KeptBox
from models.cache_lines import LINE, zeros_on_lines
from models.change_log import ChangeLog
from models.cooccurrence.association import STRENGTH, shrunk_lift
from models.cooccurrence.cell_pool import Cells
from models.cooccurrence.count_kernel import CutRows
from models.cooccurrence.counter import Cut, Row, Totals
from models.jit import cached_njit
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH, PAIR_KINDS
from models.shop.items import UNKNOWN, Items

_NO_ROW = -1
"""Position of an item that has no row."""

_ITEM = np.dtype(
    [
        ("at", np.float64),
        ("start", np.int64),
        ("own", np.float64, (2,)),
        ("own_count", np.int64, (2,)),
        ("position", np.int64),
        ("length", np.int32),
    ],
    align=True,
)
"""What is known of an item, besides the cells of its row: a cache line."""

assert _ITEM.itemsize == LINE


class Rows(NamedTuple):
    """The arrays of [`Neighbours`][], for kernels; outdated once a row is put.

    Those by item are columns of one table, of which each item's row is a cache line.
    """

    start: NDArray[np.int64]
    length: NDArray[np.int32]
    own: NDArray[np.float64]
    own_count: NDArray[np.int64]
    at: NDArray[np.float64]
    ids: NDArray[np.int32]
    weights: NDArray[np.float64]
    counts: NDArray[np.int32]
    half_life_s: float
    baskets: float  # of the shop, as of `baskets_at`
    baskets_at: float


PUT, NEW, OLDER = range(3)
"""What became of a row: it took the place of another, or there was none, or a later one stays."""


class _Put(NamedTuple):
    """The arrays that rows are put into."""

    position: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int32]
    own: NDArray[np.float64]
    own_count: NDArray[np.int64]
    at: NDArray[np.float64]
    heads: NDArray[np.int64]
    ids: NDArray[np.int32]
    weights: NDArray[np.float64]
    counts: NDArray[np.int32]


class Neighbours:
    """All rows, as last published.

    Arrays are replaced when they grow: read the attributes again for each batch. An item without a row has a length of
    0, and weights and counts of 0 of its own. Indices beyond the arrays have no rows either.

    Attributes:
        start: (items,) int64, first cell of an item's row in `ids`, `weights` and `counts`.
        length: (items,) int32, cells of its row, strongest first.
        own: (items, 2) float64, its views and its baskets, as of `at`.
        own_count: (items, 2) int64, plain numbers of the same.
        at: (items,) float64, newest event behind its row, epoch seconds: weights are as of then.
        totals: baskets of each partition of items.
        changes: items whose rows have changed.

    >>> neighbours = Neighbours(Items(), half_life_s=100.0)
    >>> neighbours.set_total(0, baskets=8.0, at=1000.0)
    >>> def row(item, other, at, baskets, together):
    ...     weights = np.array([[0.0, together, 0.0]])
    ...     return Row(item, 7, at, (0.0, baskets), (0, 5), [other], weights, np.array([[0, 3, 0]], np.int32))
    >>> neighbours.put(row("kettle", "mug", 1000.0, baskets=4.0, together=2.0))
    >>> neighbours.put(row("mug", "kettle", 900.0, baskets=4.0, together=4.0))
    >>> # (2 + 1) / (4 * 2 / 8 + 1): the mug's 4 baskets have decayed to 2
    >>> neighbours.lift(0, 1), neighbours.lift(1, 0), list(neighbours)
    (1.5, 1.5, ['kettle', 'mug'])
    """

    def __init__(self, items: Items, half_life_s: float) -> None:
        self._items = items
        self.half_life_s = float(half_life_s)
        self._cells = Cells(by_kind=True)
        self._rows = 0
        self._table: NDArray[Any] = zeros_on_lines(0, _ITEM)
        self.totals: dict[int, Totals] = {}
        self.changes = ChangeLog()
        self._arrays: Rows | None = None
        self._box = KeptBox()
        self._make_room(1024)

    @property
    def ids(self) -> NDArray[np.int32]:
        """(pool,) int32, the neighbours of all rows."""
        return self._cells.ids

    @property
    def weights(self) -> NDArray[np.float64]:
        """(pool, 3) float64, their weights: viewed-with, bought-with, viewed-then-bought."""
        return self._cells.weights

    @property
    def counts(self) -> NDArray[np.int32]:
        """(pool, 3) int32, plain number of events behind each weight, 2**31 - 1 at most."""
        return self._cells.counts

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def __iter__(self) -> Iterator[str]:
        """Ids of the items that have rows, in their order."""
        return iter(sorted(map(self._items.name, self.items_with_rows().tolist())))

    def items_with_rows(self) -> NDArray[np.int64]:
        """Indices of the items that have rows, ascending: an order that another process does not share."""
        return np.flatnonzero(self._position != _NO_ROW)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self._cells.nbytes + self._table.nbytes + self.changes.nbytes

    def held(self) -> NDArray[np.int64]:
        """Indices that it keeps: of rows, and of neighbours."""
        rows = self.items_with_rows()
        return np.concatenate([rows, self._cells.held(self.start[rows], self.length[rows])])

    def arrays(self) -> Rows:
        """The arrays as they are now, with the baskets of the shop as of its newest basket.

        It is the same object again until one of them is replaced, or the baskets change.
        """
        if self._arrays is not None and self._arrays.ids is self.ids:
            return self._arrays
        baskets_at = max((total.at for total in self.totals.values()), default=0.0)
        self._arrays = Rows(
            self.start,
            self.length,
            self.own,
            self.own_count,
            self.at,
            self.ids,
            self.weights,
            self.counts,
            float(self.half_life_s),
            float(self.baskets(baskets_at)),
            float(baskets_at),
        )
        return self._arrays

    def put(self, row: Row) -> None:
        """Replace the row of an item."""
        index = self._items.index(row.item_id)
        ids = self._items.indices(row.neighbours)
        self.put_cut(index, row.position, Cut(row.at, row.own, row.own_count, ids, row.weights, row.counts))

    def put_cut(self, index: int, position: int, cut: Cut) -> None:
        """As `put`, by index; takes half the time."""
        if len(self.start) < len(self._items):
            self._make_room(2 * len(self._items))
        self.changes.add(int(index))
        n = len(cut.neighbours)
        start = self._place(index, n)
        if self._position[index] == _NO_ROW:
            self._rows += 1
        self._position[index] = position
        self.at[index] = cut.at
        self.own[index] = cut.own
        self.own_count[index] = cut.own_count
        if n:
            cells = self._cells
            cells.ids[start : start + n] = cut.neighbours
            cells.weights[start : start + n] = cut.weights
            cells.counts[start : start + n] = cut.counts

    def put_rows(self, rows: CutRows, numbers: NDArray[np.int64], position: int) -> NDArray[np.int8]:
        """Put the rows of these `numbers`, all of one position, in this order, each unless a later one is there.

        Returns for each `PUT`, `NEW` or `OLDER`. All indices are those of items.
        """
        if len(self.start) < len(self._items):
            self._make_room(2 * len(self._items))
        outcomes, done, cells = np.empty(len(numbers), np.int8), 0, self._cells
        while True:
            held = _Put(
                self._position,
                self.start,
                self.length,
                self.own,
                self.own_count,
                self.at,
                cells.heads,
                cells.ids,
                cells.weights,
                cells.counts,
            )
            done = _put(self._box.of(held), rows, numbers, position, done, outcomes)
            if done == len(numbers):
                break
            cells.grow()
        found = np.bincount(outcomes, minlength=OLDER + 1).tolist()
        self._rows += found[NEW]
        self.changes.add(rows.items[numbers[outcomes != OLDER]])
        return outcomes

    def position(self, index: int) -> int:
        """Position of the row of an item, -1 where it has none."""
        return int(self._position[index]) if 0 <= index < len(self._position) else _NO_ROW

    def remove(self, item_id: str) -> None:
        """Remove the row of an item, if it has one."""
        index = self._held(item_id)
        if index == UNKNOWN:
            return
        self.changes.add(index)
        self._place(index, 0)
        self._rows -= 1
        self._position[index] = _NO_ROW
        self.at[index] = 0.0
        self.own[index] = 0.0
        self.own_count[index] = 0

    def row(self, item_id: str) -> Row | None:
        """The row of an item as it was put, or None."""
        index = self._held(item_id)
        if index == UNKNOWN:
            return None
        cells = self._cells_of(index)
        views, baskets = self.own[index].tolist()
        view_count, basket_count = self.own_count[index].tolist()
        return Row(
            item_id=item_id,
            position=int(self._position[index]),
            at=float(self.at[index]),
            own=(views, baskets),
            own_count=(view_count, basket_count),
            neighbours=list(map(self._items.name, self.ids[cells].tolist())),
            weights=self.weights[cells].copy(),
            counts=self.counts[cells].copy(),
        )

    def set_total(self, partition: int, baskets: float, at: float) -> None:
        """Set the decayed weight of the baskets of one partition of items, as of `at` in epoch seconds."""
        self.totals[partition] = Totals(baskets, at)
        self._arrays = None

    def baskets(self, at: float) -> float:
        """Weight of all baskets of the shop, as of a time in epoch seconds."""
        return sum(decayed(total.baskets, total.at, at, self.half_life_s) for total in self.totals.values())

    def lift(self, a: int, b: int) -> float:
        """`shrunk_lift` of item `b` in the row of `a`, from weights as of the newest event behind any of them.

        An item that is not in the row has not been bought with `a`.
        """
        cells = self._cells_of(a)
        found = np.flatnonzero(self.ids[cells] == b)
        together = float(self.weights[cells][found[0], BOUGHT_WITH]) if len(found) else 0.0
        return self._lift(a, b, together)

    def lifts(self, a: int) -> list[float]:
        """The `lift` of each neighbour of an item, in the order of its row."""
        cells = self._cells_of(a)
        pairs = zip(self.ids[cells].tolist(), self.weights[cells][:, BOUGHT_WITH].tolist(), strict=True)
        return [self._lift(a, b, together) for b, together in pairs]

    def _lift(self, a: int, b: int, together: float) -> float:
        """Lift of a pair from its weight as of the time of row `a`."""
        if not (0 <= a < len(self.at) and 0 <= b < len(self.at)):
            return 1.0
        since_a, since_b, half_life_s = float(self.at[a]), float(self.at[b]), self.half_life_s
        at = max(since_a, since_b, *(total.at for total in self.totals.values()))
        return shrunk_lift(
            decayed(together, since_a, at, half_life_s),
            decayed(float(self.own[a, 1]), since_a, at, half_life_s),
            decayed(float(self.own[b, 1]), since_b, at, half_life_s),
            self.baskets(at),
            STRENGTH,
        )

    def _held(self, item_id: str) -> int:
        """Index of an item if it has a row, UNKNOWN if not."""
        index = self._items.find(item_id)
        has_row = index != UNKNOWN and index < len(self.start) and self._position[index] != _NO_ROW
        return index if has_row else UNKNOWN

    def _cells_of(self, index: int) -> slice:
        """Where the cells of an item's row are; empty for an item without one."""
        if not 0 <= index < len(self.start):
            return slice(0, 0)
        start = int(self.start[index])
        return slice(start, start + int(self.length[index]))

    def _place(self, index: int, length: int) -> int:
        """Give an item's row a block for a new length; returns its start."""
        start = self._cells.place(int(self.start[index]), int(self.length[index]), length)
        self.start[index] = start
        self.length[index] = length
        return start

    def _make_room(self, items: int) -> None:
        """Grow the arrays by item to so many places."""
        self._arrays = None
        before, table = self._table, zeros_on_lines(items, _ITEM)
        table[: len(before)] = before
        table["position"][len(before) :] = _NO_ROW
        table["start"][len(before) :] = NOWHERE
        self._table = table
        self._position: NDArray[np.int64] = table["position"]
        self.start: NDArray[np.int64] = table["start"]
        self.length: NDArray[np.int32] = table["length"]
        self.own: NDArray[np.float64] = table["own"]
        self.own_count: NDArray[np.int64] = table["own_count"]
        self.at: NDArray[np.float64] = table["at"]


@cached_njit(nogil=True)
def _put(
    box: Any,
    rows: CutRows,
    numbers: NDArray[np.int64],
    position: int,
    first: int,
    outcomes: NDArray[np.int8],
) -> int:
    """Put rows into the arrays in a box, from the `first` on; returns the next: all, or where the pool has to grow."""
    held = box.held
    for place in range(first, len(numbers)):
        number = numbers[place]
        index = rows.items[number]
        before = held.position[index]
        if position < before:
            outcomes[place] = OLDER
            continue
        cell, size = rows.ends[number], rows.ends[number + 1] - rows.ends[number]
        start, length = held.start[index], held.length[index]
        if block_size(size) != block_size(length):
            if length > 0:
                release(held.heads, held.ids, start, length)
            held.start[index], held.length[index] = NOWHERE, 0
            start = NOWHERE
            if size > 0:
                start = take(held.heads, held.ids, block_size(size))
                if start == NOWHERE:
                    return place
        outcomes[place] = NEW if before == _NO_ROW else PUT
        held.position[index], held.start[index], held.length[index] = position, start, size
        held.at[index] = rows.at[number]
        for kind in range(2):
            held.own[index, kind], held.own_count[index, kind] = rows.own[number, kind], rows.own_count[number, kind]
        for number_of_cell in range(size):
            to, source = start + number_of_cell, cell + number_of_cell
            held.ids[to] = rows.neighbours[source]
            for kind in range(PAIR_KINDS):
                held.weights[to, kind] = rows.weights[source, kind]
                held.counts[to, kind] = rows.counts[source, kind]
    return len(numbers)


def warm() -> None:
    """Compile, or load what was compiled before."""
    items = Items()
    index = items.index("a")
    own, cells = np.zeros((1, 2)), np.zeros((1, PAIR_KINDS))
    of_row = np.array([index], np.int32), np.zeros(1), own, own.astype(np.int64), np.array([0, 1])
    rows = CutRows(*of_row, np.array([index], np.int32), cells, cells.astype(np.int32))
    Neighbours(items, 1.0).put_rows(rows, np.zeros(1, np.int64), 0)
