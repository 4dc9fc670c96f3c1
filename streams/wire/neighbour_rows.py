"""Records of `neighbours`, written by the owner of an item partition.

Two kinds: a row, keyed by its item, and one position record per item partition, under the empty key, which no item has.
JSON objects with `v` 1; the two tables of a row are base64 of their little-endian bytes. float64 comes back bit for
bit, and a worker reads a million rows in half the time that digits would take.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from models.cooccurrence.counter import Row
from models.shop.events import PAIR_KINDS
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
