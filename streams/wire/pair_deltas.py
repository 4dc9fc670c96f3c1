"""Messages of `pairs`: pair deltas packed by item partition, each with the offset of its event.

One message holds the pairs of many events of one source partition, in offset order, whose rows lie in one item
partition. It is a JSON object with `v` 1, a table of item ids, and columns in base64 of their little-endian bytes:
an owner counts millions of pairs a second, and parsing digits would cost more than counting. A message ends between two
events, so that a receiver can skip an event as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from models.cooccurrence.count_kernel import TOTAL
from models.cooccurrence.pair_columns import (
    KIND,
    LENGTHS,
    OFFSETS,
    RIGHT,
    TIMES,
    WEIGHT,
    A,
    B,
    Groups,
    Pairs,
    grouped,
    received,
    unnumbered,
    wrong_column,
)
from models.jit import cached_njit, inline_njit
from models.sessions.look_kernel import PAIR
from models.shop.items import Items
from streams.errors import RecordError
from streams.wire.json_text import NUMBER, put, put_base64, put_whole
from streams.wire.partitioner import partition_of
from streams.wire.quoted_ids import IdTexts, shared_quoted_ids
from streams.wire.raw_bytes import Text
from streams.wire.record import NEWEST_S, Record, SomeId, decoded, refusal, where

SOURCE_TOPICS = {"clicks": "clicks", "purchases": "purchases", "joins": "purchases"}
"""Sources of pairs, and the short names of the topics whose offsets they have. Joins are a source of their own: they
follow later."""

PAIR_BYTES = 28
"""Most bytes of a pair in a message: two indices, a kind and a float64, in base64, rounded up."""

MAX_WEIGHT = 1e6
"""Of one pair of one event; views and baskets weigh at most a few."""

_WANTED = {
    OFFSETS: ("$.offsets", "offsets in ascending order"),
    TIMES: ("$.at", "a time for each offset"),
    LENGTHS: ("$.lengths", "a number above 0 for each offset"),
    A: ("$.a", "one of the items for each pair"),
    B: ("$.b", "0 or one of the items for each pair"),
    KIND: ("$.kind", "a kind for each pair"),
    WEIGHT: ("$.weight", f"a weight from 0 to {MAX_WEIGHT:g} for each pair"),
}
"""Path of each column, and what it must hold."""

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
        first_offset: of its first event, in the source partition; with those that are left out.
        last_offset: of its last event there.
        a: (n,) int32, the row's item.
        b: (n,) int32, the neighbour; `a` itself: the item's own count; TOTAL: the partition's baskets.
        kind: (n,) int8.
        weight: (n,) float64.
        at: (n,) float64, event time in epoch seconds.
    """

    source: str
    first_offset: int
    last_offset: int
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    kind: NDArray[np.int8]
    weight: NDArray[np.float64]
    at: NDArray[np.float64]


Expect = Callable[[int, bytes, DecodedPairs], None]
"""Called with the item partition of a message, the message, and what its receiver will make of it."""


