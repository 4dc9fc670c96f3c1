import math
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from models.elementary import erf, exp, exp2, log, sqrt

DRAWN = np.random.default_rng(1)


def values_of(function: Callable[[float], float], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The function of many numbers, in a loop as a kernel's."""

    @njit(error_model="numpy")
    def each(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.empty_like(numbers)
        for index in range(len(numbers)):
            found[index] = function(numbers[index])
        return found

    return each(numbers)


@pytest.mark.parametrize(
    ("function", "true", "numbers"),
    [
        (log, np.log, np.concatenate([DRAWN.uniform(0.4, 2.1, 9999), 10.0 ** DRAWN.uniform(-300, 300, 9999)])),
        (log, np.log, 1.0 + 10.0 ** DRAWN.uniform(-17, 0, 9999)),
        (exp2, np.exp2, np.concatenate([DRAWN.uniform(-2, 0, 9999), DRAWN.uniform(-900, 900, 9999)])),
        (exp, np.exp, np.concatenate([DRAWN.uniform(-8, 8, 9999), DRAWN.uniform(-600, 600, 9999)])),
    ],
)
def test_values_are_within_two_units_in_the_last_place(
    function: Callable[[float], float],
    true: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    numbers: NDArray[np.float64],
) -> None:
    found, expected = values_of(function, numbers), true(numbers)
    assert (np.abs(found - expected) <= 2 * np.spacing(np.abs(expected))).all()


def test_the_error_function_is_as_exact_as_what_it_is_multiplied_by() -> None:
    numbers = np.concatenate(
        [[0.0, 5.9999, 6.0, 6.0001, 1e9], DRAWN.uniform(0, 7, 9999), 10.0 ** DRAWN.uniform(-20, 0, 999)]
    )
    found = values_of(erf, numbers)
    assert np.abs(found - [math.erf(number) for number in numbers]).max() <= 1e-15
    assert found.min() >= 0.0
    assert found.max() == 1.0


def test_the_square_root_is_exact() -> None:
    numbers = np.concatenate([[0.0], 10.0 ** DRAWN.uniform(-300, 300, 9999)])
    assert np.array_equal(values_of(sqrt, numbers), np.sqrt(numbers))


def test_a_number_has_the_same_value_alone_as_among_others() -> None:
    numbers = DRAWN.uniform(0.1, 9, 67)
    for function in (log, exp2, exp, erf):
        together = values_of(function, numbers)
        assert np.array_equal(together, [values_of(function, numbers[place : place + 1])[0] for place in range(67)])


def test_what_can_be_exact_is() -> None:
    assert np.array_equal(values_of(log, np.array([1.0])), [0.0])
    assert np.array_equal(values_of(exp, np.array([0.0])), [1.0])
    whole = np.arange(-999.0, 1000.0)
    assert np.array_equal(values_of(exp2, whole), 2.0**whole)


def test_powers_far_from_0_are_tiny_or_huge() -> None:
    for function in (exp2, exp):
        tiny, huge = values_of(function, np.array([-1e9, 1e9]))
        assert 0.0 <= tiny < 1e-300 and 1e300 < huge < np.inf
