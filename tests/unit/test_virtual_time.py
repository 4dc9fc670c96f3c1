"""The event loop of the unit tests: no timer is waited for, and threads are."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streams.threads import run_in_daemon_thread
from tests.support.virtual_time import VirtualTimeLoop


async def test_timers_fire_at_their_times_and_are_not_waited_for() -> None:
    loop, fired = asyncio.get_running_loop(), []

    async def timer(seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append(loop.time())

    await asyncio.gather(*map(timer, (3e6, 1e6, 2e6)))
    assert fired == [1e6, 2e6, 3e6]


async def test_a_thread_is_waited_for_and_its_answer_is_in_time() -> None:
    released = threading.Event()
    answer = asyncio.create_task(run_in_daemon_thread(lambda: released.wait(10), "answer"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(released.set)
    assert await asyncio.wait_for(answer, 60) is True


def test_a_loop_that_nothing_can_wake_says_so() -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        with pytest.raises(RuntimeError, match="nothing will ever wake"):
            runner.get_loop().run_forever()
