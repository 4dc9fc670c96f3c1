"""`crosscurrent publish`: sends lines of JSON to a topic."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings

STANDARD_INPUT = "-"


@with_settings()
def command(
    settings: Settings,
    topic: Annotated[
        str, typer.Argument(help="clicks, purchases, catalog, profiles or feedback; with --raw any not internal")
    ],
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="JSON lines; -: standard input")] = STANDARD_INPUT,
    raw: Annotated[bool, typer.Option("--raw", help="Send lines as they are, without keys")] = False,
    null: Annotated[
        list[str] | None,
        typer.Option("--null", metavar="KEY", help="Send a null value under this key, and no file", show_default=False),
    ] = None,
) -> None:
    """Send lines of JSON to a topic, each checked against the topic's contract and keyed by its own id.

    A bad line is named on standard error and left out; the rest is sent, and the exit code is 1.
    """
    from streams.connectors.jsonl import DECODERS, Publisher, writable
    from streams.kafka.blocking import Sender

    choices = writable() if raw or null else DECODERS
    if topic not in choices:
        message = f"there is nothing to publish to {topic!r}: choose one of {', '.join(choices)}"
        raise typer.BadParameter(message, param_hint="TOPIC")
    with Sender(settings, [topic]) as sender:
        publisher = Publisher(sender, topic, report=partial(typer.echo, err=True))
        if null:
            for key in null:
                publisher.null(key)
        else:
            with _opened(file) as lines:
                name = "standard input" if file == STANDARD_INPUT else file
                publisher.raw(lines, name) if raw else publisher.checked(lines, name, lambda: round(time.time() * 1000))
    print(f"published {sender.sent} records to {settings.prefix}{topic}", file=sys.stderr)
    if publisher.bad:
        raise typer.Exit(1)


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")  # noqa: SIM115
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise typer.BadParameter(message, param_hint="FILE") from error
    with stream:
        yield stream
