"""Mutations of records: what a broken or hostile sender may send, made from good records by the hundred thousand.

A mutation replaces values of JSON by others of any kind, and bytes by others; some hit numbers within base64. A mutant
that is refused (or taken) in a new way is kept, and mutated further.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from streams.errors import RecordError
from tests.support.shop_records import Rec

VALUES = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+]?\d[\d.eE+-]*|true|false|null|[\[\]{}:,=\n]')
"""Tokens of JSON and of TOML."""

TOKENS = [
    b"null", b"true", b"0", b"-1", b"1", b"2", b"0.5", b"-0.0", b"1e999", b"-1e308", b"1e308", b"1e-400", b"NaN",
    b"inf", b"2147483648", b"-2147483649", b"9007199254740993", b"9223372036854775807", b"9223372036854775808",
    b"18446744073709551616", b"9" * 400, b"1773480413589", b"-1773480413589", b"1" * 30 + b".5",
    b'""', b'"x"', b'"i1"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\xff"', b'"\xed\xa0\x80"',
    b'"\xc3\xa9"', b'"' + b"\xc3\xa9" * 129 + b'"', b'"' + b"x" * 300 + b'"', b'"' + b"x" * 1100 + b'"',
    b'"' + b"a/" * 40 + b'a"', b'"a//b"', b'"/"', b'"1999-12-31T23:59:59Z"', b'"2024-05-01T12:00:00+0200"',
    b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59.999Z"', b'"AAAAAAAA8D8="', b'"AA=="', b'"A"',
    b"[]", b"{}", b"[null]", b'{"a":1}', b"[[]]", b"[" * 40 + b"]" * 40, b'{"v":1}', b",", b":", b"\\",
    b"\x00", b"\xc3", b'"v":1,', b'"at":0,', b'"item_id":"i2",',
    b'"\\u0076":1,', b"=", b"\n", b'"""', b"# ", b"[a]\n",
    b"a.b=1\n", b"0x",
]  # fmt: skip

STRINGS = [token for token in TOKENS if len(token) > 1 and token[:1] == token[-1:] == b'"']
DIGITS = [token for token in TOKENS if token[-1:].isdigit() and token[:1] != b"a"]

NUMBERS = [
    *(number.to_bytes(8, "little", signed=True) for number in (0, 1, -1, 2**63 - 1, -(2**63))),
    *(number.to_bytes(4, "little", signed=True) for number in (2**31 - 1, -(2**31))),
    *(struct.pack("<d", number) for number in (float("inf"), float("-inf"), float("nan"), 1e300, -1.0, 5e-324)),
]
"""Within base64."""

MOST_BYTES = 4_000
"""Longer mutants are cut, but for those with something huge."""

DEEP = 100_000
HUGE = [
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b'"' + b"x" * DEEP + b'"',
    b'"' + b"a/" * 1_000 + b'a"',
    b"[" + b"1," * DEEP + b"1]",
    b'["x"' + b',"x"' * DEEP + b"]",
]
HUGE_SHARE = 0.0005

KEPT_BYTES = 1_500
MOST_KEPT = 30
"""Mutants of a target that are mutated further: so many, and none longer."""

GOOD_SHARE = 0.6
"""Of the mutants: made of a good input, and not of one that was kept."""

NUMERALS = re.compile(r"\d+")


class Input(NamedTuple):
    """What a target gets."""

    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class Target:
    """What is fuzzed."""

    topic: str  # or another name
    seeds: Sequence[Input]
    run: Callable[[Rec], object]
    refusals: tuple[type[Exception], ...] = (RecordError,)  # what it may raise
    share: float = 1.0  # of the records, relative to other targets


