"""`crosscurrent trainer`: runs a trainer."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from streams.cli.options import with_settings
from streams.cli.worker import LogLevel, run_app, say_ready

if TYPE_CHECKING:
    from streams.settings import Settings


def check_torch() -> None:
    """Check that PyTorch is installed.

    Raises:
        TyperException: it is not.
    """
    if find_spec("torch") is None:
        message = "the trainer needs PyTorch: pip install 'crosscurrent[learning]'"
        raise typer.TyperException(message)


@with_settings("group", "policy", "snapshot_store", "web_host", "web_port", "web_enabled")
def command(settings: Settings, log_level: LogLevel = "INFO") -> None:
    """Run a trainer: it learns from clicks, stores snapshots and announces them. One works, others stand by."""
    from streams.faust_app import new_event_loop
    from streams.kafka.codecs import check_codecs
    from streams.kafka.rights import TRAINER
    from streams.kafka.topic_admin import identities
    from streams.policy_file import read_policy
    from streams.threads import give_way

    check_torch()
    check_codecs()
    policy = read_policy(settings.policy, settings.visits.purchase_memory_s)
    found = identities(settings, TRAINER)
    from streams.trainer.app import create_trainer_app  # takes seconds

    give_way()  # where workers share the machine, serving goes first
    app, trainer = create_trainer_app(settings, policy, found, on_ready=say_ready)
    run_app(app, trainer, log_level, new_event_loop())
