"""The worker's Faust application: its agents pass delivered batches to the worker, which replaces Faust's consumer.

Why: docs/decisions.md, "Our own group consumer instead of Faust's".
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
    read_policy: Callable[[], Policy],
    identities: Mapping[str, Identity],
    *,
    on_ready: Callable[[], None],
) -> tuple[App, Worker]:
    """Make a Faust app and the worker that it runs; see [`Worker`][] for the arguments."""
    app = App.of(settings, settings.full_group)
    channels: dict[str, Any] = {
        full_name(settings.prefix, topic): app.channel(maxsize=CHANNEL_BATCHES) for topic in CONSUMED
    }

    async def deliver(partition: TopicPartition, records: Sequence[Record]) -> None:
        await channels[partition.topic].put((partition, records))

    worker = app.inner = Worker(settings, policy, read_policy, identities, deliver, on_ready, app.failed)

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
