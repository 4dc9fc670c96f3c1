"""Records of `neighbours`, written by the owner of an item partition.

Two kinds: a row, keyed by its item, and one position record per item partition, under the empty key, which no item has.
JSON objects with `v` 1; the two tables of a row are base64 of their little-endian bytes. float64 comes back bit for
bit, and a worker reads a million rows in half the time that digits would take.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from models.cooccurrence.count_kernel import CutRows
from models.cooccurrence.counter import Row
from models.jit import cached_njit, inline_njit
from models.shop.events import PAIR_KINDS
from models.shop.items import Items
from streams.wire.json_text import NUMBER, put, put_base64, put_whole
from streams.wire.quoted_ids import IdTexts, shared_quoted_ids
from streams.wire.raw_bytes import Text
from streams.wire.record import (
    MAX_AMOUNT,
    Amount,
    Offset,
    Partitions,
    Record,
    Seconds,
    SomeId,
    TopicId,
    check_key,
    decoded,
    refusal,
)

POSITION_KEY = b""
"""Key of the position record of a partition."""

MAX_NEIGHBOURS = 10_000
"""Of a row that is read. Workers keep far fewer."""

MAX_SOURCES = 10_000
"""Of a position: three a partition of the shop's topics."""


class PositionRecord(msgspec.Struct, gc=False):
    """Which records of `pairs` the published rows of one item partition include, and what its rows share.

    Attributes:
        v: version of this form.
        topic_id: of the `pairs` topic: in a recreated topic, offsets mean other events.
        partitions: number of partitions of that topic.
        position: offset of the next record of `pairs` to apply.
        applied: last source offset applied, by source partition such as `clicks-3`.
        baskets: decayed weight of all baskets counted in this partition, as of `at`.
        at: newest event time in it, in epoch seconds.
    """

    v: Literal[1]
    topic_id: TopicId
    partitions: Partitions
    position: Offset
    applied: Annotated[dict[Annotated[str, Meta(max_length=256)], Offset], Meta(max_length=MAX_SOURCES)]
    baskets: Amount
    at: Seconds


class _RowRecord(msgspec.Struct, gc=False):
    v: Literal[1]
    item_id: SomeId
    position: Offset
    at: Seconds
    own: tuple[Amount, Amount]
    own_count: tuple[Offset, Offset]
    neighbours: Annotated[list[SomeId], Meta(max_length=MAX_NEIGHBOURS)]
    weights: bytes  # base64 of (n, 3) float64, little-endian, row by row
    counts: bytes  # base64 of (n, 3) int32, little-endian, row by row


_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(_RowRecord).decode
_decode_position = msgspec.json.Decoder(PositionRecord).decode


def encode_row(row: Row) -> bytes:
    """The record's value for a row; its key is the item's id. About 6 kB for 100 neighbours."""
    return _encode(
        _RowRecord(
            v=1,
            item_id=row.item_id,
            position=row.position,
            at=float(row.at),
            own=(float(row.own[0]), float(row.own[1])),
            own_count=(int(row.own_count[0]), int(row.own_count[1])),
            neighbours=row.neighbours,
            weights=np.asarray(row.weights, "<f8").tobytes(),
            counts=np.asarray(row.counts, "<i4").tobytes(),
        )
    )


_WORDS = (
    '{"v":1,"item_id":',
    ',"position":',
    ',"at":',
    ',"own":[',
    '],"own_count":[',
    '],"neighbours":[',
    '],"weights":"',
    '","counts":"',
    '"}',
)
_TEXT = np.frombuffer("".join(_WORDS).encode(), np.uint8)
_ENDS = np.cumsum([0, *map(len, _WORDS)])
_ITEM_ID, _POSITION, _AT, _OWN, _OWN_COUNT, _NEIGHBOURS, _WEIGHTS, _COUNTS, _END = range(len(_WORDS))
_COMMA, _CLOSE = map(ord, ",]")
_CELL_BYTES = PAIR_KINDS * (8 + 4) * 4 // 3
"""Of the numbers of one neighbour, in base64."""


class WrittenRows(NamedTuple):
    """Records of rows, by place among those written."""

    keys: list[bytes]
    values: list[bytes]


class RowWriter:
    """Writes the records of many rows at once: byte for byte those of `encode_row`."""

    def __init__(self, items: Items) -> None:
        self._items, self._ids = items, shared_quoted_ids(items)

    def write(self, rows: CutRows, position: int) -> WrittenRows:
        """The records of rows, all of one position."""
        numbers = np.concatenate([rows.at[:, None], rows.own], axis=1)  # (rows, 3)
        figures = np.frombuffer(_encode(numbers.ravel().tolist()), np.uint8)
        ids = self._ids.of(np.concatenate([rows.items, rows.neighbours]))
        text, ends = _write_rows(rows, position, ids, figures)
        keys = [self._items.name(index).encode() for index in rows.items.tolist()]
        whole, bounds = text.tobytes(), ends.tolist()
        return WrittenRows(keys, [whole[start:end] for start, end in zip(bounds, bounds[1:], strict=False)])

    def warm(self) -> None:
        """Compile, or load what was compiled before."""
        none = np.empty(0, np.int32)
        cells = np.empty((0, PAIR_KINDS)), np.empty((0, PAIR_KINDS), np.int32)
        self.write(
            CutRows(
                none, np.empty(0), np.empty((0, 2)), np.empty((0, 2), np.int64), np.zeros(1, np.int64), none, *cells
            ),
            0,
        )


