"""Which of several trainers works: the one that the group assigns partition 0 of `snapshots`."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition


class Leadership:
    """An [`AssignmentListener`][streams.kafka.group_consumer.AssignmentListener] that learns whether we lead.

    Args:
        seat: the trainer with this partition leads.
    """

    def __init__(self, seat: TopicPartition) -> None:
        self._seat = seat
        self.term = 0
        """Counts rebalances: a leadership that is lost and won again is another one."""
        self.leads = asyncio.Event()
        """Set while we lead as far as we know."""
        self.moved = asyncio.Event()
        """Set when anything changes; the waiter clears it."""

    def holds(self, term: int) -> bool:
        """Whether we have led without a break since that term began, as far as we know."""
        return self.term == term and self.leads.is_set()

    @property
    def fresh(self) -> set[TopicPartition]:
        """See [`AssignmentListener.fresh`][streams.kafka.group_consumer.AssignmentListener.fresh]."""
        return set()

    async def on_revoked(self) -> None:
        """A rebalance has begun: we do not lead until the partitions are assigned again."""
        self.term += 1
        self.leads.clear()
        self.moved.set()

    def on_assigned(self, partitions: set[TopicPartition]) -> None:
        """A rebalance is over, and these are ours."""
        if self._seat in partitions:
            self.leads.set()
        self.moved.set()

    def expected(self, partition: TopicPartition) -> int | None:
        """See [`AssignmentListener.expected`][streams.kafka.group_consumer.AssignmentListener.expected]."""
        return None
