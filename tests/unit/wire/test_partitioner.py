from __future__ import annotations

import pytest

from streams.wire.partitioner import partition_of

JAVA_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Hashes that Apache Kafka's own tests expect of `org.apache.kafka.common.utils.Utils.murmur2`."""


@pytest.mark.parametrize("key", JAVA_MURMUR2)
@pytest.mark.parametrize("partitions", [1, 2, 3, 8, 1000])
def test_partitions_are_those_of_the_java_client(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (JAVA_MURMUR2[key] & 0x7FFFFFFF) % partitions


def test_aiokafka_chooses_the_same_partition() -> None:
    from aiokafka.partitioner import DefaultPartitioner

    keys = [f"shopper-{number}".encode() for number in range(500)] + [b"", "Käse".encode()]
    for key in keys:
        assert partition_of(key, 8) == DefaultPartitioner()(key, list(range(8)), list(range(8)))


def test_keys_spread_over_all_partitions() -> None:
    shares = [0] * 8
    for number in range(8_000):
        shares[partition_of(f"shopper-{number}".encode(), 8)] += 1
    assert min(shares) > 800
    assert max(shares) < 1_200
