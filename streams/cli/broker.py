"""`crosscurrent broker`: a broker for development that ends with this command."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Annotated

import typer


def command(
    kafka: Annotated[bool, typer.Option("--kafka", help="Apache Kafka from KAFKA_HOME, not the embedded one")] = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="With --kafka: folder that keeps the data for the next time", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65_535, help="Port on 127.0.0.1 (a free one)", show_default=False)
    ] = None,
) -> None:
    """Run a broker for development until stopped (Ctrl-C or SIGTERM).

    Prints `ready 127.0.0.1:PORT` when it can be used. The embedded broker keeps its data in memory.
    """
    from streams.brokers.broker import Broker
    from streams.brokers.embedded import EmbeddedBroker
    from streams.brokers.kafka import KafkaBroker
    from streams.errors import BrokerError
    from streams.interrupts import set_by_signals

    if data is not None and not kafka:
        message = "--data needs --kafka: the embedded broker keeps its data in memory"
        raise typer.BadParameter(message)
    stop = Event()
    broker: Broker = KafkaBroker(port, data=data) if kafka else EmbeddedBroker(port)
    with set_by_signals(stop), broker:
        if not stop.is_set():
            print(f"ready {broker.bootstrap_servers}", flush=True)
        while not stop.wait(0.5):
            if broker.pid is None:
                message = f"{broker.title} has ended by itself: {broker.last_words()}"
                raise BrokerError(message)
    typer.echo("stopped", err=True)
