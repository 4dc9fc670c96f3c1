"""`crosscurrent worker`: runs a worker."""

from __future__ import annotations

import signal
from asyncio import AbstractEventLoop
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from models.shop.policy import Policy
    from streams.faust_app import App
    from streams.lifecycle import ProcessService
    from streams.settings import Settings

LogLevel = Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR, on standard error")]


@with_settings("group", "policy", "web_host", "web_port", "web_enabled")
def command(settings: Settings, log_level: LogLevel = "INFO") -> None:
    """Run a worker: clicks and purchases in, suggestions out. SIGTERM ends it, SIGHUP reads the policy again."""
    from streams.faust_app import new_event_loop
    from streams.kafka.topic_admin import identities
    from streams.policy_file import read_policy
    from streams.worker.app import create_app

    def policy() -> Policy:
        return read_policy(settings.policy, settings.visits.purchase_memory_s)

    app, worker = create_app(settings, policy, identities(settings), on_ready=say_ready)
    loop = new_event_loop()
    loop.add_signal_handler(signal.SIGHUP, worker.policy_loader.request)
    run_app(app, worker, log_level, loop)


def run_app(app: App, service: ProcessService, log_level: str, loop: AbstractEventLoop) -> None:
    """Run an app until it is stopped; exit with 1 if its service has failed."""
    import logging

    import faust

    if log_level.upper() != "DEBUG":  # aiokafka logs every assignment of every consumer
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
    process = faust.Worker(app, loglevel=log_level, redirect_stdouts=False, loop=loop)
    try:
        process.execute_from_commandline()
    finally:
        if service.failure is not None:
            raise SystemExit(1)


def say_ready() -> None:
    """Print `ready`, for the process that started this one."""
    print("ready", flush=True)
