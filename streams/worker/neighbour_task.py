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
import logging
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from models.cooccurrence.counter import CoOccurrence, Totals
from streams.errors import RecordError, TakeOverError
from streams.kafka.cursor import Cursor
from streams.kafka.expected_rows import PublishedRows
from streams.wire.neighbour_rows import POSITION_KEY, PositionRecord, encode_position
from streams.wire.pair_deltas import DecodedPairs, decode_pairs, shared_item_partitions
from streams.wire.record import Record, check_at, refusal
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask

logger = logging.getLogger(__name__)

SLICE = 50
"""Rows encoded before the event loop gets a turn: about a third of a millisecond."""

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
        self._item_partitions = shared_item_partitions(context.items, context.partitions("pairs"))
        self._waits: int | None = None  # offset of a message whose source's end has to be looked up
        self._looked_up: int | None = None  # ... of the message for which that was done

    # -- restoring -------------------------------------------------------------------------------------------------

    def table_partitions(self) -> list[TopicPartition]:
        """See [`PartitionTask.table_partitions`][]; also the partition's rows."""
        return [*super().table_partitions(), self._rows_tp]

    def overtaken(self) -> bool:
        """See [`PartitionTask.overtaken`][]."""
        position = self.context.tables.positions.get(self._rows_tp.partition)
        return position is not None and position.position > self.cursors[self._pairs_tp].position

    async def restore(self) -> None:
        """Adopt the published rows and go on from the recorded position.

        Raises:
            TakeOverError: the topic is not the one of the recorded position, or ends before it.
        """
        number, tables = self._rows_tp.partition, self.context.tables
        recorded = tables.positions.get(number)
        if recorded is not None:
            self._check_identity(self._pairs_tp, recorded.topic_id, recorded.partitions, "neighbours")
        await self.starting_cursors()  # checks and counts
        start = (await self.context.log.starts([self._pairs_tp]))[self._pairs_tp]
        end = (await self.context.log.ends([self._pairs_tp]))[self._pairs_tp]
        await self.context.source_ends.look_up()
        if recorded is not None and recorded.position > end:
            where = f"{self._pairs_tp.topic}-{self._pairs_tp.partition}"
            raise TakeOverError.beyond_end(where, recorded.position, end, "neighbours")
        position = max(recorded.position, start) if recorded else start
        self.rows = CoOccurrence(self.context.items, self.context.settings.cooccurrence)
        self._applied = self._possible(recorded.applied) if recorded else {}
        self._waits = self._looked_up = None
        self._recorded_position = position if recorded else -1
        self._newest_at = 0.0
        if recorded is not None:
            self.rows.totals = Totals(recorded.baskets, recorded.at)
        tables.watch(number)
        self.context.expected_pairs.watch(number)
        for done, item_id in enumerate(sorted(tables.items_of(number))):
            row = tables.neighbours.row(item_id)
            if row is not None and row.position <= end:
                self.rows.adopt(row)
                self._newest_at = max(self._newest_at, row.at)
            elif row is not None:
                self._withdraw(item_id, row.position, end)
            if done % ADOPT_SLICE == 0:
                await asyncio.sleep(0)
        self._adopted_at = self._dropped_at = self._newest_at
        self._left = len(self.rows)
        self.cursors = {self._pairs_tp: Cursor(self._pairs_tp, position, self.context.log)}

    def _possible(self, applied: Mapping[str, int]) -> dict[str, int]:
        """The recorded offsets by source, clipped to its end: beyond, they would make later events count as applied."""
        ends = self.context.source_ends
        known = {source: offset for source, offset in applied.items() if source in ends and ends[source]}
        possible = {source: min(offset, ends[source] - 1) for source, offset in known.items()}
        if possible != known:
            logger.warning(
                "the position of %s-%d in `neighbours` claims events beyond the ends of clicks or purchases: another "
                "program writes there, or the broker lost records; the ends count",
                self._rows_tp.topic, self._rows_tp.partition,
            )  # fmt: skip
        return possible

    def _withdraw(self, item_id: str, position: int, end: int) -> None:
        """Take a row out of the topic that claims more of `pairs` than there is: nothing would ever replace it."""
        self.context.metrics.unusable.labels(self._rows_tp.topic).inc()
        where = f"{self._rows_tp.topic}-{self._rows_tp.partition}"
        why = (
            f"the row of {item_id!r:.60} in {where} claims offset {position} of `pairs`, which ends at {end}: another "
            "program writes there"
        )
        self.context.bad_records.write(self._rows_tp.topic, why, "is withdrawn")
        self.context.producer.enqueue(self._rows_tp.topic, self._rows_tp.partition, item_id.encode(), None)

    # -- applying --------------------------------------------------------------------------------------------------

    def next_run(self) -> list[Record]:
        """See [`PartitionTask.next_run`][]: a few messages, each with the pairs of many events."""
        return self.cursors[self._pairs_tp].take_many(4)

    def apply(self, records: Sequence[Record]) -> None:
        """Count the pairs that are not counted yet, up to a message whose source's end has to be looked up."""
        cursor = self.cursors[self._pairs_tp]
        for done, record in enumerate(records):
            try:
                pairs = self._decoded(record)
                if pairs is None:
                    self._waits = record.offset
                    cursor.put_back(records[done:])
                    return
                self._count(pairs, record.offset)
            except RecordError as error:
                self.send_to_dead_letters(record, error)
            cursor.applied(record)
        self._drop_unknown()

    async def finish_run(self) -> None:
        """Look up the ends of the sources, if a message waits for that; without one, no request is made."""
        if self._waits is not None:
            offset, self._waits = self._waits, None
            await self.context.source_ends.look_up()
            self._looked_up = offset

    def _decoded(self, record: Record) -> DecodedPairs | None:
        """The pairs of a message; None where its source is not known to have come so far yet.

        Raises:
            RecordError: no worker can have written it.
        """
        pairs, ends = self.context.expected_pairs.take(record), self.context.source_ends
        if pairs is None or pairs.first_offset <= self._applied.get(pairs.source, -1):
            pairs = decode_pairs(record, self.context.items, self._applied)
        if pairs.source not in ends:
            raise refusal(record, "$.source", "a partition of clicks or purchases as they are", repr(pairs.source))
        if (self._item_partitions[pairs.a] != record.partition).any():
            raise refusal(record, "$.a", "items of its partition", "others")
        check_at(record, float(pairs.at.max(initial=0.0)), self.context.clock())
        if pairs.last_offset >= (end := ends[pairs.source]):
            if self._looked_up != record.offset:
                return None
            raise refusal(record, "$.offsets", f"offsets below the source's end, {end}", str(pairs.last_offset))
        return pairs

    def _count(self, pairs: DecodedPairs, offset: int) -> None:
        if len(pairs.a):
            self.rows.learn_many(pairs.a, pairs.b, pairs.kind, pairs.weight, pairs.at, offset)
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
        self.context.expected_pairs.unwatch(self._rows_tp.partition)

    async def publish(self) -> None:
        """Publish the changed rows, within the byte rate, then the position up to which they are complete."""
        settings, producer = self.context.settings, self.context.producer
        cursor = self.cursors[self._pairs_tp]
        if regressed := self.context.tables.take_regressed(self._rows_tp.partition):
            end = (await self.context.log.ends([self._pairs_tp]))[self._pairs_tp]
            for item_id in regressed:
                row = self.context.tables.neighbours.row(item_id)
                if row is not None and row.position > end:
                    self._withdraw(item_id, row.position, end)
                self.rows.mark_dirty(self.context.items.find(item_id))
            if self.cursors.get(self._pairs_tp) is not cursor:
                return
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
        for first in range(0, len(dirty), SLICE):
            indices = self.rows.holding(dirty[first : first + SLICE])  # the others were dropped meanwhile
            rows = self.rows.cut_rows(indices)
            keys, values = self.context.row_writer.write(rows, cursor.position)
            producer.enqueue_all(self._rows_tp.topic, self._rows_tp.partition, keys, values)
            sent += sum(map(len, values))
            published = PublishedRows(self._rows_tp.partition, cursor.position, rows)
            self.context.tables.expected_rows.add(published, keys, values)
            self.rows.published(*indices)
            if self.owned:
                await self.context.backpressure.wait_for_producer()
            ahead_s = sent / rate - (now() - started)
            await asyncio.sleep(max(0.0, ahead_s) if self.owned else 0.0)
            if self.cursors is not cursors or (not self.owned and now() - started > LAST_ROWS_S):
                return  # the next owner counts on from the position before
        self.context.metrics.rows_published.inc(len(dirty))
        self.context.metrics.rows_bytes.inc(sent)
        producer.enqueue(self._rows_tp.topic, self._rows_tp.partition, POSITION_KEY, encode_position(record))
        self._recorded_position = position
        await self.checkpoint(progress)
