"""The trainer's Faust application: joins the settings, Faust's life cycle and the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streams.faust_app import App
from streams.settings import Settings
from streams.trainer.service import Trainer
from streams.web import add_pages
from streams.wire.topics import Identity


class TrainerApp(App):
    """The app of a trainer. It has no agents: the log is read by positions, and nothing is delivered."""

    trainer: Trainer


def create_trainer_app(
    settings: Settings, identities: Mapping[str, Identity], *, on_ready: Callable[[], None]
) -> TrainerApp:
    """Join everything into a Faust app.

    Args:
        settings: of the process.
        identities: of all topics, by full name (`streams.kafka.topic_admin.identities`).
        on_ready: called once when the trainer has joined, and holds its state or stands by.
    """
    app = TrainerApp.of(settings, settings.for_trainer().full_group)
    app.trainer = app.inner = Trainer(settings, identities, on_ready, app.failed, loop=None)
    add_pages(app, app.trainer)
    return app
