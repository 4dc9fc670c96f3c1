"""`crosscurrent worker`: a click becomes a suggestion."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from models.shop.policy import Policy
    from streams.settings import Settings


def read_policy(path: Path | None, memory_s: float) -> Policy:
    """The policy of a file; the defaults where none is given.

    Args:
        path: of the file.
        memory_s: how long purchases are remembered.

    Raises:
        PolicyError: the file cannot be read, a key in it is wrong (names file, line and key), or it asks for purchases
            that are forgotten by then.
    """
    from models.errors import PolicyError
    from models.shop.policy import Policy

    if path is None:
        return Policy()
    policy = Policy.from_file(path)
    if policy.bought_days * 86_400 > memory_s:
        message = (
            f"{path}: bought_days is {policy.bought_days:g}, but purchases are remembered for {memory_s / 86_400:g} "
            "days: make it smaller, or set CROSSCURRENT_VISITS__PURCHASE_MEMORY_S (and the retention of `purchases`)"
        )
        raise PolicyError(message)
    return policy


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
    from streams.worker.app import create_app

    def policy() -> Policy:
        return read_policy(settings.policy, settings.visits.purchase_memory_s)

    if log_level.upper() != "DEBUG":  # aiokafka tells every assignment of every consumer
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
    app, worker = create_app(settings, policy(), identities(settings), on_ready=say_ready)
    loop = new_event_loop()

    def reload_policy() -> None:
        try:
            worker.set_policy(policy())
        except PolicyError as error:
            print(f"{error}; the policy in force is kept", file=sys.stderr, flush=True)

    loop.add_signal_handler(signal.SIGHUP, reload_policy)
    process = faust.Worker(app, loglevel=log_level, redirect_stdouts=False, loop=loop)
    try:
        process.execute_from_commandline()
    finally:
        if worker.failure is not None:
            raise SystemExit(1)


def say_ready() -> None:
    """Tell whoever started the process, once."""
    print("ready", flush=True)
