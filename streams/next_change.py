"""Waiting for the next change of something: costs nothing while nobody waits."""

from __future__ import annotations

import asyncio


class NextChange:
    """Whoever waits goes on at the next change. For one event loop."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None  # while somebody waits

    async def wait(self) -> None:
        """Return at the next `happened`."""
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()

    def happened(self) -> None:
        """Let all go on who wait."""
        if self._event is not None:
            self._event.set()
            self._event = None
