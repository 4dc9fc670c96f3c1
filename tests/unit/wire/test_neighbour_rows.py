"""Rows and positions go out and come back bit for bit."""

import time
from dataclasses import dataclass

import numpy as np
import pytest

from models.cooccurrence.counter import Row
from streams.errors import RecordError
from streams.wire.neighbour_rows import (
    POSITION_KEY,
    PositionRecord,
    decode_position,
    decode_row,
    encode_position,
    encode_row,
)
from streams.wire.record import Header


@dataclass
class Rec:
    key: bytes | None
    value: bytes | None
    topic: str = "neighbours"
    partition: int = 5
    offset: int = 7
    timestamp: int = 0
    headers: tuple[Header, ...] = ()


def row_of(size: int, seed: int = 1) -> Row:
    random = np.random.default_rng(seed)
    return Row(
        item_id="kettle/é",
        position=2**53 + 1,
        at=1_714_564_800.123,
        own=(0.1 + 0.2, 1e-300),
        own_count=(3, 2**40),
        neighbours=[f"item-{number:05d}" for number in random.permutation(size)],
        weights=np.exp(random.normal(0, 20, (size, 3))),
        counts=random.integers(0, 2**31, (size, 3)).astype(np.int32),
    )


@pytest.mark.parametrize("size", [0, 1, 100, 128])
def test_a_row_comes_back_bit_for_bit(size: int) -> None:
    row = row_of(size)
    back = decode_row(Rec(row.item_id.encode(), encode_row(row)))
    assert (back.item_id, back.position, back.at) == (row.item_id, row.position, row.at)
    assert (back.own, back.own_count, back.neighbours) == (row.own, row.own_count, row.neighbours)
    assert back.weights.tobytes() == row.weights.tobytes()
    np.testing.assert_array_equal(back.counts, row.counts)
    assert (back.weights.shape, back.weights.dtype) == ((size, 3), np.dtype(np.float64))
    assert (back.counts.shape, back.counts.dtype) == ((size, 3), np.dtype(np.int32))
    assert encode_row(back) == encode_row(row)


def test_numpy_scalars_are_numbers_too() -> None:
    row = row_of(2)
    plain = encode_row(row)
    row.own, row.own_count = tuple(np.array(row.own)), tuple(np.array(row.own_count))
    row.at, row.position = np.float64(row.at), int(np.int64(row.position))
    assert encode_row(row) == plain


def test_columns_of_a_table_that_is_not_contiguous() -> None:
    row = row_of(4)
    plain = encode_row(row)
    row.weights, row.counts = np.asfortranarray(row.weights), row.counts[::-1][::-1]
    assert encode_row(row) == plain


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"item_id":"kettle', b'"item_id":"pot'),
        (b'"neighbours":["item', b'"neighbours":["more","item'),
        (b'"weights":"', b'"weights":"AAAAAAAA'),
        (b'"counts":"', b'"counts":"AAAA'),
        (b'"position":', b'"position":-'),
        (b'"own":[', b'"own":[1,'),
        (b'"weights":"', b'"weights":"?'),
        (b"{", b"["),
    ],
)
def test_what_is_no_row_is_refused(old: bytes, new: bytes) -> None:
    row = row_of(3)
    value = encode_row(row).replace(old, new, 1)
    with pytest.raises(RecordError, match="neighbours-5@7"):
        decode_row(Rec(row.item_id.encode(), value))


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"null", b"[" * 100_000, b'{"x":' + b"[" * 100_000])
def test_what_is_nothing_is_refused(value: bytes | None) -> None:
    for decode in (decode_row, decode_position):
        with pytest.raises(RecordError):
            decode(Rec(b"", value))


def test_position() -> None:
    position = PositionRecord(
        1, "topic-id", 8, 2**60, {"clicks-3@id": 812, "purchases-0@id": 2**60}, 0.1 + 0.2, 1e9 + 0.1
    )
    assert decode_position(Rec(POSITION_KEY, encode_position(position))) == position
    with pytest.raises(RecordError):
        decode_position(Rec(POSITION_KEY, encode_position(position).replace(b'"v":1', b'"v":2')))


def test_a_row_of_100_neighbours_is_decoded_in_microseconds() -> None:
    record = Rec("kettle/é".encode(), encode_row(row_of(100)))
    best = float("inf")
    for _ in range(20):
        started = time.process_time()
        for _ in range(200):
            decode_row(record)
        best = min(best, (time.process_time() - started) / 200)
    assert best < 60e-6  # 11 us where nothing else runs
