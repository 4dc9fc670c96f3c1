"""The life cycle that workers and trainers share: one service that Faust starts and stops.

Start: connect, read the global tables to their ends, join the group. Stop: flush, leave the group, close everything. A
failure of any task stops the process with a non-zero exit, also while it starts. Positions are written only after
acknowledgements, so records above the last written position are applied again after the restart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ClassVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from models.errors import ModelError
from streams.errors import BrokerError, CrosscurrentError
from streams.kafka.connection import broker_error
from streams.kafka.contact import TICK_S, BrokerContact
from streams.kafka.global_tables import GlobalTableReader
from streams.kafka.group_consumer import AssignmentListener, Deliver, GroupConsumer
from streams.kafka.log import KafkaLog
from streams.kafka.producer import BatchingProducer, KafkaSender
from streams.metrics import Metrics
from streams.settings import Settings
from streams.threads import run_in_daemon_thread, spawn
from streams.wire import batch_reader, merging

logger = logging.getLogger(__name__)

READY_CHECK_S = 0.05
"""Between two checks whether the process is ready."""

MEASURE_S = 1.0
"""Between two updates of the gauges."""

SILENT_S = 5.0
"""Without an answer of any broker for so long, a process is not ready."""

CLOSE_S = 5.0
"""Longest wait for connections to close at a stop; what they would have sent is not needed."""

STOP_SPARE_S = 10.0
"""For Faust to stop the rest. After that the process is ended from outside of the event loop."""


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
        self._contact = BrokerContact(self._clients)
        self._stage: str | None = "warming up"
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
        """Prepare before connecting; called in a thread, so that signals and pages are answered meanwhile."""
        batch_reader.warm()
        merging.warm()

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
        """Whether the process has joined its group, holds its state, and brokers answer."""
        return self.obstacle is None

    @property
    def obstacle(self) -> str | None:
        """Why the process is not ready; None while it is."""
        if self.failure is not None:
            return self.last_words
        if self._contact.silent_s >= SILENT_S:
            return f"no broker has answered for {self._contact.silent_s:.0f} s"
        if self._stage is not None:
            return self._stage
        if not self.consumer.joined.is_set():
            return "joining the consumer group"
        return None if self.holds_state else "restoring state"

    @property
    def notices(self) -> list[str]:
        """What an operator should know although the process is ready; shown by /ready."""
        return self.consumer.notices

    @property
    def last_words(self) -> str:
        """The failure as one sentence."""
        if isinstance(self.failure, CrosscurrentError | ModelError):
            return str(self.failure)
        return f"unexpected error of the {self.noun}, {self.failure!r}: please report it with the traceback in its log"

    @property
    def longest_stop_s(self) -> float:
        """Bound of a stop, the last flush included."""
        return self.stop_s + CLOSE_S + STOP_SPARE_S

    def fail(self, error: BaseException) -> None:
        """Stop the process with its first failure; a start under way ends."""
        if self.failure is None:
            if isinstance(error, KafkaError):  # also names a right that is missing
                error = broker_error(self.settings, error)
            self.failure = error
            expected = isinstance(error, CrosscurrentError | ModelError)
            logger.critical("the %s stops: %s", self.noun, self.last_words, exc_info=None if expected else error)
            if self._starting is not None:
                self._starting.cancel()
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
        """Connect, read the global tables, join the group; a stop or a failure meanwhile cancels it.

        Raises:
            BaseException: the failure of the start, or of any task meanwhile. Faust then ends the process.
        """
        self._starting = asyncio.get_running_loop().create_task(self._start())
        await asyncio.wait([self._starting])
        if not self._starting.cancelled() and (error := self._starting.exception()) is not None:
            self.fail(error)
        if self.failure is not None:
            raise self.failure

    async def _start(self) -> None:
        await run_in_daemon_thread(self.warm, "warming up")
        self.spawn(self._watch_brokers(), "contact")
        self._stage = "connecting"
        await self._log.start()
        await self._sender.start()
        await self.table_reader.start()
        self._stage = "reading the global tables"
        self.spawn(self.table_reader.run(), "mirror")
        await self.table_reader.caught_up()
        self.on_tables_read()
        self._stage = "joining the consumer group"
        await self.consumer.start(self.listener, self.pauses)
        self.spawn(self.consumer.run(self.deliver), "intake")
        self._stage = None
        self.start_work()
        self.spawn(self._report_ready(), "ready")
        self.spawn(self._keep_measuring(), "gauges")

    async def _report_ready(self) -> None:
        while not self.ready:
            await asyncio.sleep(READY_CHECK_S)
        self._on_ready()

    def _clients(self) -> list[Any]:
        """Clients of aiokafka, of all parts that read all the time."""
        return [*self._log.clients, *self.table_reader.clients, *self.consumer.clients]

    async def _watch_brokers(self) -> None:
        """Notice whether any broker answers, until cancelled.

        Raises:
            BrokerError: none has answered within the send timeout.
        """
        while True:
            self._contact.look(time.monotonic())
            if self._contact.silent_s > self.settings.send_timeout_s:
                raise BrokerError.silent(self.settings.bootstrap_servers, self._contact.silent_s)
            await asyncio.sleep(TICK_S)

    async def _keep_measuring(self) -> None:
        while True:
            self.measure()
            self.consumer.measure(time.monotonic())
            await asyncio.sleep(MEASURE_S)

    async def on_stop(self) -> None:
        """Flush, leave the group, close everything."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting], timeout=CLOSE_S)
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
        closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.wait([closing], timeout=CLOSE_S)
        if not closing.done():
            logger.warning("connections could not be closed within %g s; they end with the process", CLOSE_S)
            closing.cancel()

    async def _close(self) -> None:
        """Close everything that is open, whatever fails meanwhile."""
        for close in (
            self.close_work,
            self.producer.close,
            self.consumer.stop,
            self._end_tasks,
            self.table_reader.stop,
            self._sender.stop,
            self._log.stop,
        ):
            try:
                await close()
            except Exception as error:
                logger.warning("%s failed while the %s stopped: %r", close.__qualname__, self.noun, error)

    async def _end_tasks(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
