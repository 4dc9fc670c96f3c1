"""`crosscurrent tail`: prints records of a topic."""

from __future__ import annotations

import sys
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings


class Shown(StrEnum):
    """Topics that can be printed."""

    SUGGESTIONS = "suggestions"
    DEAD_LETTERS = "dead-letters"
    CLICKS = "clicks"
    PURCHASES = "purchases"
    CATALOG = "catalog"
    PROFILES = "profiles"
    FEEDBACK = "feedback"


@with_settings()
def command(
    settings: Settings,
    topic: Annotated[Shown, typer.Argument(help="What to show")] = Shown.SUGGESTIONS,
    json: Annotated[bool, typer.Option("--json", help="Values unchanged, a line each")] = False,
    limit: Annotated[int | None, typer.Option(min=0, help="Stop after so many records", show_default=False)] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="From the oldest record that is kept")] = False,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop at what is there now")] = False,
) -> None:
    """Show suggestions or dead letters as they come, until Ctrl-C; of the shop's own topics always the values."""
    from streams.cli.printing import DeadLetterPrinter, LinePrinter, Printer, SuggestionPrinter
    from streams.kafka.blocking import TopicReader

    printer: Printer = LinePrinter(sys.stdout.buffer)
    if not json and topic is Shown.SUGGESTIONS:
        printer = SuggestionPrinter()
    elif not json and topic is Shown.DEAD_LETTERS:
        printer = DeadLetterPrinter()
    left = sys.maxsize if limit is None else limit
    try:
        with TopicReader(settings, [topic]) as reader:
            for batch in reader.read(from_start=from_start, until_end=until_end):
                for record in islice(batch, left):
                    printer.show(record)
                printer.flush()
                left -= len(batch)
                if left <= 0:
                    return
    except KeyboardInterrupt:  # the usual way to end it
        raise typer.Exit(130) from None
