"""Numbers and times written by kernels are, byte for byte, what orjson and the codec write."""

from __future__ import annotations

import base64
import math

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.jit import cached_njit
from streams.wire import json_text
from streams.wire.codec import written
from streams.wire.json_text import MOMENT, NUMBER, figure
from streams.wire.raw_bytes import Text


@cached_njit()
def _decimal(out: Text, number: int, power: int) -> int:
    return json_text.put_decimal(out, 0, number, power)


@cached_njit()
def _figure(out: Text, number: float, digits: int) -> int:
    return json_text.put_figure(out, 0, number, digits)


@cached_njit()
def _whole(out: Text, number: int) -> int:
    return json_text.put_whole(out, 0, number)


@cached_njit()
def _moment(out: Text, at_ms: int) -> int:
    return json_text.put_moment(out, 0, at_ms)


@cached_njit()
def _base64(out: Text, raw: Text, start: int) -> int:
    return json_text.put_base64(out, 1, raw, start, len(raw) - start)


OUT = np.zeros(NUMBER + MOMENT, np.uint8)


def text(size: int) -> bytes:
    assert size <= NUMBER
    return OUT[:size].tobytes()


@given(st.integers(1 - 10**15, 10**15 - 1), st.integers(-280, 280))
@example(1, -6).via("an exponent")
@example(1, -5).via("the smallest without")
@example(1, 15).via("the largest without")
@example(1, 16).via("an exponent")
@example(123456789, -3).via("a point inside")
@example(-(10**15) + 1, -280).via("the longest")
def test_decimals(number: int, power: int) -> None:
    assert text(_decimal(OUT, number, power)) == orjson.dumps(float(f"{number}e{power}") if number else 0.0)


@given(st.integers(1 - 10**12, 10**12 - 1), st.integers(-280, 280))
def test_floats_of_twelve_digits_are_written_as_they_are(number: int, power: int) -> None:
    value = float(f"{number}e{power}")
    if abs(value) > 1e-279:
        assert text(_figure(OUT, value, 12)) == orjson.dumps(value)


@given(st.floats(1e-270, 1e270) | st.floats(1e-9, 10.0), st.integers(1, 12))
def test_a_figure_is_the_nearest_with_its_digits(value: float, digits: int) -> None:
    whole, power = figure(value, digits)
    assert abs(value - float(f"{whole}e{power}")) <= 0.5001 * 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    assert text(_figure(OUT, value, digits)) == orjson.dumps(float(f"{whole}e{power}"))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, b"0.0"), (-0.0, b"0.0"), (5e-324, b"0.0"), (math.nan, b"null"), (math.inf, b"null"), (-1.5, b"-1.5")],
)
def test_what_has_no_digits(value: float, said: bytes) -> None:
    assert text(_figure(OUT, value, 6)) == said


@given(st.integers(1 - 2**63, 2**63 - 1))
def test_whole_numbers(number: int) -> None:
    assert text(_whole(OUT, number)) == orjson.dumps(number)


@given(st.integers(0, 253_402_300_799_999))
@example(951_782_400_000 - 1).via("before a leap day")
@example(951_782_400_000).via("a leap day")
@example(4_107_542_400_000).via("1 March of a year without one")
def test_times(at_ms: int) -> None:
    assert OUT[: _moment(OUT, at_ms)].tobytes().decode() == written(at_ms / 1000)


@given(st.binary(max_size=400), st.integers(0, 5))
@example(bytes(range(256)), 0).via("all bytes")
@example(np.arange(4096).astype(">u2").tobytes(), 0).via("all numbers of twelve bits")
def test_base64(raw: bytes, start: int) -> None:
    start = min(start, len(raw))
    out = np.zeros(2 * len(raw) + 16, np.uint8)
    end = _base64(out, np.frombuffer(raw, np.uint8), start)
    assert out[1:end].tobytes() == base64.b64encode(raw[start:])
    assert not out[end:].any()
