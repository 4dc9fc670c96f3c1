"""The in-memory log keeps the contract of every log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition

from streams.kafka.memory_log import MemoryLog
from tests.support.log_contract import FullLogContract, Written


class MemorySubject:
    """A memory log with records, holes and commits on request."""

    partition, other = TopicPartition("t", 0), TopicPartition("t", 1)

    def __init__(self) -> None:
        self.log = MemoryLog(clock=lambda: 0, batch=7)

    async def append(self, records: Sequence[Written]) -> None:
        for key, value, timestamp in records:
            self.log.append(self.partition.topic, self.partition.partition, key, value, timestamp)

    async def append_hole(self) -> None:
        offset = self.log.append(self.partition.topic, self.partition.partition, b"key", b"compacted")
        self.log.remove(self.partition, offset)

    async def expire(self, start: int) -> None:
        self.log.expire(self.partition, start)

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        self.log.commits[partition] = offset


class TestMemoryLog(FullLogContract):
    @pytest.fixture
    def subject(self) -> MemorySubject:
        return MemorySubject()
