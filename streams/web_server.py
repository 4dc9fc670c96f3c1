"""The web server of a process: Faust's, with bounds on connections and a sentence where its port is taken.

aiohttp has no time limit on a request that never ends. Here every connection ends after `CONNECTION_S`, and the oldest
ends early where more than `MAX_CONNECTIONS` are open, so half-open ones neither pile up nor keep others out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import deque
from typing import Any

from aiohttp.web import AppRunner, RequestHandler
from faust.web.drivers.aiohttp import Web

from streams.errors import SettingsError
from streams.settings import Settings

logger = logging.getLogger(__name__)

CONNECTION_S = 10.0
"""Longest life of a connection. A page is answered within milliseconds, and clients that keep connections reconnect."""

MAX_CONNECTIONS = 100
"""Connections counted at a time, those that ended within `CONNECTION_S` included."""

SHUTDOWN_S = 1.0
"""Longest wait for answers under way at a stop."""


class WebServer(Web):
    """Serves the pages on the settings' address; on a free port where the default port is taken."""

    def __init__(self, app: Any, settings: Settings) -> None:
        super().__init__(app)
        self._runner = AppRunner(self.web_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._connections: deque[RequestHandler] = deque()

    async def start_server(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be used, or the port was chosen and is taken.
        """
        await self._runner.setup()
        host, port = self._settings.web_host, self._settings.web_port
        try:
            self._server = await self._listen(host, port)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            if not taken or "web_port" in self._settings.model_fields_set:
                raise _unusable(host, port, error, taken=taken) from None
            self._server = await self._listen(host, 0)
            logger.warning("port %d is taken: the pages are at %s (--web-port chooses a port)", port, self.address)
        else:
            logger.info("the pages are at %s", self.address)

    async def stop_server(self) -> None:
        """Listen no more, and end all connections."""
        if self._server is not None:
            self._server.close()
        while self._connections:
            _end(self._connections.popleft())
        await super().stop_server()

    @property
    def address(self) -> str:
        """Where the pages are found."""
        host = self._settings.web_host
        port = self._server.sockets[0].getsockname()[1] if self._server is not None else self._settings.web_port
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self._accept, host, port)

    def _accept(self) -> RequestHandler:
        """Protocol of a new connection."""
        assert self._runner.server is not None  # noqa: S101 - set up before we listen
        connection: RequestHandler = self._runner.server()
        if len(self._connections) >= MAX_CONNECTIONS:
            _end(self._connections.popleft())
        self._connections.append(connection)
        asyncio.get_running_loop().call_later(CONNECTION_S, _end, connection)
        return connection


def _end(connection: RequestHandler) -> None:
    """End a connection at once, with what it has not read."""
    if connection.transport is not None:
        connection.transport.abort()


def _unusable(host: str, port: int, error: OSError, *, taken: bool) -> SettingsError:
    reason = "is taken by another process" if taken else f"cannot be listened on ({error})"
    return SettingsError(
        f"web_port {port} of {host} {reason}: choose another --web-port (0: a free one) or --web-host, or --no-web"
    )
