"""The trainer's Faust application: joins the settings, Faust's life cycle and the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.shop.policy import Policy
from streams.faust_app import App
from streams.settings import Settings
from streams.trainer.service import Trainer
from streams.web import add_pages
from streams.wire.topics import Identity


def create_trainer_app(
    settings: Settings, policy: Policy, identities: Mapping[str, Identity], *, on_ready: Callable[[], None]
) -> tuple[App, Trainer]:
    """Make a Faust app and the trainer that it runs. It has no agents: the log is read by positions."""
    app = App.of(settings, settings.for_trainer().full_group)
    trainer = app.inner = Trainer(settings, policy, identities, on_ready, app.failed)
    add_pages(app, trainer)
    return app, trainer
