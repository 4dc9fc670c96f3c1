"""`crosscurrent evaluate upsells`: is the dearer one taken?"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.evaluate_prequential import window_of

if TYPE_CHECKING:
    from rich.table import Table


class Source(StrEnum):
    """Whose looks and purchases."""

    COMPLETEJOURNEY = "completejourney"
    REES46 = "rees46"


def command(
    source: Annotated[Source, typer.Argument(help="Which log", show_default=False)],
    path: Annotated[Path | None, typer.Argument(help="rees46: CSV file", show_default=False)] = None,
    window: Annotated[
        float, typer.Option(parser=window_of, metavar="TIME", help="Time to take what was suggested: 30m, 24h, 30d")
    ] = "30d",  # type: ignore[assignment]
    split: Annotated[float, typer.Option(min=0, max=1, help="Share of the time before anything is asked")] = 0.85,
    seed: Annotated[int, typer.Option("--seed", help="Of the random lists and the intervals")] = 1,
    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B", help="Only these (all)")] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the figures to a file", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="TOML file that says what may be suggested", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file with settings", show_default=False)] = None,
) -> None:
    """Whether the dearer one is taken (protocol C): HR, MRR, acceptance and price step of each method.

    Each look at an item asks for its upsells: items of its category within the policy's steps. They are taken if the
    shopper puts one into the cart or buys it within the window. All methods rank the same ones and learn all the time.
    """
    import time
    from dataclasses import replace

    import orjson
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from models.evaluation.upsells.protocol import METHODS, K, UpsellsConfig, evaluate
    from models.shop.catalog import Catalog
    from models.shop.events import Click, Purchase
    from models.shop.items import Items
    from streams.cli.printing import table_console
    from streams.connectors.complete_journey import complete_journey
    from streams.connectors.event_log import log_of_data_set
    from streams.connectors.rees46 import rees46
    from streams.policy_file import read_policy
    from streams.settings import Settings

    if (path is not None) != (source is Source.REES46):
        message = f"{source} needs a path" if source is Source.REES46 else f"{source} takes no path"
        raise typer.BadParameter(message, param_hint="PATH")
    names = list(METHODS) if methods is None else [name.strip() for name in methods.split(",")]
    if unknown := [name for name in names if name not in METHODS]:
        message = f"no method {unknown[0]!r}: choose from {', '.join(METHODS)}"
        raise typer.BadParameter(message, param_hint="--methods")

    def complain(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    settings = Settings.load({"policy": policy}, os.environ, config)
    in_force = read_policy(settings.policy, settings.visits.purchase_memory_s)
    upsells_only = replace(in_force, max_items=K, max_cross_sell=0, max_upsell=K, max_per_category=0, max_per_brand=0)
    past = complete_journey() if path is None else rees46(path, complain)
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        log = log_of_data_set(past, None, round(time.time() * 1000), complain)
        items = Items()
        catalog = Catalog(items)
        for item in log.catalog:
            catalog.put(item)
        events = [event for event in log.events if isinstance(event, Click | Purchase)]
        for event in events:
            for name in [event.item_id] if isinstance(event, Click) else [line.item_id for line in event.lines]:
                items.index(name)
        first, last = events[0].at, events[-1].at
        progress.update(task, description="events", total=len(events))
        started_s = time.process_time()
        evaluation = evaluate(
            items,
            catalog,
            events,
            first,
            last,
            first + split * (last - first),
            upsells_only,
            names,
            lambda done: progress.update(task, completed=done),
            seed,
            UpsellsConfig(window_s=window, visits=settings.visits, counting=settings.cooccurrence),
        )
        seconds = time.process_time() - started_s
    figures = {
        "protocol": "upsells",
        "source": source.value if path is None else f"{source.value} {path.name}",
        "window_s": window,
        "asked": evaluation.asked,
        "taken": len(evaluation.shoppers),
        "open": evaluation.open,
        "policy": in_force.hash,
        "seed": seed,
        "seconds": round(seconds, 2),
        "methods": evaluation.as_json(seed),
    }
    if json is not None:
        json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
    table_console().print(_table(figures))
    if not evaluation.asked:
        complain("no window has closed before the log ends, so that nothing is counted: try a shorter --window")


def _table(figures: dict[str, Any]) -> Table:
    from rich.table import Table

    title = (
        f"{figures['source']}: {figures['asked']:,} looks with upsells, of which {figures['taken']:,} were followed by "
        f"one of them within {figures['window_s'] / 86_400.0:.4g} days; figures in %"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for heading in ("HR@2", "95 %", "HR@10", "MRR@10", "acceptance@2", "step shown", "step taken"):
        table.add_column(heading, justify="right")
    for name, found in figures["methods"].items():
        low, high = found["interval"]["hr@2"]
        cells = [f"{found[figure]:.2f}" for figure in ("hr@10", "mrr@10", "acceptance@2")]
        steps = ["-" if found[one] is None else f"{found[one]:.1f}" for one in ("step_shown", "step_taken")]
        table.add_row(name, f"{found['hr@2']:.2f}", f"{low:.1f}-{high:.1f}", *cells, *steps)
    table.caption = f"{figures['open']:,} looks whose window was open at the end are not counted"
    return table
