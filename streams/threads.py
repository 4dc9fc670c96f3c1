"""Work beside the caller: tasks whose failure is reported, and daemon threads for blocking work."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NICENESS = 10
"""What a process that gives way adds to its niceness."""

_AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux keeps the niceness of the session: it shares processors among sessions first (`CONFIG_SCHED_AUTOGROUP`),
and a process that is nice within a session of its own gives way to nobody."""


def give_way() -> None:
    """Add `NICENESS` to that of the process, and of its session if it has begun one; to be called before any thread."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # the system has no such groups
            _AUTOGROUP.write_text(str(NICENESS))


def spawn(
    work: Coroutine[Any, Any, None], name: str, on_failure: Callable[[BaseException], None]
) -> asyncio.Task[None]:
    """Start a task and report the exception it ends with, if any; cancellation is no failure."""

    def report(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            on_failure(error)

    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(report)
    return task


async def run_in_daemon_thread(work: Callable[[], T], name: str) -> T:
    """Result of a blocking call, made in a thread of this name.

    The loop's executor will not do: the interpreter joins its threads at exit, so one that hangs in an unreachable
    store would delay the stop of a worker.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(answer: Callable[[], None]) -> None:
        if not done.cancelled():
            answer()

    def run() -> None:
        try:
            answer = partial(done.set_result, work())
        except BaseException as error:  # noqa: B036 - handed to the caller
            answer = partial(done.set_exception, error)
        try:
            loop.call_soon_threadsafe(settle, answer)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    threading.Thread(target=run, daemon=True, name=name).start()
    return await done
