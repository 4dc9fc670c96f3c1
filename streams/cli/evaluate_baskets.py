"""`crosscurrent evaluate baskets`: what completes a basket, beside the methods of the literature."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from models.evaluation.baskets.protocol import Basket, Shop
    from streams.connectors.event_log import EventLog


class Source(StrEnum):
    """Whose baskets."""

    COMPLETEJOURNEY = "completejourney"


def command(
    source: Annotated[Source, typer.Argument(help="Whose baskets", show_default=False)],
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Ask only so many baskets, drawn by the seed")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn")] = 1,
    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B", help="Only these (all)")] = None,
    depth: Annotated[
        int, typer.Option("--category-depth", min=0, help="Parts of a category that are compared; 0: all, as a worker")
    ] = 2,
    learn_on_test: Annotated[
        bool, typer.Option("--learn-on-test", help="Learn each test basket after it is scored")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the figures to a file", show_default=False)
    ] = None,
) -> None:
    """What completes a basket (protocol B): HR and recall at 10 of every method, with 95 % intervals.

    The first 85 % of the time are learnt. Of each later basket of at least 4 items, the first half is given, and those
    of the rest that are of no given item's category are looked for; once all of them, once those new to the household.
    """
    import random
    import time

    import orjson
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from models.evaluation.baskets.protocol import cut_at, evaluate
    from models.evaluation.baskets.registry import METHODS, families
    from models.evaluation.next_item.implicit_models import check_implicit
    from streams.cli.printing import table_console
    from streams.connectors.complete_journey import complete_journey
    from streams.connectors.event_log import log_of_data_set

    names = list(METHODS) if methods is None else [name.strip() for name in methods.split(",")]
    if unknown := [name for name in names if name not in METHODS]:
        message = f"no method {unknown[0]!r}: choose from {', '.join(METHODS)}"
        raise typer.BadParameter(message, param_hint="--methods")
    check_implicit(names)

    def complain(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        shop, baskets = baskets_of(
            log_of_data_set(complete_journey(), None, round(time.time() * 1000), complain), depth
        )
        cut = cut_at(baskets)

        def say(stage: str, done: int, of: int) -> None:
            progress.update(task, description=stage, completed=done, total=of)

        def drawn(possible: int) -> list[int]:
            return random.Random(seed).sample(range(possible), min(sample or possible, possible))  # noqa: S311

        evaluation = evaluate(
            shop,
            baskets,
            families(names, shop, depth, baskets, cut, seed, learn_on_test=learn_on_test),
            names,
            say,
            time.process_time,
            cut=cut,
            sample=drawn,
            learn_on_test=learn_on_test,
        )
    figures = {
        "protocol": "baskets",
        "source": source.value,
        "learnt": evaluation.learnt,
        "tests": evaluation.asked,
        "category_depth": depth,
        "learn_on_test": learn_on_test,
        "seed": seed,
        "seconds": evaluation.seconds,
        "methods": evaluation.as_json(seed),
    }
    if json is not None:
        json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
    table_console().print(_table(figures))


def baskets_of(log: EventLog, depth: int) -> tuple[Shop, list[Basket]]:
    """Purchases of a log with the clicks that led to them.

    Args:
        log: is gone through.
        depth: to which categories are compared.
    """
    from models.evaluation.baskets.protocol import Basket, shop_of
    from models.shop.catalog import Catalog
    from models.shop.events import Action, Click, Purchase
    from models.shop.items import Items

    items = Items()
    catalog = Catalog(items)
    for item in log.catalog:
        catalog.put(item)
    baskets = []
    added: dict[str, dict[int, float]] = {}
    for event in log.events:
        if isinstance(event, Click) and event.action is Action.ADD_TO_CART:
            added.setdefault(event.user_id, {})[items.index(event.item_id)] = event.at
        elif isinstance(event, Purchase):
            bought = tuple(dict.fromkeys(items.index(line.item_id) for line in event.lines))
            when = added.pop(event.user_id, {})
            times = tuple(when.get(item, event.at) for item in bought)
            baskets.append(Basket(event.user_id, event.order_id, event.at, bought, times))
    return shop_of(items, catalog, depth), baskets


def _table(figures: dict[str, Any]) -> Table:
    from rich.table import Table

    title = f"baskets: {figures['tests']:,} asked after {figures['learnt']:,} learnt; figures in %"
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for heading in ("all HR@10", "95 %", "recall", "new HR@10", "95 %", "recall"):
        table.add_column(heading, justify="right")
    for name, found in figures["methods"].items():
        cells = []
        for reading in ("all", "new_to_household"):
            low, high = found[reading]["interval"]["hr@10"]
            cells += [f"{found[reading]['hr@10']:.2f}", f"{low:.1f}-{high:.1f}", f"{found[reading]['recall@10']:.2f}"]
        table.add_row(name, *cells)
    counts = {reading: found["n"] for reading, found in next(iter(figures["methods"].values())).items() if found}
    table.caption = f"{counts['all']:,} baskets with targets, {counts['new_to_household']:,} with new ones"
    return table
