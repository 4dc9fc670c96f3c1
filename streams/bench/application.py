"""An application that the benchmark measures: its topics, its process, and waiting for what it writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import NamedTuple

from streams.bench.events import Event
from streams.bench.measure import Ends, Topics
from streams.errors import CrosscurrentError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.processes import Process, cpu_s
from streams.settings import Settings
from streams.wire.topics import APPEND_TIME, full_name

LOOK_S = 0.25
"""Between two checks of the end of a topic; each costs the broker some time."""

STALLED_S = 60.0
"""An application that answers nothing for so long has failed."""

OUTPUT = "suggestions"
PROGRESS = "progress"


class BenchError(CrosscurrentError):
    """An application failed. Operator action: the message says how; on a busy machine a second try may be enough."""


class SteadyLoad(NamedTuple):
    """Events that are fed at a steady rate."""

    events: Sequence[Event]
    rate: float  # events a second


class Application:
    """Workers, or an echo, under a prefix of their own; their processes are not yet started."""

    def __init__(self, settings: Settings, process: Process, *more: Process) -> None:
        self.settings = settings
        self.process = process
        self.processes = (process, *more)
        self.topics = Topics(settings)  # open while it runs
        self.answered: Ends = {}  # ends of the output at the last start
        self.written: Ends = {}  # ends of `progress` at the last start

    def create_topics(self) -> None:
        """Create all topics, with append times of the broker on the output too."""
        name = full_name(self.settings.prefix, OUTPUT)
        wanted = {
            "num_partitions": self.settings.partitions,
            "replication_factor": 1,
            "configs": {"cleanup.policy": "delete", **APPEND_TIME},
        }
        with administration(self.settings) as client:
            client.create_topics({name: wanted})
            client.wait_for_topics([name])
        topic_admin.create(self.settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the processes: ready at the beginning (else `ProcessError`), stopped at the end."""
        async with self.topics:
            self.answered, self.written = await self.topics.ends(OUTPUT), await self.topics.ends(PROGRESS)
            with ExitStack() as started:
                for process in self.processes:
                    started.enter_context(process)
                for process in self.processes:
                    await asyncio.to_thread(process.await_ready)
                yield

    @property
    def cpu_s(self) -> float | None:
        """Processor seconds of the processes so far; None where one's are not known."""
        known = [cpu_s(process.pid) for process in self.processes]
        return None if None in known else sum(used for used in known if used is not None)

    async def pause(self) -> None:
        """Wait for a moment; raises `ProcessError` if a process has ended."""
        await asyncio.sleep(LOOK_S)
        for process in self.processes:
            process.check()

    async def await_answers(self, since: Ends, answers: int) -> None:
        """Wait for so many answers from some ends on.

        Raises:
            ProcessError: the process has ended.
            BenchError: no more answers come.
        """
        expected, count, grown = sum(since.values()) + answers, -1, time.monotonic()
        while count < expected:
            await self.pause()
            now = await self.topics.count(OUTPUT)
            if now > count:
                count, grown = now, time.monotonic()
            elif time.monotonic() - grown > STALLED_S:
                done = count - expected + answers
                message = f"{self.process.name} answered {done:,} of {answers:,} events and then nothing"
                raise BenchError(message)

    async def await_quiet(self, quiet_s: float, *topics: str) -> None:
        """Wait until topics have not grown for so long."""
        before: Ends = {}
        grown = time.monotonic()
        while time.monotonic() - grown < quiet_s:
            await self.pause()
            if (now := await self.topics.ends(*topics)) != before:
                before, grown = now, time.monotonic()