class ItemPartitions:
    """The item partition of every interned item, computed once per item; `number` is how many there are."""

    def __init__(self, items: Items, partitions: int) -> None:
        self._items = items
        self.number = partitions
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
                self._known[index] = partition_of(self._items.name(index).encode(), self.number)
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
        self._source = np.frombuffer(_encode(source), np.uint8)
        self._items = items
        self._partitions = shared_item_partitions(items, item_partitions)
        self._ids = shared_quoted_ids(items)
        self._offsets: list[int] = []
        self._at: list[float] = []
        self._lengths: list[int] = []
        self._pairs = bytearray()

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._pairs) // PAIR.itemsize

    def held(self) -> NDArray[np.int32]:
        """Indices of the items of its pairs, TOTAL among them."""
        pairs = np.frombuffer(self._pairs, PAIR)
        return np.concatenate([pairs["a"], pairs["b"]])

    def add(self, offset: int, at: float, pairs: NDArray[Any]) -> None:
        """Add the pairs of one event, of `PAIR`, by its offset in the source partition and its event time.

        Raises:
            ValueError: an offset is lower than the last; a receiver would skip the event.
        """
        self.add_events([offset], [at], [0, len(pairs)], pairs)

    def add_events(self, offsets: list[int], ats: list[float], ends: list[int], pairs: NDArray[Any]) -> None:
        """As `add`, of some events: those of event `n` are `pairs[ends[n]:ends[n + 1]]`."""
        last = self._offsets[-1] if self._offsets else 0
        start = ends[0]
        for offset, at, end in zip(offsets, ats, ends[1:], strict=True):
            if offset < last:
                message = f"{self.source}: offset {offset} after {last}"
                raise ValueError(message)
            if end > start:
                self._offsets.append(offset)
                self._at.append(at)
                self._lengths.append(end - start)
                last, start = offset, end
        self._pairs.extend(pairs[ends[0] : ends[-1]].data)

    def messages(self, max_bytes: int, expect: Expect | None = None) -> Iterator[tuple[int, bytes, int]]:
        """The messages to send: (item partition, message, offset of its last event); `expect` is told of each before.

        Messages of one item partition come in the order in which they must be sent. Only a message of a single event
        may exceed `max_bytes`; `max_pair_items` of the visits bounds its pairs.
        """
        if not self._pairs:
            return
        table = np.frombuffer(self._pairs, PAIR)
        pairs = Pairs(
            table["a"].copy(),
            table["b"].copy(),
            table["kind"].copy(),
            table["weight"].copy(),
            np.array(self._offsets, np.int64),
            np.array(self._at),
            np.array(self._lengths, np.int32),
        )
        yield from self._messages(pairs, max_bytes, expect)

    def _messages(self, pairs: Pairs, max_bytes: int, expect: Expect | None) -> Iterator[tuple[int, bytes, int]]:
        """As `messages`. Where one would have too many bytes, those of the first and of the second half of the events.

        Both halves have pairs; a single event is not divided.
        """
        groups = grouped(pairs, self._partitions[pairs.a], self._partitions.number, len(self._items))
        sizes = PAIR_BYTES * np.diff(groups.pair_ends) + EVENT_BYTES * np.diff(groups.event_ends)
        if len(pairs.offset) == 1 or sizes.max() <= max_bytes:
            text, ends, last_offsets = _write_messages(pairs, groups, self._ids.of(groups.items), self._source)
            if len(pairs.offset) == 1 or np.diff(ends).max() <= max_bytes:
                whole, bounds, last = text.tobytes(), ends.tolist(), last_offsets.tolist()
                partitions = np.flatnonzero(sizes).tolist()
                known = None if expect is None else self._received(pairs, groups, partitions, last)
                for partition in partitions:
                    message = whole[bounds[partition] : bounds[partition + 1]]
                    if expect is not None and known is not None:
                        expect(partition, message, next(known))
                    yield partition, message, last[partition]
                return
        for half in _halves(pairs):
            yield from self._messages(half, max_bytes, expect)

    def _received(
        self, pairs: Pairs, groups: Groups, partitions: list[int], last_offsets: list[int]
    ) -> Iterator[DecodedPairs]:
        """What the receivers of some groups get, none of which is empty."""
        a, b, at = received(pairs, groups)
        ends, first_offsets = groups.pair_ends.tolist(), pairs.offset[groups.event[groups.event_ends[partitions]]]
        for partition, first_offset in zip(partitions, first_offsets.tolist(), strict=True):
            own = slice(ends[partition], ends[partition + 1])
            columns = a[own], b[own], groups.kind[own], groups.weight[own], at[own]
            yield DecodedPairs(self.source, first_offset, last_offsets[partition], *columns)


_WORDS = (
    '{"v":1,"source":',
    ',"items":[',
    '],"width":',
    ',"offsets":"',
    '","at":"',
    '","lengths":"',
    '","a":"',
    '","b":"',
    '","kind":"',
    '","weight":"',
    '"}',
)
_TEXT = np.frombuffer("".join(_WORDS).encode(), np.uint8)
_ENDS = np.cumsum([0, *map(len, _WORDS)])
_SOURCE, _ITEMS, _WIDTH, _OFFSETS, _AT, _LENGTHS, _A, _B, _KIND, _WEIGHT, _END = range(len(_WORDS))
_COMMA = ord(",")


@inline_njit
def _word(out: Text, at: int, number: int) -> int:
    return put(out, at, _TEXT, _ENDS[number], _ENDS[number + 1] - _ENDS[number])


@inline_njit
def _put_numbers(out: Text, at: int, numbers: NDArray[np.int32], first: int, end: int, width: int, raw: Text) -> int:
    """Write some numbers, of so many bytes each, in base64; `raw` has room for them."""
    for place in range(first, end):
        for byte in range(width):
            raw[(place - first) * width + byte] = (numbers[place] >> (8 * byte)) & 255
    return put_base64(out, at, raw, 0, (end - first) * width)


