"""`crosscurrent bench`: the worker against a bare stateful Faust echo, where the time of an event goes, take-over."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from streams.cli.figures import FiguresFile, write_figures


def _check_take_over(size: tuple[int, int] | None) -> tuple[int, int] | None:
    from models.sessions.histories import MAX_ITEMS

    if size is not None and not (size[0] >= 1 and 1 <= size[1] <= MAX_ITEMS):
        message = f"at least one shopper, with 1 to {MAX_ITEMS:,} items"
        raise typer.BadParameter(message)
    return size


class Other(StrEnum):
    """Another echo to measure the worker against."""

    QUIX = "quix"


def _sizes(text: str | None) -> tuple[int, ...]:
    """Numbers of items, as `--items` gives them."""
    from streams.bench.catalogue_sizes import LEAST_ITEMS

    try:
        sizes = tuple(int(size) for size in text.split(",")) if text is not None else ()
    except ValueError:
        sizes = (0,)
    if any(size < LEAST_ITEMS for size in sizes):
        message = f"numbers of items, at least {LEAST_ITEMS:,} each, separated by commas, such as 10000,100000"
        raise typer.BadParameter(message)
    return sizes


def command(  # noqa: PLR0913 - options of one command
    kafka: Annotated[bool, typer.Option("--kafka", help="Apache Kafka from KAFKA_HOME, not the embedded one")] = False,
    json: FiguresFile = None,
    events: Annotated[int, typer.Option(min=1_000, help="Events of each backlog")] = 60_000,
    seconds: Annotated[float, typer.Option(min=4, help="Seconds of each steady stream")] = 12.0,
    repeats: Annotated[int, typer.Option(min=1, max=10, help="Turns of each side, at least")] = 3,
    most_turns: Annotated[
        int, typer.Option(min=1, max=10, help="... and at most, where the ratio has not settled within 15 %")
    ] = 10,
    against: Annotated[
        Other | None,
        typer.Option(help="A bare Quix Streams echo takes turns, too (extra `quix`)", show_default=False),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Only what an event costs with so many items in the catalogue, without a broker",
            show_default=False,
            callback=_sizes,
        ),
    ] = None,
    counting: Annotated[bool, typer.Option("--counting", help="The worker without a sequence model")] = False,
    most_items: Annotated[
        int, typer.Option(min=10_000, help="Measure the sequence model with no more items than so many")
    ] = 1_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="A minute's run that only shows that it works")] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Only what each source of candidates costs: half a minute, no broker")
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Only where a microsecond of an event goes: two minutes, no broker")
    ] = False,
    workers: Annotated[
        bool, typer.Option("--workers", help="Only what a second worker, or a second thread of one, gains on a backlog")
    ] = False,
    take_over: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="SHOPPERS ITEMS",
            help="Only how long a worker takes to take over made-up histories of so many shoppers with so many items "
            "each, beside one that finds none",
            show_default=False,
            callback=_check_take_over,
        ),
    ] = None,
    replay: Annotated[
        int | None,
        typer.Option(
            metavar="CLICKS",
            min=1,
            help="Only how long a worker takes to read so many clicks of one partition again",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure the worker against a bare stateful Faust echo, by turns on one broker that is started for it.

    Throughput of a backlog; p50 and p99 at half of the echo's throughput, and at shares of the worker's own; processor
    time of an event; where a microsecond goes; what each source of candidates costs; what scoring so many items costs.
    A run is valid only if the machine did nothing else; the report says so, and why not. Takes about half an hour on
    two cores. Ctrl-C ends everything; nothing is left behind.
    """
    from dataclasses import replace

    from rich.console import Console

    from streams.bench.benchmark import BenchmarkConfig
    from streams.bench.replaying import ReplayConfig
    from streams.bench.report import (
        show,
        show_items,
        show_replay,
        show_sources,
        show_stages,
        show_take_over,
        show_workers,
    )
    from streams.bench.run import run, run_items, run_replay, run_sources, run_stages, run_take_over, run_workers
    from streams.bench.scoring import SIZES
    from streams.bench.take_over import TakeOverConfig

    config = BenchmarkConfig(
        events=events,
        seconds=seconds,
        repeats=repeats,
        most_turns=most_turns,
        models=not counting,
        items=tuple(size for size in SIZES if size <= most_items),
        quix=against is Other.QUIX,
    )
    if quick:
        events, seconds = min(events, 8_000), min(seconds, 6.0)
        config = replace(
            config, events=events, seconds=seconds, repeats=1, most_turns=1, warm_up=8_000, items=(10_000,)
        )
    progress, console = Console(stderr=True, highlight=False), Console(highlight=False)
    if items:
        figures = run_items(config, items, progress.print)  # type: ignore[arg-type]  # the callback has parsed it
        show_items(figures, console)
    elif stages:
        figures = run_stages(config, progress.print)
        show_stages(figures, console)
    elif sources:
        figures = run_sources(config, progress.print)
        show_sources(figures, console)
    elif workers:
        figures = run_workers(config, kafka=kafka, say=progress.print)
        show_workers(figures, console)
    elif take_over:
        figures = run_take_over(TakeOverConfig(*take_over, repeats=config.repeats), kafka=kafka, say=progress.print)
        show_take_over(figures, console)
    elif replay:
        figures = run_replay(ReplayConfig(replay, repeats=config.repeats), kafka=kafka, say=progress.print)
        show_replay(figures, console)
    else:
        figures = run(config, kafka=kafka, say=progress.print)
        show(figures, console)
    write_figures(json, figures)
