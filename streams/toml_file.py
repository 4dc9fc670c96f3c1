"""TOML files that people write, bounded in length and depth; parsed in linear time, and an error has its line."""

from __future__ import annotations

import math
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_BYTES = 64 << 20
"""Longest file: a policy of 100,000 item ids of 256 bytes each takes 26 MB."""

MAX_DEPTH = 32
"""Most brackets around a value, and most parts of a key: tomllib recurses by the first and copies by the second."""

SHOWN = 60
"""Characters of a wrong value or key that an error quotes."""

INTEGERS = range(-(2**63), 2**63)
"""What an integer of TOML can be."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)'
    r"|'''.*?(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*"?'
    r"|'[^'\n]*'?|\#[^\n]*|[][{},=.]|\n",
    re.DOTALL,
)
"""What decides where a statement and a key end: strings, comments, brackets, signs and ends of lines. Once a string has
begun it always matches, closed or not, so no part of a text is searched twice."""

_AT_LINE = re.compile(r"\(at line (\d+),")


class TomlError(Exception):
    """A text is no TOML that can be used.

    Attributes:
        line: on which the bad statement begins, from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file, too long, or not UTF-8.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe may never end, or never begin
        message = "it is no regular file"
        raise ValueError(message)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        message = f"it is longer than {MAX_BYTES:,} bytes"
        raise ValueError(message)
    return content.decode()


def parse(text: str) -> dict[str, Any]:
    r"""The table that a text holds.

    Raises:
        TomlError: it is not TOML, nested too deeply, or has an integer of more than 64 bits.

    >>> parse("partitions = 8\n[visits]\nitems = 20")
    {'partitions': 8, 'visits': {'items': 20}}
    >>> parse("partitions = 8\nitems = 99999999999999999999")
    Traceback (most recent call last):
    streams.toml_file.TomlError: items: an integer must have at most 64 bits
    """
    parts = list(statements(text))
    try:
        table = tomllib.loads(text)
        wide = _is_wide(table)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        last = int(at[1]) if at else math.inf
        raise _bad([part for part in parts if part[0] <= last][-1:], str(error)) from error
    except ValueError:  # an integer of too many digits to be converted
        wide = True
    if wide:
        raise _bad([part for part in parts if _is_wide_alone(part[1])], "an integer must have at most 64 bits")
    return table


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Line, from 1, and text of each statement.

    Raises:
        TomlError: one is nested too deeply.
    """
    depth, dots, line, begin, begin_line = 0, 0, 1, 0, 1
    for token in _TOKEN.finditer(text + "\n"):
        found = token[0]
        line += found.count("\n")
        if found == ".":
            dots += 1
        elif found in "[{":
            depth, dots = depth + 1, 0
        elif found in "]}":
            depth -= 1
        elif found in ",=\n":
            dots = 0
        if depth > MAX_DEPTH or dots >= MAX_DEPTH:
            raise _bad([(begin_line, text[begin:])], f"nested more than {MAX_DEPTH} levels deep")
        if found == "\n" and depth <= 0:
            statement = text[begin : token.start()].strip()
            if statement and not statement.startswith("#"):
                yield begin_line, statement
            depth, begin, begin_line = 0, token.end(), line
    if statement := text[begin:].strip():  # an unclosed bracket or string
        yield begin_line, statement


def shown(key: str) -> str:
    """A key as an error quotes it: on one line, shortened."""
    return f"{key if key.isprintable() else repr(key):.{SHOWN}}"


def _bad(parts: list[tuple[int, str]], message: str) -> TomlError:
    """The error of the first of these statements, with its key, if it has one."""
    line, statement = parts[0] if parts else (1, "")
    key, equals, _ = statement.partition("\n")[0].partition("=")
    return TomlError(line, f"{shown(key.strip())}: {message}" if equals else message)


def _is_wide(table: dict[str, Any]) -> bool:
    """Whether an integer of more than 64 bits is in a table, at any depth."""
    values: list[Any] = [table]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
        elif isinstance(value, int) and value not in INTEGERS:
            return True
    return False


def _is_wide_alone(statement: str) -> bool:
    try:
        return _is_wide(tomllib.loads(statement))
    except ValueError:
        return True
