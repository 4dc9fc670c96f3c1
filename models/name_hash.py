"""Names as 128-bit hashes, so that compiled code finds them in flat tables.

Tables compare hashes, not names: two names with one hash would be taken for the same. The hash is SipHash-2-4-128 with
a random key of the process, so nobody can look for such names; among a billion names the chance that any two of them
have one hash is 2e-21.
"""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit

KEY: NDArray[np.uint64] = np.frombuffer(bytearray(secrets.token_bytes(16)), np.uint64)
"""Of this process, (2,)."""


@inline_njit
def _rotated(word: np.uint64, bits: int) -> np.uint64:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@inline_njit
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v1 = _rotated(v1, 13) ^ v0
    v0 = _rotated(v0, 32)
    v2 += v3
    v3 = _rotated(v3, 16) ^ v2
    v0 += v3
    v3 = _rotated(v3, 21) ^ v0
    v2 += v1
    v1 = _rotated(v1, 17) ^ v2
    v2 = _rotated(v2, 32)
    return v0, v1, v2, v3


@inline_njit
def hash_of(
    buffer: NDArray[np.uint8], start: int, end: int, first_key: np.uint64, second_key: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """SipHash-2-4-128 of some bytes, as two words; never (0, 0), which tables keep for empty places."""
    v0 = first_key ^ np.uint64(0x736F6D6570736575)
    v1 = second_key ^ np.uint64(0x646F72616E646F6D) ^ np.uint64(0xEE)
    v2 = first_key ^ np.uint64(0x6C7967656E657261)
    v3 = second_key ^ np.uint64(0x7465646279746573)
    place = start
    while place + 8 <= end:
        word = _word(buffer, place, 8)
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        place += 8
    word = _word(buffer, place, end - place) | np.uint64((end - start) & 0xFF) << np.uint64(56)
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= np.uint64(0xEE)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    first = v0 ^ v1 ^ v2 ^ v3
    v1 ^= np.uint64(0xDD)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    second = v0 ^ v1 ^ v2 ^ v3
    if first == 0 and second == 0:
        second = np.uint64(1)
    return first, second


@inline_njit
def _word(buffer: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Up to eight bytes as a little-endian word."""
    word = np.uint64(0)
    for number in range(length):
        word |= np.uint64(buffer[start + number]) << np.uint64(8 * number)
    return word
