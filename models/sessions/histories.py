"""What each shopper has bought, for longer than the log is kept: items with plain and decayed counts.

A history is learnt from purchases by ascending offset, and says which offset comes next. So it can be published,
adopted by another worker, and continued from the log: every purchase counts once. Counts decay in event time. Event
times may come in any order: as long as no item has been dropped, the same purchases in another order give the same
numbers, up to the rounding of float64.

The items of a shopper and the shoppers of a partition are bounded. The least useful are dropped: those with the
smallest slow count, decayed to one time. An item bought once today counts as much as one bought twice a slow half-life
ago. Ties are settled by id: the greater one is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit
from models.shop.items import Items

DAY_S = 86_400.0

MAX_ITEMS = 2_000
"""Most items of a row: with ids of 256 bytes each, it fits into one record."""

SHOPPER_BYTES, CHANGE_BYTES = 500, 150
"""Of a shopper, besides the cells; of one whose row has changed since it was published."""


@dataclass(frozen=True)
class HistoryConfig:
    """How much of a shopper's purchases is remembered beyond the log, and for how many shoppers."""

    most_items: int = 200
    """Items of a shopper, 40 bytes each in memory and 60 in a row. A household has 200 that it buys more than once."""
    most_shoppers: int = 500_000
    """Shoppers, in all partitions together. Beyond so many, and an eighth more, the least useful are dropped."""
    fast_s: float = 45 * DAY_S
    """Event time in which the fast counts fall to a half: six weeks hold a few baskets of a household, and one
    season."""
    slow_s: float = 120 * DAY_S
    """Event time in which the slow counts fall to a half: a third of a year spans what is bought every second month."""
    flush_bytes: int = 250_000
    """Bytes of rows after which a flush of a partition publishes no more; the rest waits for the next, oldest first."""

    def __post_init__(self) -> None:
        if not 1 <= self.most_items <= MAX_ITEMS:
            message = f"most_items must be 1 to {MAX_ITEMS}, got {self.most_items}"
            raise ValueError(message)
        if self.most_shoppers < 1 or self.flush_bytes < 1:
            message = f"most_shoppers and flush_bytes must be at least 1, got {self.most_shoppers}, {self.flush_bytes}"
            raise ValueError(message)
        if not (1.0 <= self.fast_s < math.inf and 1.0 <= self.slow_s < math.inf):
            message = f"fast_s and slow_s must be a number of seconds of at least 1, got {self.fast_s}, {self.slow_s}"
            raise ValueError(message)


CELL = np.dtype(
    [
        ("first", np.float64),  # event time of its first purchase, epoch seconds
        ("last", np.float64),  # ... and of its last
        ("fast", np.float64),  # decayed number of baskets with it, as of `last`
        ("slow", np.float64),
        ("item", np.int32),
        ("count", np.int32),  # plain number of baskets with it
    ],
    align=True,
)


class History(NamedTuple):
    """What one shopper has bought. Immutable: learning replaces it, so a query keeps the one it was given."""

    cells: NDArray[np.void]
    """(n,) of `CELL`, in no order that means anything."""
    baskets: int
    """Purchases."""
    slow: float
    """Decayed number of purchases, as of `last`: how useful the history is."""
    first: float
    """Event time of the first purchase, in epoch seconds."""
    last: float
    """... and of the last."""
    position: int
    """Offset of the next purchase of the partition that is not included."""


NOTHING = History(np.zeros(0, CELL), 0, 0.0, math.inf, -math.inf, 0)
"""Of a shopper who has bought nothing."""


