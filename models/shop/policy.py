"""The policy: what the shop wants suggested, how many, and what never. A TOML file, all keys optional."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from models.errors import PolicyError
from models.shop.events import Action

MOST_ITEMS = 100
"""Items a record at most: no page shows more, and the answer's arrays are as wide."""

ACTIONS = tuple(action.value for action in Action)


@dataclass(frozen=True)
class Policy:
    r"""What may be suggested. Immutable and hashable; a wrong value raises `PolicyError` naming its key.

    >>> policy = Policy.from_toml('max_items = 3\ndeny_pairs = [["Toys", "Wine"]]', "shop.toml")
    >>> policy.max_items, policy.deny_pairs, policy.max_per_category
    (3, (('Toys', 'Wine'),), 2)
    >>> Policy.from_toml('max_items = 3\n\nexplore = 7', "shop.toml")
    Traceback (most recent call last):
    models.errors.PolicyError: shop.toml:3: explore must be a number from 0 to 1, got 7
    """

    triggers: tuple[str, ...] = ("view", "click", "add_to_cart", "purchase")
    """Actions that are answered."""
    emit_empty: bool = False
    """Answer also where there is nothing to suggest."""
    max_items: int = 6
    max_cross_sell: int = 4
    max_upsell: int = 2
    min_step: float = 0.05
    """An upsell is dearer than its anchor by this share at least: below, nobody notices, and it is no step up."""
    max_step: float = 1.0
    """... and by this share at most: beyond twice the price it is another kind of thing."""
    category_depth: int = 0
    """Compare so many first parts of category paths; 0: whole paths."""
    bought_days: float = 30
    """What was bought within so many days is not suggested."""
    allow_pairs: tuple[tuple[str, str], ...] = ()
    """(anchor's category, cross-sell's category), beginnings of paths: if any, only these are cross-sold."""
    deny_pairs: tuple[tuple[str, str], ...] = ()
    """... never these."""
    exclude_items: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    """Beginnings of paths."""
    exclude_brands: tuple[str, ...] = ()
    max_per_brand: int = 0
    """Items of one brand a record; 0: no cap."""
    max_per_category: int = 2
    """Items of one category (to `category_depth`) a record; 0: no cap."""
    min_support: int = 1
    """Events behind a neighbour, plainly counted, before it is evidence."""
    explore: float = 0.0
    """Probability with which the last place goes to chance."""
    max_suggestion_age_s: float = 60
    """Older events, by append time, are learnt from and get no suggestion; 0: no bound."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))
        if self.max_step < self.min_step:
            msg = f"max_step must be at least min_step ({self.min_step:g}), got {self.max_step:g}"
            raise PolicyError(msg)

    @classmethod
    def from_file(cls, path: Path) -> Policy:
        """Read a policy from a TOML file.

        Raises:
            PolicyError: the file cannot be read or is not a policy; names file, line and key.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path}: cannot be read as UTF-8 text: {error}"
            raise PolicyError(msg) from error
        return cls.from_toml(text, str(path))

    @classmethod
    def from_toml(cls, text: str, name: str) -> Policy:
        """Read a policy from TOML.

        Args:
            text: the TOML.
            name: of the file, for errors.

        Raises:
            PolicyError: bad TOML, an unknown key, a wrong type or a value out of range; names file, line and key.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line, key = _bad_statement(text)
            raise _located(f"{key}: {error}" if key else error, name, line) from error
        lines = _lines_of_keys(text)
        values = {}
        for key, value in table.items():
            try:
                values[key] = _checked(key, value)
            except PolicyError as error:
                raise _located(error, name, lines[key]) from error
        try:
            return cls(**values)
        except PolicyError as error:  # each key is fine, together they are not
            raise _located(error, name, lines["max_step" if "max_step" in lines else "min_step"]) from error

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits that name what the policy says, whatever the order of its lists and keys."""
        said = {key: sorted(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


_NOT = object()
"""What a check returns for a value that is not what it wants."""


def _whole(low: int, high: int | None = None) -> tuple[str, Callable[[Any], Any]]:
    """Whole numbers in a range."""

    def check(value: Any) -> Any:
        fits = type(value) is int and value >= low and (high is None or value <= high)
        return value if fits else _NOT

    return f"a whole number from {low}" + (" on" if high is None else f" to {high}"), check


def _number(low: float, high: float | None = None) -> tuple[str, Callable[[Any], Any]]:
    """Numbers in a range, whole or not; equal ones are kept as one, so that they hash alike."""

    def check(value: Any) -> Any:
        fits = type(value) in (int, float) and isfinite(value) and value >= low and (high is None or value <= high)
        return float(value) if fits else _NOT

    return f"a number from {low:g}" + (" on" if high is None else f" to {high:g}"), check


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else _NOT


def _actions(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one in ACTIONS for one in value):
        return _NOT
    return tuple(str(Action(one)) for one in value)


def _words(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one for one in value):
        return _NOT
    return tuple(value)


def _pairs(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        return _NOT
    pairs = tuple(map(_words, value))
    return pairs if all(pair is not _NOT and len(pair) == 2 for pair in pairs) else _NOT


_PAIRS = ("a list of [anchor's category, cross-sell's category]", _pairs)
_WORDS = ("a list of non-empty strings", _words)

_CHECKS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "triggers": ("a list of " + ", ".join(ACTIONS), _actions),
    "emit_empty": ("true or false", _flag),
    "max_items": _whole(0, MOST_ITEMS),
    "max_cross_sell": _whole(0),
    "max_upsell": _whole(0),
    "min_step": _number(0),
    "max_step": _number(0),
    "category_depth": _whole(0),
    "bought_days": _number(0),
    "allow_pairs": _PAIRS,
    "deny_pairs": _PAIRS,
    "exclude_items": _WORDS,
    "exclude_categories": _WORDS,
    "exclude_brands": _WORDS,
    "max_per_brand": _whole(0),
    "max_per_category": _whole(0),
    "min_support": _whole(0),
    "explore": _number(0, 1),
    "max_suggestion_age_s": _number(0),
}
"""What each key must be, in words, and how that is seen."""


def _checked(key: str, value: Any) -> Any:
    """A value as the policy keeps it.

    Raises:
        PolicyError: no such key, or not what it must be; names the key and not where it stands.
    """
    if key not in _CHECKS:
        msg = f"{key} is not a key of a policy; these are: {', '.join(_CHECKS)}"
        raise PolicyError(msg)
    wanted, check = _CHECKS[key]
    checked = check(value)
    if checked is _NOT:
        msg = f"{key} must be {wanted}, got {value!r}"
        raise PolicyError(msg)
    return checked


def _located(error: object, name: str, line: int) -> PolicyError:
    return PolicyError(f"{name}:{line}: {error}")


def _statements(text: str) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """Where each statement of TOML begins, as a line from 1, with the table as of its end; and where the rest begins.

    Beginnings of the text that are TOML by themselves end where statements do. That takes no grammar of our own; its
    square of lines is paid for small files, at the start only.
    """
    lines = text.split("\n")
    statements = []
    begin = 1
    for end in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # within a value of many lines, or from here on
        statements.append((begin, table))
        begin = end + 1
    return statements, begin


def _lines_of_keys(text: str) -> dict[str, int]:
    """Line, from 1, on which each top-level key of good TOML is given."""
    given: dict[str, int] = {}
    for begin, table in _statements(text)[0]:
        for key in table:
            given.setdefault(key, begin)
    return given


def _bad_statement(text: str) -> tuple[int, str]:
    """Line, from 1, of the first statement that is not TOML, and its key, if it has one."""
    line = _statements(text)[1]
    key, equals, _ = text.split("\n")[line - 1].partition("=")
    return line, key.strip() if equals else ""
