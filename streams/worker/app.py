"""The worker's Faust application: the one place that joins the settings, the agents and the worker.

Faust provides the agents and their supervision, channels, the web server, the life cycle and signals. The [`Worker`][]
replaces its consumer. Why: docs/architecture.md, "The log is the truth".
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
from streams.worker.backpressure import CHANNEL_BATCHES
from streams.worker.service import CONSUMED, Worker

Batch = tuple[TopicPartition, Sequence[Record]]


def create_app(
    settings: Settings,
    policy: Policy,
    identities: Mapping[str, Identity],
    *,
    on_ready: Callable[[], None],
) -> tuple[App, Worker]:
    """Make a Faust app and the worker that it runs.

    Args:
        settings: of the process.
        policy: in force at the start.
        identities: of all topics, by full name (`streams.kafka.topic_admin.identities`).
        on_ready: called once when the worker has joined and holds its state.
    """
    app = App.of(settings, settings.full_group)
    channels: dict[str, Any] = {
        full_name(settings.prefix, topic): app.channel(maxsize=CHANNEL_BATCHES) for topic in CONSUMED
    }

    async def deliver(partition: TopicPartition, records: Sequence[Record]) -> None:
        await channels[partition.topic].put((partition, records))

    worker = app.inner = Worker(settings, policy, identities, deliver, on_ready, app.failed)

    async def offer(batches: AsyncIterable[Batch]) -> None:
        async for partition, records in batches:
            try:
                worker.tasks.offer(partition, records)
            except Exception as error:
                worker.fail(error)
                raise

    for topic in CONSUMED:
        app.agent(channels[full_name(settings.prefix, topic)], name=topic)(offer)
    add_pages(app, worker)
    return app, worker
