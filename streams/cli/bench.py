"""`crosscurrent bench`: the worker against a bare stateful Faust echo, where the time of an event goes, take-over."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.figures import FiguresFile, write_figures


def _check_take_over(size: tuple[int, int] | None) -> tuple[int, int] | None:
    from models.sessions.histories import MAX_ITEMS

    if size is not None and not (size[0] >= 1 and 1 <= size[1] <= MAX_ITEMS):
        message = f"at least one shopper, with 1 to {MAX_ITEMS:,} items"
        raise typer.BadParameter(message)
    return size


def command(  # noqa: PLR0913 - options of one command
    kafka: Annotated[bool, typer.Option("--kafka", help="Apache Kafka from KAFKA_HOME, not the embedded one")] = False,
    json: FiguresFile = None,
    events: Annotated[int, typer.Option(min=1_000, help="Events of each backlog")] = 60_000,
    seconds: Annotated[float, typer.Option(min=4, help="Seconds of each steady stream")] = 12.0,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each side; the middle one counts")] = 2,
    counting: Annotated[bool, typer.Option("--counting", help="The worker without a sequence model")] = False,
    most_items: Annotated[
        int, typer.Option(min=10_000, help="Score no more items than so many; an index of a million takes 8 minutes")
    ] = 1_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="A minute's run that only shows that it works")] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Only what each source of candidates costs: half a minute, no broker")
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
) -> None:
    """Measure the worker against a bare stateful Faust echo, by turns on one broker that is started for it.

    Throughput of a backlog; p50 and p99 at half of the echo's throughput; where a microsecond of an event goes; what
    each source of candidates costs; what scoring so many items costs. Takes about a quarter of an hour on two cores.
    Ctrl-C ends everything; nothing is left behind.
    """
    from dataclasses import replace

    from rich.console import Console

    from streams.bench.benchmark import BenchmarkConfig
    from streams.bench.report import show, show_sources, show_take_over
    from streams.bench.run import run, run_sources, run_take_over
    from streams.bench.scoring import SIZES
    from streams.bench.take_over import TakeOverConfig

    sizes = tuple(size for size in SIZES if size <= most_items)
    config = BenchmarkConfig(events=events, seconds=seconds, repeats=repeats, models=not counting, items=sizes)
    if quick:
        events, seconds = min(events, 8_000), min(seconds, 6.0)
        config = replace(config, events=events, seconds=seconds, repeats=1, warm_up=8_000, items=(10_000,))
    progress, console = Console(stderr=True, highlight=False), Console(highlight=False)
    if sources:
        figures = run_sources(config, progress.print)
        show_sources(figures, console)
    elif take_over:
        figures = run_take_over(TakeOverConfig(*take_over, repeats=config.repeats), kafka=kafka, say=progress.print)
        show_take_over(figures, console)
    else:
        figures = run(config, kafka=kafka, say=progress.print)
        show(figures, console)
    write_figures(json, figures)
