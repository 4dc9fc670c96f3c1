"""Records that wait behind an open transaction: they are no lag of the worker."""

from __future__ import annotations

import logging
from typing import NamedTuple

from aiokafka import TopicPartition

from streams.metrics import Metrics

logger = logging.getLogger(__name__)

OPEN_S = 30.0
"""A transaction that is open for so long is reported. The default timeout is 60 s; brokers allow up to 15 minutes."""


class _Open(NamedTuple):
    """The first open transaction of a partition."""

    stable: int
    since: float
    reported: bool


class OpenTransactions:
    """Records of each partition that cannot be read yet, since the transaction before them may still be aborted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._open: dict[TopicPartition, _Open] = {}

    @property
    def notices(self) -> list[str]:
        """What to tell an operator."""
        return [
            f"records of {tp.topic}-{tp.partition} from {at.stable} on wait for a transaction to end"
            for tp, at in self._open.items()
            if at.reported
        ]

    def look(self, partition: TopicPartition, stable: int, end: int, now: float) -> None:
        """Compare the last stable offset with the end of the log; `now` is monotonic."""
        waiting = max(0, end - stable)
        self._metrics.unstable(partition.topic, partition.partition, waiting)
        if not waiting:
            self.forget(partition)
            return
        open_ = self._open.get(partition)
        if open_ is None or open_.stable != stable:
            open_ = _Open(stable, now, reported=False)
        if now - open_.since >= OPEN_S and not open_.reported:
            open_ = open_._replace(reported=True)
            logger.warning(
                "%d records of %s-%d from %d on wait for a transaction that has been open for %.0f s; they are read "
                "when their producer commits or aborts it (kafka-transactions.sh find-hanging names it)",
                waiting, partition.topic, partition.partition, stable, now - open_.since,
            )  # fmt: skip
        self._open[partition] = open_

    def forget(self, partition: TopicPartition) -> None:
        """No transaction is open in a partition, or it is not ours any more."""
        self._open.pop(partition, None)
