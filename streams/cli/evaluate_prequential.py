"""`crosscurrent evaluate prequential`: suggest, score, then learn, over any log of events."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.errors import CrosscurrentError

if TYPE_CHECKING:
    from rich.table import Table

    from models.evaluation.prequential.replay import Engine
    from streams.connectors.event_log import EventLog
    from streams.settings import Settings

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class Source(StrEnum):
    """Where events come from."""

    COMPLETEJOURNEY = "completejourney"
    REES46 = "rees46"
    SIMULATED = "simulated"
    JSONL = "jsonl"


_WITH_PATH = (Source.REES46, Source.JSONL)


def window_of(text: str) -> float:
    """Seconds of a time such as `30m`."""
    try:
        window_s = float(text[:-1]) * _UNITS_S[text[-1:]]
    except (KeyError, ValueError):
        window_s = 0.0
    if not 0 < window_s < float("inf"):
        message = f"must be a time above 0 such as 90s, 30m, 24h or 7d; got {text!r}"
        raise typer.BadParameter(message)
    return window_s


def command(
    source: Annotated[Source, typer.Argument(help="Which log", show_default=False)],
    path: Annotated[Path | None, typer.Argument(help="rees46: CSV file; jsonl: folder", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most events (all; simulated: 50000)")] = None,
    window: Annotated[
        float, typer.Option(parser=window_of, metavar="TIME", help="Time to take what was suggested: 30m, 24h, 7d")
    ] = "24h",  # type: ignore[assignment]
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn, the simulated shop too")] = 1,
    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B", help="Only these (all)")] = None,
    suggestions: Annotated[
        Path | None,
        typer.Option("--suggestions", metavar="FILE", help="What workers sent, as one more method", show_default=False),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the figures to a file", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a report with plots", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="TOML file that says what may be suggested", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file with settings", show_default=False)] = None,
) -> None:
    """Live figures over a log (protocol D): the worker's recommender suggests, is scored, then learns.

    An item is taken if it is put into the cart or bought within the window after it was suggested, and followed if it
    is looked at or taken. Ours: crosscurrent (what a worker with a trainer sends), the same with fixed weights instead
    of an order learnt from outcomes, and its parts, counting and sequence. Beside them the most popular items and
    random ones, within the same rules and caps. Sources: completejourney, rees46 FILE,
    simulated, and jsonl FOLDER with catalog.jsonl, clicks.jsonl and purchases.jsonl (`crosscurrent tail` writes them).
    """
    import time

    import orjson
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from models.evaluation.prequential.protocol import METHODS, RANKINGS, SENT, Prequential, PrequentialConfig
    from models.evaluation.prequential.replay import Engine
    from streams.cli.evaluation_report import check_plots, report
    from streams.cli.printing import table_console
    from streams.connectors.event_log import sent_of
    from streams.policy_file import read_policy
    from streams.settings import Settings

    if (path is not None) != (source in _WITH_PATH):
        message = f"{source} needs a path" if source in _WITH_PATH else f"{source} takes no path"
        raise typer.BadParameter(message, param_hint="PATH")
    choices = METHODS if suggestions is None else (*METHODS, SENT)
    names = list(choices) if methods is None else [name.strip() for name in methods.split(",")]
    if unknown := [name for name in names if name not in choices]:
        message = f"no method {unknown[0]!r}: choose from {', '.join(choices)}"
        raise typer.BadParameter(message, param_hint="--methods")
    if html is not None:
        check_plots()
    settings = Settings.load({"policy": policy}, os.environ, config)
    in_force = read_policy(settings.policy, settings.visits.purchase_memory_s)
    log = _log(source, path, limit, seed, round(time.time() * 1000))
    console = Console(stderr=True, highlight=False)
    for note in log.notes:
        _complain(note)
    rankings = {name: ranking for name, ranking in RANKINGS.items() if name in names}
    clock = time.process_time
    engine = Engine(in_force, settings.visits, settings.cooccurrence, rankings, settings.flush_interval_s, clock)
    for item in log.catalog:
        engine.catalog.put(item)
    if any(ranking.expects for ranking in rankings.values()):
        _learn(engine, [name for name, ranking in rankings.items() if ranking.ordered], settings, seed)
    scoring = PrequentialConfig(window_s=window, seed=seed)
    sent = sent_of(suggestions, _complain) if suggestions is not None and SENT in names else None
    prequential = Prequential(engine, scoring, names, sent, clock)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("events", total=log.count)
        started_s = time.process_time()
        prequential.run(log.events, say=lambda done: progress.update(task, completed=done))
        seconds = time.process_time() - started_s
    figures: dict[str, Any] = {
        "protocol": "prequential",
        "source": source.value if path is None else f"{source.value} {path.name}",
        "catalog": len(log.catalog),
        "dead_letters": log.rejected.count,
        "seed": seed,
        "policy": in_force.hash,
        "seconds": round(seconds, 2),
    } | prequential.as_json()
    if json is not None:
        json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
    if html is not None:
        html.write_text(report(figures), encoding="utf-8")
    out = table_console()
    for table in _tables(figures):
        out.print(table)
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
        _complain("no window has closed before the log ends, so that nothing is counted: try a shorter --window")


def _learn(engine: Engine, ordered: list[str], settings: Settings, seed: int) -> None:
    """Put beside an engine what the sequence model is learnt by, and the orders of some recommenders' lists."""
    times = settings.train_every_s, settings.snapshot_every_s
    try:
        from models.evaluation.prequential.ordering import Ordering
        from models.evaluation.prequential.training import StreamTraining

        for name in ordered:
            engine.orderings[name] = Ordering(engine.items, settings.outcomes, settings.ranker, *times, seed)
    except ModuleNotFoundError as error:
        message = (
            "the sequence model needs PyTorch, and the order of lists river: pip install 'crosscurrent[learning]', or "
            "leave them out with --methods counting,popularity,random"
        )
        raise CrosscurrentError(message) from error
    engine.training = StreamTraining(
        engine.items, engine.catalog, settings.visits, settings.learner, settings.gate, *times, seed
    )


