"""Names as hashes, and tables of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.hash_table import empty_hashes, find, is_empty, place_of, take_out
from models.jit import cached_njit
from models.name_hash import hash_of
from models.name_table import NameTable


@cached_njit()
def _hash(name: np.ndarray, first: np.uint64, second: np.uint64) -> tuple[np.uint64, np.uint64]:
    return hash_of(name, 0, len(name), first, second)


@cached_njit()
def _put(hashes: np.ndarray, numbers: np.ndarray, first: np.uint64, number: int) -> None:
    place = place_of(hashes, first, np.uint64(1))
    hashes[place, 0], hashes[place, 1] = first, 1
    numbers[place] = number


@cached_njit()
def _find(hashes: np.ndarray, numbers: np.ndarray, first: np.uint64) -> int:
    place = find(hashes, first, np.uint64(1))
    return -1 if place < 0 else numbers[place]


@cached_njit()
def _take_out(hashes: np.ndarray, numbers: np.ndarray, first: np.uint64) -> int:
    place = find(hashes, first, np.uint64(1))
    if place >= 0:
        take_out(hashes, numbers, place)
    taken = 0
    for other in range(len(hashes)):
        taken += not is_empty(hashes, other)
    return taken


def test_the_hash_is_siphash_2_4_128() -> None:
    """By the test vectors of its authors: the key 00 01 ... 0f, the first bytes of 00 01 02 ..."""
    first, second = np.frombuffer(bytes(range(16)), np.uint64)
    vectors = {
        0: "a3817f04ba25a8e66df67214c7550293",
        1: "da87c1d86b99af44347659119b22fc45",
        8: "3b62a9ba6258f5610f83e264f31497b4",
    }
    for length, digest in vectors.items():
        words = _hash(np.frombuffer(bytes(range(length)), np.uint8), first, second)
        assert b"".join(int(word).to_bytes(8, "little") for word in words).hex() == digest


# few places to begin at, so that hashes stand in each other's way and around the end of the table
crowded = st.sampled_from([place + 64 * round for place in (0, 1, 2, 61, 62, 63) for round in range(4)])


@given(st.lists(st.tuples(crowded, st.booleans()), max_size=60))
def test_hashes_are_found_until_they_are_taken_out(changes: list[tuple[int, bool]]) -> None:
    hashes, expected = empty_hashes(64), dict[int, int]()
    numbers = np.zeros(64, np.int64)
    for number, (first, puts) in enumerate(changes):
        if puts:
            _put(hashes, numbers, np.uint64(first), number)
            expected[first] = number
        else:
            expected.pop(first, None)
            assert _take_out(hashes, numbers, np.uint64(first)) == len(expected)
        for other, _ in changes:
            assert _find(hashes, numbers, np.uint64(other)) == expected.get(other, -1)


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 50))), st.sets(st.integers(0, 50)))
def test_names_have_their_last_numbers_until_these_are_not_kept(puts: list[tuple[str, int]], kept: set[int]) -> None:
    names, expected = NameTable(), dict[str, int]()
    for name, number in puts:
        names.put(name, number)
        expected[name] = number
    assert [names.find(name) for name, _ in puts] == [expected[name] for name, _ in puts]
    names.keep(np.isin(np.arange(51), list(kept)).astype(np.uint8))
    left = {name: number for name, number in expected.items() if number in kept}
    assert [names.find(name) for name, _ in puts] == [left.get(name, -1) for name, _ in puts]
    assert len(names) == len(left)
