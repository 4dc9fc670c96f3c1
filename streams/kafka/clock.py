"""Compares our clock with the brokers', by the append times of records as they arrive."""

from __future__ import annotations

import logging
from typing import Any

from aiokafka import TopicPartition

logger = logging.getLogger(__name__)

FAR_S = 30.0
"""A difference that is reported. Deliveries take less, unless a broker stalls."""

IN_A_ROW = 3
"""Deliveries that have to agree: a single one may have been delayed."""

APPEND_TIME = 1
"""Timestamp type of records that carry the broker's clock; others carry their sender's."""


class ClockCheck:
    """The least difference of the clocks that explains the append times.

    A record was appended before it arrives, and after its partition was last read to the end. An append time outside of
    that span means that the clocks differ.

    Attributes:
        ahead_s: our clock is at least so many seconds ahead of the brokers' (negative: behind); 0 while they agree.
    """

    def __init__(self) -> None:
        self._read_up: dict[TopicPartition, float] = {}  # our time when a partition held no more
        self._in_a_row = 0
        self.ahead_s = 0.0
        self.notice: str | None = None
        """What to tell an operator."""

    def read_up(self, partition: TopicPartition, at_s: float) -> None:
        """At this time by our clock a broker answered that a partition holds no more than was delivered."""
        self._read_up[partition] = at_s

    def moved(self, partition: TopicPartition) -> None:
        """The partition is read from another offset: what comes next may be old."""
        self._read_up.pop(partition, None)

    def clear(self) -> None:
        """All partitions may be read from other offsets."""
        self._read_up.clear()

    def delivered(self, record: Any, now_s: float) -> None:
        """The first record of a delivery has arrived; `now_s` is our clock."""
        if getattr(record, "timestamp_type", None) != APPEND_TIME:
            return
        appended_s = record.timestamp / 1000
        earliest_s = self._read_up.pop(TopicPartition(record.topic, record.partition), appended_s)
        ahead_s = min(0.0, now_s - appended_s) or max(0.0, earliest_s - appended_s)
        if earliest_s == appended_s and ahead_s == 0:
            return  # a backlog: any age is possible
        self._in_a_row = self._in_a_row + 1 if abs(ahead_s) > FAR_S else 0
        if self._in_a_row == 0:
            self.ahead_s, self.notice = 0.0, None
        elif self._in_a_row >= IN_A_ROW:
            self.ahead_s = ahead_s
            if self.notice is None:
                way = "ahead of" if ahead_s > 0 else "behind"
                self.notice = (
                    f"our clock is at least {abs(ahead_s):.0f} s {way} the brokers' (append time of {record.topic}-"
                    f"{record.partition}@{record.offset}): ages of events are wrong by that, so "
                    "set both clocks"
                )
                logger.warning("%s", self.notice)
