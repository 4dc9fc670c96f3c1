"""Item ids as dense numbers, and the keys that break ties between items."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from models.name_table import NameTable

UNKNOWN = -1
"""Index of an id that has not been seen."""


class Items:
    """Interns item ids as dense int32 indices.

    `order` holds two uint64 an item, (capacity, 2); comparing rows compares ids. They are the first 16 bytes of the id,
    big-endian. Where an id is longer or ends in a zero byte, the last 8 bytes are a hash of the whole id, so that ids
    with a common prefix compare alike whatever the order of interning. `order` is replaced when it grows: read it again
    after `index`. Thread-safe.

    Indices are given again to other ids after `begin`, `mark` and `free`: mark and sweep, by a caller who knows
    everybody that keeps indices. Whatever `index` or `indices` returns since `begin` counts as marked.

    `numbered` has the indices for compiled code, which sets `marks` where it finds one; `marks` is replaced as `order`.

    `on_added` is called with every id that gets an index, and with that.

    >>> items = Items()
    >>> items.index("kettle"), items.index("mug"), items.index("kettle")
    (0, 1, 0)
    >>> items.find("teapot"), items.name(1), len(items)
    (-1, 'mug', 2)
    >>> items.begin()
    >>> items.mark(np.array([1]))
    >>> items.free().tolist(), items.find("kettle"), items.index("teapot"), len(items), items.used
    ([0], -1, 0, 2, 2)
    """

    def __init__(self, on_added: Callable[[int, str], None] = lambda index, item_id: None) -> None:
        self._on_added = on_added
        self._indices: dict[str, int] = {}
        self._numbering = Lock()
        self._names: list[str | None] = []  # None: free
        self._free: list[int] = []  # the smallest last
        self._left = 0  # ids after the last `free`
        self.numbered = NameTable()
        self._mark_with(np.zeros(1024, np.uint8))
        self._kept: dict[object, Callable[[], NDArray[np.integer]] | None] = {}
        self._text_bytes = 0
        self.order: NDArray[np.uint64] = np.zeros((1024, 2), np.uint64)

    def __len__(self) -> int:
        """One more than the greatest index given so far."""
        return len(self._names)

    @property
    def used(self) -> int:
        """Number of ids that have an index."""
        return len(self._indices)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        tables = sys.getsizeof(self._indices) + sys.getsizeof(self._names) + sys.getsizeof(self._free)
        return tables + self._text_bytes + self.order.nbytes + self.numbered.nbytes + self.marks.nbytes

    def _mark_with(self, marks: NDArray[np.uint8]) -> None:
        self.marks = marks
        self._marked = marks.data

    def index(self, item_id: str) -> int:
        """Index of an id; a new id gets one."""
        known = self._indices.get(item_id)
        if known is not None:
            self._marked[known] = 1
            return known
        with self._numbering:
            known = self._indices.get(item_id)  # another thread may have just numbered it
            return self._add(item_id) if known is None else known

    def indices(self, item_ids: Sequence[str]) -> NDArray[np.int32]:
        """What `index` returns for each id; faster where nearly all are known."""
        found = list(map(self._indices.get, item_ids))
        if None in found:
            return np.array([self.index(item_id) for item_id in item_ids], np.int32)
        known = np.array(found, np.int32)
        self.mark(known)
        return known

    def _add(self, item_id: str) -> int:
        index = self._free.pop() if self._free else len(self._names)
        while index >= len(self.order):
            self.order = np.concatenate([self.order, np.zeros_like(self.order)])
            self._mark_with(np.concatenate([self.marks, np.zeros_like(self.marks)]))
        raw = item_id.encode(errors="surrogatepass")
        whole = len(raw) <= 16 and not raw.endswith(b"\0")
        tail = raw[8:16] if whole else hashlib.blake2b(raw, digest_size=8).digest()
        self.order[index, 0] = int.from_bytes(raw[:8].ljust(8, b"\0"), "big")
        self.order[index, 1] = int.from_bytes(tail.ljust(8, b"\0"), "big")
        if index == len(self._names):
            self._names.append(item_id)
        else:
            self._names[index] = item_id
        self._indices[item_id] = index
        self.numbered.put(item_id, index)
        self._marked[index] = 1
        self._text_bytes += sys.getsizeof(item_id)
        self._on_added(index, item_id)
        return index

    def find(self, item_id: str) -> int:
        """Index of an id; UNKNOWN if it has not been seen."""
        return self._indices.get(item_id, UNKNOWN)

    def name(self, index: int) -> str:
        """Id of an index."""
        name = self._names[index]
        if name is None:
            raise KeyError(index)
        return name

    # -- giving indices again --------------------------------------------------------------------------------------

    def due(self, least: int) -> bool:
        """Whether there are twice as many ids as were left by the last `free`, and at least so many more."""
        return self.used >= max(2 * self._left, self._left + least)

    def begin(self) -> None:
        """Begin to mark: from now on, indices count as kept that `index` returns or `mark` is told of."""
        with self._numbering:
            self._mark_with(np.zeros_like(self.marks))

    @property
    def keeping(self) -> bool:
        """Whether anybody keeps indices that cannot be seen, in `kept`."""
        return None in self._kept.values()

    def mark(self, indices: NDArray[np.integer]) -> None:
        """Keep indices; negative ones are ignored."""
        self.marks[indices[indices >= 0]] = 1

    @contextmanager
    def kept(self, held: Callable[[], NDArray[np.integer]] | None = None) -> Generator[None]:
        """Meanwhile, free nothing that `held` gives: a coroutine, or a thread, has indices where nobody else sees them.

        Without `held` nothing at all is freed meanwhile: only for what is rare and short.
        """
        keeper = object()
        with self._numbering:
            self._kept[keeper] = held
        try:
            yield
        finally:
            with self._numbering:
                del self._kept[keeper]

    def free(self) -> NDArray[np.int64]:
        """Free what is not marked since `begin` or kept; returns those indices."""
        with self._numbering:
            if self.keeping:
                return np.empty(0, np.int64)
            for held in self._kept.values():
                assert held is not None
                self.mark(held())
            unmarked = np.flatnonzero(self.marks[: len(self._names)] == 0)
            freed = [index for index in unmarked.tolist() if self._names[index] is not None]
            for index in freed:
                name = self._names[index]
                assert name is not None
                del self._indices[name]
                self._names[index] = None
                self._text_bytes -= sys.getsizeof(name)
            self.numbered.keep(self.marks)
            self._free = sorted([*freed, *self._free], reverse=True)
            self._left = self.used
            return np.array(freed, np.int64)

    # -- state -----------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The ids by index, empty where an index is free: to be stored, and given to `restore`."""
        return [name or "" for name in self._names]

    @property
    def left(self) -> int:
        """Number of ids after the last `free`; likewise."""
        return self._left

    def restore(self, names: Sequence[str], left: int) -> None:
        """Continue from what `names` and `left` gave; nothing may have been numbered yet."""
        gaps = []
        for name in names:
            if name:
                self.index(name)
            else:
                gaps.append(len(self._names))
                self._names.append(None)
        self._free, self._left = gaps[::-1], left
