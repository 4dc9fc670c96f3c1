"""Logarithm, exponential functions and error function for loops over arrays of a kernel.

They have no branches and no tables, so the compiler computes several at a time. Products are added without rounding in
between (`fma`), on every machine alike; results are within two units in the last place, those of `erf` within 1e-15.
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
_ERF_ENDS = 6.0
"""The error function of anything greater is 1."""
_ERFC = (
    -0.5014367259211941,
    0.5153126870212867,
    0.00557076197485983,
    -0.021523642465598194,
    0.000493531720666024,
    0.002028764049085634,
    -0.00033021999792540906,
    -0.00019494560416372106,
    8.147013540979288e-05,
    9.023444521844225e-06,
    -1.360122131906281e-05,
    2.1168619091147507e-06,
    1.4092010468378308e-06,
    -6.928523044134235e-07,
    -8.477779234150773e-09,
    1.0218929780483478e-07,
    -2.8537204487104258e-08,
    -6.092693758502195e-09,
    5.508447962080071e-09,
    -6.233288147870704e-10,
    -4.367569936935996e-10,
    1.2373665959995688e-10,
)
"""Coefficients of log(erfc(x) / t) + x * x, where t = 2 / (2 + x), as a polynomial in (8 * t - 5) / 3, which is from -1
to 1: its Chebyshev series, cut off. Powers of no other variable make it as smooth."""

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


@intrinsic
def sqrt(typing: Any, value: Any) -> Any:
    """Square root of a number that is not negative, as one instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.sqrt", [arguments[0].type])
        return builder.call(function, arguments)

    return types.float64(types.float64), generate


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
def erf(value: float) -> float:
    """The error function of a number that is not negative."""
    value = min(_ERF_ENDS, value)
    part = 2.0 / (2.0 + value)
    place = fma(part, 8.0 / 3.0, -5.0 / 3.0)
    total = _ERFC[-1]
    total = fma(place, total, _ERFC[20])
    total = fma(place, total, _ERFC[19])
    total = fma(place, total, _ERFC[18])
    total = fma(place, total, _ERFC[17])
    total = fma(place, total, _ERFC[16])
    total = fma(place, total, _ERFC[15])
    total = fma(place, total, _ERFC[14])
    total = fma(place, total, _ERFC[13])
    total = fma(place, total, _ERFC[12])
    total = fma(place, total, _ERFC[11])
    total = fma(place, total, _ERFC[10])
    total = fma(place, total, _ERFC[9])
    total = fma(place, total, _ERFC[8])
    total = fma(place, total, _ERFC[7])
    total = fma(place, total, _ERFC[6])
    total = fma(place, total, _ERFC[5])
    total = fma(place, total, _ERFC[4])
    total = fma(place, total, _ERFC[3])
    total = fma(place, total, _ERFC[2])
    total = fma(place, total, _ERFC[1])
    total = fma(place, total, _ERFC[0])
    return float(max(0.0, 1.0 - part * exp(total - value * value)))


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
