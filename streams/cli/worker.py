"""`crosscurrent worker`: runs a worker."""

from __future__ import annotations

import signal
from asyncio import AbstractEventLoop
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from streams.cli.options import with_settings
from streams.interrupts import end_at_once

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
    from streams.kafka.codecs import check_codecs
    from streams.kafka.rights import WORKER
    from streams.kafka.topic_admin import identities
    from streams.policy_file import read_policy
    from streams.worker.app import create_app

    def read() -> Policy:
        return read_policy(settings.policy, settings.visits.purchase_memory_s)

    policy = read()  # a wrong file is reported before any broker is asked
    check_codecs()
    app, worker = create_app(settings, policy, read, identities(settings, WORKER), on_ready=say_ready)
    loop = new_event_loop()

    def read_again(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(worker.policy_loader.request)

    signal.signal(signal.SIGHUP, read_again)  # a handler of the loop would miss signals before the loop runs
    run_app(app, worker, log_level, loop)


def run_app(app: App, service: ProcessService, log_level: str, loop: AbstractEventLoop) -> NoReturn:
    """Run an app until it is stopped, and end the process: with 0, or with 1 and a sentence if it has failed."""
    import logging

    from streams.faust_app import AppRunner

    if log_level.upper() != "DEBUG":  # aiokafka logs every assignment of every consumer
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
    runner = AppRunner(app, loop, log_level, stop_s=service.longest_stop_s, on_failure=service.fail)
    try:
        runner.execute_from_commandline()
    except SystemExit as ended:
        code = 0 if ended.code == 0 and service.failure is None else 1
    end_at_once(code, None if service.failure is None else service.last_words)


def say_ready() -> None:
    """Print `ready`, for the process that started this one."""
    print("ready", flush=True)
