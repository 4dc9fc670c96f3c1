"""Item ids as dense numbers, and the keys that break ties between items."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""Index of an id that has not been seen."""


class Items:
    """Interns item ids as dense int32 indices.

    `order` holds two uint64 an item, (capacity, 2); comparing rows compares ids. They are the first 16 bytes of the id,
    big-endian. Where an id is longer or ends in a zero byte, the last 8 bytes are a hash of the whole id, so that ids
    with a common prefix compare alike whatever the order of interning. `order` is replaced when it grows: read it again
    after `index`. Thread-safe.

    Indices are given again to other ids after `begin`, `mark` and `free`: mark and sweep, by a caller who knows
    everybody that keeps indices. Whatever `index` returns since `begin` counts as marked.

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

    def __init__(self) -> None:
        self._indices: dict[str, int] = {}
        self._numbering = Lock()
        self._names: list[str | None] = []  # None: free
        self._free: list[int] = []
        self._marked = memoryview(bytearray(1024))
        self._keeping = 0
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
        return tables + self._text_bytes + self.order.nbytes + len(self._marked)

    def index(self, item_id: str) -> int:
        """Index of an id; a new id gets one."""
        known = self._indices.get(item_id)
        if known is not None:
            self._marked[known] = 1
            return known
        with self._numbering:
            known = self._indices.get(item_id)  # another thread may have just numbered it
            return self._add(item_id) if known is None else known

    def _add(self, item_id: str) -> int:
        index = self._free.pop() if self._free else len(self._names)
        if index == len(self.order):
            self.order = np.concatenate([self.order, np.zeros_like(self.order)])
            self._marked = memoryview(bytearray(self._marked) + bytearray(len(self._marked)))
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
        self._marked[index] = 1
        self._text_bytes += sys.getsizeof(item_id)
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

    def begin(self) -> None:
        """Begin to mark: from now on, indices count as kept that `index` returns or `mark` is told of."""
        with self._numbering:
            self._marked = memoryview(bytearray(len(self._marked)))

    @property
    def keeping(self) -> bool:
        """Whether anybody keeps indices that cannot be seen, in `kept`."""
        return self._keeping > 0

    def mark(self, indices: NDArray[np.integer]) -> None:
        """Keep indices; negative ones are ignored."""
        np.frombuffer(self._marked, np.uint8)[indices[indices >= 0]] = 1

    @contextmanager
    def kept(self) -> Generator[None]:
        """Free nothing meanwhile: a thread, or a coroutine, has indices where nobody sees them."""
        with self._numbering:
            self._keeping += 1
        try:
            yield
        finally:
            with self._numbering:
                self._keeping -= 1

    def free(self) -> NDArray[np.int64]:
        """Free what is not marked since `begin`; returns those indices. None while anybody is in `kept`."""
        with self._numbering:
            if self._keeping:
                return np.empty(0, np.int64)
            unmarked = np.flatnonzero(np.frombuffer(self._marked, np.uint8)[: len(self._names)] == 0)
            freed = [index for index in unmarked.tolist() if self._names[index] is not None]
            for index in freed:
                name = self._names[index]
                assert name is not None
                del self._indices[name]
                self._names[index] = None
                self._text_bytes -= sys.getsizeof(name)
            self._free += freed[::-1]
            return np.array(freed, np.int64)
