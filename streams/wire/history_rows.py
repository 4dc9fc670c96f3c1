"""Records of `histories`, written by the owner of a shopper partition: what one shopper has bought.

JSON objects with `v` 1; the table of the items is base64 of its little-endian bytes, so float64 comes back bit for bit.
The offset belongs to a topic and its partitions, which the row names. Rows lie where the shopper's purchases do, also
if that is another partition than the key's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from models.sessions.histories import CELL, MAX_ITEMS, History, HistoryRow
from streams.errors import RecordError
from streams.wire.record import Offset, Partitions, Record, Seconds, SomeId, TopicId, check_key, decoded, refusal
from streams.wire.topics import Identity

MAX_BASKETS = 10**9
"""Of a shopper; far below what int32 holds."""

_TABLE = np.dtype([("count", "<i4"), ("first", "<f8"), ("last", "<f8"), ("fast", "<f8"), ("slow", "<f8")])
"""36 bytes an item, one after the other."""


class _HistoryRecord(msgspec.Struct, gc=False):
    v: Literal[1]
    user_id: SomeId
    topic_id: TopicId
    partitions: Partitions
    position: Offset
    baskets: Annotated[int, Meta(ge=1, le=MAX_BASKETS)]
    slow: float
    first: Seconds
    last: Seconds
    items: Annotated[list[SomeId], Meta(min_length=1, max_length=MAX_ITEMS)]
    table: bytes  # base64 of (n,) of `_TABLE`


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_HistoryRecord).decode


class PublishedHistory(NamedTuple):
    """A row, and the topic `purchases` that its position belongs to."""

    row: HistoryRow
    purchases: Identity


def encode_history(row: HistoryRow, purchases: Identity) -> bytes:
    """The record's value for a row; its key is the shopper's id. About 60 bytes an item and 200 more."""
    history = row.history
    table = np.empty(len(history.cells), _TABLE)
    for name in _TABLE.names or ():
        table[name] = history.cells[name]
    return _encode(
        _HistoryRecord(
            v=1,
            user_id=row.user_id,
            topic_id=purchases.topic_id,
            partitions=purchases.partitions,
            position=history.position,
            baskets=history.baskets,
            slow=history.slow,
            first=history.first,
            last=history.last,
            items=row.item_ids,
            table=table.tobytes(),
        )
    )


def decode_history(record: Record) -> PublishedHistory:
    """The row that a record of `histories` holds.

    Raises:
        RecordError: it holds none, its numbers are impossible, or its key is not its shopper.
    """
    (row,) = decode_histories([record])
    if isinstance(row, RecordError):
        raise row
    return row


def decode_histories(records: Sequence[Record]) -> list[PublishedHistory | RecordError]:
    """The row that each record holds, or why it is refused. The tables are checked together, which is faster."""
    wires: list[_HistoryRecord | RecordError] = []
    for record in records:
        try:
            wires.append(_wire(record))
        except RecordError as error:
            wires.append(error)
    good = [(record, wire) for record, wire in zip(records, wires, strict=True) if isinstance(wire, _HistoryRecord)]
    rows = _rows(good)
    return [wire if isinstance(wire, RecordError) else next(rows) for wire in wires]


def _wire(record: Record) -> _HistoryRecord:
    """What a record holds, checked except for the numbers in its table."""
    wire = decoded(_decode, record, "a shopper's history")
    check_key(record, "$.user_id", wire.user_id)
    if len(set(wire.items)) < len(wire.items):
        raise refusal(record, "$.items", "items, each once", "one that is there twice")
    if len(wire.table) != _TABLE.itemsize * len(wire.items):
        raise refusal(
            record, "$.table", f"{len(wire.items)} rows of {_TABLE.itemsize} bytes", f"{len(wire.table)} bytes"
        )
    if not 1 <= wire.slow <= wire.baskets:
        raise refusal(record, "$.slow", f"a decayed count from 1 to {wire.baskets}", str(wire.slow))
    return wire


def _rows(good: Sequence[tuple[Record, _HistoryRecord]]) -> Iterator[PublishedHistory | RecordError]:
    """The row of each record, or a refusal if the numbers in its table are impossible."""
    if not good:
        return
    table = np.frombuffer(b"".join([wire.table for _, wire in good]), _TABLE)
    lengths = [len(wire.items) for _, wire in good]
    starts = np.cumsum([0, *lengths[:-1]])
    bounds = np.array([(wire.baskets, wire.first, wire.last) for _, wire in good])
    baskets, first, last = np.repeat(bounds, lengths, axis=0).T
    counts, least = table["count"], np.minimum(table["fast"], table["slow"])
    possible = (counts <= baskets) & (least >= 1) & (np.maximum(table["fast"], table["slow"]) <= counts)  # NaN is not
    within = (first <= table["first"]) & (table["first"] <= table["last"]) & (table["last"] <= last)
    cells = np.zeros(len(table), CELL)
    cells["item"] = -1
    for name in _TABLE.names or ():
        cells[name] = table[name]
    all_of_row = np.logical_and.reduceat([possible, within], starts, axis=1)
    checked = zip(good, starts.tolist(), all_of_row.T.tolist(), strict=True)
    for (record, wire), start, (is_possible, is_within) in checked:
        if not is_possible:
            expected = f"counts from 1 to {wire.baskets}, decayed ones from 1 to them"
            yield refusal(record, "$.table", expected, "others")
        elif not is_within:
            yield refusal(record, "$.table", "times between `first` and `last` of the row", "others")
        else:
            own = cells[start : start + len(wire.items)]
            history = History(own, wire.baskets, wire.slow, wire.first, wire.last, wire.position)
            purchases = Identity(wire.topic_id, wire.partitions)
            yield PublishedHistory(HistoryRow(wire.user_id, wire.items, history), purchases)