@cached_njit(nogil=True)
def with_items(
    cells: NDArray[np.void], items: NDArray[np.int32], at: float, fast_s: float, slow_s: float
) -> NDArray[np.void]:
    """Cells, and one more basket of distinct items; the half-lives are of the fast and the slow counts."""
    found = np.empty(len(cells) + len(items), CELL)
    found[: len(cells)] = cells
    size = len(cells)
    for item in items:
        place = 0
        while place < len(cells) and found[place].item != item:
            place += 1
        if place == len(cells):
            place = size
            size += 1
            new = found[place]
            new.item, new.count, new.fast, new.slow, new.first, new.last = item, 0, 0.0, 0.0, at, at
        cell = found[place]
        last = max(cell.last, at)
        cell.fast = cell.fast * 2.0 ** ((cell.last - last) / fast_s) + 2.0 ** ((at - last) / fast_s)
        cell.slow = cell.slow * 2.0 ** ((cell.last - last) / slow_s) + 2.0 ** ((at - last) / slow_s)
        cell.first, cell.last = min(cell.first, at), last
        cell.count += 1
    return found[:size].copy()


class HistoryRow(NamedTuple):
    """A history with ids of its items, in the order of its cells, whose indices mean nothing to others."""

    user_id: str
    item_ids: list[str]
    history: History


