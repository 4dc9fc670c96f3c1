"""The task of one partition of items: pair deltas in, rows of neighbours out.

The published rows are the state. Each row says which offset of `pairs` it includes. After every round of publishing a
position record (empty key) says up to which offset all rows are published, and what has been applied of each source.
The next owner adopts the rows from its global table and reads on from the recorded position; a row published after that
record skips the deltas that it includes.

Rows of items that are in no catalogue are learnt for a while, since a catalogue may come after the first clicks. Too
many, or too old ones, are dropped, with a tombstone for each that is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from models.cooccurrence.counter import CoOccurrence, Totals
from streams.errors import RecordError
from streams.kafka.cursor import Cursor
from streams.wire.neighbour_rows import POSITION_KEY, PositionRecord, encode_position, encode_row
from streams.wire.pair_deltas import decode_pairs
from streams.wire.record import Record
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask

SLICE = 25
"""Rows encoded before the event loop gets a turn: about a millisecond."""

ADOPT_SLICE = 200
"""Rows adopted before the event loop gets a turn."""

SPARED_S = 3600.0
"""Event time after a take-over in which adopted rows are not dropped: a catalogue that is being published again is not
complete yet, and what was learnt of its items would be lost."""

LOOK_S = 3600.0
"""Event time between two looks for rows that are too old. Many new rows are reason for a look at any time."""

LAST_ROWS_S = 1.0
"""Longest time to publish rows during a rebalance: nothing is applied meanwhile."""


class NeighbourTask(PartitionTask):
    """See the module."""

    def __init__(self, name: str, partitions: Sequence[TopicPartition], context: WorkerContext) -> None:
        super().__init__(name, partitions, context)
        (self._pairs_tp,) = partitions
        self._rows_tp = TopicPartition(context.name("neighbours"), self._pairs_tp.partition)
        self.rows = CoOccurrence(context.items, context.settings.cooccurrence)
        self._applied: dict[str, int] = {}
        self._recorded_position = -1
        self._newest_at = self._adopted_at = self._dropped_at = 0.0  # event times
        self._left = 0  # rows after the last round of dropping

    # -- restoring -------------------------------------------------------------------------------------------------

    def table_partitions(self) -> list[TopicPartition]:
        """See [`PartitionTask.table_partitions`][]; also the partition's rows."""
        return [*super().table_partitions(), self._rows_tp]

    def overtaken(self) -> bool:
        """See [`PartitionTask.overtaken`][]."""
        position = self.context.tables.positions.get(self._rows_tp.partition)
        return position is not None and position.position > self.cursors[self._pairs_tp].position

    async def restore(self) -> None:
        """Adopt the published rows and go on from the recorded position."""
        number, tables = self._rows_tp.partition, self.context.tables
        recorded = tables.positions.get(number)
        if recorded is not None:
            self._check_identity(self._pairs_tp, recorded.topic_id, recorded.partitions, "neighbours")
        await self.starting_cursors()  # checks and counts
        start = (await self.context.log.starts([self._pairs_tp]))[self._pairs_tp]
        position = max(recorded.position, start) if recorded else start
        self.rows = CoOccurrence(self.context.items, self.context.settings.cooccurrence)
        self._applied = dict(recorded.applied) if recorded else {}
        self._recorded_position = position if recorded else -1
        self._newest_at = 0.0
        if recorded is not None:
            self.rows.totals = Totals(recorded.baskets, recorded.at)
        tables.watch(number)
        for done, item_id in enumerate(sorted(tables.items_of(number))):
            if (row := tables.neighbours.row(item_id)) is not None:
                self.rows.adopt(row)
                self._newest_at = max(self._newest_at, row.at)
            if done % ADOPT_SLICE == 0:
                await asyncio.sleep(0)
        self._adopted_at = self._dropped_at = self._newest_at
        self._left = len(self.rows)
        self.cursors = {self._pairs_tp: Cursor(self._pairs_tp, position, self.context.log)}

    # -- applying --------------------------------------------------------------------------------------------------

    def next_run(self) -> list[Record]:
        """See [`PartitionTask.next_run`][]: a few messages, each with the pairs of many events."""
        return self.cursors[self._pairs_tp].take_many(4)

    def apply(self, records: Sequence[Record]) -> None:
        """Count the pairs that are not counted yet."""
        cursor = self.cursors[self._pairs_tp]
        for record in records:
            try:
                self._apply_one(record)
            except RecordError as error:
                self.send_to_dead_letters(record, error)
            cursor.applied(record)
        self._drop_unknown()

    def _apply_one(self, record: Record) -> None:
        pairs = decode_pairs(record, self.context.items, self._applied)
        if len(pairs.a):
            self.rows.learn_many(pairs.a, pairs.b, pairs.kind, pairs.weight, pairs.at, record.offset)
            self._newest_at = max(self._newest_at, float(pairs.at.max()))
            self.context.metrics.pairs.inc(len(pairs.a))
        if pairs.last_offset > self._applied.get(pairs.source, -1):
            self._applied[pairs.source] = pairs.last_offset

    # -- publishing ------------------------------------------------------------------------------------------------

    def _drop_unknown(self) -> None:
        """Drop rows of items that are in no catalogue, where there may be too many or too old ones."""
        context, config = self.context, self.context.settings.cooccurrence
        most = -(-config.unknown_items // context.partitions("neighbours"))
        due = len(self.rows) > self._left + most // 8 or self._newest_at >= self._dropped_at + LOOK_S
        if not due or not self.owned or self.overtaken():
            return
        before, adopted = len(self.rows), self._newest_at >= self._adopted_at + SPARED_S
        oldest_at = self._newest_at - config.unknown_s
        for index in self.rows.drop_unknown(context.tables.catalog.knows, most, oldest_at, adopted=adopted):
            key = context.items.name(index).encode()
            context.producer.enqueue(self._rows_tp.topic, self._rows_tp.partition, key, None)
        self._left, self._dropped_at = len(self.rows), self._newest_at
        context.metrics.unknown_rows.inc(before - self._left)

    def dropped(self) -> None:
        """See [`PartitionTask.dropped`][]."""
        super().dropped()
        self.context.tables.unwatch(self._rows_tp.partition)

    async def publish(self) -> None:
        """Publish the changed rows, within the byte rate, then the position up to which they are complete."""
        settings, producer = self.context.settings, self.context.producer
        for item_id in self.context.tables.take_regressed(self._rows_tp.partition):
            self.rows.mark_dirty(self.context.items.find(item_id))
        cursor = self.cursors[self._pairs_tp]
        position, cursors, dirty = cursor.position, self.cursors, self.rows.dirty()
        if not dirty and position == self._recorded_position:
            return
        identity, totals = self.context.identities[self._pairs_tp.topic], self.rows.totals
        record = PositionRecord(
            v=1,
            topic_id=identity.topic_id,
            partitions=identity.partitions,
            position=position,
            applied=dict(self._applied),
            baskets=totals.baskets,
            at=totals.at,
        )
        progress = self.progress({self._pairs_tp: position})
        rate = settings.publish_bytes_per_s / max(1, self.context.partitions("neighbours"))
        now = asyncio.get_running_loop().time
        sent, started = 0, now()
        for done, index in enumerate(dirty):
            if index not in self.rows:
                continue  # dropped meanwhile
            key = self.context.items.name(index).encode()
            value = encode_row(self.rows.row(index, cursor.position))
            producer.enqueue(self._rows_tp.topic, self._rows_tp.partition, key, value)
            self.rows.published(index)
            sent += len(value)
            if done % SLICE == SLICE - 1:
                ahead_s = sent / rate - (now() - started)
                await asyncio.sleep(max(0.0, ahead_s) if self.owned else 0.0)
                if self.cursors is not cursors or (not self.owned and now() - started > LAST_ROWS_S):
                    return  # the next owner counts on from the position before
        self.context.metrics.rows_published.inc(len(dirty))
        self.context.metrics.rows_bytes.inc(sent)
        producer.enqueue(self._rows_tp.topic, self._rows_tp.partition, POSITION_KEY, encode_position(record))
        self._recorded_position = position
        await self.checkpoint(progress)
