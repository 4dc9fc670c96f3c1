"""Faust without its consumer: apps whose own service reads Kafka, their event loop, and how their process ends.

Faust provides agents and their supervision, channels, the web server, the life cycle and signals. Its consumer,
conductor, tables and producer are not started: our service replaces the consumer through Faust's own `BootStrategy`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Self, cast

import faust
from faust.app.base import BootStrategy
from mode import Service

from streams.interrupts import end_within
from streams.log_throttle import LogThrottle
from streams.settings import Settings
from streams.web_server import WebServer

FAILED_S = 15.0
"""Longest time from a failure to the end of the process, whatever Faust does about it."""


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
    settings: Settings

    @classmethod
    def of(cls, settings: Settings, group: str) -> Self:
        """An app without agents and service, named after its consumer group."""
        app = cls(
            group,
            broker=f"kafka://{settings.bootstrap_servers.replace(',', ';kafka://')}",
            store="memory://",
            topic_disable_leader=True,
            web_enabled=settings.web_enabled,
            web_bind=settings.web_host,
            web_host=settings.web_host,
            web_port=max(1, settings.web_port),  # not used: WebServer listens, and Faust refuses 0
            web_tables_enabled=False,
            web_router_enabled=False,
            web_graph_enabled=False,
            web_stats_enabled=False,
            web_metrics_enabled=False,
            worker_redirect_stdouts=False,
        )
        app.settings = settings
        return app

    def _new_web(self) -> WebServer:
        return WebServer(self, self.settings)

    def failed(self, error: BaseException) -> None:
        """Stop the process with an error."""
        end_within(FAILED_S, f"the process did not stop within {FAILED_S:g} s of its failure: {error!r}")
        asyncio.get_running_loop().create_task(self.crash(error))


class AppRunner(faust.Worker):
    """Runs an app until a signal or a failure.

    Args:
        stop_s: longest time from a signal to the end of the process.
        on_failure: called with what an app raises that does not start.
    """

    def __init__(
        self,
        app: App,
        loop: asyncio.AbstractEventLoop,
        log_level: str,
        *,
        stop_s: float,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(app, quiet=True, loglevel=log_level, redirect_stdouts=False, loop=loop)
        self._stop_s, self._on_failure = stop_s, on_failure

    async def start(self) -> None:
        """Start the app and return when it has stopped."""
        try:
            await super().start()
        except Exception as error:
            self._on_failure(error)
            raise

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Throttle the log."""
        super().on_setup_root_logger(logger, level)
        throttle = LogThrottle()
        for handler in logger.handlers:
            handler.addFilter(throttle)

    def _schedule_shutdown(self, signal: Any) -> None:
        end_within(self._stop_s, f"the process did not stop within {self._stop_s:g} s of {signal.name}")
        super()._schedule_shutdown(signal)


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
