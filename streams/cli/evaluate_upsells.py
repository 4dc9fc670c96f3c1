"""`crosscurrent evaluate upsells`: are upsells taken?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.evaluation_frame import (
    EvaluationFrame,
    Limit,
    Methods,
    Source,
    SourcePath,
    SourceSeed,
    chosen,
    complain,
    counting_progress,
    evaluation,
    hit_rate,
    log_of,
    source_name,
    window_of,
)

if TYPE_CHECKING:
    from rich.table import Table


@evaluation("json", "policy", "config")
def command(
    frame: EvaluationFrame,
    source: Source,
    path: SourcePath = None,
    limit: Limit = None,
    window: Annotated[
        float, typer.Option(parser=window_of, metavar="TIME", help="Time to take what was suggested: 30m, 24h, 30d")
    ] = "30d",  # type: ignore[assignment]
    split: Annotated[float, typer.Option(min=0, max=1, help="Share of the time before anything is asked")] = 0.85,
    seed: SourceSeed = 1,
    methods: Methods = None,
) -> None:
    """Whether the dearer one is taken (protocol C): HR, MRR, acceptance and price step of each method.

    Each look at an item asks for its upsells: items of its category within the policy's steps. They are taken if the
    shopper puts one into the cart or buys it within the window. All methods rank the same ones and learn all the time.
    Sources are those of `crosscurrent evaluate prequential`.
    """
    import time
    from dataclasses import replace

    from models.evaluation.upsells.protocol import METHODS, K, Span, UpsellsConfig, evaluate
    from models.shop.catalog import Catalog
    from models.shop.events import Click, Profile
    from models.shop.items import Items

    names = chosen(methods, METHODS)
    settings, policy = frame.settings()
    upsells_only = replace(policy, max_items=K, max_cross_sell=0, max_upsell=K, max_per_category=0, max_per_brand=0)
    with counting_progress("reading") as progress:
        log = log_of(source, path, limit, seed)
        for note in log.notes:
            complain(note)
        items = Items()
        catalog = Catalog(items)
        for item in log.catalog:
            catalog.put(item)
        events, times = list(log.events), []
        for event in events:
            if not isinstance(event, Profile):
                times.append(event.at)
                for name in [event.item_id] if isinstance(event, Click) else event.item_ids:
                    items.index(name)
        first, last = (times[0], times[-1]) if times else (0.0, 0.0)
        progress(description="events", total=len(events))
        started_s = time.process_time()
        found = evaluate(
            items,
            catalog,
            events,
            Span(first, last, first + split * (last - first)),
            upsells_only,
            names,
            lambda done: progress(completed=done),
            seed,
            UpsellsConfig(
                window_s=window,
                visits=settings.visits,
                counting=settings.cooccurrence,
                histories=settings.histories,
                outcomes=settings.outcomes,
                ranker=settings.ranker,
            ),
        )
        seconds = time.process_time() - started_s
    figures = {
        "protocol": "upsells",
        "source": source_name(source, path),
        "dead_letters": log.rejected.count,
        "window_s": window,
        "asked": found.asked,
        "taken": len(found.taken.shoppers),
        "open": found.open,
        "policy": policy.hash,
        "seed": seed,
        "seconds": round(seconds, 2),
        "methods": found.as_json(seed),
    }
    frame.finish(figures, *_tables(figures))
    if not found.asked:
        complain("no window has closed before the log ends, so that nothing is counted: try a shorter --window")


def _tables(figures: dict[str, Any]) -> list[Table]:
    from streams.cli.printing import new_table

    title = (
        f"{figures['source']}: {figures['asked']:,} looks with upsells, of which {figures['taken']:,} were followed by "
        f"one of them within {figures['window_s'] / 86_400.0:.4g} days; figures in %"
    )
    headings = ("HR@2", "95 %", "HR@10", "MRR@10", "acceptance@2", "step shown", "step taken")
    taken = new_table(title, ["method"], headings)
    rated = ("new HR@2", "95 %", "credited HR@2", "95 %", "lift", "revenue")
    worth = new_table("what it is worth; revenue of 1,000 looks", ["method"], rated)
    for name, found in figures["methods"].items():
        cells = [f"{found[figure]:.2f}" for figure in ("hr@10", "mrr@10", "acceptance@2")]
        steps = ["-" if found[step] is None else f"{found[step]:.1f}" for step in ("step_shown", "step_taken")]
        taken.add_row(name, *hit_rate(found), *cells, *steps)
        rates = *hit_rate(found["new to household"]), *hit_rate(found["credited"])
        worth.add_row(name, *rates, f"{found['lift_per_anchor']:.3f}", f"{found['revenue_per_1000_lists']:.2f}")
    taken.caption = f"{figures['open']:,} looks whose window was open at the end are not counted"
    worth.caption = "new: to the household; credited: a taking counts 1 - base rate; lift: acceptance x step taken"
    return [taken, worth]
