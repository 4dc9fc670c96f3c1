"""`crosscurrent bench`: the worker against a bare stateful Faust echo, and where the time of an event goes."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.figures import FiguresFile, write_figures


def command(
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
) -> None:
    """Measure the worker against a bare stateful Faust echo, by turns on one broker that is started for it.

    Throughput of a backlog; p50 and p99 at half of the echo's throughput; where a microsecond of an event goes; what
    each source of candidates costs; what scoring so many items costs. Takes about a quarter of an hour on two cores.
    Ctrl-C ends everything; nothing is left behind.
    """
    from dataclasses import replace

    from rich.console import Console

    from streams.bench.benchmark import BenchmarkConfig
    from streams.bench.report import show, show_sources
    from streams.bench.run import run, run_sources
    from streams.bench.scoring import SIZES

    sizes = tuple(size for size in SIZES if size <= most_items)
    config = BenchmarkConfig(events=events, seconds=seconds, repeats=repeats, models=not counting, items=sizes)
    if quick:
        events, seconds = min(events, 8_000), min(seconds, 6.0)
        config = replace(config, events=events, seconds=seconds, repeats=1, warm_up=8_000, items=(10_000,))
    progress, console = Console(stderr=True, highlight=False), Console(highlight=False)
    if sources:
        figures = run_sources(config, progress.print)
        show_sources(figures, console)
    else:
        figures = run(config, kafka=kafka, say=progress.print)
        show(figures, console)
    write_figures(json, figures)
