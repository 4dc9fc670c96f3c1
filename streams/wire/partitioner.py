"""Where a key lives: murmur2, as every Java client, kafka-python and aiokafka compute it.

librdkafka clients have another default (CRC32): they need `partitioner=murmur2_random`.
"""

from __future__ import annotations

from functools import lru_cache

from kafka.partitioner.default import murmur2

REMEMBERED = 1 << 16
"""Keys whose hash is remembered: hashing in Python takes 3 us, and the shoppers of a minute come again and again. About
10 MB when full."""


@lru_cache(REMEMBERED)
def _positive_hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Number of the partition that records with this key go to.

    Args:
        key: as it is on the wire.
        partitions: that the topic has, at least 1.

    >>> partition_of(b"shopper-17", 8)
    0
    """
    return _positive_hash(key) % partitions
