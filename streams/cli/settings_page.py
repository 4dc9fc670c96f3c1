"""Generates docs/settings.md from the settings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from streams.settings import ENV_PREFIX, Settings

_HEAD = f"""\
# Settings

Made by `make docs` from `streams/settings.py`; a test compares.

Each can be given in three ways; a flag beats a variable, a variable beats the file, the file beats the default:

* a flag after the subcommand, where the command has it (`crosscurrent worker --help`): `--session-timeout-s` is none,
  `--bootstrap-servers`, `--prefix` and the security settings are flags of every command that connects;
* a variable: `{ENV_PREFIX}` and the name in capitals; `__` before a key of a table: `{ENV_PREFIX}VISITS__ITEMS=30`.
  An empty variable counts as not given;
* a key in a TOML file that `--config FILE` or `{ENV_PREFIX}CONFIG` names.

```toml
bootstrap_servers = "kafka-1:9093,kafka-2:9093"
session_timeout_s = 30

[visits]
items = 30
```

What is wrong stops the start with a sentence that names it as you wrote it; so does an unknown flag or key, and a
variable that is nearly a setting's. The policy, what may be
suggested, is a file of its own: [operations.md](operations.md#policy).
"""

_TABLES = {
    "visits": "What a visit is. All workers must agree: it decides what is learnt, and how far a take-over reads back.",
    "histories": "What a shopper has bought, for longer than visits are remembered. All workers must agree; another "
    "half-life makes old rows mean something else.",
    "cooccurrence": "Rows of neighbours. All workers must agree; another half-life makes old rows mean something else.",
    "learner": "How the trainer teaches the sequence model. A trainer goes on from a snapshot only where `looks`, "
    "`buffer`, `vocabulary` and `network.units` are as they were: to change one of them, begin in an empty "
    "`snapshot_store`.",
    "pools": "Which pools of candidates workers log, for the trainer to learn the order of lists from.",
    "outcomes": "What the trainer counts as an answer to a suggestion.",
    "ranker": "How the trainer learns the order of lists from the answers.",
    "gate": "When the trainer announces what it has learnt ([operations.md](operations.md#the-trainer)).",
}


def settings_page() -> str:
    """The whole page."""
    rows = [
        (f"`{name}`", _default(field.get_default()), _allowed(field), " ".join((field.description or "").split()))
        for name, field in Settings.model_fields.items()
        if name not in _TABLES
    ]
    parts = [_HEAD, _table(("setting", "default", "allowed", "meaning"), rows)]
    for name, words in _TABLES.items():
        fields = _fields(Settings.model_fields[name].get_default())
        parts.append(f"## `[{name}]`\n\n{words}\n\n{_table(('key', 'default', 'meaning'), fields)}")
    return "\n".join(parts)


def _fields(config: Any, above: str = "") -> list[tuple[str, str, str]]:
    """Key, default and meaning of each field of a dataclass, and of nested ones."""
    texts = _attribute_texts(type(config))
    rows: list[tuple[str, str, str]] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            rows += _fields(value, f"{above}{field.name}.")
        else:
            rows.append((f"`{above}{field.name}`", _default(value), texts[field.name]))
    return rows


def _attribute_texts(config: type) -> dict[str, str]:
    """The documentation of each field of a dataclass, below the field or under `Attributes:`."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - it is the source of a class
    texts = {
        field.target.id: " ".join(below.value.value.split())
        for field, below in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
    _, _, section = inspect.cleandoc(config.__doc__ or "").partition("Attributes:\n")
    for name, text in re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE):
        texts.setdefault(name, " ".join(text.split()))
    return {name: text[:1].upper() + text[1:] for name, text in texts.items()}


def _default(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{value:_}`" if isinstance(value, int | float) and value >= 10_000 else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    kinds = (field.annotation, *get_args(field.annotation))
    choices = [get_args(kind) for kind in kinds if get_origin(kind) is Literal]
    if choices:
        return ", ".join(choices[0])
    bounds = {type(rule).__name__: getattr(rule, type(rule).__name__.lower(), None) for rule in field.metadata}
    words = [f"{sign} {bounds[name]:_}" for name, sign in (("Ge", ">="), ("Gt", ">"), ("Le", "<=")) if name in bounds]
    return " and ".join(words)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
