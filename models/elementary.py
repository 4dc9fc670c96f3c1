"""Logarithm and exponential functions for loops over arrays of a kernel.

They have no branches and no tables, so the compiler computes several at a time. Products are added without rounding in
between (`fma`), on every machine alike; results are within two units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import extending, types

from models.jit import inline_njit

_EXPONENT, _MANTISSA = np.uint64(52), np.uint64(2**52 - 1)
_ROOT = np.uint64(0x3FE6A09E00000000)
"""Bits of about the root of a half: mantissas are taken from there to twice as much."""
_TO_ROOT = np.uint64(0x3FF0000000000000) - _ROOT
_WHOLE, _WHOLE_BITS = 2.0**52 + 1023.0, np.uint64(0x4330000000000000)
"""A number whose last bits are those of an exponent, and its other bits."""
_ROUND = 1.5 * 2.0**52
"""Added to a number and subtracted again, it rounds it to a whole one."""
_LN_2, _LN_2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_STEEPEST = 1000.0
"""Exponents of 2 are taken to be no further from 0."""

intrinsic: Any = extending.intrinsic


@intrinsic
def _bits(typing: Any, value: Any) -> Any:
    """The bits of a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), generate


@intrinsic
def _number(typing: Any, bits: Any) -> Any:
    """The number that has some bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.uint64), generate


@intrinsic
def fma(typing: Any, one: Any, other: Any, more: Any) -> Any:
    """`one * other + more`, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@inline_njit
def log(value: float) -> float:
    """Natural logarithm of a number that is greater than 0, finite and normal; that of 1 is 0.

    The series is that of fdlibm's `log` (Sun Microsystems, 1993).
    """
    shifted = _bits(value) + _TO_ROOT
    power = _number((shifted >> _EXPONENT) | _WHOLE_BITS) - _WHOLE
    over = _number((shifted & _MANTISSA) + _ROOT) - 1.0
    part = over / (2.0 + over)
    square = part * part
    fourth = square * square
    even = fma(fourth, fma(fourth, 1.479819860511658591e-01, 1.818357216161805012e-01), 2.857142874366239149e-01)
    even = square * fma(fourth, even, 6.666666666666735130e-01)
    odd = fma(fourth, fma(fourth, 1.531383769920937332e-01, 2.222219843214978396e-01), 3.999999999940941908e-01)
    half = 0.5 * over * over
    rest = fma(part, half + fma(fourth, odd, even), power * _LN_2_LOW)
    return float(power * _LN_2 - ((half - rest) - over))


@inline_njit
def exp2(value: float) -> float:
    """2 to the power of a number; of whole ones exact."""
    value = min(_STEEPEST, max(-_STEEPEST, value))
    shifted = value + _ROUND
    return _scaled((value - (shifted - _ROUND)) * (_LN_2 + _LN_2_LOW), shifted)


@inline_njit
def exp(value: float) -> float:
    """The exponential function."""
    value = min(_STEEPEST * _LN_2, max(-_STEEPEST * _LN_2, value))
    shifted = value * (1.0 / (_LN_2 + _LN_2_LOW)) + _ROUND
    whole = shifted - _ROUND
    return _scaled(fma(whole, -_LN_2_LOW, fma(whole, -_LN_2, value)), shifted)


@inline_njit
def _scaled(rest: float, shifted: float) -> float:
    """Exponential function of a small number, by Taylor's series, times 2 to the power of the last bits of another."""
    total = fma(rest, 1.0 / 6227020800.0, 1.0 / 479001600.0)
    total = fma(rest, total, 1.0 / 39916800.0)
    total = fma(rest, total, 1.0 / 3628800.0)
    total = fma(rest, total, 1.0 / 362880.0)
    total = fma(rest, total, 1.0 / 40320.0)
    total = fma(rest, total, 1.0 / 5040.0)
    total = fma(rest, total, 1.0 / 720.0)
    total = fma(rest, total, 1.0 / 120.0)
    total = fma(rest, total, 1.0 / 24.0)
    total = fma(rest, total, 1.0 / 6.0)
    total = fma(rest, total, 0.5)
    total = fma(rest, total, 1.0)
    total = fma(rest, total, 1.0)
    return float(total * _number((_bits(shifted) << _EXPONENT) + np.uint64(0x3FF0000000000000)))
