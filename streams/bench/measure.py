"""Computes figures from append times of events and answers.

Append times are the broker's on Apache Kafka (`LogAppendTime`); the embedded broker keeps the producers' times. All
processes run on one machine and share its clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import TopicPartition

from streams.kafka.consumers import new_consumer
from streams.kafka.embedded_ends import true_ends
from streams.settings import Settings
from streams.wire.record import Record, readable
from streams.wire.topics import full_name


class _Answer(msgspec.Struct, gc=False):
    suggestion_id: str
    models: dict[str, str] = {}  # the echo's have none


_answer = msgspec.json.Decoder(_Answer)


@dataclass(slots=True)
class Answers:
    """Answers to events; the first one of each counts."""

    at_ms: dict[str, int]
    """Append times by the event's `topic-partition-offset`."""
    value_bytes: int = 0
    models: Counter[str] = field(default_factory=Counter)
    """How many answers each model took part in."""

    def add(self, value: bytes, at_ms: int) -> None:
        """Count an answer of an append time, unless it repeats another one."""
        answer = _answer.decode(value)
        if answer.suggestion_id not in self.at_ms:
            self.at_ms[answer.suggestion_id] = at_ms
            self.value_bytes += len(value)
            self.models.update(answer.models.keys())


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from the append of an event to the append of its answer."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    events: int
    rate: float  # events appended a second


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest value that `p` percent of the values do not exceed.

    >>> percentile([4, 1, 3, 2], 50), percentile([4, 1, 3, 2], 99)
    (2, 4)
    """
    return sorted(values)[max(0, math.ceil(len(values) * p / 100) - 1)]


def events_per_s(appended_ms: Iterable[int]) -> float:
    """Rate of answers by their append times (epoch milliseconds, in any order), without the first and the last tenth.

    At the start the first batches are fetched; at the end partitions run empty one after the other.

    >>> events_per_s([*range(0, 1000, 10)])
    100.0
    """
    times = sorted(appended_ms)
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / max(1e-3, (times[last] - times[first]) / 1000)


def latency(sent_ms: Mapping[str, int], answered_ms: Mapping[str, int], skip_s: float) -> Latency:
    """Latency of a steady run, without its first `skip_s` seconds.

    Append times of events and answers are given by the event's id (`topic-partition-offset`).
    """
    start, end = min(sent_ms.values()), max(sent_ms.values())
    after = start + skip_s * 1000
    taken = [answered_ms[name] - at for name, at in sent_ms.items() if at >= after and name in answered_ms]
    return Latency(
        p50_ms=percentile(taken, 50),
        p95_ms=percentile(taken, 95),
        p99_ms=percentile(taken, 99),
        max_ms=max(taken),
        events=len(taken),
        rate=round(len(sent_ms) / max(1e-3, (end - start) / 1000), 1),
    )


Ends = Mapping[TopicPartition, int]


class Topics:
    """Reads the topics of an application, without a group. An async context manager, which can be opened again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Any = None

    async def __aenter__(self) -> Topics:
        self._consumer = new_consumer(
            self._settings,
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 << 20,
        )
        await self._consumer.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._consumer.stop()

    async def ends(self, *names: str) -> Ends:
        """End offsets of all partitions of topics, by short names."""
        full = (full_name(self._settings.prefix, name) for name in names)
        return await self._ends(TopicPartition(name, n) for name in full for n in range(self._settings.partitions))

    async def _ends(self, partitions: Iterable[TopicPartition]) -> Ends:
        ends: Ends = await self._consumer.end_offsets(list(partitions))
        return await true_ends(self._consumer, ends) if self._settings.embedded else ends

    async def count(self, name: str) -> int:
        """Number of records that a topic has had so far."""
        return sum((await self.ends(name)).values())

    async def appended(self, since: Ends) -> dict[str, int]:
        """Append times in epoch milliseconds of all records from some ends on, by `topic-partition-offset`."""
        return {
            f"{record.topic}-{record.partition}-{record.offset}": record.timestamp async for record in self._read(since)
        }

    async def answers(self, since: Ends) -> Answers:
        """The answers from some ends on."""
        found = Answers({})
        async for record in self._read(since):
            found.add(record.value or b"", record.timestamp)
        return found

    async def _read(self, since: Ends) -> AsyncIterator[Record]:
        ends = await self._ends(since)
        left = {partition for partition, start in since.items() if start < ends[partition]}
        self._consumer.assign(list(left))
        for partition in left:
            self._consumer.seek(partition, since[partition])
        while left:
            for partition, records in (await self._consumer.getmany(*left, timeout_ms=1000)).items():
                for record in readable(records):
                    if record.offset < ends[partition]:
                        yield record
                if records[-1].offset >= ends[partition] - 1:
                    left.discard(partition)
