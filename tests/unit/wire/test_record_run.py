"""Runs of records: sequences whose slices share the columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streams.kafka.memory_log import StoredRecord
from streams.wire import batch_reader
from streams.wire.record import Record, Unreadable
from streams.wire.record_run import HEADERS, OBJECT, FetchedRecord, RecordRun
from tests.support.batches import batch, batch_of

RECORDS: Sequence[Record] = [
    StoredRecord("t", 1, 3, 70, b"key", b"value"),
    StoredRecord("t", 1, 4, 60, None, b"no key"),
    StoredRecord("t", 1, 7, 80, b"no value", None),
    StoredRecord("t", 1, 8, 80, b"marked", b"{}", (("source", b"1"),)),
    Unreadable("t", 1, 9, 80, b"bad", b"recovered", "garbage"),
    FetchedRecord("t", 1, 10, 90, 1, b"", b"", ()),
]


def read(raw: bytes) -> RecordRun:
    table, count, _, _ = batch_reader.read_batches(np.frombuffer(raw, np.uint8), 0, 0, True)
    return RecordRun("t", 1, raw, table, {}, 0, count)


def text(run: RecordRun, starts: np.ndarray, ends: np.ndarray) -> list[bytes]:
    return [run.data[start:end] for start, end in zip(starts, ends, strict=True)]


def test_a_run_of_records_gives_them_back_and_has_their_columns() -> None:
    run = RecordRun.of(RECORDS)
    assert RecordRun.of(run) is run
    assert list(run) == RECORDS
    assert [run[i] for i in range(-6, 6)] == [*RECORDS, *RECORDS]
    assert run.offsets.tolist() == [3, 4, 7, 8, 9, 10]
    assert run.timestamps.tolist() == [70, 60, 80, 80, 80, 90]
    assert run.plain.tolist() == [True, False, False, False, False, True]
    assert text(run, run.key_starts, run.key_ends) == [b"key", b"", b"no value", b"marked", b"bad", b""]
    assert text(run, run.value_starts, run.value_ends) == [b"value", b"no key", b"", b"{}", b"recovered", b""]
    assert run.table[-1].tolist()[3] == OBJECT | HEADERS
    assert (run.first_offset, run.last_offset) == (3, 10)


def test_a_slice_is_a_run_of_the_same_columns() -> None:
    run = RecordRun.of(RECORDS)
    part = run[1:5][1:]
    assert list(part) == RECORDS[2:5]
    assert part.table is run.table
    assert part.offsets.tolist() == [7, 8, 9]
    assert (part[-1], len(part), len(run[4:2]), bool(run[6:])) == (RECORDS[4], 3, 0, False)
    for wrong in (3, -4):
        with pytest.raises(IndexError):
            _ = part[wrong]
    with pytest.raises(ValueError, match="slice"):
        _ = run[::2]


def test_records_between_offsets() -> None:
    run = RecordRun.of(RECORDS)
    assert [[record.offset for record in run.between(*ends)] for ends in ((0, 99), (4, 8), (5, 6), (11, 3))] == [
        [3, 4, 7, 8, 9, 10], [4, 7], [], [],
    ]  # fmt: skip


def test_joined_runs_hold_the_records_of_all() -> None:
    fetched = read(batch(base=20) + batch_of([b"x", None], base=23))
    assert [record.value for record in fetched] == [b"value 0", b"value 1", b"value 2", b"x", None]
    assert fetched[4].headers == (("name", b"header"),)
    whole = RecordRun.joined([RecordRun.of(RECORDS), fetched[1:], read(batch(base=25))])
    assert list(whole[:6]) == RECORDS
    assert list(whole[6:10]) == list(fetched[1:])
    assert [(record.offset, record.key, record.value) for record in whole[10:]] == [
        (25 + n, b"k%d" % n, b"value %d" % n) for n in range(3)
    ]
    same = RecordRun.joined([fetched[:1], fetched[3:]])
    assert same.data is fetched.data
    assert [record.offset for record in same] == [20, 23, 24]
