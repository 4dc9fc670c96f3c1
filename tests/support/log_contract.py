"""What a log must do: `MemoryLog` and `KafkaLog` run the same cases, so the double stands for the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import pytest
from aiokafka import TopicPartition

from streams.errors import BrokerError
from streams.kafka.log import Log
from streams.wire.record import Record

Written = tuple[bytes | None, bytes | None, int]
"""Key, value and timestamp in epoch milliseconds."""

FIRST_MS = 1_700_000_000_000


class LogUnderTest(Protocol):
    """A log whose partitions are empty at first, and what the cases need to fill it."""

    log: Log
    partition: TopicPartition
    other: TopicPartition

    async def append(self, records: Sequence[Written]) -> None:
        """Append to `partition`."""

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """Commit for the group."""


class FullLogUnderTest(LogUnderTest, Protocol):
    """A log that can delete."""

    async def append_hole(self) -> None:
        """Append to `partition` what has an offset and is never read, as after compaction or an aborted transaction."""

    async def expire(self, start: int) -> None:
        """Delete everything of `partition` below `start`, as retention does."""


def numbered(first: int, stop: int) -> list[Written]:
    """Records of which each is a second later than the one before."""
    return [(b"k%d" % n, b"v%d" % n, FIRST_MS + 1000 * n) for n in range(first, stop)]


async def read(log: Log, partition: TopicPartition, start: int, stop: int) -> list[Record]:
    """A range; no batch is empty."""
    found: list[Record] = []
    async for batch in log.read_range(partition, start, stop):
        assert len(batch) > 0
        found += batch
    return found


async def offsets(subject: LogUnderTest, start: int, stop: int) -> list[int]:
    """Offsets of a range."""
    return [record.offset for record in await read(subject.log, subject.partition, start, stop)]


async def bounds(subject: LogUnderTest) -> tuple[int, int]:
    """Start and end of the partition."""
    starts, ends = await subject.log.starts([subject.partition]), await subject.log.ends([subject.partition])
    return starts[subject.partition], ends[subject.partition]


class LogContract:
    """The cases. A subclass has a fixture `subject`."""

    async def test_an_empty_partition_starts_and_ends_at_0(self, subject: LogUnderTest) -> None:
        both = [subject.partition, subject.other]
        assert await subject.log.starts(both) == await subject.log.ends(both) == dict.fromkeys(both, 0)
        assert await offsets(subject, 0, 0) == []
        assert await subject.log.starts([]) == await subject.log.ends([]) == {}

    async def test_records_come_back_as_they_were_written(self, subject: LogUnderTest) -> None:
        written: list[Written] = [
            (b"key", b"value", FIRST_MS),
            (b"key", None, FIRST_MS + 1),  # a tombstone
            (None, b"no key", FIRST_MS + 2),
            (b"", b"", FIRST_MS + 3),
        ]
        await subject.append(written)
        found = await read(subject.log, subject.partition, 0, 4)
        assert [(record.key, record.value, record.timestamp) for record in found] == written
        assert [(r.topic, r.partition, r.offset) for r in found] == [(*subject.partition, n) for n in range(4)]
        assert await bounds(subject) == (0, 4)
        assert await subject.log.ends([subject.other]) == {subject.other: 0}

    async def test_a_range_is_all_of_it_in_order_and_no_more(self, subject: LogUnderTest) -> None:
        for first in range(0, 300, 60):  # batches of the broker that no range fits
            await subject.append(numbered(first, first + 60))
        assert await bounds(subject) == (0, 300)
        for start, stop in ((0, 300), (59, 61), (1, 2), (130, 299), (299, 300)):
            assert await offsets(subject, start, stop) == list(range(start, stop))

    async def test_an_empty_range_has_no_batches(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 10))
        for start, stop in ((0, 0), (5, 5), (10, 10), (7, 3)):
            assert await offsets(subject, start, stop) == []

    async def test_ranges_are_read_side_by_side(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 100))
        found = await asyncio.gather(offsets(subject, 0, 100), offsets(subject, 50, 60), offsets(subject, 20, 90))
        assert list(found) == [list(range(100)), list(range(50, 60)), list(range(20, 90))]

    async def test_a_reader_may_leave_in_the_middle(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 200))
        reading = subject.log.read_range(subject.partition, 10, 200)
        batch = await anext(reading)
        assert batch[0].offset == 10
        await reading.aclose()
        assert await offsets(subject, 0, 30) == list(range(30))

    async def test_commits_are_those_of_the_group(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 10))
        both = [subject.partition, subject.other]
        assert await subject.log.committed(both) == {subject.partition: None, subject.other: None}
        await subject.commit(subject.partition, 7)
        assert await subject.log.committed(both) == {subject.partition: 7, subject.other: None}
        await subject.commit(subject.partition, 3)
        assert await subject.log.committed([subject.partition]) == {subject.partition: 3}
        assert await subject.log.committed([]) == {}

    async def test_records_that_come_while_a_range_is_read_belong_to_it(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 5))
        reading = asyncio.create_task(offsets(subject, 0, 8))
        await asyncio.sleep(0.1)
        assert not reading.done()
        await subject.append(numbered(5, 10))
        assert await reading == list(range(8))

    async def test_a_range_that_the_log_never_fills_is_an_error(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 5))
        topic, number = subject.partition
        with pytest.raises(BrokerError, match=f"no records of {topic}-{number} from offset 5 on"):
            await offsets(subject, 0, 6)

    async def test_no_record_of_a_time_is_before_the_offset_found_for_it(self, subject: LogUnderTest) -> None:
        await subject.append(numbered(0, 10))
        for n in range(10):
            found = await subject.log.offset_at(subject.partition, FIRST_MS + 1000 * n)
            assert found is not None
            assert 0 <= found <= n


class FullLogContract(LogContract):
    """The cases that the embedded broker cannot run: it has no transactions, no deletion and no look-up by time."""

    async def test_holes_are_passed_over_wherever_they_are(self, subject: FullLogUnderTest) -> None:
        await subject.append_hole()
        _, first = await bounds(subject)
        assert first > 0
        assert await offsets(subject, 0, first) == []
        await subject.append(numbered(0, 3))
        await subject.append_hole()
        await subject.append_hole()
        _, second = await bounds(subject)
        assert second > first + 3
        await subject.append(numbered(3, 5))
        await subject.append_hole()
        _, end = await bounds(subject)
        assert end > second + 2
        there = [*range(first, first + 3), second, second + 1]
        assert await offsets(subject, 0, end) == there
        for start in range(end + 1):
            assert await offsets(subject, start, end) == [offset for offset in there if offset >= start]
        for stop in range(end + 1):
            assert await offsets(subject, 0, stop) == [offset for offset in there if offset < stop]

    async def test_what_retention_deleted_is_passed_over(self, subject: FullLogUnderTest) -> None:
        await subject.append(numbered(0, 20))
        await subject.expire(12)
        assert await bounds(subject) == (12, 20)
        assert await offsets(subject, 0, 20) == list(range(12, 20))
        assert await offsets(subject, 15, 17) == [15, 16]
        assert await offsets(subject, 3, 9) == []
        await subject.expire(20)
        assert await bounds(subject) == (20, 20)
        assert await offsets(subject, 0, 20) == []

    async def test_the_first_offset_of_a_time_is_found(self, subject: FullLogUnderTest) -> None:
        await subject.append(numbered(0, 10))
        found = [await subject.log.offset_at(subject.partition, FIRST_MS + ms) for ms in (-5000, 0, 1, 4000, 8999)]
        assert found == [0, 0, 1, 4, 9]
        assert await subject.log.offset_at(subject.partition, FIRST_MS + 9001) is None
        assert await subject.log.offset_at(subject.other, FIRST_MS) is None

    async def test_times_may_go_back(self, subject: FullLogUnderTest) -> None:
        await subject.append([(None, b"", FIRST_MS + ms) for ms in (2000, 1000, 3000, 500)])
        found = [await subject.log.offset_at(subject.partition, FIRST_MS + ms) for ms in (0, 1500, 2500, 3000, 3001)]
        assert found == [0, 0, 2, 2, None]
