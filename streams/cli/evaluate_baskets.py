"""`crosscurrent evaluate baskets`: what completes a basket, beside the methods of the literature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streams.cli.evaluation_frame import (
    EvaluationFrame,
    Methods,
    Seed,
    chosen,
    evaluation,
    log_of,
    sampled,
    staged_progress,
)

if TYPE_CHECKING:
    from rich.table import Table

    from models.evaluation.baskets.protocol import Basket, Shop
    from streams.connectors.event_log import EventLog


@evaluation("json")
def command(
    frame: EvaluationFrame,
    source: Annotated[Literal["completejourney"], typer.Argument(help="Whose baskets", show_default=False)],
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Ask only so many baskets, drawn by the seed")
    ] = None,
    seed: Seed = 1,
    methods: Methods = None,
    depth: Annotated[
        int, typer.Option("--category-depth", min=0, help="Parts of a category that are compared; 0: all, as a worker")
    ] = 2,
    learn_on_test: Annotated[
        bool, typer.Option("--learn-on-test", help="Learn each test basket after it is scored")
    ] = False,
) -> None:
    """What completes a basket (protocol B): HR and recall at 10 of every method, with 95 % intervals.

    The first 85 % of the time are learnt. Of each later basket of at least 4 items, the first half is given, and those
    of the rest that are of no given item's category are looked for; once all of them, once those new to the household.
    """
    import time

    from models.evaluation.baskets.protocol import cut_at, evaluate
    from models.evaluation.baskets.registry import METHODS, methods_of
    from models.evaluation.next_item.implicit_models import check_implicit

    names = chosen(methods, METHODS)
    check_implicit(names)
    with staged_progress(40) as progress:
        shop, baskets = baskets_of(log_of(source), depth)
        cut = cut_at(baskets)
        found = evaluate(
            shop,
            baskets,
            methods_of(names, shop, depth, baskets, cut, seed, learn_on_test=learn_on_test),
            progress,
            time.process_time,
            cut=cut,
            sample=lambda possible: sampled(seed, sample, possible),
            learn_on_test=learn_on_test,
        )
    figures = {
        "protocol": "baskets",
        "source": source,
        "learnt": found.learnt,
        "tests": found.asked,
        "category_depth": depth,
        "learn_on_test": learn_on_test,
        "seed": seed,
        "seconds": found.seconds,
        "methods": found.as_json(seed),
    }
    frame.finish(figures, _table(figures))


def baskets_of(log: EventLog, depth: int) -> tuple[Shop, list[Basket]]:
    """Purchases of a log with the times at which their items were put into the cart; reads it to its end."""
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
    from streams.cli.printing import new_table

    title = f"baskets: {figures['tests']:,} asked after {figures['learnt']:,} learnt; figures in %"
    table = new_table(title, ["method"], ("all HR@10", "95 %", "recall", "new HR@10", "95 %", "recall"))
    for name, found in figures["methods"].items():
        cells = []
        for reading in ("all", "new_to_household"):
            low, high = found[reading]["interval"]["hr@10"]
            cells += [f"{found[reading]['hr@10']:.2f}", f"{low:.1f}-{high:.1f}", f"{found[reading]['recall@10']:.2f}"]
        table.add_row(name, *cells)
    counts = {reading: found["n"] for reading, found in next(iter(figures["methods"].values())).items() if found}
    table.caption = f"{counts['all']:,} baskets with targets, {counts['new_to_household']:,} with new ones"
    return table
