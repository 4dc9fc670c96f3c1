"""`crosscurrent topics`: creates or checks the topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings

app = typer.Typer(help="Create the topics, or check them.", no_args_is_help=True)


@app.command("create")
@with_settings("partitions", "replication", connect=False)
def create(settings: Settings) -> None:
    """Create the topics that are missing; existing ones must be as asked for."""
    from streams.kafka import topic_admin

    made = topic_admin.create(settings)
    print(f"created {', '.join(made)}" if made else "all topics are there already")


@app.command("check")
@with_settings("partitions", "replication", connect=False)
def check(settings: Settings) -> None:
    """Compare the topics with what they must be; exit with 1 and a line for each difference."""
    from streams.kafka import topic_admin

    differences = topic_admin.check(settings)
    for difference in differences:
        typer.echo(difference, err=True)
    if differences:
        raise typer.Exit(1)
    print("all topics are as they must be")
