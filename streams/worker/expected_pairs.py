"""Messages of `pairs` from this worker to itself: it knows what they say, so it need not decode them.

A partition of `pairs` brings the messages of one source in the order in which they were sent. Those of other workers
are decoded, and so is whatever comes again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streams.wire.pair_deltas import DecodedPairs
from streams.wire.record import Record

MAX_BYTES = 16 << 20
"""Of the messages that are expected, and their pairs: a few seconds of a backlog. One beyond is decoded."""


class _Sent:
    """A message and its pairs."""

    __slots__ = ("message", "nbytes", "pairs")

    def __init__(self, message: bytes, pairs: DecodedPairs) -> None:
        self.message, self.pairs = message, pairs
        columns = pairs.a, pairs.b, pairs.kind, pairs.weight, pairs.at
        self.nbytes = len(message) + sum(column.nbytes for column in columns)


class ExpectedPairs:
    """What was sent to item partitions that this worker owns, and not read back yet."""

    def __init__(self) -> None:
        self._sent: dict[int, dict[bytes, deque[_Sent]]] = {}  # by item partition that is ours, and by key
        self.nbytes = 0
        """Memory that it takes."""

    def _all(self) -> Iterator[_Sent]:
        return (sent for queues in self._sent.values() for queue in queues.values() for sent in queue)

    def held(self) -> NDArray[np.int32]:
        """Indices of the items of all pairs, TOTAL among them."""
        parts = [part for sent in self._all() for part in (sent.pairs.a, sent.pairs.b)]
        return np.concatenate([np.empty(0, np.int32), *parts])

    def watch(self, partition: int) -> None:
        """The messages of an item partition are read here from now on; what was sent to it before is decoded."""
        self.unwatch(partition)
        self._sent[partition] = {}

    def unwatch(self, partition: int) -> None:
        """The item partition is no longer ours."""
        for queue in self._sent.pop(partition, {}).values():
            self.nbytes -= sum(sent.nbytes for sent in queue)

    def add(self, key: bytes, partition: int, message: bytes, pairs: DecodedPairs) -> None:
        """Expect a message that is about to be sent, if it comes back to us, and few enough are expected."""
        queues = self._sent.get(partition)
        if queues is None:
            return
        sent = _Sent(message, pairs)
        if self.nbytes + sent.nbytes <= MAX_BYTES:
            queues.setdefault(key, deque()).append(sent)
            self.nbytes += sent.nbytes

    def take(self, record: Record) -> DecodedPairs | None:
        """The pairs of a message, if this worker has sent exactly that; it is expected no more."""
        queue, message = self._sent.get(record.partition, {}).get(record.key or b""), record.value
        if not queue or all(sent.message != message for sent in queue):
            return None
        while True:
            sent = queue.popleft()
            self.nbytes -= sent.nbytes
            if sent.message == message:
                return sent.pairs
