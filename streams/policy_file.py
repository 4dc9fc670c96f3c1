"""The policy file: TOML becomes a `Policy`, or a sentence that names file, line and key.

Reading one takes time, a second for 100,000 ids: a worker does it in a thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BeforeValidator, FailFast, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from models.errors import PolicyError
from models.shop.events import Action
from models.shop.policy import ARMS, Policy
from streams.toml_file import SHOWN, TomlError, parse, read, shown, statements

_Flag = Annotated[bool, Field(strict=True, description="true or false")]
_Whole = Annotated[int, Field(strict=True, ge=0, description="a whole number from 0 on")]
_Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False, description="a number from 0 on")]
_Word = Annotated[str, Field(min_length=1)]
_Words = Annotated[tuple[_Word, ...], Field(description="a list of non-empty strings"), FailFast()]
_Pairs = Annotated[
    tuple[tuple[_Word, _Word], ...],
    Field(max_length=10_000, description="a list of at most 10,000 [anchor's category, cross-sell's category]"),
    FailFast(),
]


def _pairs_of(table: object) -> tuple[tuple[object, object], ...]:
    if not isinstance(table, dict):
        raise ValueError  # noqa: TRY004 - pydantic asks for this one
    return tuple(table.items())


_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Arms = Annotated[
    tuple[tuple[Literal["default", "none", "popular", "fixed"], _Share], ...],
    Field(description="a table of arms and their shares of the shoppers"),
    BeforeValidator(_pairs_of),
]


class _Keys(TypedDict, total=False):
    """The keys of a policy; each description completes "KEY must be ..."."""

    triggers: Annotated[tuple[Action, ...], Field(description="a list of " + ", ".join(Action)), FailFast()]
    emit_empty: _Flag
    max_items: Annotated[int, Field(strict=True, ge=0, le=100, description="a whole number from 0 to 100")]
    max_cross_sell: _Whole
    max_upsell: _Whole
    min_step: _Number
    max_step: _Number
    category_depth: _Whole
    bought_days: _Number
    repurchase: Annotated[Literal["bar", "learn"], Field(description='"bar" or "learn"')]
    allow_pairs: _Pairs
    deny_pairs: _Pairs
    exclude_items: _Words
    exclude_categories: _Words
    exclude_brands: _Words
    max_per_brand: _Whole
    max_per_category: _Whole
    min_support: _Whole
    explore: Annotated[float, Field(strict=True, ge=0, le=1, description="a number from 0 to 1")]
    credit: Annotated[float, Field(strict=True, ge=0, le=1, description="a number from 0 to 1")]
    step_power: Annotated[float, Field(strict=True, ge=0, le=4, description="a number from 0 to 4")]
    max_suggestion_age_s: _Number
    misplaced: Annotated[Literal["warn", "dead-letter"], Field(description='"warn" or "dead-letter"')]
    arms: _Arms


_validate = TypeAdapter(_Keys).validate_python
_HINTS = get_type_hints(_Keys, include_extras=True)


def read_policy(path: Path | None, memory_s: float) -> Policy:
    """The policy of a file; the defaults where none is given.

    Raises:
        PolicyError: the file cannot be read, a key in it is wrong (names file, line and key), or `bought_days` exceeds
            `memory_s`, for which purchases are remembered.
    """
    if path is None:
        return Policy()
    try:
        text = read(path)
    except (OSError, ValueError) as error:
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
        table = parse(text)
    except TomlError as error:
        raise _located(name, error.line, str(error)) from error
    wrong: set[tuple[str, ...]] = {(key,) for key in set(table) - set(_HINTS)}
    given: _Keys = {}
    try:
        given = _validate({key: table[key] for key in table if key in _HINTS})
    except ValidationError as error:
        wrong |= {_path(each["loc"], table) for each in error.errors()}
    if wrong:
        lines = _lines_of_keys(text)
        path = min(wrong, key=lines.__getitem__)
        raise _located(name, lines[path], _sentence(path, reduce(getitem, path, table)))
    policy = Policy(**given)
    if (shares := math.fsum(share for _, share in policy.arms)) > 1 + 1e-9:  # 0.7 + 0.2 + 0.1 may be a little more
        sentence = f"arms must have shares that sum to at most 1, got {shares:g}"
        raise _located(name, _lines_of_keys(text)["arms",], sentence)
    if policy.max_step < policy.min_step:
        lines = _lines_of_keys(text)
        sentence = f"max_step must be at least min_step ({policy.min_step:g}), got {policy.max_step:g}"
        raise _located(name, lines.get(("max_step",)) or lines["min_step",], sentence)
    return policy


def _located(name: str, line: int, sentence: str) -> PolicyError:
    return PolicyError(f"{name}:{line}: {sentence}")


def _path(at: Sequence[int | str], table: Mapping[str, Any]) -> tuple[str, ...]:
    """Key of an error, and the arm if it is about one; from a location of pydantic."""
    key = str(at[0])
    return (key, list(table[key])[int(at[1])]) if key == "arms" and len(at) > 1 else (key,)


def _sentence(path: tuple[str, ...], value: Any) -> str:
    key, *arm = path
    if arm and arm[0] not in ARMS:
        return f"{shown('.'.join(path))} is no arm; these are: {', '.join(ARMS)}"
    if arm:
        return f"{'.'.join(path)} must be a number from 0 to 1, got {value!r:.{SHOWN}}"
    if key not in _HINTS:
        return f"{shown(key)} is not a key of a policy; these are: {', '.join(_HINTS)}"
    return f"{key} must be {_HINTS[key].__metadata__[0].description}, got {value!r:.{SHOWN}}"


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """Line on which each key of valid TOML is first given, of the top level and of `arms`."""
    lines: dict[tuple[str, ...], int] = {}
    table = ""
    for line, statement in statements(text):
        header = statement.startswith("[")
        if not header and table not in ("", "arms"):
            continue
        found = parse(statement)
        if header:
            table = next(iter(found))
        elif table:
            found = {table: found}
        for key, value in found.items():
            lines.setdefault((key,), line)
            for inner in value if key == "arms" and isinstance(value, dict) else ():
                lines.setdefault((key, inner), line)
    return lines
