"""The Faust application: the one place that joins the settings, the agents and the worker.

Faust gives the agents and their supervision, channels, the web server, the life cycle and the signals. Its consumer,
conductor, tables and producer are not started: the [`Worker`][] stands in the consumer's place, through Faust's own
`BootStrategy`. Why: docs/architecture.md, "The log is the truth".
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from models.shop.policy import Policy
from streams.faust_app import App
from streams.settings import Settings
from streams.web import add_pages
from streams.wire.record import Record
from streams.wire.topics import Identity, full_name
from streams.worker.service import Worker

Batch = tuple[TopicPartition, Sequence[Record]]

CHANNEL_BATCHES = 4
"""Batches that wait in an agent's channel; the next one waits in the intake."""


class WorkerApp(App):
    """The app of a worker."""

    worker: Worker


def create_app(
    settings: Settings,
    policy: Policy,
    identities: Mapping[str, Identity],
    *,
    on_ready: Callable[[], None],
) -> WorkerApp:
    """Join everything into a Faust app.

    Args:
        settings: of the process.
        policy: in force at the start.
        identities: of all topics, by full name (`streams.kafka.topic_admin.identities`).
        on_ready: called once when the worker has joined and holds its state.
    """
    app = WorkerApp.of(settings, settings.full_group)
    short_names = ("clicks", "purchases", "profiles", "feedback", "catalog", "pairs")
    channels: dict[str, Any] = {
        full_name(settings.prefix, name): app.channel(maxsize=CHANNEL_BATCHES) for name in short_names
    }

    async def deliver(partition: TopicPartition, records: Sequence[Record]) -> None:
        await channels[partition.topic].put((partition, records))

    worker = app.worker = app.inner = Worker(settings, policy, identities, deliver, on_ready, app.failed, loop=None)

    def channel(name: str) -> Any:
        return channels[full_name(settings.prefix, name)]

    async def hand_over(batches: AsyncIterable[Batch]) -> None:
        async for partition, records in batches:
            try:
                worker.tasks.offer(partition, records)
            except Exception as error:
                worker.fail(error)
                raise

    @app.agent(channel("clicks"))
    async def clicks(batches: AsyncIterable[Batch]) -> None:
        """Views, clicks and cart changes: suggestions at once, viewed-with pairs at the next flush."""
        await hand_over(batches)

    @app.agent(channel("purchases"))
    async def purchases(batches: AsyncIterable[Batch]) -> None:
        """Purchases: cross-sells at once, bought-with and viewed-then-bought pairs at the next flush."""
        await hand_over(batches)

    @app.agent(channel("profiles"))
    async def profiles(batches: AsyncIterable[Batch]) -> None:
        """Consent, and shoppers who ask to be forgotten."""
        await hand_over(batches)

    @app.agent(channel("feedback"))
    async def feedback(batches: AsyncIterable[Batch]) -> None:
        """What became of suggestions; checked, not learnt from yet."""
        await hand_over(batches)

    @app.agent(channel("catalog"))
    async def catalog(batches: AsyncIterable[Batch]) -> None:
        """Dead letters of the catalogue; the catalogue itself is mirrored."""
        await hand_over(batches)

    @app.agent(channel("pairs"))
    async def pairs(batches: AsyncIterable[Batch]) -> None:
        """Pair deltas of our items, counted into the rows of neighbours."""
        await hand_over(batches)

    add_pages(app, worker)
    return app
