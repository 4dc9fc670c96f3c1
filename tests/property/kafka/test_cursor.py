"""The delivery rule under every order of duplicate, missing, late and repeated delivery: each offset once, in order."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka.cursor import Cursor
from streams.kafka.memory_log import MemoryLog, StoredRecord

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
