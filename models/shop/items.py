"""Item ids as dense numbers, and the keys that break ties between items."""

from __future__ import annotations

import hashlib
from threading import Lock

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""Index of an id that has not been seen."""


class Items:
    """Interns item ids as dense int32 indices, never freed.

    `order` holds two uint64 an item, (capacity, 2); comparing rows compares ids. They are the first 16 bytes of the id,
    big-endian. Where an id is longer or ends in a zero byte, the last 8 bytes are a hash of the whole id, so that ids
    with a common prefix compare alike whatever the order of interning. `order` is replaced when it grows: read it again
    after `index`. Thread-safe.

    >>> items = Items()
    >>> items.index("kettle"), items.index("mug"), items.index("kettle")
    (0, 1, 0)
    >>> items.find("teapot"), items.name(1), len(items)
    (-1, 'mug', 2)
    """

    def __init__(self) -> None:
        self._indices: dict[str, int] = {}
        self._numbering = Lock()
        self._names: list[str] = []
        self.order: NDArray[np.uint64] = np.zeros((1024, 2), np.uint64)

    def __len__(self) -> int:
        """Number of ids seen."""
        return len(self._names)

    def index(self, item_id: str) -> int:
        """Index of an id; a new id gets the next one."""
        known = self._indices.get(item_id)
        if known is not None:
            return known
        with self._numbering:
            known = self._indices.get(item_id)  # another thread may have just numbered it
            return self._add(item_id) if known is None else known

    def _add(self, item_id: str) -> int:
        index = len(self._names)
        if index == len(self.order):
            self.order = np.concatenate([self.order, np.zeros_like(self.order)])
        raw = item_id.encode(errors="surrogatepass")
        whole = len(raw) <= 16 and not raw.endswith(b"\0")
        tail = raw[8:16] if whole else hashlib.blake2b(raw, digest_size=8).digest()
        self.order[index, 0] = int.from_bytes(raw[:8].ljust(8, b"\0"), "big")
        self.order[index, 1] = int.from_bytes(tail.ljust(8, b"\0"), "big")
        self._names.append(item_id)
        self._indices[item_id] = index
        return index

    def find(self, item_id: str) -> int:
        """Index of an id; UNKNOWN if it has not been seen."""
        return self._indices.get(item_id, UNKNOWN)

    def name(self, index: int) -> str:
        """Id of an index."""
        return self._names[index]
