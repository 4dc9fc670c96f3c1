"""The delivery rule under every order of duplicate, missing, late and repeated delivery: each offset once, in order."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from unittest.mock import patch

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka import cursor as cursors
from streams.kafka.cursor import Cursor, merged, size_of
from streams.kafka.memory_log import MemoryLog, StoredRecord
from streams.wire.record import Record

TP = TopicPartition("clicks", 0)


def a_log(n: int, holes: set[int], start: int) -> MemoryLog:
    log = MemoryLog(clock=lambda: 0, batch=3)
    for i in range(n):
        log.append("clicks", 0, b"k", b"%d" % i, timestamp=i)
    for hole in holes:
        log.remove(TP, hole)
    log.expire(TP, start)
    return log


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, set[int], int, int, list[tuple[str, int, int]]]:
    n = draw(st.integers(1, 40))
    holes = set(draw(st.lists(st.integers(0, n - 1), max_size=8)))
    start = draw(st.integers(0, n // 2))
    position = draw(st.integers(0, n - 1))
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(["deliver", "apply", "watchdog"]), st.integers(0, n), st.integers(1, 10)),
            max_size=30,
        )
    )
    return n, holes, start, position, steps


async def run(n: int, holes: set[int], start: int, position: int, steps: list[tuple[str, int, int]]) -> None:
    log = a_log(n, holes, start)
    stored = log.records("clicks", 0)
    cursor, applied = Cursor(TP, position, log), list[StoredRecord]()

    async def apply_all(most: int) -> None:
        while most:
            await cursor.fill()
            cursor.skip_trailing_hole()
            record = cursor.front()
            if record is None:
                if not cursor.needs_reading:
                    return
                continue
            taken = cursor.take()
            assert taken is record
            applied.append(taken)  # type: ignore[arg-type]
            cursor.applied(taken)
            most -= 1

    for what, at, length in steps:
        if what == "deliver":
            batch = [r for r in stored if at <= r.offset < at + length]
            if batch:
                cursor.offer(batch)
        elif what == "watchdog":
            cursor.expect((await log.ends([TP]))[TP])
        else:
            await apply_all(length)
    cursor.expect((await log.ends([TP]))[TP])
    await apply_all(n + 1)

    offsets = [r.offset for r in applied]
    assert offsets == [r.offset for r in stored if r.offset >= position]
    assert all(a < b for a, b in pairwise(offsets))
    assert cursor.position == n
    assert cursor.held == 0
    assert cursor.tally.expired <= max(0, start - position)


@given(deliveries())
@settings(max_examples=400, deadline=None)
def test_every_record_is_applied_once_and_in_order(
    world: tuple[int, set[int], int, int, list[tuple[str, int, int]]],
) -> None:
    asyncio.run(run(*world))


def test_expired_records_are_counted_and_holes_are_told_apart_from_them() -> None:
    async def scenario() -> Cursor:
        log = a_log(20, holes={12, 13}, start=5)
        cursor = Cursor(TP, 2, log)
        cursor.offer([r for r in log.records("clicks", 0) if r.offset >= 15])
        while True:
            await cursor.fill()
            if cursor.front() is None:
                return cursor
            cursor.applied(cursor.take())

    cursor = asyncio.run(scenario())
    assert cursor.position == 20
    assert cursor.tally.expired == 3
    assert cursor.tally.holes == 2


a_side = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.booleans()), max_size=12)
"""Append time and bytes of each record, and whether a delivery ends with it."""


def delivered(topic: str, side: list[tuple[int, int, bool]]) -> Cursor:
    tp = TopicPartition(topic, 0)
    cursor, batch = Cursor(tp, 0, MemoryLog(clock=lambda: 0)), list[StoredRecord]()
    for offset, (ms, size, ends) in enumerate(side):
        batch.append(StoredRecord(topic, 0, offset, ms, b"k", bytes(size)))
        if ends or offset == len(side) - 1:
            cursor.offer(batch)
            batch = []
    return cursor


def merged_one_by_one(first: Cursor, other: Cursor, most: int, most_bytes: int) -> list[object]:
    taken: list[object] = []
    size = 0
    while len(taken) < most and size < most_bytes:
        one, another = first.front(), other.front()
        if one is None or another is None:
            break
        record = (first if one.timestamp <= another.timestamp else other).take()
        taken.append(record)
        size += size_of(record)
    return taken


@given(a_side, a_side, st.integers(1, 9), st.sampled_from([1, 30, 100, 1 << 20]), st.sampled_from([16, 1 << 14]))
@settings(max_examples=400, deadline=None)
def test_runs_are_merged_and_taken_as_single_records_are(
    first: list[tuple[int, int, bool]], other: list[tuple[int, int, bool]], most: int, most_bytes: int, weight: int
) -> None:
    with patch.object(cursors, "RUN_BYTES", most_bytes), patch.object(cursors, "WEIGHT_BYTES", weight):
        runs = delivered("clicks", first), delivered("purchases", other)
        single = delivered("clicks", first), delivered("purchases", other)
        while taken := merged(*runs, most):
            assert [record for run in taken for record in run] == merged_one_by_one(*single, most, most_bytes)
            assert [cursor.held for cursor in runs] == [cursor.held for cursor in single]
            for run in taken:
                cursor = runs[run.topic == "purchases"]
                cursor.applied_run(run)
                assert cursor.position == run.last_offset + 1
        assert merged_one_by_one(*single, most, most_bytes) == []
        for of_runs, of_records in zip(runs, single, strict=True):
            while taken := of_runs.take_runs(most):
                expected: list[Record] = []
                size = 0
                while len(expected) < most and size < most_bytes and of_records.front() is not None:
                    expected.append(of_records.take())
                    size += size_of(expected[-1])
                assert [record for run in taken for record in run] == expected
                assert of_runs.held == of_records.held
                of_runs.put_back(taken[-1])
                assert of_runs.take_runs(len(taken[-1]))[0][0] == taken[-1][0]
                for run in taken[:-1]:
                    of_runs.applied_run(run)
            assert of_records.front() is None


def test_the_position_passes_a_run_as_it_passes_its_records() -> None:
    log = a_log(9, holes={2, 5}, start=0)
    by_run, by_record = Cursor(TP, 0, log), Cursor(TP, 0, log)
    for cursor in (by_run, by_record):
        cursor.offer(log.records("clicks", 0))
    (run,) = by_run.take_runs(9)
    by_run.applied_run(run[:0])
    by_run.applied_run(run)
    for record in by_record.take_many(9):
        by_record.applied(record)
    assert (by_run.position, by_run.appended_ms, by_run.tally) == (9, 8, by_record.tally)
    assert (by_record.position, by_record.appended_ms) == (9, 8)
