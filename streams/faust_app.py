"""Faust without its consumer: apps whose own service reads Kafka, and the event loop that they run on.

Faust gives agents and their supervision, channels, the web server, the life cycle and signals. Its consumer, conductor,
tables and producer are not started: a service of ours takes the consumer's place through Faust's own `BootStrategy`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

import faust
from faust.app.base import BootStrategy
from mode import Service

from streams.settings import Settings


class FolderlessApp(faust.App):
    """Makes no folders for tables: nothing is kept in any, and the working directory need not be ours to write to."""

    def _create_directories(self) -> None:
        pass


class _Boot(BootStrategy):
    """Starts our service where Faust would start its consumer."""

    enable_kafka_producer = False

    def kafka_consumer(self) -> list[Any]:
        app = cast(App, self.app)
        app.flow_control.resume()  # the channels are shut until a consumer opens them; Faust's would
        return [app.inner]

    def kafka_conductor(self) -> list[Any]:
        return []

    def tables(self) -> list[Any]:
        return []


class App(FolderlessApp):
    """A Faust app whose intake is our own."""

    BootStrategy = _Boot
    inner: Service
    """What is started in the consumer's place."""

    @classmethod
    def of(cls, settings: Settings, group: str) -> Self:
        """An app with nothing in it yet.

        Args:
            settings: of the process.
            group: of its consumer; the app's name.
        """
        return cls(
            group,
            broker=f"kafka://{settings.bootstrap_servers.replace(',', ';kafka://')}",
            store="memory://",
            topic_disable_leader=True,
            web_enabled=settings.web_enabled,
            web_bind=settings.web_host,
            web_host=settings.web_host,
            web_port=settings.web_port,
            web_tables_enabled=False,
            web_router_enabled=False,
            web_graph_enabled=False,
            web_stats_enabled=False,
            web_metrics_enabled=False,
            worker_redirect_stdouts=False,
        )

    def failed(self, error: BaseException) -> None:
        """Stop the process, from within it."""
        asyncio.get_running_loop().create_task(self.crash(error))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop of uvloop where there is one for the platform."""
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
