"""Loaders of a worker, run beside a test until what it waits for has happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from streams.worker.model_loader import ModelLoader
from streams.worker.policy_loader import PolicyLoader

WAIT_S = 30.0


@contextlib.asynccontextmanager
async def running(loader: ModelLoader | PolicyLoader) -> AsyncIterator[None]:
    task = asyncio.create_task(loader.run())
    try:
        yield
        assert not task.done(), "the loader has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)
