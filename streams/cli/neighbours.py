"""`crosscurrent neighbours`: the published neighbours of an item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@with_settings()
def command(
    settings: Settings,
    item: Annotated[str | None, typer.Argument(metavar="[ITEM]", help="Id of an item", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All items")] = False,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON an item, in the order of their ids")] = False,
) -> None:
    """Show the neighbours of an item, strongest first: weights as of its newest event, and the lift of bought_with.

    An item that has none: exit code 1.
    """
    from streams.cli.neighbours_view import Published
    from streams.errors import CrosscurrentError

    if (item is None) is not every:
        message = "name one ITEM, or all of them with --all"
        raise typer.BadParameter(message)
    published = Published(settings, with_titles=not json)
    names = [item] if item is not None else list(published.neighbours)
    for name in names:
        if name not in published:
            message = f"nothing is known of item {name!r}: no row of neighbours was published for it"
            raise CrosscurrentError(message)
        if json:
            typer.echo(published.as_json(name))
        else:
            published.print_table(name)
