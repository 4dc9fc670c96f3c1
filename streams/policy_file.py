"""The policy file: TOML becomes a `Policy`, or a sentence that names file, line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from models.errors import PolicyError
from models.shop.events import Action
from models.shop.policy import Policy

_Flag = Annotated[bool, Field(strict=True, description="true or false")]
_Whole = Annotated[int, Field(strict=True, ge=0, description="a whole number from 0 on")]
_Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False, description="a number from 0 on")]
_Word = Annotated[str, Field(min_length=1)]
_Words = Annotated[tuple[_Word, ...], Field(description="a list of non-empty strings")]
_Pairs = Annotated[
    tuple[tuple[_Word, _Word], ...], Field(description="a list of [anchor's category, cross-sell's category]")
]


@with_config(ConfigDict(extra="forbid"))
class _Keys(TypedDict, total=False):
    """The keys of a policy; each description completes "KEY must be ..."."""

    triggers: Annotated[tuple[Action, ...], Field(description="a list of " + ", ".join(Action))]
    emit_empty: _Flag
    max_items: Annotated[int, Field(strict=True, ge=0, le=100, description="a whole number from 0 to 100")]
    max_cross_sell: _Whole
    max_upsell: _Whole
    min_step: _Number
    max_step: _Number
    category_depth: _Whole
    bought_days: _Number
    allow_pairs: _Pairs
    deny_pairs: _Pairs
    exclude_items: _Words
    exclude_categories: _Words
    exclude_brands: _Words
    max_per_brand: _Whole
    max_per_category: _Whole
    min_support: _Whole
    explore: Annotated[float, Field(strict=True, ge=0, le=1, description="a number from 0 to 1")]
    max_suggestion_age_s: _Number
    misplaced: Annotated[Literal["warn", "dead-letter"], Field(description='"warn" or "dead-letter"')]


_validate = TypeAdapter(_Keys).validate_python

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\Z)' r"|'''.*?(?:'{3,5}|\Z)" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'|\#[^\n]*|[][{}]|\n",
    re.DOTALL,
)
"""What decides where a statement of TOML ends: strings, comments, brackets and ends of lines."""

_AT_LINE = re.compile(r"\(at line (\d+),")


def read_policy(path: Path | None, memory_s: float) -> Policy:
    """The policy of a file; the defaults where none is given.

    Raises:
        PolicyError: the file cannot be read, a key in it is wrong (names file, line and key), or `bought_days` exceeds
            `memory_s`, for which purchases are remembered.
    """
    if path is None:
        return Policy()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read as UTF-8 text: {error}"
        raise PolicyError(message) from error
    policy = parse_policy(text, str(path))
    if policy.bought_days * 86_400 > memory_s:
        message = (
            f"{path}: bought_days is {policy.bought_days:g}, but purchases are remembered for {memory_s / 86_400:g} "
            "days: make it smaller, or set CROSSCURRENT_VISITS__PURCHASE_MEMORY_S (and the retention of `purchases`)"
        )
        raise PolicyError(message)
    return policy


def parse_policy(text: str, name: str) -> Policy:
    r"""The policy that a text of TOML holds. Takes time linear in its length.

    Raises:
        PolicyError: bad TOML, an unknown key, a wrong type or a value out of range; names file, line and key.

    >>> policy = parse_policy('max_items = 3\ndeny_pairs = [["Toys", "Wine"]]', "shop.toml")
    >>> policy.max_items, policy.deny_pairs, policy.max_per_category
    (3, (('Toys', 'Wine'),), 2)
    >>> parse_policy('max_items = 3\n\nexplore = 7', "shop.toml")
    Traceback (most recent call last):
    models.errors.PolicyError: shop.toml:3: explore must be a number from 0 to 1, got 7
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, key = _bad_statement(text, error)
        raise _located(name, line, f"{key}: {error}" if key else str(error)) from error
    try:
        policy = Policy(**_validate(table))
    except ValidationError as error:
        lines = _lines_of_keys(text)
        key = min({str(each["loc"][0]) for each in error.errors()}, key=lines.__getitem__)
        raise _located(name, lines[key], _wrong(key, table[key])) from None
    if policy.max_step < policy.min_step:
        lines = _lines_of_keys(text)
        wrong = f"max_step must be at least min_step ({policy.min_step:g}), got {policy.max_step:g}"
        raise _located(name, lines.get("max_step") or lines["min_step"], wrong)
    return policy


def _located(name: str, line: int, wrong: str) -> PolicyError:
    return PolicyError(f"{name}:{line}: {wrong}")


def _wrong(key: str, value: Any) -> str:
    hints = get_type_hints(_Keys, include_extras=True)
    if key not in hints:
        return f"{key} is not a key of a policy; these are: {', '.join(hints)}"
    return f"{key} must be {hints[key].__metadata__[0].description}, got {value!r}"


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Line, from 1, and text of each statement."""
    depth, line, begin, begin_line = 0, 1, 0, 1
    for token in _TOKEN.finditer(text + "\n"):
        found = token[0]
        line += found.count("\n")
        if found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        elif found == "\n" and depth <= 0:
            statement = text[begin : token.start()].strip()
            if statement and not statement.startswith("#"):
                yield begin_line, statement
            depth, begin, begin_line = 0, token.end(), line
    if statement := text[begin:].strip():  # an unclosed bracket or string
        yield begin_line, statement


def _lines_of_keys(text: str) -> dict[str, int]:
    """Line on which each top-level key of valid TOML is first given."""
    lines: dict[str, int] = {}
    in_table = False
    for line, statement in _statements(text):
        header = statement.startswith("[")
        if header or not in_table:
            for key in tomllib.loads(statement):
                lines.setdefault(key, line)
        in_table |= header
    return lines


def _bad_statement(text: str, error: tomllib.TOMLDecodeError) -> tuple[int, str]:
    """Line of the statement that is not TOML, and its key, if it has one."""
    at = _AT_LINE.search(str(error))
    line, statement = 1, ""
    for begin, candidate in _statements(text):
        if at is not None and begin > int(at[1]):
            break
        line, statement = begin, candidate
    key, equals, _ = statement.partition("\n")[0].partition("=")
    return line, key.strip() if equals else ""
