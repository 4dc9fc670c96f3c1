"""`crosscurrent trainer`: what shoppers look at becomes weights that workers serve."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings
from streams.cli.worker import say_ready

if TYPE_CHECKING:
    from streams.settings import Settings


def check_torch() -> None:
    """Say so where there is nothing to learn with.

    Raises:
        TyperException: PyTorch is not installed.
    """
    if find_spec("torch") is None:
        message = "the trainer needs PyTorch: pip install 'crosscurrent[learning]'"
        raise typer.TyperException(message)


@with_settings("group", "snapshot_store", "web_host", "web_port", "web_enabled")
def command(
    settings: Settings,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR, on standard error")] = "INFO",
) -> None:
    """Run a trainer: it learns from clicks, stores snapshots and announces them. One works, others stand by."""
    import logging

    import faust

    from streams.faust_app import new_event_loop
    from streams.kafka.topic_admin import identities

    check_torch()
    from streams.trainer.app import create_trainer_app

    if log_level.upper() != "DEBUG":  # aiokafka tells every assignment of every consumer
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
    app, trainer = create_trainer_app(settings, identities(settings), on_ready=say_ready)
    process = faust.Worker(app, loglevel=log_level, redirect_stdouts=False, loop=new_event_loop())
    try:
        process.execute_from_commandline()
    finally:
        if trainer.failure is not None:
            raise SystemExit(1)
