"""JSON written by compiled code: texts that are copied, numbers as orjson writes them.

No function checks bounds: a caller makes sure that there is room, of `NUMBER` bytes for each number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from models.jit import cached_njit, inline_njit
from streams.wire.raw_bytes import Text, copy_bytes, pointers

NUMBER = 24
"""Most bytes of a number: an int64 has 20, a float of 15 digits 22."""

MOMENT = 24
"""Bytes of a time."""

_ZERO, _POINT, _MINUS, _PLUS, _E = map(ord, "0.-+e")
_TINY = 1e-280
"""What is closer to 0 is written as 0."""
_TENS = np.array([float(f"1e{power}") for power in range(309)])


@inline_njit
def put(out: Text, at: int, text: Text, start: int, size: int) -> int:
    """Copy a part of a text; returns where it ends, as all these functions do."""
    copy_bytes(out, at, text, start, size)
    return at + size


_SIX_BITS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_PAD = ord("=")
_TOGETHER = 48
"""Bytes that become characters of base64 together, in vector registers; a multiple of 3."""


def _encode_some(typing: Any, to: Any, at: Any, raw: Any, start: Any) -> Any:
    """Write `_TOGETHER` bytes in base64."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, source = pointers(context, builder, signature, values)
        byte, words = ir.IntType(8), ir.VectorType(ir.IntType(32), _TOGETHER // 3)
        given, characters = ir.VectorType(byte, _TOGETHER), ir.VectorType(byte, _TOGETHER // 3 * 4)

        def of_words(value: int) -> Any:
            return ir.Constant(words, [value] * words.count)

        def of_characters(value: int) -> Any:
            return ir.Constant(characters, [value] * characters.count)

        # each three bytes as a number of 24 bits, which is divided into four numbers of six bits, the first one lowest
        order = [place for first in range(0, _TOGETHER, 3) for place in (first + 2, first + 1, first, _TOGETHER)]
        order_type = ir.VectorType(ir.IntType(32), len(order))
        read = builder.load(builder.bitcast(source, given.as_pointer()), align=1)
        moved = builder.shuffle_vector(read, ir.Constant(given, [0] * _TOGETHER), ir.Constant(order_type, order))
        bits = builder.bitcast(moved, words)
        six = builder.lshr(bits, of_words(18))
        six = builder.or_(six, builder.and_(builder.lshr(bits, of_words(4)), of_words(0x3F00)))
        six = builder.or_(six, builder.and_(builder.shl(bits, of_words(10)), of_words(0x3F_0000)))
        six = builder.or_(six, builder.and_(builder.shl(bits, of_words(24)), of_words(0x3F00_0000)))
        six = builder.bitcast(six, characters)
        step = of_characters(ord("/") - 63)
        for end, first in ((63, ord("+") - 62), (62, ord("0") - 52), (52, ord("a") - 26), (26, ord("A"))):
            below = builder.icmp_unsigned("<", six, of_characters(end))
            step = builder.select(below, of_characters(first), step)
        builder.store(builder.add(six, step), builder.bitcast(target, characters.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(to, types.intp, raw, types.intp), code


_put_some: Any = intrinsic(_encode_some)


@inline_njit
def put_base64(out: Text, at: int, raw: Text, start: int, size: int) -> int:
    """Write a part of some bytes in base64."""
    end = start + size
    while start + _TOGETHER <= end:
        _put_some(out, at, raw, start)
        start += _TOGETHER
        at += _TOGETHER // 3 * 4
    while start < end:
        left = min(3, end - start)
        bits = 0
        for place in range(3):
            bits = bits << 8 | (int(raw[start + place]) if place < left else 0)
        for place in range(4):
            out[at + place] = _SIX_BITS[bits >> (18 - 6 * place) & 63] if place <= left else _PAD
        start += 3
        at += 4
    return at


@inline_njit
def put_whole(out: Text, at: int, number: int) -> int:
    """Write a whole number."""
    if number < 0:
        out[at] = _MINUS
        at += 1
        number = -number
    size, rest = 1, number // 10
    while rest > 0:
        size += 1
        rest //= 10
    _put_digits(out, at, number, size)
    return at + size


@inline_njit
def _put_digits(out: Text, at: int, number: int, size: int) -> None:
    """Write the last digits of a number."""
    for place in range(at + size - 1, at - 1, -1):
        rest = number // 10
        out[place] = _ZERO + (number - 10 * rest)
        number = rest


@inline_njit
def significant(number: float, digits: int) -> tuple[int, int]:
    """A finite number rounded to so many significant digits (12 at most): a whole number, and a power of ten."""
    if abs(number) < _TINY:
        return 0, 0
    power = digits - 1 - int(math.floor(math.log10(abs(number))))
    scaled = number * _TENS[power] if power >= 0 else number / _TENS[-power]
    return int(np.rint(scaled)), -power


@inline_njit
def put_decimal(out: Text, at: int, number: int, power: int) -> int:
    """Write `number` (15 digits at most) times a power of ten as orjson writes the float nearest to it."""
    if number == 0:
        out[at], out[at + 1], out[at + 2] = _ZERO, _POINT, _ZERO
        return at + 3
    if number < 0:
        out[at] = _MINUS
        at += 1
        number = -number
    rest = number // 10
    while rest * 10 == number:
        number, power = rest, power + 1
        rest = number // 10
    size = 1
    while rest > 0:
        size += 1
        rest //= 10
    point = size + power  # digits before it
    if power >= 0 and point <= 16:
        _put_digits(out, at, number, size)
        out[at + size : at + point] = _ZERO
        out[at + point], out[at + point + 1] = _POINT, _ZERO
        return at + point + 2
    if 0 < point <= 16:
        _put_digits(out, at + 1, number, size)
        for place in range(at, at + point):
            out[place] = out[place + 1]
        out[at + point] = _POINT
        return at + size + 1
    if -5 < point <= 0:
        out[at], out[at + 1] = _ZERO, _POINT
        out[at + 2 : at + 2 - point] = _ZERO
        _put_digits(out, at + 2 - point, number, size)
        return at + 2 - point + size
    _put_digits(out, at + 1, number, size)
    out[at] = out[at + 1]
    at += 1
    if size > 1:
        out[at] = _POINT
        at += size
    out[at] = _E
    at += 1
    if point > 0:
        out[at] = _PLUS
        at += 1
    return put_whole(out, at, point - 1)


@inline_njit
def put_figure(out: Text, at: int, number: float, digits: int) -> int:
    """Write a number with so many significant digits; null if it is not finite."""
    if not math.isfinite(number):
        out[at], out[at + 1], out[at + 2], out[at + 3] = 110, 117, 108, 108
        return at + 4
    whole, power = significant(number, digits)
    return put_decimal(out, at, whole, power)


@inline_njit
def put_moment(out: Text, at: int, at_ms: int) -> int:
    """Write epoch milliseconds as `streams.wire.codec.written` does; of the years 0 to 9999.

    The date is found by counting days from 1 March of year 0, so that a leap day is the last of its year
    (H. Hinnant, chrono-compatible low-level date algorithms).
    """
    days = at_ms // 86_400_000
    ms = at_ms - days * 86_400_000
    days += 719_468
    era = days // 146_097
    of_era = days - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year += era * 400 + (1 if month <= 2 else 0)
    _put_digits(out, at, year, 4)
    _put_digits(out, at + 5, month, 2)
    _put_digits(out, at + 8, day, 2)
    _put_digits(out, at + 11, ms // 3_600_000, 2)
    _put_digits(out, at + 14, ms // 60_000 % 60, 2)
    _put_digits(out, at + 17, ms // 1000 % 60, 2)
    _put_digits(out, at + 20, ms % 1000, 3)
    out[at + 4] = out[at + 7] = _MINUS
    out[at + 10], out[at + 13], out[at + 16], out[at + 19], out[at + 23] = 84, 58, 58, _POINT, 90
    return at + MOMENT


@cached_njit(nogil=True)
def figure(number: float, digits: int) -> tuple[int, int]:
    """`significant`, for Python."""
    return significant(number, digits)
