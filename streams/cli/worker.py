"""`crosscurrent worker`: a click becomes a suggestion."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from models.shop.policy import Policy
    from streams.settings import Settings


@with_settings("group", "policy", "web_host", "web_port", "web_enabled")
def command(
    settings: Settings,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR, on standard error")] = "INFO",
) -> None:
    """Run a worker: clicks and purchases in, suggestions out. SIGTERM ends it, SIGHUP reads the policy again."""
    import logging

    import faust

    from models.errors import PolicyError
    from streams.faust_app import new_event_loop
    from streams.kafka.topic_admin import identities
    from streams.policy_file import read_policy
    from streams.worker.app import create_app

    def policy() -> Policy:
        return read_policy(settings.policy, settings.visits.purchase_memory_s)

    if log_level.upper() != "DEBUG":  # aiokafka tells every assignment of every consumer
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
    app = create_app(settings, policy(), identities(settings), on_ready=say_ready)
    loop = new_event_loop()

    def reload_policy() -> None:
        try:
            app.worker.set_policy(policy())
        except PolicyError as error:
            print(f"{error}; the policy in force is kept", file=sys.stderr, flush=True)

    loop.add_signal_handler(signal.SIGHUP, reload_policy)
    process = faust.Worker(app, loglevel=log_level, redirect_stdouts=False, loop=loop)
    try:
        process.execute_from_commandline()
    finally:
        if app.worker.failure is not None:
            raise SystemExit(1)


def say_ready() -> None:
    """Tell whoever started the process, once."""
    print("ready", flush=True)
