"""Item ids as JSON strings, for compiled code: made once and kept, as messages name the same items all the time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.shop.items import Items
from streams.wire.raw_bytes import Text

_encode = msgspec.json.Encoder().encode


class IdTexts(NamedTuple):
    """Ids as JSON strings, by index."""

    text: Text
    start: NDArray[np.int64]
    size: NDArray[np.int32]
    """Bytes, quotes included; 0 where the id was not asked for yet."""


class QuotedIds:
    """The ids of items as JSON strings.

    Takes 12 bytes an item, and at most four times the bytes of the strings that are in use.

    >>> items = Items()
    >>> ids = QuotedIds(items)
    >>> text, start, size = ids.of(np.array([items.index("kettle")]))
    >>> bytes(text[start[0] : start[0] + size[0]])
    b'"kettle"'
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self._texts = IdTexts(np.empty(1024, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int32))
        self._used = self._freed = 0  # bytes ever used of the text, and those of them that are no id's any more

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(int(column.nbytes) for column in self._texts)

    def of(self, indices: NDArray[np.integer[Any]]) -> IdTexts:
        """The ids of at least these items, until the next call."""
        if len(self._texts.size) < len(self._items):
            self._grow(2 * len(self._items))
        missing = indices[self._texts.size[indices] == 0]
        if len(missing):
            for index in np.unique(missing).tolist():
                self._add(index)
        return self._texts

    def freed(self, indices: NDArray[np.int64]) -> None:
        """Indices that are going to be given to other items."""
        size = self._texts.size
        some = indices[indices < len(size)]
        self._freed += int(size[some].sum())
        size[some] = 0
        if 2 * self._freed > self._used:
            size[:] = 0
            self._used = self._freed = 0

    def _add(self, index: int) -> None:
        text, start, size = self._texts
        raw = _encode(self._items.name(index))
        end = self._used + len(raw)
        if end > len(text):
            grown = np.empty(2 * end, np.uint8)
            grown[: self._used] = text[: self._used]
            self._texts = self._texts._replace(text=grown)
            text = grown
        text[self._used : end] = np.frombuffer(raw, np.uint8)
        start[index], size[index] = self._used, len(raw)
        self._used = end

    def _grow(self, items: int) -> None:
        text, start, size = self._texts
        more = items - len(size)
        self._texts = IdTexts(
            text,
            np.concatenate([start, np.zeros(more, np.int64)]),
            np.concatenate([size, np.zeros(more, np.int32)]),
        )


shared_quoted_ids = lru_cache(4)(QuotedIds)
"""Shared by all that write messages in a process, which has one numbering of items."""
