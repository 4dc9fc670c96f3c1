"""The wire form of what the owner of an item partition publishes to `neighbours`.

Two kinds of record: a row, keyed by its item, and one position record an item partition, under the empty key, which no
item has. JSON objects with `v` 1; the two tables of a row travel as base64 of their little-endian bytes: float64 comes
back bit for bit, and a mirror of a million rows starts in half the time that digits would take.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from models.cooccurrence.counter import Row
from models.shop.events import PAIR_KINDS
from streams.errors import RecordError
from streams.wire.record import Record, where

POSITION_KEY = b""
"""Key of the position record of a partition."""

MAX_COUNT = 2**31 - 1
"""Counts travel as int32 and stay here for ever once reached: two thousand million events behind one pair."""

Whole = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]


class PositionRecord(msgspec.Struct, gc=False):
    """Up to where the published rows of one item partition include `pairs`, and what its rows share.

    Attributes:
        v: version of this form.
        topic_id: of the `pairs` topic the position is of: after a topic was made anew its offsets mean other events.
        partitions: number of partitions of that topic then.
        position: offset of the next record of `pairs` to apply.
        applied: last source offset applied, by source partition such as `clicks-3`.
        baskets: decayed weight of all baskets counted at this partition, as of `at`.
        at: newest event time behind it, in epoch seconds.
    """

    v: Literal[1]
    topic_id: str
    partitions: Annotated[int, Meta(ge=1)]
    position: Whole
    applied: dict[str, int]
    baskets: Amount
    at: float


class _RowRecord(msgspec.Struct, gc=False):
    v: Literal[1]
    item_id: str
    position: Whole
    at: float
    own: tuple[Amount, Amount]
    own_count: tuple[Whole, Whole]
    neighbours: list[str]
    weights: bytes  # base64 of (n, 3) float64, little-endian, row by row
    counts: bytes  # base64 of (n, 3) int32, little-endian, row by row


_encoder = msgspec.json.Encoder()
_row_decoder = msgspec.json.Decoder(_RowRecord)
_position_decoder = msgspec.json.Decoder(PositionRecord)


def encode_row(row: Row) -> bytes:
    """The record's value for a row; its key is the item's id.

    About 5 us for 100 neighbours, 6 kB.
    """
    own, own_count = row.own, row.own_count
    weights = np.asarray(row.weights, "<f8").tobytes()
    counts = np.minimum(row.counts, MAX_COUNT).astype("<i4").tobytes()
    return _encoder.encode(
        _RowRecord(
            1,
            row.item_id,
            row.position,
            float(row.at),
            (float(own[0]), float(own[1])),
            (int(own_count[0]), int(own_count[1])),
            row.neighbours,
            weights,
            counts,
        )
    )


def decode_row(record: Record) -> Row:
    """The row that a record of `neighbours` holds.

    About 10 us for 100 neighbours.

    Raises:
        RecordError: it holds none, its tables do not fit its neighbours, or its key is not its item.
    """
    try:
        wire = _row_decoder.decode(record.value or b"")
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(where(record), "a row of neighbours", error) from error
    names = wire.neighbours
    cells = PAIR_KINDS * len(names)
    wrong = None
    if wire.item_id.encode() != record.key:
        wrong = "$.item_id", f"the record's key, {record.key!r}", repr(wire.item_id)
    elif len(wire.weights) != 8 * cells:
        wrong = "$.weights", f"{cells} numbers of 8 bytes", f"{len(wire.weights)} bytes"
    elif len(wire.counts) != 4 * cells:
        wrong = "$.counts", f"{cells} numbers of 4 bytes", f"{len(wire.counts)} bytes"
    if wrong:
        raise RecordError(*wrong, where=where(record))
    weights = np.frombuffer(wire.weights, "<f8").reshape(-1, PAIR_KINDS).copy()  # (n, 3), writable
    counts = np.frombuffer(wire.counts, "<i4").reshape(-1, PAIR_KINDS).astype(np.int64)  # (n, 3)
    return Row(wire.item_id, wire.position, wire.at, wire.own, wire.own_count, names, weights, counts)


def encode_position(position: PositionRecord) -> bytes:
    """The record's value for a position; its key is `POSITION_KEY`.

    >>> encode_position(PositionRecord(1, "t", 8, 17, {"clicks-3": 812}, 2.5, 1e9))
    b'{"v":1,"topic_id":"t","partitions":8,"position":17,"applied":{"clicks-3":812},"baskets":2.5,"at":1000000000.0}'
    """
    return _encoder.encode(position)


def decode_position(record: Record) -> PositionRecord:
    """The position that a record of `neighbours` holds.

    Raises:
        RecordError: it holds none.
    """
    try:
        return _position_decoder.decode(record.value or b"")
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(where(record), "a position", error) from error
