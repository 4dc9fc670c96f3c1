"""CRC-32C, the checksum of Kafka's record batches, for compiled code: eight bytes a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, its bits in reverse."""


def _tables() -> NDArray[np.uint32]:
    """What a byte adds to a checksum when it is followed by so many others: (8, 256)."""
    tables = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
        tables[0, byte] = crc
    for followers in range(1, 8):
        before = tables[followers - 1]
        tables[followers] = before >> 8 ^ tables[0, before & 255]
    return tables


_TABLES = _tables()


@inline_njit
def crc32c(buffer: NDArray[np.uint8], start: int, stop: int) -> int:
    """Checksum of the bytes from a start to a stop, which are within the buffer."""
    crc, at = np.uint64(0xFFFFFFFF), start
    while at + 8 <= stop:
        word = np.uint64(0)
        for place in range(8):
            word |= np.uint64(buffer[at + place]) << np.uint64(8 * place)
        word ^= crc
        crc = np.uint64(0)
        for place in range(8):
            crc ^= np.uint64(_TABLES[7 - place, np.int64(word >> np.uint64(8 * place) & np.uint64(255))])
        at += 8
    while at < stop:
        crc = crc >> np.uint64(8) ^ np.uint64(_TABLES[0, np.int64((crc ^ np.uint64(buffer[at])) & np.uint64(255))])
        at += 1
    return int(np.int64(crc ^ np.uint64(0xFFFFFFFF)))
