"""The recent log, read again: what shoppers' state is a function of, clicks and purchases merged by append time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from models.sessions.visits import VisitConfig
from streams.kafka.cursor import Cursor
from streams.kafka.log import Log
from streams.wire.record import Record


async def recent_past(
    log: Log, clicks: Cursor, purchases: Cursor, visits: VisitConfig, replayed: Callable[[int], None]
) -> AsyncGenerator[Record, None]:
    """Records within memory of the positions of two cursors, up to them, the smaller append time first.

    Args:
        log: is read.
        clicks: says the position and its append time.
        purchases: ...
        visits: says how long each is remembered.
        replayed: told how many records were read.
    """
    click_start = await _first_remembered(log, clicks, visits.click_memory_s)
    purchase_start = await _first_remembered(log, purchases, visits.purchase_memory_s)
    first = read_again(log, clicks, click_start, replayed)
    second = read_again(log, purchases, purchase_start, replayed)
    async with aclosing(merged_by_append_time(first, second)) as merged:
        async for record in merged:
            yield record


async def _first_remembered(log: Log, cursor: Cursor, memory_s: float) -> int:
    """First offset to read again: the first record appended within memory of the position."""
    if not cursor.position:
        return 0
    at = await log.offset_at(cursor.partition, round(cursor.appended_ms - memory_s * 1000))
    return cursor.position if at is None else at


async def read_again(
    log: Log, cursor: Cursor, start: int, replayed: Callable[[int], None]
) -> AsyncGenerator[Sequence[Record], None]:
    """Records from an offset, or the first that is left, up to a cursor's position, in batches.

    Args:
        log: is read.
        cursor: says the partition and the position.
        start: offset.
        replayed: told how many records were read.
    """
    tp = cursor.partition
    start = max(start, (await log.starts([tp]))[tp])
    if start < cursor.position:
        async with aclosing(log.read_range(tp, start, cursor.position)) as batches:
            async for batch in batches:
                replayed(len(batch))
                yield batch
                await asyncio.sleep(0)


async def merged_by_append_time(
    first: AsyncGenerator[Sequence[Record], None], second: AsyncGenerator[Sequence[Record], None]
) -> AsyncGenerator[Record, None]:
    """Records of two logs, the smaller append time first; the first log's where they are equal."""
    async with aclosing(first), aclosing(second):
        left, right = _Ahead(first), _Ahead(second)
        await left.advance()
        await right.advance()
        while left.record is not None or right.record is not None:
            ahead = left
            if left.record is None or (right.record is not None and right.record.timestamp < left.record.timestamp):
                ahead = right
            assert ahead.record is not None  # noqa: S101 - one of both is there
            yield ahead.record
            await ahead.advance()


class _Ahead:
    """The next record of a log read in batches."""

    def __init__(self, batches: AsyncGenerator[Sequence[Record], None]) -> None:
        self._batches = batches
        self._batch: Sequence[Record] = ()
        self._next = 0
        self.record: Record | None = None

    async def advance(self) -> None:
        while self._next >= len(self._batch):
            batch = await anext(self._batches, None)
            if batch is None:
                self.record = None
                return
            self._batch, self._next = batch, 0
        self.record = self._batch[self._next]
        self._next += 1
