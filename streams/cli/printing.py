"""Records and tables on a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.errors import RecordError
from streams.wire.codec import decode_dead_letter, decode_suggestion
from streams.wire.rejections import shown

if TYPE_CHECKING:
    from streams.wire.record import Record
    from streams.wire.schemas import DeadLetterRecord

PLAIN_WIDTH = 120
"""Columns of a table without a terminal."""

Parts: TypeAlias = tuple[tuple[str, str], ...]
"""A line in parts: text and style of each."""

_console = Console(highlight=False, soft_wrap=True)


def table_console() -> Console:
    """Standard output for tables, as wide as the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def new_table(title: str, left: Sequence[str], right: Sequence[str], *, no_wrap: bool = False) -> Table:
    """An empty table with headings, those of columns aligned left first."""
    table = Table(title=title, title_justify="left")
    for heading in left:
        table.add_column(heading, no_wrap=no_wrap)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=no_wrap)
    return table


def print_value(record: Record, *, unchanged: bool) -> None:
    """Write the value and a line end; a null value as `null`. An unreadable record is reported on standard error.

    Args:
        record: any.
        unchanged: byte for byte; else with control characters escaped, which does not change what JSON means.
    """
    try:
        value = b"null" if record.value is None else record.value
    except RecordError as error:
        print(error, file=sys.stderr)
        return
    line = value if unchanged else printable(value.decode("utf-8", "backslashreplace")).encode()
    sys.stdout.buffer.write(line + b"\n")


def print_lines(lines_of: Callable[[Record], Iterator[Parts]], record: Record) -> None:
    """Print a record in a few lines, or why it cannot be decoded."""
    try:
        lines = list(lines_of(record))
    except RecordError as error:
        lines = [((str(error), "red"),)]
    for parts in lines:
        _console.print(Text.assemble(*((printable(text), style) for text, style in parts)))


def suggestion_lines(record: Record) -> Iterator[Parts]:
    """Shopper and trigger of a suggestion, then a line per item with its price and first reason."""
    suggestion = decode_suggestion(record)
    trigger = suggestion.trigger
    unnamed = 0 if trigger.item_count is None else trigger.item_count - len(trigger.item_ids)
    more = f" and {unnamed:,} more" if unnamed else ""
    yield (
        (suggestion.at, "dim"),
        (f"  {suggestion.user_id}", "bold"),
        (f"  {trigger.action.replace('_', ' ')} of {', '.join(trigger.item_ids)}{more}", ""),
        ("" if suggestion.items else "  nothing to suggest", "dim"),
        (f"  {suggestion.latency_ms:.0f} ms", "dim"),
    )
    for item in suggestion.items:
        yield (
            (f"  {item.kind:<10}", "cyan" if item.kind == "cross-sell" else "magenta"),
            (f"  {item.title}", "bold"),
            (f"  {item.price:.2f}", "green"),
            (f"  {item.reasons[0].text if item.reasons else ''}", "italic"),
        )


def dead_letter_lines(record: Record) -> Iterator[Parts]:
    """Source, reason and content of a dead letter."""
    letter = decode_dead_letter(record)
    yield (letter.at, "dim"), (f"  {letter.topic}-{letter.partition}@{letter.offset}", "bold")
    yield ((f"  {letter.reason}", "red"),)
    yield ((f"  {_content(letter)}", "dim"),)


def _content(letter: DeadLetterRecord) -> str:
    if letter.left_out_bytes is not None:
        return f"{letter.left_out_bytes} bytes, left out here"
    copies = (("key", letter.key), ("value", letter.value))
    return ", ".join(f"{name} {shown(None if text is None else b64decode(text))}" for name, text in copies)


def printable(text: str) -> str:
    r"""The text with control characters escaped as in JSON, so that no record can steer a terminal.

    >>> print(printable("red \x1b[31m kettle"))
    red \u001b[31m kettle
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
