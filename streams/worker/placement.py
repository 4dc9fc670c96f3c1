"""Whether records lie in the partitions of their keys.

What is known of a shopper lies with the owner of the shopper's partition. A sender with another partitioner splits it:
a purchase in another partition than the clicks does not keep its items from being suggested.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from streams.metrics import Metrics
from streams.wire.partitioner import partition_of
from streams.wire.record import Record, refusal, where
from streams.wire.topics import Identity

logger = logging.getLogger(__name__)

CURE = (
    "senders need the partitioner of Java clients (murmur2): partitioner=murmur2_random in librdkafka and its clients "
    "(confluent-kafka for Python, Go and .NET, php-rdkafka, rust-rdkafka), Partitioners.DefaultPartitioner in KafkaJS "
    "2, a murmur2 partitioner in Sarama; kafka-python, aiokafka and franz-go have it by default"
)


class Placement:
    """Counts misplaced records by topic, and says so once a topic. `identities` are by full topic name."""

    def __init__(self, identities: Mapping[str, Identity], metrics: Metrics) -> None:
        self._partitions = {name: identity.partitions for name, identity in identities.items()}
        self._metrics = metrics
        self.misplaced: Counter[str] = Counter()
        """Misplaced records since the start, by full topic name."""

    def fits(self, record: Record) -> bool:
        """Whether a record with a key lies in the partition of that key."""
        return partition_of(record.key or b"", self._partitions[record.topic]) == record.partition

    def check(self, record: Record, *, refuse: bool) -> None:
        """Count a misplaced record.

        Raises:
            RecordError: it is misplaced, and such records are refused.
        """
        if self.fits(record):
            return
        meant = partition_of(record.key or b"", self._partitions[record.topic])
        self._metrics.misplaced.inc()
        self.misplaced[record.topic] += 1
        if self.misplaced[record.topic] == 1:
            fate = "go to the dead letters" if refuse else "are used where they are, so promises may be broken"
            logger.error(
                "records of %s lie in other partitions than their keys' (the first: %s belongs in partition %d) and "
                "%s: %s",
                record.topic, where(record), meant, fate, CURE,
            )  # fmt: skip
        if refuse:
            raise refusal(record, None, f"in partition {meant}, where its key belongs ({CURE})", f"{record.partition}")
