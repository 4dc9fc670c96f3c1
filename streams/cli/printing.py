"""Records on a terminal or in a pipe."""

from __future__ import annotations

import sys
from base64 import b64decode
from typing import IO, TYPE_CHECKING, Protocol

from rich.console import Console
from rich.text import Text

from streams.errors import RecordError
from streams.wire.codec import decode_dead_letter, decode_suggestion
from streams.wire.rejections import shown

if TYPE_CHECKING:
    from streams.wire.record import Record
    from streams.wire.schemas import DeadLetterRecord, SuggestedItemRecord, SuggestionRecord


PLAIN_WIDTH = 120
"""Columns of a table without a terminal."""


def table_console() -> Console:
    """Standard output for tables, as wide as the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


class Printer(Protocol):
    """Prints records one by one."""

    def show(self, record: Record) -> None:
        """Print one."""

    def flush(self) -> None:
        """Called after each batch, so that the reader of a pipe gets it."""


class LinePrinter:
    """Values unchanged, a line each."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def show(self, record: Record) -> None:
        """Write the value and a line end; a null value as `null`."""
        self._out.write((b"null" if record.value is None else record.value) + b"\n")

    def flush(self) -> None:
        """See [`Printer.flush`][]."""
        self._out.flush()


class _Pretty:
    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def flush(self) -> None:
        """See [`Printer.flush`][]."""
        self._console.file.flush()

    def _print(self, *parts: tuple[str, str]) -> None:
        self._console.print(Text.assemble(*((printable(text), style) for text, style in parts)))


class SuggestionPrinter(_Pretty):
    """A suggestion in a few lines: shopper and trigger, then a line per item with its price and first reason."""

    def show(self, record: Record) -> None:
        """Print one, or why the record is no suggestion."""
        try:
            suggestion = decode_suggestion(record)
        except RecordError as error:
            self._print((f"{error}", "red"))
            return
        self._headline(suggestion)
        for item in suggestion.items:
            self._item(item)

    def _headline(self, suggestion: SuggestionRecord) -> None:
        trigger = suggestion.trigger
        cause = f"{trigger.action.replace('_', ' ')} of {', '.join(trigger.item_ids)}"
        self._print(
            (suggestion.at, "dim"),
            (f"  {suggestion.user_id}", "bold"),
            (f"  {cause}", ""),
            ("" if suggestion.items else "  nothing to suggest", "dim"),
            (f"  {suggestion.latency_ms:.0f} ms", "dim"),
        )

    def _item(self, item: SuggestedItemRecord) -> None:
        reason = item.reasons[0].text if item.reasons else ""
        self._print(
            (f"  {item.kind:<10}", "cyan" if item.kind == "cross-sell" else "magenta"),
            (f"  {item.title}", "bold"),
            (f"  {item.price:.2f}", "green"),
            (f"  {reason}", "italic"),
        )


class DeadLetterPrinter(_Pretty):
    """A dead letter in a few lines: source, reason, content."""

    def show(self, record: Record) -> None:
        """Print one, or why the record is no dead letter."""
        try:
            letter = decode_dead_letter(record)
        except RecordError as error:
            self._print((f"{error}", "red"))
            return
        self._print((letter.at, "dim"), (f"  {letter.topic}-{letter.partition}@{letter.offset}", "bold"))
        self._print((f"  {letter.reason}", "red"))
        self._print((f"  {self._content(letter)}", "dim"))

    def _content(self, letter: DeadLetterRecord) -> str:
        if letter.left_out_bytes is not None:
            return f"{letter.left_out_bytes} bytes, left out here"
        parts = []
        for name, text in (("key", letter.key), ("value", letter.value)):
            try:
                parts.append(f"{name} {shown(None if text is None else b64decode(text))}")
            except ValueError:
                parts.append(f"{name} {shown(text)} (not base64)")
        return ", ".join(parts)


def printable(text: str) -> str:
    """The text without control characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