@cached_njit(nogil=True)
def _write_messages(
    pairs: Pairs, groups: Groups, ids: IdTexts, source: Text
) -> tuple[Text, NDArray[np.int64], NDArray[np.int64]]:
    """The messages of all groups, one after the other, where each ends, and the offset of its last event.

    A group without pairs has none. `source` is a JSON string.
    """
    partitions, events, count = len(groups.pair_ends) - 1, len(groups.event), len(groups.a)
    size = partitions * (len(_TEXT) + len(source) + NUMBER + 4 * 7) + PAIR_BYTES * count + EVENT_BYTES * events
    for item in groups.items:
        size += ids.size[item] + 1
    out, ends, last = np.empty(size, np.uint8), np.zeros(partitions + 1, np.int64), np.zeros(partitions, np.int64)
    offsets, ats, raw = np.empty(events, np.int64), np.empty(events), np.empty(4 * count, np.uint8)
    for event in range(events):
        offsets[event], ats[event] = pairs.offset[groups.event[event]], pairs.at[groups.event[event]]
    offset_bytes, at_bytes = offsets.view(np.uint8), ats.view(np.uint8)
    lengths, weights, kinds = groups.length.view(np.uint8), groups.weight.view(np.uint8), groups.kind.view(np.uint8)
    at = 0
    for partition in range(partitions):
        first, end = groups.pair_ends[partition], groups.pair_ends[partition + 1]
        if end > first:
            event, events_end = groups.event_ends[partition], groups.event_ends[partition + 1]
            item, items_end = groups.item_ends[partition], groups.item_ends[partition + 1]
            width = 1 if items_end - item < 1 << 8 else 2 if items_end - item < 1 << 16 else 4
            last[partition] = offsets[events_end - 1]
            at = put(out, _word(out, at, _SOURCE), source, 0, len(source))
            at = _word(out, at, _ITEMS)
            for place in range(item, items_end):
                if place > item:
                    out[at] = _COMMA
                    at += 1
                index = groups.items[place]
                at = put(out, at, ids.text, ids.start[index], ids.size[index])
            at = put_whole(out, _word(out, at, _WIDTH), width)
            at = put_base64(out, _word(out, at, _OFFSETS), offset_bytes, 8 * event, 8 * (events_end - event))
            at = put_base64(out, _word(out, at, _AT), at_bytes, 8 * event, 8 * (events_end - event))
            at = put_base64(out, _word(out, at, _LENGTHS), lengths, 4 * event, 4 * (events_end - event))
            at = _put_numbers(out, _word(out, at, _A), groups.a, first, end, width, raw)
            at = _put_numbers(out, _word(out, at, _B), groups.b, first, end, width, raw)
            at = put_base64(out, _word(out, at, _KIND), kinds, first, end - first)
            at = put_base64(out, _word(out, at, _WEIGHT), weights, 8 * first, 8 * (end - first))
            at = _word(out, at, _END)
        ends[partition + 1] = at
    return out[:at], ends, last


def _halves(pairs: Pairs) -> list[Pairs]:
    """The pairs of the first and of the second half of the events."""
    middle = len(pairs.offset) // 2
    cut = int(pairs.length[:middle].sum())
    parts = []
    for events, own in ((slice(middle), slice(cut)), (slice(middle, None), slice(cut, None))):
        parts.append(Pairs._make([*(column[own] for column in pairs[:4]), *(column[events] for column in pairs[4:])]))
    return parts


def decode_pairs(record: Record, items: Items, applied: Mapping[str, int]) -> DecodedPairs:
    """The pairs of a message that are not applied yet; new item ids are added to `items`.

    `applied` has the last offset applied, by source. Events up to it are left out.

    Raises:
        RecordError: the message is not one of a worker.
    """
    try:
        wire = decoded(_decode, record, "a message of pairs")
        index = f"<u{wire.width}"
        pairs = Pairs(
            np.frombuffer(wire.a, index).astype(np.int32),
            np.frombuffer(wire.b, index).astype(np.int32),
            np.frombuffer(wire.kind, np.int8),
            np.frombuffer(wire.weight, "<f8"),
            np.frombuffer(wire.offsets, "<i8"),
            np.frombuffer(wire.at, "<f8"),
            np.frombuffer(wire.lengths, "<i4"),
        )
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(where(record), "a message of pairs", error) from error
    after = applied.get(wire.source, -1)
    wrong, events = wrong_column(pairs, len(wire.items), float(NEWEST_S), MAX_WEIGHT, after)
    if wrong != RIGHT:
        path, wanted = _WANTED[wrong]
        raise refusal(record, path, wanted, "others")
    names = wire.items if events < len(pairs.offset) else []
    first_offset, last_offset = int(pairs.offset[0]), int(pairs.offset[-1])
    return DecodedPairs(wire.source, first_offset, last_offset, *unnumbered(pairs, events, items.indices(names)))


def warm() -> None:
    """Compile, or load what was compiled before."""
    items = Items()
    batch = PairBatch("clicks-0", items, 1)
    batch.add(0, 0.0, np.array([(items.index("a"), TOTAL, 0, 1.0)], PAIR))
    list(batch.messages(1 << 20, lambda partition, message, pairs: None))
