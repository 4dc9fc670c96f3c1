"""Faust without its consumer: apps whose own service reads Kafka, and their event loop.

Faust provides agents and their supervision, channels, the web server, the life cycle and signals. Its consumer,
conductor, tables and producer are not started: our service replaces the consumer through Faust's own `BootStrategy`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

import faust
from faust.app.base import BootStrategy
from mode import Service

from streams.settings import Settings


class FolderlessApp(faust.App):
    """Makes no folders for tables: there are none, and the working directory may be read-only."""

    def _create_directories(self) -> None:
        pass


class _Boot(BootStrategy):
    """Starts our service in place of Faust's consumer."""

    enable_kafka_producer = False

    def kafka_consumer(self) -> list[Any]:
        app = cast(App, self.app)
        app.flow_control.resume()  # Faust's consumer would open the channels
        return [app.inner]

    def kafka_conductor(self) -> list[Any]:
        return []

    def tables(self) -> list[Any]:
        return []


class App(FolderlessApp):
    """A Faust app that runs our service in place of its consumer."""

    BootStrategy = _Boot
    inner: Service
    """Started in place of the consumer."""

    @classmethod
    def of(cls, settings: Settings, group: str) -> Self:
        """An app without agents and service, named after its consumer group."""
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
        """Stop the process with an error."""
        asyncio.get_running_loop().create_task(self.crash(error))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
