"""The rows of co-occurrence of one partition of items, at their owner: counted, decayed in event time, bounded.

The row of an item holds its neighbours, each with a weight and a count per kind, and the item's own marginals. Deltas
may come in any order: rows depend on which have been counted, up to the rounding of float64, as long as no cell had to
give way. A published row says which messages it includes; the next owner adopts it and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.block_pool import NOWHERE
from models.boxes import KeptBox
from models.cooccurrence.cell_pool import Cells
from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.count_kernel import ROW, TOTAL, CountState, CutRows, Deltas, count, cut, first_wrong
from models.shop.decay import landmark
from models.shop.events import BOUGHT_WITH, VIEWED_WITH
from models.shop.items import Items

_EVER = np.iinfo(np.int64).max
"""Offset of what is learnt outside any message: no adopted row includes it."""

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(slots=True, eq=False)
class Row:
    """What is published of an item: its neighbours, strongest first, ties by item id."""

    item_id: str
    position: int  # offset of the next message of pairs that is not included
    at: float  # newest event behind it, in epoch seconds
    own: tuple[float, float]  # views and baskets as of `at`, each basket weighing what its pairs do
    own_count: tuple[int, int]  # plain numbers of the same
    neighbours: list[str]
    weights: NDArray[np.float64]  # (n, 3) as of `at`: viewed-with, bought-with, viewed-then-bought
    counts: NDArray[np.int32]  # (n, 3), plain number of events behind each weight, MOST at most


class Cut(NamedTuple):
    """A `Row` by index of the items, without position."""

    at: float
    own: tuple[float, float]
    own_count: tuple[int, int]
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float64]
    counts: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Totals:
    """The baskets of one partition of items; a basket counts at the partition of its first item."""

    baskets: float = 0.0  # their weight as of `at`
    at: float = 0.0  # newest basket, in epoch seconds


class CoOccurrence:
    """The rows of one partition of items; `items` is shared by all users of the indices.

    >>> from models.shop.events import BOUGHT_WITH, PAIR_KINDS, VIEWED_WITH
    >>> items, at = Items(), 1.75e9
    >>> rows = CoOccurrence(items, CoOccurrenceConfig(half_life_s=3600.0))
    >>> rows.learn_one("kettle", "mug", BOUGHT_WITH, at)
    >>> rows.learn_one("kettle", "teapot", VIEWED_WITH, at)
    >>> rows.learn_one("kettle", "mug", BOUGHT_WITH, at + 3600.0)
    >>> rows.learn_one("kettle", "kettle", BOUGHT_WITH, at + 3600.0)
    >>> row = rows.row(items.find("kettle"), position=4)
    >>> row.neighbours, row.weights.round(9).tolist(), row.counts[0].tolist(), row.own
    (['mug', 'teapot'], [[0.0, 1.5, 0.0], [0.5, 0.0, 0.0]], [0, 2, 0], (0.0, 1.0))
    """

    def __init__(self, items: Items, config: CoOccurrenceConfig) -> None:
        self._items = items
        self.config = config
        self._limit = config.neighbours + config.newcomers
        self._importance = np.array(config.importance, np.float64)
        # Arrays as in `CountState`.
        self._row_of = np.full(1024, NOWHERE, np.int32)
        self._rows = np.zeros(256, ROW)
        self._dirty_since = np.zeros(256, np.int64)
        self._published = np.zeros(256, np.bool_)  # rows that the log has
        self._used = np.zeros(1, np.int64)
        self._cells = Cells()
        self._total = np.zeros(1, ROW)
        self._calls = 0
        self._half_life_s = float(config.half_life_s)
        self._box = KeptBox()

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._used[0])

    def __contains__(self, index: int) -> bool:
        """Whether an item has a row."""
        return 0 <= index < len(self._row_of) and bool(self._row_of[index] != NOWHERE)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays = self._row_of, self._rows, self._dirty_since, self._published
        return self._cells.nbytes + sum(array.nbytes for array in arrays)

    def held(self) -> NDArray[np.int32]:
        """Indices that it keeps: of rows, and of neighbours."""
        rows = self._rows[: len(self)]
        return np.concatenate([rows["item"], self._cells.held(rows["start"], rows["length"])])

    @property
    def totals(self) -> Totals:
        """The partition's baskets. On taking over they are set to what was recorded."""
        total = self._total[0]
        _, growth = landmark(total["at"], self.config.half_life_s)
        return Totals(float(total["baskets"]) / growth, float(total["at"]))

    @totals.setter
    def totals(self, totals: Totals) -> None:
        total = self._total[0]
        total["at"] = totals.at
        total["landmark"], growth = landmark(totals.at, self.config.half_life_s)
        total["baskets"] = totals.baskets * growth

    def learn_one(self, a: str, b: str | None, kind: int, at: float, weight: float = 1.0) -> None:
        """Count one delta that came in no message, as [`learn_many`][] does; `b` None is the partition's total."""
        index = self._items.index
        self.learn_many(
            np.array([index(a)], np.int32),
            np.array([TOTAL if b is None else index(b)], np.int32),
            np.array([kind], np.int8),
            np.array([weight], np.float64),
            np.array([at], np.float64),
            _EVER,
        )

    def learn_many(
        self,
        a: NDArray[np.int32],
        b: NDArray[np.int32],
        kind: NDArray[np.int8],
        weight: NDArray[np.float64],
        at: NDArray[np.float64],
        offset: int,
    ) -> None:
        """Count the deltas of one message, in any order of messages. Adopted rows that include the message skip it.

        About 0.3 us a delta, most of it waiting for memory.

        Args:
            a: (n,) whose row.
            b: (n,) neighbour; `a` itself: the item's own, of views or baskets; TOTAL: the partition's baskets.
            kind: (n,) VIEWED_WITH, BOUGHT_WITH or VIEWED_THEN_BOUGHT.
            weight: (n,) at least 0.
            at: (n,) event times in epoch seconds.
            offset: of the message.

        Raises:
            ValueError: columns of unequal lengths, an index or a kind that does not exist, a weight or a time that is
                not finite, a weight below 0. Nothing has been counted then.
        """
        n, known = len(a), len(self._items)
        if not (n == len(b) == len(kind) == len(weight) == len(at)):
            message = f"columns of {n}, {len(b)}, {len(kind)}, {len(weight)} and {len(at)} deltas"
            raise ValueError(message)
        deltas = Deltas(
            _column(a, np.int32),
            _column(b, np.int32),
            _column(kind, np.int8),
            _column(weight, np.float64),
            _column(at, np.float64),
        )
        if (wrong := first_wrong(deltas, known)) < n:
            delta = tuple(column[wrong].item() for column in deltas)
            message = f"delta {wrong} of offset {offset} is none of {known} items: (a, b, kind, weight, at) = {delta}"
            raise ValueError(message)
        self._make_room(n)
        self._calls += 1
        done = count(self._box.of(self._state()), deltas, 0, offset, self._calls)
        while done < n:
            self._cells.grow()
            done = count(self._box.of(self._state()), deltas, done, offset, self._calls)

    def adopt(self, row: Row) -> None:
        """Replace a row by a published one. Messages below its position are skipped for this row from now on."""
        index = self._items.index(row.item_id)
        neighbours = np.array(list(map(self._items.index, row.neighbours[: self._limit])), np.int32)
        self._make_room(1)
        slot = int(self._row_of[index])
        if slot == NOWHERE:
            slot = self._row_of[index] = len(self)
            self._used[0] += 1
        held = self._rows[slot]
        n, cells = len(neighbours), self._cells
        start = cells.place(int(held["start"]), int(held["length"]), n)
        mark, growth = landmark(row.at, self.config.half_life_s)
        views, baskets = row.own
        own = (views * growth, baskets * growth, *row.own_count)
        self._rows[slot] = (index, n, start, row.position, row.at, mark, *own)
        self._dirty_since[slot], self._published[slot] = 0, True
        cells.ids[start : start + n] = neighbours
        cells.weights[start : start + n] = row.weights[:n]
        cells.weights[start : start + n] *= growth
        cells.counts[start : start + n] = row.counts[:n]

    def dirty(self) -> list[int]:
        """Items whose rows have changed since they were published, the longest waiting first, ties by id."""
        since = self._dirty_since[: len(self)]
        slots = np.flatnonzero(since)
        items = self._rows["item"][slots]
        order = self._items.order[items]
        result: list[int] = items[np.lexsort((order[:, 1], order[:, 0], since[slots]))].tolist()
        return result

    def holding(self, indices: Sequence[int]) -> list[int]:
        """Those of some items, each of which has had a row, that still have one."""
        items = np.array(indices, np.int32)
        held: list[int] = items[self._row_of[items] != NOWHERE].tolist()
        return held

    def published(self, *indices: int) -> None:
        """Note that the rows of items were published as they are now; KeyError if one of them has none."""
        slots = self._slots(np.array(indices, np.int32))
        self._dirty_since[slots], self._published[slots] = 0, True

    def mark_dirty(self, index: int) -> None:
        """Have the row of an item published again; nothing happens where it has none."""
        if index in self and not self._dirty_since[slot := self._slot(index)]:
            self._calls += 1
            self._dirty_since[slot] = self._calls

    def drop_unknown(
        self, known: Callable[[NDArray[np.int32]], NDArray[np.bool_]], most: int, oldest_at: float, *, adopted: bool
    ) -> list[int]:
        """Drop rows of unknown items: all without an event since `oldest_at`, and the least looked at beyond `most`.

        What an item was looked at and bought is compared as decayed to one time, so of equal ones the stalest goes
        first, then the larger id. A dropped row starts from nothing when its item comes again. The cells of other rows
        stay as they are.

        Args:
            known: which of some items are known, by index.
            most: rows of unknown items that stay.
            oldest_at: epoch seconds.
            adopted: whether rows that were adopted are counted and dropped, too.

        Returns:
            Items whose dropped rows are published, by index.
        """
        rows = self._rows[: len(self)]
        unknown = ~known(rows["item"])
        if not adopted:
            unknown &= rows["floor"] == 0
        slots = np.flatnonzero(unknown)
        stays = rows["at"][slots] >= oldest_at
        if stays.sum() > most:
            own = rows["views"][slots] + self._importance[BOUGHT_WITH] * rows["baskets"][slots]
            with np.errstate(divide="ignore"):  # no weight of its own: behind all others
                worth = np.log2(own) + rows["landmark"][slots]
            order = self._items.order[rows["item"][slots]]
            strongest = np.lexsort((order[:, 1], order[:, 0], -worth, ~stays))
            stays[strongest[most:]] = False
        return self._drop(slots[~stays])

    def _drop(self, slots: NDArray[np.int64]) -> list[int]:
        """Drop rows and move the last ones into their places; `slots` ascend. As `drop_unknown`."""
        rows, cells, left = self._rows, self._cells, len(self) - len(slots)
        items = rows["item"][slots]
        for start, length in zip(rows["start"][slots].tolist(), rows["length"][slots].tolist(), strict=True):
            cells.place(start, length, 0)
        published: list[int] = items[self._published[slots]].tolist()
        self._row_of[items] = NOWHERE
        gaps = slots[slots < left]
        moved = np.setdiff1d(np.arange(left, len(self)), slots, assume_unique=True)
        self._row_of[rows["item"][moved]] = gaps
        for column in (rows, self._dirty_since, self._published):
            column[gaps] = column[moved]
            column[left : len(self)] = 0
        self._used[0] = left
        return published

    def row(self, index: int, position: int) -> Row:
        """The row of an item as it is to be published, with all messages before `position`; KeyError if it has none."""
        (found,) = self.cuts([index])
        return Row(
            item_id=self._items.name(index),
            position=position,
            at=found.at,
            own=found.own,
            own_count=found.own_count,
            neighbours=list(map(self._items.name, found.neighbours.tolist())),
            weights=found.weights,
            counts=found.counts,
        )

    def cuts(self, indices: Sequence[int]) -> list[Cut]:
        """The rows of items as they are to be published; KeyError if one of them has none."""
        rows = self.cut_rows(indices)
        columns = (
            rows.at.tolist(),
            rows.own.tolist(),
            rows.own_count.tolist(),
            rows.ends.tolist(),
            rows.ends[1:].tolist(),
        )
        found = []
        for at, (views, baskets), (view_count, basket_count), start, end in zip(*columns, strict=False):
            cells = slice(start, end)
            own, own_count = (views, baskets), (view_count, basket_count)
            found.append(Cut(at, own, own_count, rows.neighbours[cells], rows.weights[cells], rows.counts[cells]))
        return found

    def cut_rows(self, indices: Sequence[int]) -> CutRows:
        """As `cuts`, in columns."""
        slots, box = self._slots(np.array(indices, np.int32)), self._box.of(self._state())
        return CutRows(*cut(box, slots, self.config.neighbours))

    def _state(self) -> CountState:
        """The arrays as they are now."""
        return CountState(
            self._rows,
            self._used,
            self._row_of,
            self._dirty_since,
            self._total,
            self._cells.heads,
            self._cells.ids,
            self._cells.weights,
            self._cells.counts,
            self._items.order,
            self._half_life_s,
            self._importance,
            self._limit,
        )

    def _slots(self, indices: NDArray[np.int32]) -> NDArray[np.int32]:
        """Rows of items; KeyError if one of them has none."""
        if len(indices) and not (0 <= indices.min() and indices.max() < len(self._row_of)):
            raise KeyError(indices)
        slots = self._row_of[indices]
        if len(slots) and slots.min() == NOWHERE:
            raise KeyError(self._items.name(int(indices[slots == NOWHERE][0])))
        return slots

    def _slot(self, index: int) -> int:
        if index not in self:
            raise KeyError(self._items.name(index))
        return int(self._row_of[index])

    def _make_room(self, rows: int) -> None:
        """Make room for all items, and for so many more rows."""
        if len(self._row_of) < len(self._items):
            new = np.full(2 * len(self._items) - len(self._row_of), NOWHERE, np.int32)
            self._row_of = np.concatenate([self._row_of, new])
        if len(self._rows) < min(len(self) + rows, len(self._items)):
            more = len(self._rows) + rows
            self._rows = np.concatenate([self._rows, np.zeros(more, ROW)])
            self._dirty_since = np.concatenate([self._dirty_since, np.zeros(more, np.int64)])
            self._published = np.concatenate([self._published, np.zeros(more, np.bool_)])


def warm() -> None:
    """Compile, or load what was compiled before: ten seconds the first time, to be spent before joining."""
    rows = CoOccurrence(Items(), CoOccurrenceConfig())
    rows.learn_one("a", "b", VIEWED_WITH, 0.0)
    rows.cut_rows(rows.dirty())


def _column(values: NDArray[_Number], dtype: type[_Number]) -> NDArray[_Number]:
    """An array of the one type that `count` is compiled for; the array itself, if it is."""
    return values if values.dtype == dtype and values.flags.carray else np.require(values, dtype, ["C", "A", "W"])
