"""Unit tests run on virtual time: `asyncio.sleep` and timeouts take none."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], VirtualTimeLoop]]:
    """The event loop of all coroutine tests below this folder."""
    return {"virtual": VirtualTimeLoop}