@inline_njit
def _word(out: Text, at: int, number: int) -> int:
    return put(out, at, _TEXT, _ENDS[number], _ENDS[number + 1] - _ENDS[number])


@inline_njit
def _end_of_number(figures: Text, at: int) -> int:
    """Where a number in a list ends."""
    while figures[at] != _COMMA and figures[at] != _CLOSE:
        at += 1
    return at


@cached_njit(nogil=True)
def _write_rows(rows: CutRows, position: int, ids: IdTexts, figures: Text) -> tuple[Text, NDArray[np.int64]]:
    """Records of rows, one after the other, and where each ends; `figures`: JSON of time and own weights of each."""
    count, size = len(rows.items), len(figures)
    for item in rows.items:
        size += ids.size[item]
    for item in rows.neighbours:
        size += ids.size[item] + 1
    size += count * (len(_TEXT) + 3 * NUMBER + 8) + len(rows.neighbours) * _CELL_BYTES
    out, ends = np.empty(size, np.uint8), np.zeros(count + 1, np.int64)
    weights, counts = rows.weights.reshape(-1).view(np.uint8), rows.counts.reshape(-1).view(np.uint8)
    at, figure = 0, 1
    for number in range(count):
        first, cells = rows.ends[number], rows.ends[number + 1] - rows.ends[number]
        item = rows.items[number]
        at = _word(out, at, _ITEM_ID)
        at = put(out, at, ids.text, ids.start[item], ids.size[item])
        at = _word(out, at, _POSITION)
        at = put_whole(out, at, position)
        at = _word(out, at, _AT)
        end = _end_of_number(figures, figure)
        at = put(out, at, figures, figure, end - figure)
        at = _word(out, at, _OWN)
        figure = end + 1
        end = _end_of_number(figures, _end_of_number(figures, figure) + 1)
        at = put(out, at, figures, figure, end - figure)
        figure = end + 1
        at = _word(out, at, _OWN_COUNT)
        at = put_whole(out, at, rows.own_count[number, 0])
        out[at] = _COMMA
        at = put_whole(out, at + 1, rows.own_count[number, 1])
        at = _word(out, at, _NEIGHBOURS)
        for cell in range(first, first + cells):
            if cell > first:
                out[at] = _COMMA
                at += 1
            neighbour = rows.neighbours[cell]
            at = put(out, at, ids.text, ids.start[neighbour], ids.size[neighbour])
        at = _word(out, at, _WEIGHTS)
        at = put_base64(out, at, weights, 8 * PAIR_KINDS * first, 8 * PAIR_KINDS * cells)
        at = _word(out, at, _COUNTS)
        at = put_base64(out, at, counts, 4 * PAIR_KINDS * first, 4 * PAIR_KINDS * cells)
        at = _word(out, at, _END)
        ends[number + 1] = at
    return out[:at], ends


def decode_row(record: Record) -> Row:
    """The row that a record of `neighbours` holds.

    Raises:
        RecordError: it holds none, its tables do not fit its neighbours or hold impossible counts, or its key is not
            its item.
    """
    wire = decoded(_decode_row, record, "a row of neighbours")
    names = wire.neighbours
    cells = PAIR_KINDS * len(names)
    check_key(record, "$.item_id", wire.item_id)
    if len({wire.item_id, *names}) <= len(names):
        raise refusal(record, "$.neighbours", "other items, each once", "one that is there twice, or the row's own")
    if len(wire.weights) != 8 * cells:
        raise refusal(record, "$.weights", f"{cells} numbers of 8 bytes", f"{len(wire.weights)} bytes")
    if len(wire.counts) != 4 * cells:
        raise refusal(record, "$.counts", f"{cells} numbers of 4 bytes", f"{len(wire.counts)} bytes")
    weights = np.frombuffer(wire.weights, "<f8").reshape(-1, PAIR_KINDS)  # (n, 3)
    counts = np.frombuffer(wire.counts, "<i4").reshape(-1, PAIR_KINDS)  # (n, 3)
    if names and not 0 <= weights.min() <= weights.max() <= MAX_AMOUNT:  # NaN is neither
        raise refusal(record, "$.weights", f"numbers from 0 to {MAX_AMOUNT:g}", "others")
    if names and counts.min() < 0:
        raise refusal(record, "$.counts", "numbers >= 0", "others")
    return Row(wire.item_id, wire.position, wire.at, wire.own, wire.own_count, names, weights, counts)


def encode_position(position: PositionRecord) -> bytes:
    """The record's value for a position; its key is `POSITION_KEY`.

    >>> encode_position(PositionRecord(1, "t", 8, 17, {"clicks-3": 812}, 2.5, 1e9))
    b'{"v":1,"topic_id":"t","partitions":8,"position":17,"applied":{"clicks-3":812},"baskets":2.5,"at":1000000000.0}'
    """
    return _encode(position)


def decode_position(record: Record) -> PositionRecord:
    """The position that a record of `neighbours` holds. Raises RecordError if it holds none."""
    return decoded(_decode_position, record, "a position")
