"""The web server: ports that are taken, and clients that never finish a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.web import Request, Response

from streams import web_server
from streams.errors import SettingsError
from streams.faust_app import App
from streams.settings import Settings
from streams.web_server import MAX_CONNECTIONS, WebServer


@asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[WebServer]:
    """A running server with one page."""
    app = App.of(Settings.model_validate(settings), "test")
    server = app.web
    assert isinstance(server, WebServer)

    async def hello(_: Request) -> Response:
        return Response(text="hello")

    server.web_app.router.add_get("/hello", hello)
    await server.start_server()
    try:
        yield server
    finally:
        await server.stop_server()


def port_of(server: WebServer) -> int:
    return int(server.address.rsplit(":", 1)[1].rstrip("/"))


async def ask(server: WebServer) -> bytes:
    """The answer to a whole request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_half_open_requests_end_and_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "CONNECTION_S", 1.0)
    async with serving(web_port=0) as server:
        slow = [await asyncio.open_connection("127.0.0.1", port_of(server)) for _ in range(MAX_CONNECTIONS + 5)]
        for _, writer in slow:
            writer.write(b"GET /hello HTTP/1.1\r\nX-Slow: ")
        assert (await ask(server)).endswith(b"hello")
        ended = await asyncio.gather(*(reader.read() for reader, _ in slow), return_exceptions=True)
        assert {type(end) for end in ended} <= {bytes, ConnectionResetError}
        assert not any(end for end in ended if isinstance(end, bytes))
        for _, writer in slow:
            writer.close()
        assert (await ask(server)).endswith(b"hello")


async def test_beyond_the_bound_the_oldest_connections_end_at_once() -> None:
    async with serving(web_port=0) as server:
        oldest, *others = [
            await asyncio.open_connection("127.0.0.1", port_of(server)) for _ in range(MAX_CONNECTIONS + 1)
        ]
        (end,) = await asyncio.gather(asyncio.wait_for(oldest[0].read(), 5), return_exceptions=True)
        assert end == b"" or isinstance(end, ConnectionResetError)
        assert (await ask(server)).endswith(b"hello")
        assert sum(not reader.at_eof() for reader, _ in others) >= MAX_CONNECTIONS - 1
        for _, writer in [oldest, *others]:
            writer.close()


async def test_a_chosen_port_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"^web_port {port} of 127.0.0.1 is taken by another process: choose"):
            async with serving(web_port=port):
                pass


async def test_an_address_that_is_not_ours_is_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r"^web_port 0 of 192.0.2.1 cannot be listened on \(.*--web-host"):
        async with serving(web_host="192.0.2.1", web_port=0):
            pass


async def test_where_the_default_port_is_taken_a_free_one_is_used_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(Settings.model_fields["web_port"], "default", port)
        Settings.model_rebuild(force=True)
        try:
            async with serving() as server:
                assert port_of(server) != port
                assert (await ask(server)).endswith(b"hello")
                assert f"port {port} is taken: the pages are at {server.address} " in caplog.text
        finally:
            monkeypatch.undo()
            Settings.model_rebuild(force=True)