class Histories:
    """What the shoppers of one partition have bought.

    >>> items = Items()
    >>> kettle, mug, tea = (items.index(name) for name in ("kettle", "mug", "tea"))
    >>> histories = Histories(items, HistoryConfig(fast_s=100.0, slow_s=200.0))
    >>> histories.learn("ann", [kettle, mug], 1000.0, 7)
    >>> histories.learn("ann", [mug, tea], 1200.0, 9)
    >>> histories.learn("ann", [mug, tea], 1200.0, 9)  # included already
    >>> ann = histories.of("ann")
    >>> ann.cells["item"].tolist(), ann.cells["count"].tolist(), ann.cells["slow"].tolist()
    ([0, 1, 2], [1, 2, 1], [1.0, 1.5, 1.0])
    >>> ann.baskets, ann.slow, ann.position, histories.of("bob").baskets
    (2, 1.5, 10, 0)
    """

    def __init__(self, items: Items, config: HistoryConfig) -> None:
        self._items = items
        self.config = config
        self._histories: dict[str, History] = {}
        self._cells = 0
        self._changed: dict[str, int] = {}  # shoppers with the offset since which; ascending
        self.position = 0
        """Offset of the next purchase to learn."""

    def __len__(self) -> int:
        """Number of shoppers."""
        return len(self._histories)

    def of(self, user_id: str) -> History:
        """What a shopper has bought."""
        return self._histories.get(user_id, NOTHING)

    def of_all(self, user_ids: Iterable[str]) -> list[History]:
        """What each of some shoppers has bought."""
        known = self._histories.get
        return [known(user_id, NOTHING) for user_id in user_ids]

    def shoppers(self) -> list[str]:
        """Ids of the shoppers."""
        return list(self._histories)

    def held(self, user_id: str) -> NDArray[np.int32]:
        """Indices of the items that it remembers of a shopper."""
        items: NDArray[np.int32] = self.of(user_id).cells["item"]
        return items

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        return SHOPPER_BYTES * len(self._histories) + CELL.itemsize * self._cells + CHANGE_BYTES * len(self._changed)

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, user_id: str, items: Sequence[int], at: float, offset: int) -> None:
        """Learn a purchase of distinct items, unless the shopper's history includes its offset.

        Called by ascending offset. The caller leaves out purchases that must not be used, or are repeats.
        """
        self.position = offset + 1
        before = self.of(user_id)
        if offset >= before.position:
            self._put(user_id, self._with(before, items, at, offset + 1))
            self._changed.setdefault(user_id, offset)

    def _with(self, history: History, items: Sequence[int], at: float, position: int) -> History:
        """A history and one more purchase."""
        last, slow_s = max(history.last, at), self.config.slow_s
        return History(
            self._with_items(history.cells, items, at),
            history.baskets + 1,
            history.slow * 2.0 ** ((history.last - last) / slow_s) + 2.0 ** ((at - last) / slow_s),
            min(history.first, at),
            last,
            position,
        )

    def _with_items(self, cells: NDArray[np.void], items: Sequence[int], at: float) -> NDArray[np.void]:
        fast_s, slow_s = float(self.config.fast_s), float(self.config.slow_s)
        bought = with_items(cells, np.array(items, np.int32), float(at), fast_s, slow_s)
        return bought if len(bought) <= self.config.most_items else self._most_useful(bought)

    def _most_useful(self, cells: NDArray[np.void]) -> NDArray[np.void]:
        useful = np.log2(cells["slow"]) + cells["last"] / self.config.slow_s  # slow counts are at least 1
        first, second = self._items.order[cells["item"]].T
        kept: NDArray[np.intp] = np.lexsort((second, first, -useful))[: self.config.most_items]
        return cells[np.sort(kept)]

    def _put(self, user_id: str, history: History) -> None:
        self._cells += len(history.cells) - len(self.of(user_id).cells)
        self._histories[user_id] = history

    # -- dropping --------------------------------------------------------------------------------------------------

    def forget(self, user_id: str, before: float, later: Iterable[tuple[float, Sequence[int]]]) -> None:
        """Drop what a shopper bought at or before an event time.

        A history does not hold single purchases. If it includes one of that time, it is made again from the `later`
        ones that are still remembered elsewhere: their times and items, all of them already learnt.
        """
        if self.of(user_id).first > before:
            return
        history = NOTHING
        for at, items in later:
            history = self._with(history, items, at, self.position)
        self._drop(user_id)
        if history is not NOTHING:
            self._put(user_id, history)
        self.mark_changed(user_id)

    def _drop(self, user_id: str) -> None:
        self._cells -= len(self._histories.pop(user_id, NOTHING).cells)

    def drop_excess(self) -> int:
        """Drop the least useful shoppers, where there are too many by an eighth; returns how many."""
        most = self.config.most_shoppers
        if len(self._histories) <= most + most // 8:
            return 0
        excess, slow_s = len(self._histories) - most, self.config.slow_s
        useful = np.array([math.log2(history.slow) + history.last / slow_s for history in self._histories.values()])
        limit = np.partition(useful, excess - 1)[excess - 1]
        users = np.array(list(self._histories), object)
        for user_id in [*users[useful < limit], *sorted(users[useful == limit], reverse=True)][:excess]:
            self._drop(user_id)
            self.mark_changed(user_id)
        return excess

    # -- rows ------------------------------------------------------------------------------------------------------

    def adopt(self, user_id: str, row: HistoryRow | None) -> None:
        """Take what the log has of a shopper: a row, unless the one taken before includes more; None: a tombstone."""
        if row is None:
            self._drop(user_id)
        elif row.history.position >= self.of(user_id).position:
            cells = row.history.cells.copy()
            cells["item"] = self._items.indices(row.item_ids)
            self._put(user_id, row.history._replace(cells=cells))

    def row(self, user_id: str) -> HistoryRow | None:
        """The row to publish of a shopper; None: a tombstone."""
        history = self._histories.get(user_id)
        if history is None:
            return None
        return HistoryRow(user_id, [self._items.name(item) for item in history.cells["item"].tolist()], history)

    def mark_changed(self, user_id: str) -> bool:
        """Have a shopper's row, or a tombstone, published again; returns whether it was not going to be anyway."""
        if user_id in self._changed:
            return False
        self._changed[user_id] = self.position
        return True

    def next_changed(self) -> str | None:
        """The shopper whose row has waited longest to be published."""
        return next(iter(self._changed), None)

    def published(self, user_id: str) -> None:
        """A shopper's row, or a tombstone, is on its way."""
        del self._changed[user_id]

    @property
    def first_unpublished(self) -> int | None:
        """Offset of the first purchase that may be in no published row; None: all that were learnt are published."""
        return next(iter(self._changed.values()), None)


def warm() -> None:
    """Compile, or load what was compiled before."""
    histories = Histories(Items(), HistoryConfig())
    histories.learn("", [0], 0.0, 0)
