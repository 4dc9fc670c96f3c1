"""The worker's Faust application: its agents pass delivered batches to the worker, which replaces Faust's consumer.

Why: docs/decisions.md, "Our own group consumer instead of Faust's".
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from typing import Any

from models.shop.policy import Policy
from streams.faust_app import App
from streams.kafka.group_consumer import Delivered
from streams.settings import Settings
from streams.web import add_pages
from streams.wire.topics import Identity, full_name
from streams.worker.backpressure import CHANNEL_BATCHES
from streams.worker.service import CONSUMED, Worker


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

    async def deliver(topic: str, batches: Sequence[Delivered]) -> None:
        await channels[topic].put(batches)

    worker = app.inner = Worker(settings, policy, read_policy, identities, deliver, on_ready, app.failed)

    async def offer(deliveries: AsyncIterable[Sequence[Delivered]]) -> None:
        async for batches in deliveries:
            try:
                for partition, records in batches:
                    worker.tasks.offer(partition, records)
            except Exception as error:
                worker.fail(error)
                raise

    for topic in CONSUMED:
        app.agent(channels[full_name(settings.prefix, topic)], name=topic)(offer)
    add_pages(app, worker)
    return app, worker
