"""The turns of the shopper tasks: what has arrived for any of them is applied together, and answered as one batch.

A task's coroutine would be woken, checked and put to sleep again for each event. Here one coroutine serves all tasks
that have records, and ends when none has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from models.sessions.look_table import LookTable
from streams.worker.backpressure import Backpressure

PACE_S = 0.004
"""Least time between two turns while records trickle in. A turn costs a few hundred microseconds however few records it
has, so at thousands of events a second it pays to wait for some more. The first record after a pause is applied at
once, and a backlog does not wait."""

MERGE_PAUSE_S = 0.02
"""Pause before a task that waits for the other topic of a merge gets its next turn."""


class TakesTurns(Protocol):
    """A task that applies its records in turns."""

    def take_turn(self) -> bool:
        """Collect what the next run of records does; returns whether there was one."""

    async def finish_run(self) -> None:
        """Finish what is done for several tasks at once. Called when all have had their turn."""


class Turns:
    """Gives turns to the tasks that have something to apply.

    What they collect for `looks` is applied once all have had their turn, or a batch of queries is full. `on_failure`
    gets what is raised; no turn follows.

    Attributes:
        pace_s: least time between two turns, unless a task has records left after its turn.
    """

    def __init__(
        self, looks: LookTable, backpressure: Backpressure, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._looks = looks
        self._backpressure, self._on_failure = backpressure, on_failure
        self._due: dict[TakesTurns, None] = {}
        self._running: asyncio.Task[None] | None = None
        self._closed = False
        self._turn_s = float("-inf")  # when the last turn began
        self.pace_s = PACE_S

    def add(self, task: TakesTurns) -> None:
        """Give a task a turn, as soon as the event loop comes to it."""
        self._due[task] = None
        if self._running is None and not self._closed:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def add_later(self, task: TakesTurns) -> None:
        """Give a task a turn after `MERGE_PAUSE_S`."""
        asyncio.get_running_loop().call_later(MERGE_PAUSE_S, self.add, task)

    async def close(self) -> None:
        """Give no more turns."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        try:
            backlog = False
            while self._due:
                await self._pace(backlog=backlog)
                due, self._due = self._due, {}
                applied = []
                for task in due:
                    await self._backpressure.wait_for_producer()
                    if task.take_turn():
                        applied.append(task)
                    if self._backpressure.batch_is_full:
                        await self._finish(applied)
                        applied = []
                backlog = bool(self._due)
                await self._finish(applied)
            self._running = None
        except Exception as error:
            self._closed = True
            self._on_failure(error)

    async def _finish(self, applied: Sequence[TakesTurns]) -> None:
        """Apply what some tasks have collected, and finish their runs; a batch that is full begins at once."""
        self._looks.run()
        for task in applied:
            await task.finish_run()
        await asyncio.sleep(0)

    async def _pace(self, *, backlog: bool) -> None:
        """Let the agents deliver the rest of a fetch; without a backlog, wait until a turn is due."""
        now = asyncio.get_running_loop().time
        due_s = self._turn_s if backlog else self._turn_s + self.pace_s
        await asyncio.sleep(max(0.0, due_s - now()))
        self._turn_s = now()
