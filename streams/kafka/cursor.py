"""The delivery rule: skip what is applied, apply in order, read what is missing.

A group consumer delivers a partition's records with repetitions and gaps (every rebalance under traffic makes some),
so delivery is not the truth: the log is. A [`Cursor`][] holds the position of one partition (the offset of the next
record that is not yet applied) and what has been delivered beyond it, and reads from the log what delivery left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import TopicPartition

from streams.kafka.log import Log
from streams.wire.record import Record


@dataclass(slots=True)
class Missing:
    """Offsets [start, stop) that delivery left out."""

    start: int
    stop: int


@dataclass(slots=True)
class Tally:
    """What a cursor has seen beside the plain course, for the metrics."""

    repeated: int = 0
    """Records delivered again."""
    range_reads: int = 0
    """Ranges read from the log because delivery left them out."""
    holes: int = 0
    """Offsets that the log does not have (compaction, transaction markers)."""
    expired: int = 0
    """Offsets that retention deleted before they were applied. Each one is an event nobody learns from."""


class Cursor:
    """Position of one partition, and the records delivered beyond it.

    `offer` takes what delivery brings, in whatever order and however often; `fill` makes the front ready, from the
    log where needed; `front` and `take` give the records in order, each offset once.
    """

    def __init__(self, partition: TopicPartition, position: int, log: Log) -> None:
        self.partition = partition
        self.position = position
        self.appended_ms = 0
        """Greatest append time applied so far; the horizon of a take-over counts from it."""
        self.tally = Tally()
        self._log = log
        self._expected = position
        self._pieces: deque[Missing | deque[Record]] = deque()
        self._held = 0

    @property
    def expected(self) -> int:
        """Offset after the last one delivered (or known to be missing)."""
        return self._expected

    @property
    def held(self) -> int:
        """Records delivered and not yet taken."""
        return self._held

    def offer(self, records: Sequence[Record]) -> None:
        """Take a delivered batch (offsets ascending). What was delivered before is skipped."""
        fresh = deque(r for r in records if r.offset >= self._expected)
        self.tally.repeated += len(records) - len(fresh)
        if not fresh:
            return
        if fresh[0].offset > self._expected:
            self._pieces.append(Missing(self._expected, fresh[0].offset))
        self._pieces.append(fresh)
        self._held += len(fresh)
        self._expected = fresh[-1].offset + 1

    def expect(self, end: int) -> None:
        """The log reaches up to `end` and delivery does not bring it: it will be read. Called by the watchdog."""
        if end > self._expected:
            self._pieces.append(Missing(self._expected, end))
            self._expected = end

    @property
    def needs_reading(self) -> bool:
        """Whether the front is missing and `fill` has to be awaited first."""
        return bool(self._pieces) and isinstance(self._pieces[0], Missing)

    async def fill(self) -> None:
        """Read the front of the queue from the log while it is missing; clips at what retention left."""
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
        """Put what one read brought in the place of the missing front, and what is still missing behind it."""
        self._pieces.popleft()
        if not read:
            return  # nothing left of it: a hole; `take` moves the position on by the next record's offset
        if (after := read[-1].offset + 1) < missing.stop:
            self._pieces.appendleft(Missing(after, missing.stop))
        self._pieces.appendleft(deque(read))
        self._held += len(read)

    def front(self) -> Record | None:
        """The next record, if it has been delivered (or read)."""
        if self._pieces and isinstance(records := self._pieces[0], deque):
            return records[0]
        return None

    def take(self) -> Record:
        """The next record; the caller applies it at once and then calls `applied`."""
        records = self._pieces[0]
        assert isinstance(records, deque)  # noqa: S101 - `front` said so
        record = records.popleft()
        if not records:
            self._pieces.popleft()
        self._held -= 1
        return record

    def take_while(self, most: int, wanted: Callable[[Record], bool]) -> list[Record]:
        """Up to `most` records from the front, as long as they are there and wanted."""
        taken: list[Record] = []
        while len(taken) < most and (record := self.front()) is not None and wanted(record):
            taken.append(self.take())
        return taken

    def applied(self, record: Record) -> None:
        """Move the position behind a record whose effects are in the state now."""
        self.tally.holes += record.offset - self.position
        self.position = record.offset + 1
        if record.timestamp > self.appended_ms:
            self.appended_ms = record.timestamp

    def skip_trailing_hole(self) -> None:
        """Move the position over a hole at the end of what was delivered: nothing is held, nothing is missing."""
        if not self._pieces and self._expected > self.position:
            self.tally.holes += self._expected - self.position
            self.position = self._expected
