"""Messages of `pairs`: pair deltas packed by item partition, each with the offset of its event.

One message holds the pairs of many events of one source partition, in offset order, whose rows lie in one item
partition. It is a JSON object with `v` 1, a table of item ids, and columns in base64 of their little-endian bytes:
an owner counts millions of pairs a second, and parsing digits would cost more than counting. A message ends between two
events, so that a receiver can skip an event as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from models.sessions.pairs import Pair
from models.shop.events import VIEWED_THEN_BOUGHT
from models.shop.items import Items
from streams.errors import RecordError
from streams.wire.partitioner import partition_of
from streams.wire.record import NEWEST_S, Record, SomeId, decoded, refusal, where

SOURCE_TOPICS = {"clicks": "clicks", "purchases": "purchases", "joins": "purchases"}
"""Sources of pairs, and the short names of the topics whose offsets they have. Joins are a source of their own: they
follow later."""

TOTAL = -1
"""Instead of a pair's second item: the weight counts towards the partition's baskets."""

PAIR_BYTES = 28
"""Most bytes of a pair in a message: two indices, a kind and a float64, in base64, rounded up."""

MAX_WEIGHT = 1e6
"""Of one pair of one event; views and baskets weigh at most a few."""

EVENT_BYTES = 28
"""Further bytes of each event: offset, time and number of pairs, in base64, rounded up."""


class _PairsRecord(msgspec.Struct, gc=False):
    v: Literal[1]
    source: Annotated[str, Meta(max_length=256, pattern=r"^(clicks|purchases|joins)-[0-9]{1,7}(@|\Z)")]
    items: list[SomeId]
    width: Literal[1, 2, 4]  # bytes of an index in `a` and `b`: 0 is the total, 1 the first of `items`
    offsets: bytes  # (events,) int64, ascending
    at: bytes  # (events,) float64, epoch seconds
    lengths: bytes  # (events,) int32, pairs of each
    a: bytes  # (pairs,) indices
    b: bytes  # (pairs,)
    kind: bytes  # (pairs,) int8
    weight: bytes  # (pairs,) float64


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_PairsRecord).decode


@dataclass(slots=True)
class DecodedPairs:
    """What one message of `pairs` adds to the rows of its partition.

    Attributes:
        source: source partition, such as `clicks-3`.
        last_offset: of its last event, in the source partition.
        a: (n,) int32, the row's item.
        b: (n,) int32, the neighbour; `a` itself: the item's own count; TOTAL: the partition's baskets.
        kind: (n,) int8.
        weight: (n,) float64.
        at: (n,) float64, event time in epoch seconds.
    """

    source: str
    last_offset: int
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    kind: NDArray[np.int8]
    weight: NDArray[np.float64]
    at: NDArray[np.float64]


class ItemPartitions:
    """The item partition of every interned item, computed once per item."""

    def __init__(self, items: Items, partitions: int) -> None:
        self._items = items
        self._partitions = partitions
        self._known = np.empty(0, np.int16)

    def __getitem__(self, indices: NDArray[np.int32]) -> NDArray[np.int16]:
        """Partitions of the items of these indices."""
        if len(self._known) < len(self._items):
            grown = np.full(2 * len(self._items), -1, np.int16)
            grown[: len(self._known)] = self._known
            self._known = grown
        found = self._known[indices]
        if len(found) and found.min() < 0:
            for index in np.unique(indices[found < 0]).tolist():
                self._known[index] = partition_of(self._items.name(index).encode(), self._partitions)
            found = self._known[indices]
        return found

    def freed(self, indices: NDArray[np.int64]) -> None:
        """Indices that are going to be given to other items."""
        self._known[indices[indices < len(self._known)]] = -1


shared_item_partitions = lru_cache(4)(ItemPartitions)
"""Shared by all batches and tasks of a process, which has one numbering of items."""


def source_name(source: str, partition: int, topic_id: str) -> str:
    """What a source is called in messages: the topic's id tells it from that of a topic of the same name.

    >>> source_name("clicks", 3, "jf3a")
    'clicks-3@jf3a'
    """
    return f"{source}-{partition}@{topic_id}"


class PairBatch:
    """The pair deltas of some events of one source partition, such as `clicks-3`, to be sent."""

    def __init__(self, source: str, items: Items, item_partitions: int) -> None:
        self.source = source
        self._items = items
        self._partitions = shared_item_partitions(items, item_partitions)
        self._offsets: list[int] = []
        self._at: list[float] = []
        self._lengths: list[int] = []
        self._pairs: list[Pair] = []

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._pairs)

    def held(self) -> Iterator[int]:
        """Indices of the items of its pairs, TOTAL among them."""
        return chain.from_iterable(pair[:2] for pair in self._pairs)

    def add(self, offset: int, at: float, pairs: Iterable[Pair]) -> None:
        """Add the pairs of one event, by its offset in the source partition and its event time in epoch seconds.

        Raises:
            ValueError: an offset is lower than the last; a receiver would skip the event.
        """
        if self._offsets and offset < self._offsets[-1]:
            message = f"{self.source}: offset {offset} after {self._offsets[-1]}"
            raise ValueError(message)
        before = len(self._pairs)
        self._pairs.extend(pairs)
        if len(self._pairs) > before:
            self._offsets.append(offset)
            self._at.append(at)
            self._lengths.append(len(self._pairs) - before)

    def messages(self, max_bytes: int) -> Iterator[tuple[int, bytes, int]]:
        """The messages to send: (item partition, message, offset of its last event).

        Messages of one item partition come in the order in which they must be sent. Only a message of a single event
        may exceed `max_bytes`; `max_pair_items` of the visits bounds its pairs.
        """
        if not self._pairs:
            return
        table = np.fromiter(chain.from_iterable(self._pairs), np.float64, 4 * len(self._pairs)).reshape(-1, 4)
        a, b = table[:, 0].astype(np.int32), table[:, 1].astype(np.int32)
        kind, weight = table[:, 2].astype(np.int8), np.ascontiguousarray(table[:, 3])
        event = np.repeat(np.arange(len(self._offsets)), self._lengths)  # (pairs,) index of the event
        partitions = self._partitions[a]
        order = np.argsort(partitions, kind="stable")
        present, starts = np.unique(partitions[order], return_index=True)
        for partition, chosen in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            columns = _Columns(event[chosen], a[chosen], b[chosen], kind[chosen], weight[chosen])
            for part in columns.parts(max_bytes // 2):
                for message, last in self._encoded(part, max_bytes):
                    yield partition, message, self._offsets[last]

    def _encoded(self, columns: _Columns, max_bytes: int) -> Iterator[tuple[bytes, int]]:
        """One message, or several where one has too many bytes, each with the number of its last event."""
        message = self._message(columns)
        halves = [] if len(message) <= max_bytes else columns.halves()
        if not halves:
            yield message, int(columns.event[-1])
        for half in halves:
            yield from self._encoded(half, max_bytes)

    def _message(self, columns: _Columns) -> bytes:
        event, first, length = np.unique(columns.event, return_index=True, return_counts=True)
        both = np.concatenate([columns.a, columns.b])
        known, numbers = np.unique(both, return_inverse=True)  # ascending: a TOTAL comes first
        if known[0] != TOTAL:
            numbers = numbers + 1
        else:
            known = known[1:]
        width = 1 if len(known) < 1 << 8 else 2 if len(known) < 1 << 16 else 4
        index = numbers.astype(f"<u{width}")
        events = event.tolist()
        return _encode(
            _PairsRecord(
                v=1,
                source=self.source,
                items=list(map(self._items.name, known.tolist())),
                width=width,  # type: ignore[arg-type]
                offsets=np.array([self._offsets[number] for number in events], "<i8").tobytes(),
                at=np.array([self._at[number] for number in events], "<f8").tobytes(),
                lengths=length.astype("<i4").tobytes(),
                a=index[: len(columns.a)].tobytes(),
                b=index[len(columns.a) :].tobytes(),
                kind=columns.kind.tobytes(),
                weight=columns.weight.astype("<f8", copy=False).tobytes(),
            )
        )


@dataclass(slots=True)
class _Columns:
    """Pairs of one item partition, in the order of their events."""

    event: NDArray[np.int64]  # (n,) number of the event in the batch, ascending
    a: NDArray[np.int32]  # (n,)
    b: NDArray[np.int32]  # (n,)
    kind: NDArray[np.int8]  # (n,)
    weight: NDArray[np.float64]  # (n,)

    def parts(self, about_bytes: int) -> Iterator[_Columns]:
        """Parts of about this many bytes in a message, ids not counted."""
        ends = np.flatnonzero(np.diff(self.event, append=-1)) + 1  # after the last pair of each event
        size = PAIR_BYTES * ends + EVENT_BYTES * np.arange(1, len(ends) + 1)
        _, last = np.unique(size[::-1] // max(about_bytes, 1), return_index=True)
        stops = ends[::-1][last]  # the last event of each part
        yield from (self._between(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True))

    def halves(self) -> list[_Columns]:
        """Two parts, cut between two events near the middle; none for a single event."""
        cuts = np.flatnonzero(np.diff(self.event)) + 1
        if not len(cuts):
            return []
        cut = int(cuts[np.argmin(np.abs(cuts - len(self.event) // 2))])
        return [self._between(0, cut), self._between(cut, len(self.event))]

    def _between(self, start: int, stop: int) -> _Columns:
        chosen = slice(start, stop)
        return _Columns(self.event[chosen], self.a[chosen], self.b[chosen], self.kind[chosen], self.weight[chosen])


def decode_pairs(record: Record, items: Items, applied: Mapping[str, int]) -> DecodedPairs:
    """The pairs of a message that are not applied yet; new item ids are added to `items`.

    `applied` has the last offset applied, by source. Events up to it are left out.

    Raises:
        RecordError: the message is not one of a worker.
    """
    try:
        wire = decoded(_decode, record, "a message of pairs")
        index = f"<u{wire.width}"
        offsets, at = np.frombuffer(wire.offsets, "<i8"), np.frombuffer(wire.at, "<f8")
        lengths = np.frombuffer(wire.lengths, "<i4")
        a, b = np.frombuffer(wire.a, index), np.frombuffer(wire.b, index)
        kind, weight = np.frombuffer(wire.kind, np.int8), np.frombuffer(wire.weight, "<f8")
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(where(record), "a message of pairs", error) from error
    if not (len(offsets) and offsets[0] >= 0 and (offsets[1:] >= offsets[:-1]).all()):
        raise refusal(record, "$.offsets", "offsets in ascending order", "others")
    if len(at) != len(offsets) or not ((at >= 0) & (at <= NEWEST_S)).all():
        raise refusal(record, "$.at", "a time for each offset", "others")
    if len(lengths) != len(offsets) or lengths.min() <= 0:
        raise refusal(record, "$.lengths", "a number above 0 for each offset", "others")
    count = len(a)
    if count != lengths.sum() or not 0 < a.min() <= a.max() <= len(wire.items):
        raise refusal(record, "$.a", "one of the items for each pair", "others")
    if len(b) != count or b.max() > len(wire.items):
        raise refusal(record, "$.b", "0 or one of the items for each pair", "others")
    if len(kind) != count or not 0 <= kind.min() <= kind.max() <= VIEWED_THEN_BOUGHT:
        raise refusal(record, "$.kind", "a kind for each pair", "others")
    if len(weight) != count or not 0 <= weight.min() <= weight.max() <= MAX_WEIGHT:
        raise refusal(record, "$.weight", f"a weight from 0 to {MAX_WEIGHT:g} for each pair", "others")
    after = applied.get(wire.source, -1)
    events = int(np.searchsorted(offsets, after, side="right"))  # number of events already applied
    skip = int(lengths[:events].sum())
    numbers = [TOTAL, *map(items.index, wire.items)] if skip < count else [TOTAL]
    table = np.array(numbers, np.int32)  # (items + 1,) item index by index in the message
    return DecodedPairs(
        source=wire.source,
        last_offset=int(offsets[-1]),
        a=table[a[skip:]],
        b=table[b[skip:]],
        kind=kind[skip:].copy(),
        weight=weight[skip:].copy(),
        at=np.repeat(at[events:], lengths[events:]),
    )
