"""The delivery rule: skip what is applied, apply in order, read what is missing.

A group consumer delivers a partition's records with repetitions and gaps: every rebalance under traffic makes some. So
the log counts, not the delivery. A [`Cursor`][] holds the position of one partition (the offset of the next record to
apply) and the records delivered beyond it, and reads from the log what delivery left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from aiokafka import TopicPartition

from streams.kafka.log import Log
from streams.wire.merging import merge
from streams.wire.record import Record, raw_value
from streams.wire.record_run import RecordRun

WEIGHT_BYTES = 1 << 14
"""A record that waits counts once more for each so many bytes of its value: 2,000 large ones would fill 2 GB."""

RUN_BYTES = 1 << 20
"""Records with more bytes of values are not applied together, but for the last: a run of large dead letters would hold
up the event loop, and fill the producer far beyond its bound."""


@dataclass(slots=True)
class Missing:
    """Offsets [start, stop) that delivery left out."""

    start: int
    stop: int


@dataclass(slots=True)
class Tally:
    """Irregularities that a cursor has seen, for the metrics."""

    repeated: int = 0
    """Records delivered again."""
    range_reads: int = 0
    """Ranges read from the log because delivery left them out."""
    holes: int = 0
    """Offsets that the log does not have (compaction, transaction markers)."""
    expired: int = 0
    """Offsets that retention deleted before they were applied: events nobody learns from."""


class Cursor:
    """Position of one partition, and the records delivered beyond it.

    `offer` takes delivered batches in any order and any number of times; `fill` reads the front from the log where it
    is missing; `take_runs`, or `front` and `take`, give the records in order, each offset once.

    Records are held as runs. A run keeps the whole buffer that it was fetched in, so the first one held may take more
    memory, by a decompressed batch at most.
    """

    def __init__(self, partition: TopicPartition, position: int, log: Log, appended_ms: int = 0) -> None:
        self.partition = partition
        self.position = position
        self.appended_ms = appended_ms
        """Greatest append time applied so far; a take-over replays the log from a horizon before it."""
        self.tally = Tally()
        self.expected = position
        """Offset after the last one delivered (or known to be missing)."""
        self.held = 0
        """Records delivered and not yet taken; a large one counts as several."""
        self._log = log
        self._pieces: deque[Missing | RecordRun] = deque()
        self._front: Record | None = None

    def offer(self, records: Sequence[Record]) -> None:
        """Take a delivered batch (offsets ascending). Records delivered before are skipped."""
        run = RecordRun.of(records)
        count = len(run)
        if count and run.first_offset < self.expected:
            repeated = run.first_at_least(self.expected)
            self.tally.repeated += repeated
            run = run.part(repeated, count)
        if not run:
            return
        if (first := run.first_offset) > self.expected:
            self._pieces.append(Missing(self.expected, first))
        self._pieces.append(run)
        self.held += _weight(run)
        self.expected = run.last_offset + 1

    def expect(self, end: int) -> None:
        """Mark everything up to `end` as missing, to be read from the log. Called by the watchdog."""
        if end > self.expected:
            self._pieces.append(Missing(self.expected, end))
            self.expected = end

    @property
    def needs_reading(self) -> bool:
        """Whether the front is missing and `fill` has to be awaited first."""
        return bool(self._pieces) and isinstance(self._pieces[0], Missing)

    async def fill(self) -> None:
        """Read the front from the log while it is missing; offsets that retention deleted are skipped."""
        while self._pieces and isinstance(missing := self._pieces[0], Missing):
            self.tally.range_reads += 1
            start = (await self._log.starts([self.partition]))[self.partition]
            if start > missing.start:
                gone = min(start, missing.stop) - missing.start
                self.tally.expired += gone
                missing.start += gone
                self.position = max(self.position, missing.start)
            read: Sequence[Record] = ()
            if missing.start < missing.stop:
                async with aclosing(self._log.read_range(self.partition, missing.start, missing.stop)) as batches:
                    async for batch in batches:
                        read = batch
                        break
            self._replace_front(missing, read)

    def _replace_front(self, missing: Missing, read: Sequence[Record]) -> None:
        """Replace the missing front by the records read, followed by what is still missing."""
        self._pieces.popleft()
        if not read:
            return  # a hole: the next record's offset moves the position past it
        if (after := read[-1].offset + 1) < missing.stop:
            self._pieces.appendleft(Missing(after, missing.stop))
        self.put_back(read)

    def front_run(self) -> RecordRun | None:
        """The next records, if they have been delivered or read."""
        return run if self._pieces and isinstance(run := self._pieces[0], RecordRun) else None

    def front(self) -> Record | None:
        """The next record, if it has been delivered or read."""
        if self._front is None and (run := self.front_run()) is not None:
            self._front = run[0]
        return self._front

    def take(self) -> Record:
        """The next record; the caller applies it and then calls `applied`."""
        record = self.front()
        assert record is not None  # noqa: S101 - the caller has checked it
        self._take(1)
        return record

    def take_many(self, most: int) -> list[Record]:
        """Up to `most` records, or `RUN_BYTES`, from the front, as far as they are available."""
        return [record for run in self.take_runs(most) for record in run]

    def take_runs(self, most: int) -> list[RecordRun]:
        """As `take_many`, as runs in order."""
        taken: list[RecordRun] = []
        at_most = 0  # bytes
        while most and (run := self.front_run()) is not None:
            count = min(most, len(run))
            at_most += len(run.data)
            if at_most >= RUN_BYTES:
                left = RUN_BYTES - sum(map(_bytes, taken))
                if left <= 0:
                    break
                sizes = np.cumsum(run.value_ends[:count] - run.value_starts[:count])
                count = min(count, int(np.searchsorted(sizes, left)) + 1)
            taken.append(self._take(count))
            most -= count
        return taken

    def _take(self, count: int) -> RecordRun:
        """So many of the first run held."""
        run, self._front = self.front_run(), None
        assert run is not None  # noqa: S101 - the caller has checked it
        if count == len(run):
            taken = run
            self._pieces.popleft()
        else:
            taken, self._pieces[0] = run.part(0, count), run.part(count, len(run))
        self.held -= _weight(taken)
        return taken

    def put_back(self, records: Sequence[Record]) -> None:
        """Return the last records taken, as they cannot be applied yet."""
        run = RecordRun.of(records)
        self._pieces.appendleft(run)
        self.held += _weight(run)
        self._front = None

    def applied(self, record: Record) -> None:
        """Move the position past a record whose effects are in the state now."""
        self._move(record.offset, 1, record.timestamp)

    def applied_run(self, run: RecordRun) -> None:
        """Move the position past some records, as `applied` does."""
        count = len(run)
        if count:
            latest_ms = run.timestamps[0] if count == 1 else run.timestamps.max()
            self._move(run.last_offset, count, int(latest_ms))

    def _move(self, last: int, count: int, appended_ms: int) -> None:
        self.tally.holes += last + 1 - self.position - count
        self.position = last + 1
        self.appended_ms = max(self.appended_ms, appended_ms)

    def skip_trailing_hole(self) -> None:
        """Move the position past a hole at the end, where no record is held or missing."""
        if not self._pieces and self.expected > self.position:
            self.tally.holes += self.expected - self.position
            self.position = self.expected


def merged(first: Cursor, other: Cursor, most: int) -> list[RecordRun]:
    """Up to `most` records, or `RUN_BYTES`, from the fronts of two cursors by their append times, as runs in order.

    It ends where a front is not available. Of equal append times the first cursor's record goes first.
    """
    taken: list[RecordRun] = []
    left_bytes = RUN_BYTES
    while most and left_bytes > 0:
        run, other_run = first.front_run(), other.front_run()
        if run is None or other_run is None:
            break
        *stretches, size = merge(
            run.table, run.start, run.stop, other_run.table, other_run.start, other_run.stop, most, left_bytes
        ).tolist()
        left_bytes -= size
        counts = sum(stretches[::2]), sum(stretches[1::2])
        for cursor, count in zip((first, other), counts, strict=True):
            if count:
                cursor._take(count)  # noqa: SLF001 - of this module
        most -= sum(counts)
        sides, at = (run, other_run), [0, 0]
        for number, count in enumerate(stretches):
            if count:
                side = number % 2
                taken.append(sides[side].part(at[side], at[side] + count))
                at[side] += count
    return taken


def runs_of(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records in runs of at most `RUN_BYTES`, but for the last record of each."""
    if isinstance(records, RecordRun):
        sizes = (records.value_ends - records.value_starts).tolist() if len(records.data) >= RUN_BYTES else ()
    else:
        sizes = map(size_of, records)
    first = size = 0
    for number, its_size in enumerate(sizes, 1):
        size += its_size
        if size >= RUN_BYTES:
            yield records[first:number]
            first, size = number, 0
    if first < len(records):
        yield records[first:] if first else records


def size_of(record: Record) -> int:
    """Bytes of a record's value, or of what is known of it."""
    return len(raw_value(record) or b"")


def _bytes(run: RecordRun) -> int:
    return int((run.value_ends - run.value_starts).sum())


def _weight(run: RecordRun) -> int:
    count = len(run)
    if len(run.data) < WEIGHT_BYTES or run.largest < WEIGHT_BYTES:
        return count
    return count + int(((run.value_ends - run.value_starts) // WEIGHT_BYTES).sum())
