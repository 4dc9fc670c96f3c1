"""`crosscurrent demo`: everything on this machine, with a simulated shop whose right answers are known."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.figures import FiguresFile, write_figures


def command(
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=1, help="End after so long of live suggestions (never)", show_default=False),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", min=1, max=2_000, help="Events a second of the shop")] = 50.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the simulated shop")] = 7,
    kafka: Annotated[bool, typer.Option("--kafka", help="Apache Kafka from KAFKA_HOME, not the embedded one")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Print one event and its suggestion at the end")] = False,
    json: FiguresFile = None,
) -> None:
    """Start a broker, two workers and a simulated shop; show live suggestions, and how many of them are right.

    Ctrl-C ends everything; nothing is left behind.
    """
    from streams.demo.demo import Demo, DemoConfig
    from streams.demo.screen import console
    from streams.errors import CrosscurrentError

    demo = Demo(DemoConfig(seconds=seconds, rate=rate, seed=seed, kafka=kafka), console())
    figures = demo.run()
    demo.summary()
    if follow:
        demo.follow()
    write_figures(json, figures)
    if seconds is not None and not figures["suggestions"]["live"]:
        message = "no suggestion came while the shop was live"
        raise CrosscurrentError(message)
