"""The events that ask the queries that wait, in columns, as the writer of suggestions takes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from models.shop.events import MAX_TRIGGER_IDS, Action
from streams.wire.record import Record
from streams.wire.suggestion_writer import ACTIONS, COLUMNS, USER_AT

_pack = struct.Struct(f"={COLUMNS}q").pack_into
_ROW_BYTES = 8 * COLUMNS


class WaitingRequests:
    """Requests in the order in which they were added. Not for use by several threads at once.

    A request takes 104 bytes, and its texts: the ids of the shopper and the items as JSON, and the record's key. The
    room for the former never shrinks: it is for the most requests that have ever waited.

    >>> from streams.kafka.memory_log import StoredRecord
    >>> requests = WaitingRequests()
    >>> for user in ("ann", "bob"):
    ...     record = StoredRecord("clicks", 3, 7, 1000, user.encode(), b"")
    ...     requests.add(record, 0, user, ["mug"], 0.9, Action.VIEW, arm=0, windowed=False)
    >>> columns, texts = requests.take(1)
    >>> columns.tolist(), texts
    ([[0, 3, 7, 1000, 900, 0, 0, 0, 1, 0, 5, 12, 15]], b'"ann"["mug"]ann')
    """

    def __init__(self) -> None:
        self._raw = bytearray(64 * _ROW_BYTES)
        self._count = 0
        self._texts = bytearray()

    def __len__(self) -> int:
        """Number of requests."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return len(self._raw) + len(self._texts)

    def add(
        self,
        record: Record,
        topic: int,
        user_id: str,
        item_ids: Sequence[str],
        at: float,
        action: Action,
        *,
        arm: int,
        windowed: bool,
    ) -> None:
        """Add the request of a record; `topic` is the code of its topic."""
        number, texts = self._count, self._texts
        if (number + 1) * _ROW_BYTES > len(self._raw):
            self._raw += bytes(len(self._raw))
        self._count = number + 1
        user_at = len(texts)
        texts += orjson.dumps(user_id)
        ids_at, lines = len(texts), len(item_ids)
        texts += orjson.dumps(item_ids if lines <= MAX_TRIGGER_IDS else item_ids[:MAX_TRIGGER_IDS])
        key_at = len(texts)
        texts += record.key or b""
        _pack(
            self._raw, number * _ROW_BYTES, topic, record.partition, record.offset, record.timestamp, round(at * 1000),
            ACTIONS[action], arm, 2 * arm + windowed, lines, user_at, ids_at, key_at, len(texts),
        )  # fmt: skip

    def add_many(self, columns: NDArray[np.int64], texts: bytes) -> None:
        """Add requests as `take` gives them."""
        moved = columns.copy()
        moved[:, USER_AT:] += len(self._texts)
        self._texts += texts
        end = self._count * _ROW_BYTES
        if missing := max(0, end + moved.nbytes - len(self._raw)):
            self._raw += bytes(max(missing, len(self._raw)))
        self._raw[end : end + moved.nbytes] = moved.tobytes()
        self._count += len(moved)

    def take(self, requests: int) -> tuple[NDArray[np.int64], bytes]:
        """Columns and texts of the requests added first, as the writer takes them; they are forgotten here."""
        end, left = requests * _ROW_BYTES, self._count - requests
        columns = np.frombuffer(self._raw[:end], np.int64).reshape(requests, COLUMNS)
        if not left:
            texts = bytes(self._texts)
            self.clear()
            return columns, texts
        rest = np.frombuffer(self._raw[end : end + left * _ROW_BYTES], np.int64).reshape(left, COLUMNS)
        texts_end = int(rest[0, USER_AT])
        texts = bytes(self._texts[:texts_end])
        del self._texts[:texts_end]
        rest[:, USER_AT:] -= texts_end
        self._raw[: rest.nbytes] = rest.tobytes()
        self._count = left
        return columns, texts

    def clear(self) -> None:
        """Forget all requests."""
        self._count = 0
        self._texts = bytearray()
