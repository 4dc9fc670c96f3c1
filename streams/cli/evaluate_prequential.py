"""`crosscurrent evaluate prequential`: suggest, score, then learn, over any log of events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.evaluation_frame import (
    UNITS_S,
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
    learn_beside,
    log_of,
    rounded,
    source_name,
    window_of,
)

if TYPE_CHECKING:
    from rich.table import Table


@evaluation("json", "html", "policy", "config")
def command(
    frame: EvaluationFrame,
    source: Source,
    path: SourcePath = None,
    limit: Limit = None,
    window: Annotated[
        float, typer.Option(parser=window_of, metavar="TIME", help="Time to take what was suggested: 30m, 24h, 7d")
    ] = "24h",  # type: ignore[assignment]
    seed: SourceSeed = 1,
    methods: Methods = None,
    suggestions: Annotated[
        Path | None,
        typer.Option("--suggestions", metavar="FILE", help="What workers sent, as one more method", show_default=False),
    ] = None,
) -> None:
    """Live figures over a log (protocol D): the worker's recommender suggests, is scored, then learns.

    An item is taken if it is put into the cart or bought within the window after it was suggested, and followed if it
    is looked at or taken. Ours: crosscurrent (what a worker with a trainer sends), the same with fixed weights instead
    of an order learnt from outcomes, and its parts, counting and sequence. Beside them the most popular items, what the
    household buys most often, and random items, within the same rules and caps. Sources: completejourney, rees46 FILE,
    simulated, and jsonl FOLDER as `crosscurrent backfill` takes it (`crosscurrent tail` writes the files).
    """
    import time

    from models.evaluation.prequential.protocol import METHODS, RANKINGS, SENT, Prequential, PrequentialConfig
    from models.evaluation.prequential.replay import Engine
    from streams.connectors.event_log import sent_of

    names = chosen(methods, METHODS if suggestions is None else (*METHODS, SENT))
    frame.check_plots()
    settings, policy = frame.settings()
    log = log_of(source, path, limit, seed)
    for note in log.notes:
        complain(note)
    rankings = {name: ranking for name, ranking in RANKINGS.items() if name in names}
    clock = time.process_time
    interval_s = settings.flush_interval_s
    engine = Engine(policy, settings.visits, settings.cooccurrence, rankings, interval_s, clock, settings.histories)
    for item in log.catalog:
        engine.catalog.put(item)
    if any(ranking.uses_sequence for ranking in rankings.values()):
        ranked = [name for name, ranking in rankings.items() if ranking.uses_ranker]
        learn_beside(engine, ranked, settings, seed, ", or leave them out with --methods counting,popularity,random")
    scoring = PrequentialConfig(window_s=window, seed=seed)
    sent = sent_of(suggestions, complain) if suggestions is not None and SENT in names else None
    prequential = Prequential(engine, scoring, names, sent, clock)
    with counting_progress(total=log.count) as progress:
        started_s = clock()
        prequential.run(log.events, progress=lambda done: progress(completed=done))
        seconds = clock() - started_s
    figures: dict[str, Any] = {
        "protocol": "prequential",
        "source": source_name(source, path),
        "catalog": len(log.catalog),
        "dead_letters": log.rejected.count,
        "seed": seed,
        "policy": policy.hash,
        "seconds": round(seconds, 2),
    } | prequential.as_json()
    frame.finish(figures, *_tables(figures))
    _print_counts(figures, seconds)


def _print_counts(figures: dict[str, Any], seconds: float) -> None:
    from streams.cli.printing import table_console

    out = table_console()
    out.print(
        f"{figures['lists']:,} lists counted, {figures['open']:,} still open at the end and not counted; "
        f"{figures['nothing_to_suggest']:,} of {figures['triggers']:,} triggers had nothing to suggest; "
        f"{figures['dead_letters']:,} dead letters; {figures['events'] / max(seconds, 1e-9):,.0f} events a second"
    )
    if "sent" in figures:
        sent = figures["sent"]
        shares = [f"{share:.1f} % by {name}" for name, share in sent["same_items"].items() if share is not None]
        out.print(
            f"sent: {sent['lists']:,} lists, {sent['found']:,} of them for events of the log; "
            f"{sent['events_without']:,} events between the first and the last of them had none; of their "
            f"{sent['items']:,} items suggested here, too: {', '.join(shares) or 'none'}"
        )
    if figures["triggers"] and not figures["lists"]:
        complain("no window has closed before the log ends, so that nothing is counted: try a shorter --window")


def _tables(figures: dict[str, Any]) -> list[Table]:
    from models.evaluation.prequential.tallies import ALONG, PARTS, SLICES
    from streams.cli.printing import new_table

    hours = figures["window_s"] / UNITS_S["h"]
    said = f"{figures['source']}: {figures['events']:,} events, {figures['lists']:,} lists, window {hours:.4g} h"
    headings = ("HR", "95 %", "MRR", "prec.", "recall", "F1", "NDCG", "lists", "wanted")
    hits = new_table(f"{said}; figures in %", ["lists, outcome", "method"], headings)
    methods = figures["methods"]
    readings = [f"{part}, {outcome}" for part in SLICES for outcome in ALONG]
    for reading in readings:
        for name, found in methods.items():
            row = found[reading]
            by_figure = {key.partition("@")[0]: key for key in row["interval"]}
            cells = [rounded(row[by_figure[key]], 2) for key in ("mrr", "precision", "recall", "f1", "ndcg")]
            counts = f"{row['n']:,}", f"{row['with_targets']:,}"
            first = reading if name == next(iter(methods)) else ""
            hits.add_row(first, name, *hit_rate(row), *cells, *counts, end_section=name == list(methods)[-1])
    columns = {
        "items": "items",
        "taken": "taken",
        "coverage": "coverage",
        "gini": "Gini",
        "diversity_category": "categories",
        "diversity_brand": "brands",
        "fall_backs": "fall-backs",
        "price_step": "step",
        "cold_items": "cold",
    }
    lists = new_table("what the lists are like; shares in %", ["kind", "method"], list(columns.values()))
    for kind in next(iter(methods.values()))["lists"]:
        for name, found in methods.items():
            row = found["lists"][kind]
            cells = [f"{row[key]:,}" if key in ("items", "taken") else rounded(row.get(key), 2) for key in columns]
            lists.add_row(kind, name, *cells, end_section=name == list(methods)[-1])
    rated = ("taken", "95 %", "new", "95 %", "credited", "95 %", "lift", "revenue")
    worth = new_table("HR of what is taken, in %; revenue of 1,000 lists", ["kind", "method"], rated)
    for kind in PARTS:
        for name, found in methods.items():
            rates = [found[f"{kind}, {outcome}"] for outcome in ("taken", "new to household, taken", "credited")]
            cells = [cell for row in rates for cell in hit_rate(row)]
            others = [
                rounded(found["lists"][kind].get(key), 2) for key in ("lift_per_anchor", "revenue_per_1000_lists")
            ]
            worth.add_row(kind, name, *cells, *others, end_section=name == list(methods)[-1])
    worth.caption = "new: to the household; credited: a taking counts 1 - base rate; lift: price steps taken per list"
    return [hits, worth, lists]
