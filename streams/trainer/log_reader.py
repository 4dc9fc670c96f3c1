"""Reads the topics that a trainer learns from, by positions, and merges their records by append time.

So a backlog is learnt in the order of its days. Of `profiles` everything is read before the rest, and never again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Any, NamedTuple

import numpy as np
from aiokafka import TopicPartition
from numpy.typing import NDArray

from models.sequence.config import MODEL
from models.snapshot import Snapshot
from streams.errors import TakeOverError
from streams.kafka.cursor import RUN_BYTES, Cursor, size_of
from streams.kafka.log import Log
from streams.kafka.replay import read_again, recent_past, records_of
from streams.settings import Settings
from streams.trainer.metrics import TrainerMetrics
from streams.wire.record import Record
from streams.wire.topics import Identity, full_name

logger = logging.getLogger(__name__)

LEARNT = ("clicks", "purchases")
"""Topics that say what shoppers do."""

READ = (*LEARNT, "feedback", "suggestions", "pools")
"""Topics whose positions are in a snapshot. Of equal append times the first topic's record goes first."""


class Cut(NamedTuple):
    """Up to where the log is applied."""

    positions: dict[str, dict[int, int]]
    """Offset of the next record, by topic and partition."""
    appended_ms: dict[str, NDArray[np.int64]]
    """Greatest append time applied, by topic: (partitions,)."""
    topic_ids: dict[str, str]


