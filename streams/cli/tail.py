"""`crosscurrent tail`: prints records of a topic."""

from __future__ import annotations

import sys
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings


Shown = Literal["suggestions", "dead-letters", "clicks", "purchases", "catalog", "profiles", "feedback"]


@with_settings()
def command(
    settings: Settings,
    topic: Annotated[Shown, typer.Argument(help="What to show")] = "suggestions",
    json: Annotated[
        bool,
        typer.Option("--json", help="Values unchanged (escaped on a terminal), a line each"),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=0, help="Stop after so many records", show_default=False)] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="From the oldest record that is kept")] = False,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop at what is there now")] = False,
) -> None:
    """Show suggestions or dead letters as they come, until Ctrl-C; of the shop's own topics always the values.

    Control characters in records are escaped, so that none can steer the terminal; with --json in a pipe or a file
    values are unchanged.
    """
    from streams.cli.printing import dead_letter_lines, print_lines, print_value, suggestion_lines
    from streams.kafka.blocking import TopicReader

    lines_of = {"suggestions": suggestion_lines, "dead-letters": dead_letter_lines}.get(topic)
    unchanged = json and not sys.stdout.isatty()
    as_value = partial(print_value, unchanged=unchanged)
    show = as_value if json or lines_of is None else partial(print_lines, lines_of)
    left = sys.maxsize if limit is None else limit
    try:
        with TopicReader(settings, [topic]) as reader:
            for batch in reader.read(from_start=from_start, until_end=until_end):
                for record in islice(batch, left):
                    show(record)
                sys.stdout.flush()  # for the reader of a pipe
                left -= len(batch)
                if left <= 0:
                    return
    except KeyboardInterrupt:  # the usual way to end it
        raise typer.Exit(130) from None
