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

from aiokafka import TopicPartition

from streams.kafka.log import Log
from streams.wire.record import Record, raw_value

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
    is missing; `front` and `take` give the records in order, each offset once.
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
        self._pieces: deque[Missing | deque[tuple[Record, int]]] = deque()  # records with their sizes

    def offer(self, records: Sequence[Record]) -> None:
        """Take a delivered batch (offsets ascending). Records delivered before are skipped."""
        fresh = [r for r in records if r.offset >= self.expected]
        self.tally.repeated += len(records) - len(fresh)
        if not fresh:
            return
        if fresh[0].offset > self.expected:
            self._pieces.append(Missing(self.expected, fresh[0].offset))
        self._pieces.append(self._held_piece(fresh))
        self.expected = fresh[-1].offset + 1

    def _held_piece(self, records: Sequence[Record]) -> deque[tuple[Record, int]]:
        """Records with their sizes, which count as held from now on."""
        sizes = list(map(size_of, records))
        self.held += sum(map(_weight, sizes))
        return deque(zip(records, sizes, strict=True))

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
        self._pieces.appendleft(self._held_piece(read))

    def front(self) -> Record | None:
        """The next record, if it has been delivered or read."""
        if self._pieces and isinstance(records := self._pieces[0], deque):
            return records[0][0]
        return None

    def take(self) -> Record:
        """The next record; the caller applies it and then calls `applied`."""
        return self.take_sized()[0]

    def take_sized(self) -> tuple[Record, int]:
        """As `take`, with the record's size."""
        records = self._pieces[0]
        assert isinstance(records, deque)  # noqa: S101 - `front` has checked it
        taken = records.popleft()
        if not records:
            self._pieces.popleft()
        self.held -= _weight(taken[1])
        return taken

    def take_many(self, most: int) -> list[Record]:
        """Up to `most` records, or `RUN_BYTES`, from the front, as far as they are available."""
        taken: list[Record] = []
        size = 0
        while self._pieces and isinstance(records := self._pieces[0], deque):
            while records and len(taken) < most and size < RUN_BYTES:
                record, its_size = records.popleft()
                taken.append(record)
                size += its_size
                self.held -= _weight(its_size)
            if records:
                break
            self._pieces.popleft()
        return taken

    def put_back(self, records: Sequence[Record]) -> None:
        """Return the last records taken, as they cannot be applied yet."""
        self._pieces.appendleft(self._held_piece(records))

    def applied(self, record: Record) -> None:
        """Move the position past a record whose effects are in the state now."""
        self.tally.holes += record.offset - self.position
        self.position = record.offset + 1
        if record.timestamp > self.appended_ms:
            self.appended_ms = record.timestamp

    def skip_trailing_hole(self) -> None:
        """Move the position past a hole at the end, where no record is held or missing."""
        if not self._pieces and self.expected > self.position:
            self.tally.holes += self.expected - self.position
            self.position = self.expected


def runs_of(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records in runs of at most `RUN_BYTES`, but for the last record of each."""
    first = size = 0
    for number, record in enumerate(records, 1):
        size += size_of(record)
        if size >= RUN_BYTES:
            yield records[first:number]
            first, size = number, 0
    if first < len(records):
        yield records[first:] if first else records


def size_of(record: Record) -> int:
    """Bytes of a record's value, or of what is known of it."""
    return len(raw_value(record) or b"")


def _weight(size: int) -> int:
    return 1 + size // WEIGHT_BYTES
