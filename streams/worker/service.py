"""The worker: joins everything below it into one service that Faust starts and stops.

Start: connect, mirror the compacted topics to their ends, join the group, take over. Stop: write down what is done,
leave the group. A failure of any task stops the process with a non-zero exit; positions wait for acknowledgements, so
whatever was not written down comes again after the restart.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from mode import Service

from models.cooccurrence import counter
from models.cooccurrence.index import Neighbours
from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import order_of
from models.sequence import kernels
from models.sequence.config import MODEL
from models.sequence.snapshot import read_predictor
from models.serving.recommender import Learnt, Recommender, RecommenderConfig
from models.shop.catalog import Catalog
from models.shop.items import Items
from models.shop.policy import Policy
from models.snapshot import Snapshot
from streams.errors import CrosscurrentError, TakeOverError
from streams.kafka.global_tables import GlobalTableReader, GlobalTables
from streams.kafka.group_consumer import GroupConsumer
from streams.kafka.log import KafkaLog
from streams.kafka.producer import BatchingProducer, KafkaSender
from streams.metrics import Metrics
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.wire.announcements import Announcement
from streams.wire.checkpoints import Forgotten
from streams.wire.record import Record
from streams.wire.topics import Identity, full_name
from streams.worker.assignment import TaskManager
from streams.worker.catalog_task import CatalogTask
from streams.worker.context import WorkerContext
from streams.worker.model_loader import ModelLoader
from streams.worker.neighbour_task import NeighbourTask
from streams.worker.partition_task import MakeTask
from streams.worker.shopper_task import ShopperTask

logger = logging.getLogger(__name__)

SHOPPER_TOPICS = ("clicks", "purchases", "profiles", "feedback")
"""Topics keyed by shopper; one lane has the same partition number of all of them."""

REVOKE_FLUSH_SHARE = 1 / 6
"""Of the session time-out: longest time to write down what is done before joining the rearranged group. With the wait
for a heartbeat before it, it stays below half a session, which is how long a join of the embedded broker waits."""

READY_LOOK_S = 0.05
"""Between two looks whether the worker is ready."""

PATIENCE_LOOKS = 5
"""Looks of the watchdog in a row that a partition may stand still while others are delivered."""

COLLECTOR_THRESHOLDS = (5_000, 10, 1_000)
"""Of Python's garbage collector: the hot path makes many objects and hardly a cycle, and a look at many of them at once
would hold up the events of that moment: 3 ms for the youngest 5,000, 20 for 50,000, and hardly ever all there are."""

STOP_FLUSH_S = 10.0
"""Longest time to write down what is done at a stop; what is not is done again by the successor."""


class Worker(Service):
    """Everything between the topics, in one process.

    Args:
        settings: of the process.
        policy: what may be suggested.
        identities: of all topics, by full name.
        deliver: puts a batch into the channel of its topic's agent.
        on_ready: called once, when the worker has joined and holds its state.
        on_failure: called when the worker cannot go on; it has to stop the process with a non-zero exit.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        identities: Mapping[str, Identity],
        deliver: Callable[[TopicPartition, Sequence[Record]], Awaitable[None]],
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.settings = settings
        self.metrics = Metrics()
        self.failure: BaseException | None = None
        self._on_ready, self._on_failure = on_ready, on_failure
        self._log, self._sender = KafkaLog(settings), KafkaSender(settings)
        self.producer = BatchingProducer(
            self._sender,
            most_bytes=settings.outbox_bytes,
            timeout_s=settings.send_timeout_s,
            on_failure=self.fail,
        )
        items = Items()
        catalog = Catalog(items)
        neighbours = Neighbours(items, settings.cooccurrence.half_life_s)
        self.recommender = Recommender(items, catalog, neighbours, policy, RecommenderConfig())
        self.tables = GlobalTables(settings.prefix, catalog, neighbours, self.metrics)
        self.tables.on_forgotten = self._forget
        store = SnapshotStore.of(settings)
        self.installers = {
            MODEL: ModelLoader(MODEL, store, self._install, self.metrics),
            RANKER: ModelLoader(RANKER, store, self._install_order, self.metrics),
        }
        self.tables.on_announced = self._announced
        partitions = {name: identity.partitions for name, identity in identities.items()}
        self._table_reader = GlobalTableReader(settings, partitions, self.tables, self._log)
        kinds = task_types(settings.prefix)
        self.tasks = TaskManager(
            kinds,
            lambda maker, name, members: maker(name, members, self._context),
            self.producer,
            revoke_flush_s=settings.session_timeout_s * REVOKE_FLUSH_SHARE,
            on_failure=self.fail,
        )
        self.consumer = GroupConsumer(settings, sorted(kinds), self.tasks, self._log, deliver, self.metrics)
        self._context = WorkerContext(
            settings=settings,
            log=self._log,
            producer=self.producer,
            tables=self.tables,
            table_reader=self._table_reader,
            items=items,
            recommender=self.recommender,
            metrics=self.metrics,
            identities=identities,
            clock=time.time,
            highwater=self.consumer.highwater,
            commit=self.consumer.commit,
        )
        self._context.batcher.on_failure = self.fail
        self._running: list[asyncio.Task[None]] = []
        self._starting: asyncio.Task[None] | None = None
        self._stood: dict[TopicPartition, tuple[int, int]] = {}
        self._delivered = 0

    @property
    def ready(self) -> bool:
        """Whether the worker has joined the group and all its lanes hold their state."""
        return self.failure is None and self.consumer.joined.is_set() and self.tasks.all_ready

    @property
    def standing(self) -> dict[str, Any]:
        """What /ready says besides: the lanes, and whether each holds its state."""
        return {"lanes": {task.name: task.ready.is_set() for task in self.tasks}}

    def fail(self, error: BaseException) -> None:
        """Stop the process, loudly; called once with the first failure."""
        if self.failure is None:
            self.failure = error
            logger.critical("the worker stops: %s", error, exc_info=error)
            self._on_failure(error)

    async def on_start(self) -> None:
        """Connect, catch up with the mirrored topics, join; a stop meanwhile ends it."""
        self._starting = asyncio.get_running_loop().create_task(self._start())
        await asyncio.wait([self._starting])
        if not self._starting.cancelled():
            self._starting.result()

    async def _start(self) -> None:
        counter.warm()
        kernels.warm()
        self.recommender.warm()
        await self._log.start()
        await self._sender.start()
        await self._table_reader.start()
        self._spawn(self._table_reader.run(), "mirror")
        await self._table_reader.caught_up(self._table_reader.partitions)
        logger.info("mirrored %d rows and %d items", len(self.tables.neighbours), len(self.tables.catalog))
        for model, loader in self.installers.items():
            self._spawn(loader.run(), f"snapshots of {model}")
        gc.freeze()  # what is there now stays: it need not be looked at again
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        await self.consumer.start()
        self._spawn(self.consumer.run(), "intake")
        self._spawn(self._announce(), "ready")
        self._spawn(self.tasks.keep_flushing(self.settings.flush_interval_s), "flush")
        self._spawn(self._every(self.settings.watchdog_s, self._watch), "watchdog")
        self._spawn(self._every(1.0, self._measure), "gauges")

    async def on_stop(self) -> None:
        """Write down what is done, leave the group, close everything."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        for task in self._running:
            if task.get_name() not in ("mirror",):
                task.cancel()
        if self.failure is None:
            try:
                await asyncio.wait_for(self._last_words(), STOP_FLUSH_S)
            except (TimeoutError, CrosscurrentError) as error:
                logger.warning("not everything was written down (%r); the successor does it again", error)
            except Exception as error:
                self.fail(error)
        await self.tasks.close()
        await self._context.batcher.close()
        await self.producer.close()
        await self.consumer.stop()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._table_reader.stop()
        await self._sender.stop()
        await self._log.stop()

    async def _last_words(self) -> None:
        """Deltas first, then rows of our own items that they change."""
        for task in self.tasks:
            task.disown()
        await self.tasks.flush_last()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._running.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _every(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            started = time.monotonic()
            await work()
            await asyncio.sleep(max(0.01, interval_s - (time.monotonic() - started)))

    async def _announce(self) -> None:
        while not self.ready:  # lanes come and go meanwhile
            await asyncio.sleep(READY_LOOK_S)
        self._on_ready()

    async def _watch(self) -> None:
        """Read on where the log has more and delivery has brought nothing since the last look.

        While it brings other partitions' records, a partition's turn may just not have come: then it waits for longer.
        """
        delivered, self._delivered = self._delivered, self.consumer.delivered
        cursors = [(task, cursor) for task in self.tasks for cursor in task.cursors.values() if task.ready.is_set()]
        if not cursors:
            return
        before = [cursor.position for _, cursor in cursors]  # they move on while the ends are asked for
        ends = await self._log.ends([cursor.partition for _, cursor in cursors])
        for (task, cursor), position in zip(cursors, before, strict=True):
            partition, end = cursor.partition, ends[cursor.partition]
            if end < position:
                where = f"{partition.topic}-{partition.partition}"
                raise TakeOverError.beyond_end(where, position, end)
            self.metrics.lag(partition.topic, partition.partition, max(0, end - cursor.position))
            expected, looks = self._stood.get(partition, (-1, 0))
            looks = looks + 1 if expected == cursor.expected else 0
            patience = PATIENCE_LOOKS if self.consumer.delivered > delivered else 1
            if end > cursor.expected and looks >= patience and not task.held and not self.producer.full:
                self.metrics.watchdog_reads.inc()
                cursor.expect(end)
                task.wake()
            self._stood[partition] = cursor.expected, looks

    async def _measure(self) -> None:
        metrics = self.metrics
        metrics.tasks.set(sum(task.ready.is_set() for task in self.tasks))
        metrics.items.set(len(self._context.items))
        metrics.catalog_items.set(len(self.tables.catalog))
        metrics.rows.set(len(self.tables.neighbours))
        metrics.outbox_bytes.set(self.producer.bytes)
        metrics.retries.set(self.producer.retries)
        for task in self.tasks:
            for cursor in task.cursors.values():
                metrics.cursor(cursor)

    def _forget(self, forgotten: Forgotten) -> None:
        """A shopper asked to be forgotten: whoever has his state drops it, and keeps to it."""
        for task in self.tasks:
            if isinstance(task, ShopperTask):
                task.visits.forget(forgotten.user_id, forgotten.before)
        if (known := self.recommender.predictor) is not None:
            known.forget(forgotten.user_id)

    def _install(self, snapshot: Snapshot) -> None:
        """Answer with other weights from the next batch on; called in a thread."""
        recommender, items = self.recommender, self._context.items
        recommender.predictor = read_predictor(snapshot, items, recommender.catalog)

    def _install_order(self, snapshot: Snapshot) -> None:
        """Order lists by what was learnt from outcomes, from the next batch on; called in a thread."""
        self.recommender.learnt = Learnt(order_of(snapshot), snapshot.version)

    def _announced(self, model: str, announcement: Announcement | None) -> None:
        if (loader := self.installers.get(model)) is not None:
            loader.announced(model, announcement)

    def set_policy(self, policy: Policy) -> None:
        """Change the policy; the next batch is judged by it."""
        self.recommender.policy = policy
        logger.info("policy %s is in force", policy.hash)


def task_types(prefix: str) -> dict[str, tuple[str, Sequence[str], MakeTask]]:
    """Which kind of lane the partitions of each consumed topic belong to, by full topic name."""
    shoppers = [full_name(prefix, topic) for topic in SHOPPER_TOPICS]
    pairs, catalog = full_name(prefix, "pairs"), full_name(prefix, "catalog")
    kinds: dict[str, tuple[str, Sequence[str], MakeTask]] = {
        topic: ("shoppers", shoppers, ShopperTask) for topic in shoppers
    }
    kinds[pairs] = ("items", [pairs], NeighbourTask)
    kinds[catalog] = ("catalog", [catalog], CatalogTask)
    return kinds
