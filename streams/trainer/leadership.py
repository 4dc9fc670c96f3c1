"""Which of several trainers works: the one whose group assigns it partition 0 of `snapshots`."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition


class Leadership:
    """An [`AssignmentListener`][streams.kafka.group_consumer.AssignmentListener] that learns whether we lead.

    Args:
        seat: the owner of this partition leads.
    """

    def __init__(self, seat: TopicPartition) -> None:
        self._seat = seat
        self._term = 0  # counts rebalances: a leadership lost and won again is another one
        self.leads = asyncio.Event()
        """Set while we lead as far as we know."""
        self.moved = asyncio.Event()
        """Set at every change; the waiter clears it."""

    @property
    def term(self) -> int:
        """Number of this leadership."""
        return self._term

    def holds(self, term: int) -> bool:
        """Whether we have led without a break since that term, as far as we know."""
        return self._term == term and self.leads.is_set()

    @property
    def fresh(self) -> set[TopicPartition]:
        """See [`AssignmentListener.fresh`][streams.kafka.group_consumer.AssignmentListener.fresh]."""
        return set()

    async def on_revoked(self) -> None:
        """A rebalance begins: we do not lead until the new assignment is known."""
        self._term += 1
        self.leads.clear()
        self.moved.set()

    def on_assigned(self, partitions: set[TopicPartition]) -> None:
        """These partitions are ours now."""
        if self._seat in partitions:
            self.leads.set()
        self.moved.set()

    def expected(self, partition: TopicPartition) -> int | None:
        """See [`AssignmentListener.expected`][streams.kafka.group_consumer.AssignmentListener.expected]."""
        return None