class Fuzzer:
    """Runs a target on mutants of its seeds."""

    def __init__(self, target: Target, corpus: Iterable[Input], seed: object) -> None:
        self._target = target
        self._chance = random.Random(f"{target.topic} {seed}")
        self._pool: list[Input] = []
        self._spans: list[list[tuple[int, int]]] = []
        self._seen: set[object] = set()
        self.found: list[Input] = []
        """Inputs that were refused, or taken, in a new way."""
        self.accepted = 0
        for known in (*target.seeds, *corpus):
            self._keep(known)
            self._seen.add(self.run(known))

    def fuzz(self, count: int) -> None:
        """Run so many mutants; raises `AssertionError` for an exception that the target may not raise."""
        for _ in range(count):
            mutant = self._mutant()
            if (outcome := self.run(mutant)) not in self._seen:
                self._seen.add(outcome)
                if len(mutant.value or b"") <= KEPT_BYTES and len(self.found) < MOST_KEPT:
                    self._keep(mutant)
                    self.found.append(mutant)

    def run(self, given: Input) -> object:
        """What became of an input: where it was refused, or None if it was taken."""
        try:
            self._target.run(Rec(self._target.topic, given.key, given.value))
        except self._target.refusals as error:
            if isinstance(error, RecordError) and error.path is not None:
                return NUMERALS.sub("", error.path)[:40], error.expected[:40]
            return NUMERALS.sub("", str(error))[-60:]
        except Exception as error:
            message = f"{type(error).__name__}: {error!s:.300}; add to the corpus: {line_of(self._target.topic, given)}"
            raise AssertionError(message) from error
        self.accepted += 1
        return None

    def _keep(self, given: Input) -> None:
        self._pool.append(given)
        self._spans.append([match.span() for match in VALUES.finditer(given.value or b"")])

    def _mutant(self) -> Input:
        chance = self._chance.random
        among = len(self._target.seeds if chance() < GOOD_SHARE else self._pool)
        number = int(chance() * among)
        key, value = self._pool[number]
        if value is None or chance() < 0.01:
            return self._other_key(key, value)
        spans = self._spans[number]
        if chance() < HUGE_SHARE:
            return Input(key, self._huge(value, spans))
        value = self._with_other_value(value, spans) if spans and chance() < 0.85 else self._with_other_bytes(value)
        while chance() < 0.15:
            value = self._with_other_bytes(value)
        return Input(key, value[:MOST_BYTES])

    def _other_key(self, key: bytes | None, value: bytes | None) -> Input:
        keys = (None, b"", b"\xff", b"x" * 300, (key or b"") + b"x", self._chance.choice(self._pool).key)
        return Input(self._chance.choice(keys), value)

    def _with_other_value(self, value: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
        chance = self._chance.random
        start, end = spans[int(chance() * len(spans))]
        if end - start > 10 and chance() < 0.5 and (packed := self._other_numbers(value[start:end])) is not None:
            return value[:start] + packed + value[end:]
        if chance() < 0.3:
            number = int(chance() * len(self._pool))
            other, others = self._pool[number].value or b"", self._spans[number]
            if others:
                first, last = others[int(chance() * len(others))]
                return value[:start] + other[first:last] + value[end:]
        alike = (
            STRINGS if value[start : start + 1] == b'"' else DIGITS if value[start : start + 1].isdigit() else TOKENS
        )
        tokens = alike if chance() < 0.5 else TOKENS
        return value[:start] + tokens[int(chance() * len(tokens))] + value[end:]

    def _other_numbers(self, text: bytes) -> bytes | None:
        """Base64 in quotes with some of its numbers changed, or shortened; None: it is not base64."""
        try:
            raw = bytearray(base64.b64decode(text[1:-1], validate=True))
        except binascii.Error:
            return None
        chance = self._chance
        number = chance.choice(NUMBERS)
        at = chance.randrange(len(raw)) // 4 * 4 if raw else 0
        raw[at : at + (0 if chance.random() < 0.1 else len(number))] = number
        return b'"' + base64.b64encode(raw) + b'"'

    def _with_other_bytes(self, value: bytes) -> bytes:
        chance = self._chance.random
        size = len(value)
        at, kind = int(chance() * (size + 1)), chance()
        if kind < 0.4:
            return value[:at] + bytes((int(chance() * 256),)) + value[at + 1 :]
        if kind < 0.6:
            return value[:at] + TOKENS[int(chance() * len(TOKENS))] + value[at:]
        until = at + int(chance() * chance() * (size - at))
        if kind < 0.75:
            return value[:at] + value[until:]
        if kind < 0.85:
            return value[:until] + value[at:]
        other = self._pool[int(chance() * len(self._pool))].value or b""
        return value[:at] + other[int(chance() * len(other)) :]

    def _huge(self, value: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
        """Nested without end, or very long: a value, or one of an unknown field."""
        huge = self._chance.choice(HUGE)
        if not spans or self._chance.random() < 0.3:
            return b'{"x":' + huge + b"," + value[1:]
        start, end = self._chance.choice(spans)
        return value[:start] + huge + value[end:]


def line_of(topic: str, given: Input) -> str:
    """A line of the corpus."""
    key, value = (None if raw is None else base64.b64encode(raw).decode() for raw in given)
    return json.dumps({"topic": topic, "key": key, "value": value})


def corpus_of(file: Path) -> Iterator[tuple[str, Input]]:
    """The inputs of a corpus, each with the name of its target."""
    for line in file.read_text(encoding="ascii").splitlines():
        entry = json.loads(line)
        key, value = (None if entry[name] is None else base64.b64decode(entry[name]) for name in ("key", "value"))
        yield entry["topic"], Input(key, value)