class LogReader:
    """Positions of all partitions that a trainer reads.

    Args:
        identities: of all topics, by full name.
        store_url: names the store in errors.

    Attributes:
        topics: short names of the topics in `READ`, by full name.
        partitions: numbers of the shoppers' partitions.
        cursors: positions in the topics in `READ`.
    """

    def __init__(
        self, settings: Settings, log: Log, identities: Mapping[str, Identity], metrics: TrainerMetrics, store_url: str
    ) -> None:
        self._settings, self._log, self._identities = settings, log, identities
        self._metrics, self._store_url = metrics, store_url
        self.topics = {full_name(settings.prefix, topic): topic for topic in READ}
        self._profiles = full_name(settings.prefix, "profiles")
        self.partitions = range(identities[self._profiles].partitions)
        self.cursors: dict[TopicPartition, Cursor] = {}
        self._profile_cursors: list[Cursor] = []

    # -- taking over -----------------------------------------------------------------------------------------------

    async def seek(self, snapshot: Snapshot | None, training: Mapping[str, NDArray[Any]]) -> None:
        """Go to the positions of a snapshot; None: to the start of the log.

        Raises:
            TakeOverError: the topics are not those of the snapshot.
        """
        partitions = [
            TopicPartition(full, number) for full in self.topics for number in range(self._identities[full].partitions)
        ]
        starts, ends = await self._log.starts(partitions), await self._log.ends(partitions)
        self.cursors = {}
        for tp in partitions:
            topic, position, appended_ms = self.topics[tp.topic], starts[tp], 0
            if snapshot is not None and topic not in snapshot.positions:
                position = ends[tp]  # it was made before this topic was read: the lists it belongs to are not known
            elif snapshot is not None:
                position = self._checked(snapshot, tp, ends[tp])
                appended_ms = int(training[f"appended_ms.{topic}"][tp.partition])
                if position < starts[tp]:
                    self._metrics.expired(tp.topic, starts[tp] - position)
                    logger.error(
                        "%s-%d: %d records expired before they were learnt (retention is shorter than the outage); "
                        "going on at %d",
                        tp.topic, tp.partition, starts[tp] - position, starts[tp],
                    )  # fmt: skip
            self.cursors[tp] = Cursor(tp, max(position, starts[tp]), self._log, appended_ms)

    def _checked(self, snapshot: Snapshot, tp: TopicPartition, end: int) -> int:
        """Position of a partition in a snapshot that is of this topic."""
        topic, now = self.topics[tp.topic], self._identities[tp.topic]
        then_id, positions = snapshot.topic_ids.get(topic, ""), snapshot.positions[topic]
        if (then_id, len(positions)) != (now.topic_id, now.partitions):
            raise TakeOverError.another_topic_learnt(tp.topic, f"{MODEL} {snapshot.version}", self._store_url)
        self._check_end(tp, positions[tp.partition], end)
        return positions[tp.partition]

    def _check_end(self, tp: TopicPartition, position: int, end: int) -> None:
        if position > end:
            where = f"{tp.topic}-{tp.partition}"
            raise TakeOverError.beyond_end_learnt(where, position, end, self._store_url)

    async def apply_all_profiles(self, apply: Callable[[Record], None]) -> None:
        """Apply every profile up to now."""
        partitions = [TopicPartition(self._profiles, number) for number in self.partitions]
        starts, ends = await self._log.starts(partitions), await self._log.ends(partitions)
        self._profile_cursors = [Cursor(tp, ends[tp], self._log) for tp in partitions]
        for cursor in self._profile_cursors:
            async for records in read_again(self._log, cursor, starts[cursor.partition], self._metrics.replayed.inc):
                for record in records:
                    apply(record)

    def past(self, number: int) -> AsyncGenerator[Record, None]:
        """Clicks and purchases of a partition within memory, up to our positions."""
        clicks, purchases = (
            self.cursors[TopicPartition(full_name(self._settings.prefix, topic), number)] for topic in LEARNT
        )
        past = recent_past(self._log, clicks, purchases, self._settings.visits, self._metrics.replayed.inc)
        return records_of(past)

    def partitions_of(self, topic: str) -> int:
        """Number of partitions of a topic, by its full name."""
        return self._identities[topic].partitions

    # -- reading on ------------------------------------------------------------------------------------------------

    async def look_ahead(self) -> bool:
        """Ask where the log ends, and expect everything up to there; returns whether there is anything to read."""
        cursors = [*self.cursors.values(), *self._profile_cursors]
        ends = await self._log.ends([cursor.partition for cursor in cursors])
        for cursor in cursors:
            tp, end = cursor.partition, ends[cursor.partition]
            self._check_end(tp, cursor.position, end)
            cursor.expect(end)
            if tp.topic != self._profiles:
                self._metrics.lag(tp.topic, tp.partition, end - cursor.position)
        return any(cursor.needs_reading or cursor.held for cursor in cursors)

    async def apply_profiles(self, apply: Callable[[Record], None]) -> None:
        """Apply profiles that are expected, of each partition `batch_records` or `RUN_BYTES` at most."""
        for cursor in self._profile_cursors:
            size = 0
            for _ in range(self._settings.batch_records):
                if size >= RUN_BYTES or (record := await _front(cursor)) is None:
                    break
                apply(cursor.take())
                cursor.applied(record)
                size += size_of(record)
            await asyncio.sleep(0)

    async def apply_some(self, apply: Callable[[Record], str], due: Callable[[], bool]) -> int:
        """Apply records that are expected, the smallest append time first, until `due`.

        At most `batch_records` or `RUN_BYTES` of them are applied: the event loop gets no turn meanwhile.

        `apply` returns what became of a record. Returns how many were applied.
        """
        fronts: list[tuple[int, int, Cursor]] = []
        for order, cursor in enumerate(self.cursors.values()):
            if (record := await _front(cursor)) is not None:
                fronts.append((record.timestamp, order, cursor))
        heapify(fronts)
        applied, size, outcomes = 0, 0, Counter[tuple[str, str]]()
        while fronts and applied < self._settings.batch_records and size < RUN_BYTES and not due():
            _, order, cursor = fronts[0]
            record = cursor.take()
            outcomes[record.topic, apply(record)] += 1
            cursor.applied(record)
            applied += 1
            size += size_of(record)
            if (after := cursor.front()) is not None:
                heapreplace(fronts, (after.timestamp, order, cursor))
            elif cursor.needs_reading:
                break  # the records still to be read may go before the others
            else:
                heappop(fronts)
        self._metrics.outcomes(outcomes)
        return applied

    def cut(self) -> Cut:
        """Up to where everything is applied."""
        positions: dict[str, dict[int, int]] = {topic: {} for topic in READ}
        appended_ms: dict[str, list[int]] = {topic: [] for topic in READ}
        for tp, cursor in self.cursors.items():
            positions[self.topics[tp.topic]][tp.partition] = cursor.position
            appended_ms[self.topics[tp.topic]].append(cursor.appended_ms)
        topic_ids = {topic: self._identities[full].topic_id for full, topic in self.topics.items()}
        return Cut(positions, {topic: np.array(ms, np.int64) for topic, ms in appended_ms.items()}, topic_ids)


async def _front(cursor: Cursor) -> Record | None:
    """The next record that is expected, read from the log where needed."""
    if cursor.needs_reading:
        await cursor.fill()
    cursor.skip_trailing_hole()
    return cursor.front()
