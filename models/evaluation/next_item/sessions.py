"""Reads session files in the two formats of public next-item data sets; the first line tells which.

* One session a line: item ids in order, sessions in time order (`train.txt` of SR-GNN's splits). Tests are lines
  `prefix TAB next item`, one for every prefix of every session.
* A table with the tab-separated columns SessionId, ItemId and Time (epoch seconds), as in the session-rec framework,
  for training and tests; every prefix of every session is a test.

Files may be compressed with gzip (`.gz`). Sessions without times start at even distances over [`SPAN_S`][].
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from models.errors import SessionFileError

SPAN_S = 120 * 86_400.0
"""Time that training sessions without times are spread over: the public data sets span some months."""

START = 1_700_000_000.0
"""Start of the first session without times, epoch seconds; arbitrary."""

STEP_S = 30.0
"""Seconds between two items of a session without times."""

_COLUMNS = ("SessionId", "ItemId", "Time")


@dataclass(frozen=True, slots=True)
class Session:
    """Item ids, and when each was viewed, ascending epoch seconds."""

    items: tuple[str, ...]
    times: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """A prefix of a session and its next item. Tests with equal `session` are of the same session."""

    session: int
    prefix: tuple[str, ...]
    times: tuple[float, ...]
    """Of the prefix."""
    target: str
    at: float
    """Of the target."""

    __test__ = False  # not a test class for pytest


def read_training(path: Path) -> list[Session]:
    """All sessions of a file, in time order.

    Raises:
        SessionFileError: the file cannot be read, or a line is of neither format; the sentence names the line.
    """
    with _opened(path) as (first, rest):
        if _is_header(first):
            return _table(path, first, rest)
        sessions = [line.split() for line in chain([first], rest)]
    for number, items in enumerate(sessions, 1):
        if not items:
            raise SessionFileError.line(path, number, "item ids between spaces", "an empty line")
    gap_s = SPAN_S / len(sessions)
    return [_undated(items, START + number * gap_s) for number, items in enumerate(sessions)]


def read_tests(path: Path, after: float) -> list[Test]:
    """All tests of a file, in its order; those without times start at `after`, the end of the training.

    Raises:
        SessionFileError: the file cannot be read, or a line is of neither format; the sentence names the line.
    """
    with _opened(path) as (first, rest):
        if _is_header(first):
            sessions = enumerate(_table(path, first, rest))
            return [test for number, session in sessions for test in _prefixes(number, session)]
        return list(_undated_tests(path, chain([first], rest), after))


def whole_sessions(tests: Iterable[Test]) -> dict[int, Session]:
    """The sessions of tests, by number: the longest prefix of each with its next item."""
    longest: dict[int, Test] = {}
    for test in tests:
        if test.session not in longest or len(test.prefix) > len(longest[test.session].prefix):
            longest[test.session] = test
    return {number: Session((*test.prefix, test.target), (*test.times, test.at)) for number, test in longest.items()}


def _undated_tests(path: Path, lines: Iterable[str], after: float) -> Iterator[Test]:
    number, before = -1, tuple[str, ...]()
    for line_number, line in enumerate(lines, 1):
        prefix_text, tab, target = line.partition("\t")
        prefix = tuple(prefix_text.split())
        if not tab or not prefix or len(target.split()) != 1:
            raise SessionFileError.line(path, line_number, "`item item ... TAB item`", repr(line[:60]))
        whole = (*prefix, target.strip())
        shorter, longer = sorted((whole, before), key=len)
        if abs(len(whole) - len(before)) != 1 or longer[: len(shorter)] != shorter:
            number += 1  # neither an item more nor less than the line before
        before = whole
        session = _undated(whole, after + number * STEP_S)
        yield Test(number, prefix, session.times[:-1], whole[-1], session.times[-1])


def _undated(items: Iterable[str], at: float) -> Session:
    found = tuple(items)
    return Session(found, tuple(at + STEP_S * place for place in range(len(found))))


def _prefixes(number: int, session: Session) -> Iterator[Test]:
    items, times = session.items, session.times
    for stop in range(1, len(items)):
        yield Test(number, items[:stop], times[:stop], items[stop], times[stop])


def _is_header(line: str) -> bool:
    return "\t" in line and line.split("\t")[0].strip() == _COLUMNS[0]


def _table(path: Path, header: str, lines: Iterable[str]) -> list[Session]:
    """Sessions of a table, in time order."""
    names = [name.strip() for name in header.split("\t")]
    for column in _COLUMNS:
        if column not in names:
            raise SessionFileError.line(path, 1, f"the columns {', '.join(_COLUMNS)}", ", ".join(names))
    places = [names.index(column) for column in _COLUMNS]
    events: dict[str, list[tuple[float, int, str]]] = {}
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        try:
            session, item, at = (cells[place].strip() for place in places)
            when = float(at)
        except (IndexError, ValueError):
            expected = f"{len(names)} cells between tabs, Time in epoch seconds"
            raise SessionFileError.line(path, number, expected, repr(line[:60])) from None
        events.setdefault(session, []).append((when, number, item))
    looks = [sorted(found) for found in events.values()]
    sessions = [Session(tuple(item for *_, item in found), tuple(at for at, *_ in found)) for found in looks]
    return sorted(sessions, key=lambda session: session.times[0])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """First line and further lines of a file, uncompressed, without line ends."""
    opened: IO[str]
    try:
        opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
        with opened:
            lines = (line.rstrip("\r\n") for line in opened)
            first = next(lines, None)
            if first is None:
                raise SessionFileError.empty(path)
            yield first, lines
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SessionFileError.unreadable(path, error) from error
