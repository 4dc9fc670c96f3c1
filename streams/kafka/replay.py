"""Replays the recent log, of which the shoppers' state is a function: clicks and purchases merged by append time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from models.sessions.visits import VisitConfig
from streams.kafka.cursor import RUN_BYTES, Cursor, runs_of
from streams.kafka.log import Log
from streams.wire.merging import merge
from streams.wire.record import Record
from streams.wire.record_run import RecordRun

REPLAYED_TOGETHER = 2_000
"""Records that are given together: it takes a few milliseconds to apply them again."""


async def recent_past(
    log: Log,
    clicks: Cursor,
    purchases: Cursor,
    visits: VisitConfig,
    replayed: Callable[[int], None],
    learnt: int | None = None,
) -> AsyncGenerator[list[RecordRun], None]:
    """Remembered records up to the positions of two cursors, by append time; clicks go first where it is equal.

    Each list is of runs that follow each other, each of one of the topics. `replayed` is called with the number of
    records read. From the offset `learnt` on, it must be known of purchases whether they are repeats: if that is
    further back than memory tells, all purchases of the log are read.
    """
    click_start = await _first_remembered(log, clicks, visits.click_memory_s)
    purchase_start = await _first_remembered(log, purchases, visits.purchase_memory_s)
    if learnt is not None and learnt < await _first_remembered(log, purchases, visits.order_margin_s):
        purchase_start = 0
    first = read_again(log, clicks, click_start, replayed)
    second = read_again(log, purchases, purchase_start, replayed)
    async with aclosing(first), aclosing(second):
        left, right = await _next_run(first), await _next_run(second)
        while left is not None or right is not None:
            if left is not None and right is not None:
                runs, left, right = _merged(left, right)
            else:
                run = left if right is None else right
                assert run is not None  # noqa: S101 - the loop's condition
                runs = [run[:REPLAYED_TOGETHER]]
                rest = run[REPLAYED_TOGETHER:]
                left, right = (rest, None) if right is None else (None, rest)
            yield runs
            left = left or (None if left is None else await _next_run(first))
            right = right or (None if right is None else await _next_run(second))


async def _next_run(batches: AsyncGenerator[Sequence[Record], None]) -> RecordRun | None:
    """The next records as a run, if there are any."""
    async for batch in batches:
        if batch:
            return RecordRun.of(batch)
    return None


def _merged(left: RecordRun, right: RecordRun) -> tuple[list[RecordRun], RecordRun, RecordRun]:
    """The first records of two runs by append time, as runs, and the rest of each."""
    *stretches, _ = merge(
        left.table, left.start, left.stop, right.table, right.start, right.stop, REPLAYED_TOGETHER, RUN_BYTES
    ).tolist()
    runs, rests = list[RecordRun](), [left, right]
    for number, count in enumerate(stretches):
        if count:
            side = number % 2
            runs.append(rests[side][:count])
            rests[side] = rests[side][count:]
    return runs, rests[0], rests[1]


async def records_of(past: AsyncGenerator[list[RecordRun], None]) -> AsyncGenerator[Record, None]:
    """The records of `recent_past` one by one."""
    async with aclosing(past):
        async for runs in past:
            for run in runs:
                for record in run:
                    yield record


async def _first_remembered(log: Log, cursor: Cursor, memory_s: float) -> int:
    """Offset of the first record appended within memory of the position."""
    if not cursor.position:
        return 0
    at = await log.offset_at(cursor.partition, round(cursor.appended_ms - memory_s * 1000))
    return cursor.position if at is None else at


async def read_again(
    log: Log, cursor: Cursor, start: int, replayed: Callable[[int], None]
) -> AsyncGenerator[Sequence[Record], None]:
    """Records from an offset, or from the log's start, up to a cursor's position, in batches.

    `replayed` is called with the number of records read.
    """
    tp = cursor.partition
    start = max(start, (await log.starts([tp]))[tp])
    if start < cursor.position:
        async with aclosing(log.read_range(tp, start, cursor.position)) as batches:
            async for batch in batches:
                replayed(len(batch))
                for run in runs_of(batch):
                    yield run
                    await asyncio.sleep(0)
