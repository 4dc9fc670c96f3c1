"""Arrays on cache lines, and lines fetched early."""

from typing import Any

import numpy as np
import pytest
from numba import njit

from models.cache_lines import LINE, prefetch, zeros_on_lines

PAIR = np.dtype([("one", np.float64), ("other", np.int32)], align=True)


@njit
def _fetched(array: Any, index: int) -> int:
    prefetch(array, index)
    return len(array)


@pytest.mark.parametrize("dtype", [np.int8, np.float64, PAIR])
@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_an_array_begins_with_a_line_and_can_be_written(count: int, dtype: Any) -> None:
    array = zeros_on_lines(count, dtype)
    assert (array.shape, array.dtype) == ((count,), np.dtype(dtype))
    assert not array.tobytes().strip(b"\0")
    if count:
        assert array.ctypes.data % LINE == 0
        array[-1] = 1
        assert array[-1] == np.ones(1, dtype)[0]


@pytest.mark.parametrize("index", [0, 2, 10**12, -(10**12)])
def test_any_line_may_be_asked_for(index: int) -> None:
    table = zeros_on_lines(12, np.float64).reshape(3, 4)
    assert _fetched(table, index) == _fetched(table[:, 1], index) == 3
    assert _fetched(zeros_on_lines(5, PAIR)["other"], index) == 5


def test_a_processor_is_told_to_fetch() -> None:
    _fetched(zeros_on_lines(1, np.float64), 0)
    assert all("prefetch" in code or "prfm" in code for code in _fetched.inspect_asm().values())
