"""Replays the recent log, of which the shoppers' state is a function: clicks and purchases merged by append time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from models.sessions.visits import VisitConfig
from streams.kafka.cursor import Cursor, runs_of
from streams.kafka.log import Log
from streams.wire.record import Record


async def recent_past(
    log: Log,
    clicks: Cursor,
    purchases: Cursor,
    visits: VisitConfig,
    replayed: Callable[[int], None],
    learnt: int | None = None,
) -> AsyncGenerator[Record, None]:
    """Remembered records up to the positions of two cursors, by append time; clicks go first where it is equal.

    `replayed` is called with the number of records read. From the offset `learnt` on, it must be known of purchases
    whether they are repeats: if that is further back than memory tells, all purchases of the log are read.
    """
    click_start = await _first_remembered(log, clicks, visits.click_memory_s)
    purchase_start = await _first_remembered(log, purchases, visits.purchase_memory_s)
    if learnt is not None and learnt < await _first_remembered(log, purchases, visits.order_margin_s):
        purchase_start = 0
    first = read_again(log, clicks, click_start, replayed)
    second = read_again(log, purchases, purchase_start, replayed)
    async with aclosing(_records(first)) as lefts, aclosing(_records(second)) as rights:
        left, right = await anext(lefts, None), await anext(rights, None)
        while left is not None or right is not None:
            if right is None or (left is not None and left.timestamp <= right.timestamp):
                assert left is not None  # noqa: S101 - the loop's condition
                yield left
                left = await anext(lefts, None)
            else:
                yield right
                right = await anext(rights, None)


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


async def _records(batches: AsyncGenerator[Sequence[Record], None]) -> AsyncGenerator[Record, None]:
    async with aclosing(batches):
        async for batch in batches:
            for record in batch:
                yield record
