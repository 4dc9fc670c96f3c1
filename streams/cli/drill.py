"""`crosscurrent drill`: disturbs workers under load and judges what is missing or wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from streams.cli.figures import FiguresFile, make_folder, write_figures

Drill = Literal["kill", "rolling", "pause", "swap", "hostile", "soak", "all"]


def command(
    name: Annotated[
        Drill, typer.Argument(metavar="NAME", help="kill, rolling, pause, swap, hostile, soak; all: all but soak")
    ],
    kafka: Annotated[bool, typer.Option("--kafka", help="Apache Kafka from KAFKA_HOME, not the embedded one")] = False,
    times: Annotated[int, typer.Option("--times", min=1, help="Runs of each")] = 1,
    json: FiguresFile = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=1, max=5_000, show_default="500, swap: 50, hostile: 100, soak: 200", help="Events a second"
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            min=6,
            show_default="20, hostile: 30, swap and soak: 120",
            help="How long they are fed, at least",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=8, help="Worker processes")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Of the first run; the next ones have the next")] = 1,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            help="Folder for log and suggestions of the last run",
            show_default=False,
            file_okay=False,
            callback=make_folder,
        ),
    ] = None,
) -> None:
    """Disturb workers under load on a broker of its own, and judge by the topics what became of every event.

    kill: kill -9 of one worker, started again later. rolling: each worker in turn is ended and started again. pause:
    one is stopped for longer than its session lasts, and woken. swap: with a trainer, whose snapshots workers take into
    use; kill -9 of the trainer, then of a worker. hostile: records that nobody can use, of every kind, on every topic;
    offsets committed by a foreign program while all are stopped. soak: a tenth of such records, and workers and trainer
    ended by chance, for as long as you like; a progress line a minute, and a plot of memory beside the figures. Exits
    with 1 if anything is missing, wrong, or late by a swap, or a bad record is not in the dead letters.
    """
    from uuid import uuid4

    from rich.console import Console

    from streams.brokers.broker import Broker
    from streams.brokers.embedded import EmbeddedBroker
    from streams.brokers.kafka import KafkaBroker
    from streams.cli.printing import table_console
    from streams.cli.trainer import check_torch
    from streams.drills import report
    from streams.drills.disturbances import DRILLS
    from streams.drills.run import Outcome, Run, RunConfig
    from streams.interrupts import ended_as_by_ctrl_c

    drills = [drill for drill in DRILLS if drill != "soak"] if name == "all" else [name]
    if any(DRILLS[drill].trained for drill in drills):
        check_torch()
    configs = [
        RunConfig(
            drill,
            rate or DRILLS[drill].rate,
            seconds or DRILLS[drill].seconds,
            workers,
            seed + run,
            keep,
            json and json.with_suffix(".so-far.json"),
            json and DRILLS[drill].attacked and json.with_suffix(f".{drill}.svg") or None,
        )
        for drill in drills
        for run in range(times)
    ]
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    outcomes: list[Outcome] = []
    with ended_as_by_ctrl_c(), report.progress(console) as progress:
        task = progress.add_task(f"starting {broker.title}", total=len(configs), name=name)
        with broker:
            for config in configs:
                settings = broker.settings(prefix=f"drill-{uuid4().hex[:8]}-")

                def say(what: str, drill: str = config.drill) -> None:
                    progress.update(task, description=f"{drill}: {what}")

                outcome = Run(config, settings, say, console.print).run()
                outcomes.append(outcome)
                progress.update(task, advance=1)
                console.print(report.line(outcome))
                for sentence in report.complaints(outcome):
                    console.print(f"  {sentence}")
                write_figures(json, report.figures(name, kafka, outcomes))
    table_console().print(report.table(broker.title, outcomes))
    if not all(outcome.good for outcome in outcomes):
        raise typer.Exit(1)
