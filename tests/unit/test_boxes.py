"""Boxes: compiled code sees the very arrays of the tuple, and a box is made again where one of them was replaced."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from models.boxes import Box, KeptBox
from models.jit import cached_njit


class Held(NamedTuple):
    first: NDArray[np.float64]
    second: NDArray[np.int64]
    third: NDArray[np.float64]


@cached_njit()
def swapped(box: Box) -> float:
    """The first element of the first part, which is changed to that of the second."""
    before, box.held.first[0] = box.held.first[0], box.held.second[0]
    return float(before)


def held() -> Held:
    return Held(np.array([1.5]), np.array([2]), np.array([3.0]))


def test_compiled_code_reads_and_writes_the_arrays_of_the_tuple() -> None:
    arrays = held()
    box = KeptBox().of(arrays)
    assert (swapped(box), swapped(box), arrays.first[0]) == (1.5, 2.0, 2.0)


@pytest.mark.parametrize("part", Held._fields)
def test_a_box_is_made_again_where_a_part_was_replaced_by_an_equal_one(part: str) -> None:
    kept, arrays = KeptBox(), held()
    box = kept.of(arrays)
    assert kept.of(Held(*arrays)) is box
    replaced = arrays._replace(**{part: getattr(arrays, part).copy()})
    assert kept.of(replaced) is not box
    assert kept.of(replaced) is kept.of(replaced)
    swapped(kept.of(replaced))
    assert replaced.first[0] == 2.0
