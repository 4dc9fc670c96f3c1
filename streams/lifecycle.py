"""The life cycle that workers and trainers share: one service that Faust starts and stops.

Start: connect, read the global tables to their ends, join the group. Stop: flush, leave the group, close everything. A
failure of any task stops the process with a non-zero exit. Positions are written only after acknowledgements, so
records above the last written position are applied again after the restart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ClassVar

from aiokafka import TopicPartition
from mode import Service

from streams.errors import CrosscurrentError
from streams.kafka.global_tables import GlobalTableReader
from streams.kafka.group_consumer import AssignmentListener, Deliver, GroupConsumer
from streams.kafka.log import KafkaLog
from streams.kafka.producer import BatchingProducer, KafkaSender
from streams.metrics import Metrics
from streams.settings import Settings
from streams.threads import spawn

logger = logging.getLogger(__name__)

READY_CHECK_S = 0.05
"""Between two checks whether the process is ready."""

MEASURE_S = 1.0
"""Between two updates of the gauges."""


class ProcessService(Service):
    """Base of the worker and the trainer. Subclasses set what is declared below before they are started.

    Args:
        topics: full names of those that its group consumes.
        log: read directly.
        on_ready: called once, when the process is ready.
        on_failure: called when the process cannot go on; it has to stop the process with a non-zero exit.
    """

    noun: ClassVar[str]
    """What the process is called in log lines."""
    outlives: ClassVar[tuple[str, ...]] = ("mirror",)
    """Names of tasks that go on during the last flush."""
    stop_s: ClassVar[float]
    """Longest last flush at a stop."""
    unfinished: ClassVar[str]
    """Logged, with the error, where the last flush is not finished."""
    table_reader: GlobalTableReader
    listener: AssignmentListener
    pauses: Callable[[TopicPartition], bool]
    """Whether a partition must not be fetched now."""
    deliver: Deliver

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        metrics: Metrics,
        log: KafkaLog,
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(loop=None)
        self.settings, self.metrics = settings, metrics
        self.failure: BaseException | None = None
        self._on_ready, self._on_failure = on_ready, on_failure
        self._log, self._sender = log, KafkaSender(settings)
        self.producer = BatchingProducer(
            self._sender, timeout_s=settings.send_timeout_s, on_failure=self.fail, on_too_large=metrics.too_large
        )
        self.consumer = GroupConsumer(settings, topics, log, metrics)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._starting: asyncio.Task[None] | None = None

    # -- for subclasses --------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def standing(self) -> dict[str, Any]:
        """Further keys of /ready."""

    @property
    @abstractmethod
    def holds_state(self) -> bool:
        """Whether the state of everything assigned is restored."""

    def warm(self) -> None:
        """Prepare before connecting; may block."""

    def on_tables_read(self) -> None:
        """The global tables have reached their ends; the group is not joined yet."""

    @abstractmethod
    def start_work(self) -> None:
        """Spawn further tasks, once the group is joined."""

    @abstractmethod
    async def finish_work(self) -> None:
        """Flush for the last time, for `stop_s` at most; not called after a failure."""

    async def close_work(self) -> None:
        """Stop everything that uses the producer."""

    @abstractmethod
    def measure(self) -> None:
        """Update the gauges."""

    # -- life cycle ------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the process has joined its group and holds its state."""
        return self.failure is None and self.consumer.joined.is_set() and self.holds_state

    def fail(self, error: BaseException) -> None:
        """Stop the process with its first failure."""
        if self.failure is None:
            self.failure = error
            logger.critical("the %s stops: %s", self.noun, error, exc_info=error)
            self._on_failure(error)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a task whose failure stops the process; the stop cancels it."""
        self._running[name] = spawn(work, name, self.fail)

    async def every(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        """Repeat work, until cancelled."""
        while True:
            started = time.monotonic()
            await work()
            await asyncio.sleep(max(0.01, interval_s - (time.monotonic() - started)))

    async def on_start(self) -> None:
        """Connect, read the global tables, join the group; a stop meanwhile cancels it."""
        self._starting = asyncio.get_running_loop().create_task(self._start())
        await asyncio.wait([self._starting])
        if not self._starting.cancelled():
            self._starting.result()

    async def _start(self) -> None:
        self.warm()
        await self._log.start()
        await self._sender.start()
        await self.table_reader.start()
        self.spawn(self.table_reader.run(), "mirror")
        await self.table_reader.caught_up()
        self.on_tables_read()
        await self.consumer.start(self.listener, self.pauses)
        self.spawn(self.consumer.run(self.deliver), "intake")
        self.start_work()
        self.spawn(self._report_ready(), "ready")
        self.spawn(self._keep_measuring(), "gauges")

    async def _report_ready(self) -> None:
        while not self.ready:
            await asyncio.sleep(READY_CHECK_S)
        self._on_ready()

    async def _keep_measuring(self) -> None:
        while True:
            self.measure()
            await asyncio.sleep(MEASURE_S)

    async def on_stop(self) -> None:
        """Flush, leave the group, close everything."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        for name, task in self._running.items():
            if name not in self.outlives:
                task.cancel()
        if self.failure is None:
            try:
                await asyncio.wait_for(self.finish_work(), self.stop_s)
            except (TimeoutError, CrosscurrentError) as error:
                logger.warning(self.unfinished, error)
            except Exception as error:
                self.fail(error)
        await self.close_work()
        await self.producer.close()
        await self.consumer.stop()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self.table_reader.stop()
        await self._sender.stop()
        await self._log.stop()
