"""The partition of a key: murmur2, as in Java clients, kafka-python and aiokafka.

librdkafka's default is CRC32; its clients need `partitioner=murmur2_random`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit

_SEED, _FACTOR = np.uint32(0x9747B28C), np.uint32(0x5BD1E995)


def partition_of(key: bytes, partitions: int) -> int:
    """Partition that records with this key go to.

    >>> partition_of(b"shopper-17", 8)
    0
    """
    return int(_hash(np.frombuffer(key, np.uint8))) % partitions


@inline_njit
def hash_of(keys: NDArray[np.uint8], start: int, size: int) -> Any:
    """What `partition_of` takes the remainder of, for compiled code; the key is a part of some bytes."""
    mixed = _SEED ^ np.uint32(size)
    end = start + size // 4 * 4
    for at in range(start, end, 4):
        word = np.uint32(keys[at]) | np.uint32(keys[at + 1]) << np.uint32(8)
        word |= np.uint32(keys[at + 2]) << np.uint32(16) | np.uint32(keys[at + 3]) << np.uint32(24)
        word = np.uint32(word * _FACTOR)
        word = np.uint32(np.uint32(word ^ word >> np.uint32(24)) * _FACTOR)
        mixed = np.uint32(mixed * _FACTOR) ^ word
    rest = size % 4
    if rest:
        for place in range(rest):
            mixed ^= np.uint32(keys[end + place]) << np.uint32(8 * place)
        mixed = np.uint32(mixed * _FACTOR)
    mixed = np.uint32(np.uint32(mixed ^ mixed >> np.uint32(13)) * _FACTOR)
    return np.int64((mixed ^ mixed >> np.uint32(15)) & np.uint32(0x7FFFFFFF))


@cached_njit()
def _hash(key: NDArray[np.uint8]) -> Any:
    return hash_of(key, 0, len(key))


def warm() -> None:
    """Compile, or load what was compiled before."""
    partition_of(b"", 1)