def _complain(sentence: str) -> None:
    """Say something about the log on standard error."""
    print(sentence, file=sys.stderr)


def _log(source: Source, path: Path | None, limit: int | None, seed: int, now_ms: int) -> EventLog:
    from streams.connectors.event_log import SIMULATED_EVENTS, log_of_data_set, log_of_folder, simulated

    if source is Source.JSONL:
        assert path is not None  # noqa: S101 - the command has looked
        return log_of_folder(path, limit, now_ms, _complain)
    if source is Source.SIMULATED:
        past = simulated(seed, limit or SIMULATED_EVENTS)
    elif source is Source.COMPLETEJOURNEY:
        from streams.connectors.complete_journey import complete_journey

        past = complete_journey()
    else:
        from streams.connectors.rees46 import rees46

        assert path is not None  # noqa: S101 - the command has looked
        past = rees46(path, _complain)
    return log_of_data_set(past, limit, now_ms, _complain)


def _tables(figures: dict[str, Any]) -> list[Table]:
    from rich.table import Table

    hours = figures["window_s"] / _UNITS_S["h"]
    said = f"{figures['source']}: {figures['events']:,} events, {figures['lists']:,} lists, window {hours:.4g} h"
    hits = Table(title=f"{said}; figures in %", title_justify="left")
    hits.add_column("lists, outcome")
    hits.add_column("method")
    for heading in ("HR", "95 %", "MRR", "prec.", "recall", "F1", "NDCG", "lists", "wanted"):
        hits.add_column(heading, justify="right")
    methods = figures["methods"]
    readings = [name for name in next(iter(methods.values())) if "," in name]
    for reading in readings:
        for name, found in methods.items():
            row = found[reading]
            by_figure = {key.partition("@")[0]: key for key in row["interval"]}
            interval = "-".join(_shown(end, 1) for end in row["interval"][by_figure["hr"]])
            cells = [_shown(row[by_figure[one]], 2) for one in ("hr", "mrr", "precision", "recall", "f1", "ndcg")]
            counts = f"{row['n']:,}", f"{row['with_targets']:,}"
            first = reading if name == next(iter(methods)) else ""
            hits.add_row(first, name, cells[0], interval, *cells[1:], *counts, end_section=name == list(methods)[-1])
    lists = Table(title="what the lists are like; shares in %", title_justify="left")
    lists.add_column("kind")
    lists.add_column("method")
    headings = {
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
    for heading in headings.values():
        lists.add_column(heading, justify="right")
    for kind in next(iter(methods.values()))["lists"]:
        for name, found in methods.items():
            row = found["lists"][kind]
            cells = [f"{row[key]:,}" if key in ("items", "taken") else _shown(row.get(key), 2) for key in headings]
            lists.add_row(kind, name, *cells, end_section=name == list(methods)[-1])
    return [hits, lists]


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
