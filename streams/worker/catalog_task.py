"""The task of one partition of the catalogue: its dead letters.

Every process holds the whole catalogue as a global table and skips records that it cannot read. Only the owner of the
partition sends them to the dead letters, so each is sent once, however many workers run and however often they start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from streams.errors import RecordError
from streams.wire.codec import decode_catalog
from streams.wire.record import Record
from streams.worker.partition_task import PartitionTask


class CatalogTask(PartitionTask):
    """See the module."""

    async def restore(self) -> None:
        """The position is the only state."""
        self.cursors = await self.starting_cursors()

    def next_run(self) -> list[Record]:
        """See [`PartitionTask.next_run`][]."""
        (tp,) = self.partitions
        return self.cursors[tp].take_many(self.context.settings.batch_records)

    def apply(self, records: Sequence[Record]) -> None:
        """Check each record."""
        (tp,) = self.partitions
        outcomes: Counter[tuple[str, str]] = Counter()
        for record in records:
            try:
                decode_catalog(record)
                # Used by every process wherever it lies. In two partitions, records of an item have no order.
                self.context.placement.check(record, refuse=False)
                outcomes[record.topic, "noted"] += 1
            except RecordError as error:
                self.send_to_dead_letters(record, error)
                outcomes[record.topic, "dead letter"] += 1
            self.cursors[tp].applied(record)
        self.context.metrics.outcomes(outcomes)

    async def publish(self) -> None:
        """See [`PartitionTask.publish`][]."""
        await self.checkpoint(self.progress(self.positions()))
