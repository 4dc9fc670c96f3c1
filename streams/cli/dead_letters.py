"""`crosscurrent dead-letters`: shows dead letters and sends them again."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@with_settings()
def command(
    settings: Settings,
    replay: Annotated[bool, typer.Option("--replay", help="Send those again that would pass now, each once")] = False,
    json: Annotated[bool, typer.Option("--json", help="Values unchanged, a line each (without --replay)")] = False,
) -> None:
    """Show all dead letters that are kept; --replay sends them to their topics again and goes on where it ended."""
    from streams.cli.printing import printable
    from streams.cli.tail import command as tail
    from streams.kafka.blocking import TopicReader

    if not replay:
        inspect.unwrap(tail)(settings, "dead-letters", json=json, from_start=True, until_end=True)
        return

    from streams.connectors.dead_letter_replay import Replayer, decoded, distinct
    from streams.connectors.jsonl import DECODERS
    from streams.kafka.blocking import Sender
    from streams.kafka.rights import REPLAY_GROUP

    def report(sentence: str) -> None:
        typer.echo(printable(sentence), err=True)

    with TopicReader(settings, ["dead-letters"], group=REPLAY_GROUP) as reader:
        with Sender(settings, list(DECODERS)) as sender:
            replayer = Replayer(settings.prefix, sender, lambda: round(time.time() * 1000), report)
            records = (record for batch in reader.read(from_committed=True, until_end=True) for record in batch)
            for letter in distinct(decoded(records, report)):
                replayer.replay(letter)
        reader.commit()  # after everything is acknowledged
    done = replayer.replayed
    print(f"sent {done.sent} again; {done.still_bad} would come back; {done.not_ours} cannot be sent")
