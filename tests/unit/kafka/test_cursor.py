"""The cursor: what waits in it is counted by size, too."""

from __future__ import annotations

from aiokafka import TopicPartition

from streams.kafka.cursor import RUN_BYTES, WEIGHT_BYTES, Cursor, runs_of
from streams.kafka.memory_log import MemoryLog, StoredRecord
from streams.wire.record import Record, Unreadable

PARTITION = TopicPartition("t", 0)


async def test_a_large_record_counts_as_several_until_it_is_taken() -> None:
    log = MemoryLog(clock=lambda: 0)
    values = [b"small", None, bytes(WEIGHT_BYTES - 1), bytes(WEIGHT_BYTES), bytes(10 * WEIGHT_BYTES)]
    for value in values:
        log.append("t", 0, b"k", value)
    cursor = Cursor(PARTITION, 0, log)
    cursor.expect(2)
    cursor.offer([StoredRecord("t", 0, offset, 0, b"k", values[offset]) for offset in range(2, 5)])
    assert cursor.held == 1 + 2 + 11
    await cursor.fill()
    assert cursor.held == 1 + 1 + 1 + 2 + 11
    held = []
    while cursor.front() is not None:
        cursor.applied(cursor.take())
        held.append(cursor.held)
    assert held == [15, 14, 13, 11, 0]


def test_an_unreadable_record_counts_by_what_could_be_read_of_it() -> None:
    cursor = Cursor(PARTITION, 0, MemoryLog(clock=lambda: 0))
    lost: Record = Unreadable("t", 0, 0, 0, None, None, "garbage")
    kept: Record = Unreadable("t", 0, 1, 0, None, bytes(3 * WEIGHT_BYTES), "garbage")
    cursor.offer([lost, kept])
    assert cursor.held == 1 + 4


def test_a_run_ends_with_the_record_that_makes_it_large() -> None:
    sizes = [3, RUN_BYTES - 3, RUN_BYTES, 1, RUN_BYTES - 2, 0]
    records = [StoredRecord("t", 0, offset, 0, b"k", bytes(size)) for offset, size in enumerate(sizes)]
    assert [[record.offset for record in run] for run in runs_of(records)] == [[0, 1], [2], [3, 4, 5]]
    assert list(runs_of(records[3:])) == [records[3:]]
    assert list(runs_of([])) == []
