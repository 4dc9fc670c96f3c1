"""The trainer: one service that Faust starts and stops. It learns from the log, stores snapshots and announces them.

Of all trainers of a group one leads and works; the others hold the mirror and stand by. The log is read by positions
(the spine's delivery rule, with nothing delivered that could be wrong): the leader asks where it ends, and reads up to
there. Learning, judging and storing are done in a thread, and the loop goes on answering the group and the pages.

A snapshot is stored with the trainer's own state: whoever goes on from it applies the next record of each partition.
So nothing is learnt twice and nothing missed, whenever a trainer is killed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from mode import Service
from numpy.typing import NDArray

from models.cooccurrence.index import Neighbours
from models.errors import SnapshotError
from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL
from models.sequence.gate import Comparison
from models.sequence.scorer import Scorer
from models.shop.catalog import Catalog
from models.shop.events import CatalogItem
from models.shop.items import Items
from models.snapshot import Snapshot
from streams.errors import StoreError
from streams.kafka.global_tables import CatchesUp, GlobalTableReader, GlobalTables
from streams.kafka.group_consumer import GroupConsumer
from streams.kafka.log import KafkaLog
from streams.kafka.producer import BatchingProducer, KafkaSender
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore, Stored
from streams.threads import run_in_daemon_thread
from streams.trainer.leadership import Leadership
from streams.trainer.metrics import TrainerMetrics
from streams.trainer.state import TrainerState
from streams.wire.announcements import Announcement, encode_announcement
from streams.wire.checkpoints import Forgotten
from streams.wire.partitioner import partition_of
from streams.wire.record import Record
from streams.wire.topics import Identity, full_name

logger = logging.getLogger(__name__)

MIRRORED = ("catalog", "forgotten", "snapshots")
"""Compacted topics that a trainer needs: what items are, who must not be learnt from, what serves."""

LOOK_S = 0.5
"""Between two looks where the log ends, when everything is applied; small against `train_every_s`."""

FETCH_BYTES = 1 << 20
"""Of a partition at a time: all partitions are read side by side, and merged."""

STOP_S = 20.0
"""Longest time for the last snapshot at a stop; without it what came since the one before is learnt again."""

_THREAD = "training"


class TrainingLoop:
    """Leads, learns, stores and announces; knows no broker, so that tests run it on a log in memory.

    Args:
        settings: of the process.
        training: state of whoever leads.
        store: of snapshots.
        mirror: says who is forgotten and what is announced.
        follower: feeds it.
        outbox: sends announcements.
        identities: of all topics, by full name.
        leadership: whether we lead.
        metrics: counts.
        clock: steady seconds, for what is done every so often.
    """

    def __init__(
        self,
        settings: Settings,
        training: TrainerState,
        store: SnapshotStore,
        tables: GlobalTables,
        table_reader: CatchesUp,
        producer: BatchingProducer,
        identities: Mapping[str, Identity],
        leadership: Leadership,
        metrics: TrainerMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self.training, self._store = settings, training, store
        self._tables, self._table_reader, self._producer = tables, table_reader, producer
        self.leadership, self._metrics, self._clock = leadership, metrics, clock
        self._topic = full_name(settings.prefix, "snapshots")
        self._partitions = identities[self._topic].partitions
        self._mirrored = [
            TopicPartition(name, number) for name in tables.topics for number in range(identities[name].partitions)
        ]
        self._served: Snapshot | None = None
        self._candidate: Snapshot | None = None
        self._ordered = 0  # lists behind the order that was announced last
        self._closing = asyncio.Event()
        self.holds_state = asyncio.Event()
        """Set while the state of a leader is there."""

    async def run(self) -> None:
        """Lead whenever it is our turn, until `close` is called."""
        while not self._closing.is_set():
            if not self.leadership.leads.is_set():
                await self._until_moved()
                continue
            term = self.leadership.term
            await self.hold_state()
            await self._work(term)
            self._metrics.leads.set(0)

    def close(self) -> None:
        """Learn nothing more: `run` returns after the step that is under way."""
        self._closing.set()
        self.leadership.moved.set()

    async def _until_moved(self, longest_s: float | None = None) -> None:
        self.leadership.moved.clear()
        if self._closing.is_set():
            return
        try:
            await asyncio.wait_for(self.leadership.moved.wait(), longest_s)
        except TimeoutError:
            pass

    async def hold_state(self) -> None:
        """Make sure that our state is the newest there is; build it where it is not."""
        await self._table_reader.caught_up(self._mirrored)
        if self.training.cursors and await self.training.is_newest():
            return
        self.holds_state.clear()
        started = self._clock()
        await self.training.take_over(self._tables.forgotten)
        self._ordered = await run_in_daemon_thread(self._announced_lists, _THREAD)
        took_s = self._clock() - started
        self._metrics.take_over_s.observe(took_s)
        window_builder = self.training.window_builder
        logger.info(
            "leading from %s on, %d looks learnt so far; taken over in %.2f s",
            self.training.version or "the start of the log",
            window_builder.events,
            took_s,
        )
        self.holds_state.set()

    async def _work(self, term: int) -> None:
        """Apply, learn and store, as long as we lead."""
        training, clock = self.training, self._clock
        stored_at = moved_at = looked_at = clock()
        self._metrics.leads.set(1)
        while self._goes_on(term):
            if applied := await training.apply_some():
                moved_at = clock()
            still = clock() - moved_at >= self._settings.train_every_s and training.to_learn
            if self._goes_on(term) and (training.window_builder.due or still):
                await self._learn()
                moved_at = clock()
            if self._goes_on(term) and clock() - stored_at >= self._settings.snapshot_every_s:
                await self.publish(term)
                stored_at = clock()
            if not applied or clock() - looked_at >= self._settings.watchdog_s:
                looked_at = clock()
                if not await training.look_ahead():
                    await self._until_moved(LOOK_S)
            await asyncio.sleep(0)

    def _goes_on(self, term: int) -> bool:
        return self.leadership.holds(term) and not self._closing.is_set()

    async def _learn(self) -> None:
        started = self._clock()
        await self.training.learn()
        self._metrics.learning_s.inc(self._clock() - started)

    # -- snapshots -------------------------------------------------------------------------------------------------

    async def publish(self, term: int) -> Stored | None:
        """Learn what has come, store it, and announce it if it may serve; None: there was nothing new, or no store.

        Args:
            term: of the leadership under which it is done.
        """
        if self.training.to_learn:
            await self._learn()
        if not self.training.unstored:
            return None
        await self._table_reader.caught_up(self._mirrored)
        announced = self._tables.announced.get(MODEL)
        comparison = await self._judge(announced)
        stored = await self._store_it(comparison.metrics())
        if stored is None:
            return None
        version = stored.manifest.version
        if comparison.worse:
            self._metrics.snapshot("refused")
            logger.warning(
                "%s %s is stored and not announced: on %d windows of the last hour it is worse than the announced one, "
                "hr@20 %.4f instead of %.4f, mrr@20 %.4f instead of %.4f",
                MODEL, version, comparison.windows, comparison.hr, comparison.served_hr, comparison.mrr,
                comparison.served_mrr,
            )  # fmt: skip
        else:
            await self._announce(stored, term)
        await self._prune(MODEL, version)
        await self._publish_order(term)
        return stored

    async def _publish_order(self, term: int) -> None:
        """Store and announce the order of lists, where it may serve, or has to say that it may not any more."""
        training = self.training
        ranker, known = training.ranker, RANKER in self._tables.announced
        if ranker.learnt == self._ordered or not (known or ranker.ready):
            return
        saved = await self._save("the order of lists", lambda: (training.order_snapshot(), None))
        if saved is None:
            return
        _, stored = saved
        self._ordered = ranker.learnt
        await self._announce(stored, term)
        await self._prune(RANKER, stored.manifest.version)

    def _announced_lists(self) -> int:
        """How many lists the order that is announced has learnt; 0: none is, or it cannot be read."""
        announced = self._tables.announced.get(RANKER)
        if announced is None:
            return 0
        try:
            return int(self._store.stored(RANKER, announced.version).manifest.learnt["events"])
        except (StoreError, SnapshotError, KeyError):
            return 0

    async def store_last(self) -> Stored | None:
        """Store what has come as it is, learnt or waiting, and announce nothing."""
        if not self.training.cursors:
            return None
        self.training.window_builder.gather()
        return await self._store_it({}) if self.training.unstored else None

    async def _judge(self, announced: Announcement | None) -> Comparison:
        served: Scorer | None = None
        if announced is not None:
            try:
                if self._served is None or self._served.version != announced.version:
                    self._served = await run_in_daemon_thread(
                        lambda: self._store.load(MODEL, announced.version), _THREAD
                    )
                served = self.training.scorer(self._served)
            except (StoreError, SnapshotError, KeyError, ValueError) as error:
                logger.warning(
                    "%s %s, which is announced, cannot be compared with: %s", MODEL, announced.version, error
                )
        training = self.training
        comparison = await run_in_daemon_thread(lambda: training.compare(training.own_scorer(), served), _THREAD)
        self._metrics.judged(comparison)
        return comparison

    async def _store_it(self, metrics: Mapping[str, int | float]) -> Stored | None:
        saved = await self._save("a snapshot", lambda: self.training.snapshot(metrics))
        if saved is None:
            return None
        snapshot, stored = saved
        self.training.stored(snapshot)
        self._metrics.snapshot("stored")
        self._candidate = snapshot
        logger.info("%s %s is stored", MODEL, stored.manifest.version)
        return stored

    async def _save(
        self, what: str, make: Callable[[], tuple[Snapshot, Mapping[str, NDArray[Any]] | None]]
    ) -> tuple[Snapshot, Stored] | None:
        """Make a snapshot and store it, in a thread; None: the store cannot be used.

        Args:
            what: in words.
            make: gives it, and the trainer's own state where it has any.
        """

        def work() -> tuple[Snapshot, Stored]:
            snapshot, training = make()
            return snapshot, self._store.save(snapshot, training)

        try:
            return await run_in_daemon_thread(work, _THREAD)
        except StoreError as error:
            self._metrics.snapshot("failed")
            logger.warning("%s cannot be stored: %s; learning goes on, and the next one will have it all", what, error)
            return None

    async def _announce(self, stored: Stored, term: int) -> None:
        """Say so, but only if it is still ours to say."""
        model, version = stored.manifest.model, stored.manifest.version
        await self._table_reader.caught_up(self._mirrored)
        announced = self._tables.announced.get(model)
        reason = "" if self.leadership.holds(term) else "another trainer may lead now"
        if announced is not None and announced.by == "trainer" and announced.version > version:
            reason = f"a trainer has announced {announced.version}, which has seen more"
        if reason:
            self._metrics.snapshot("overtaken")
            logger.warning("%s %s is stored and not announced: %s", model, version, reason)
            return
        key, value = encode_announcement(stored.announcement("trainer"))
        self._producer.enqueue(self._topic, partition_of(key, self._partitions), key, value)
        await self._producer.wait_acked(self._producer.mark())
        if model == MODEL:
            self._served = self._candidate
        self._metrics.snapshot("announced")
        logger.info("%s %s is announced", model, version)

    async def _prune(self, model: str, version: str) -> None:
        announced = self._tables.announced.get(model)
        served = {version} | ({announced.version} if announced else set())
        try:
            await run_in_daemon_thread(lambda: self._store.prune(model, self._settings.snapshots_kept, served), _THREAD)
        except StoreError as error:
            logger.warning("old snapshots cannot be deleted: %s", error)


class Trainer(Service):
    """Connects a school to a broker.

    Args:
        settings: of the process.
        identities: of all topics, by full name.
        on_ready: called once, when the trainer has joined and holds its state, or stands by.
        on_failure: called when it cannot go on; it has to stop the process with a non-zero exit.
    """

    def __init__(
        self,
        settings: Settings,
        identities: Mapping[str, Identity],
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        settings = settings.for_trainer()
        self.metrics = TrainerMetrics()
        self.failure: BaseException | None = None
        self._on_ready, self._on_failure = on_ready, on_failure
        self._log = KafkaLog(settings, max_fetch_bytes=FETCH_BYTES)
        self._sender = KafkaSender(settings)
        self.producer = BatchingProducer(
            self._sender, most_bytes=settings.outbox_bytes, timeout_s=settings.send_timeout_s, on_failure=self.fail
        )
        self._items = Items()
        self._catalog = Catalog(self._items)
        rows = Neighbours(self._items, settings.cooccurrence.half_life_s)  # none come
        self.tables = GlobalTables(settings.prefix, self._catalog, rows, self.metrics, MIRRORED)
        partitions = {name: identity.partitions for name, identity in identities.items()}
        self._table_reader = GlobalTableReader(settings, partitions, self.tables, self._log)
        snapshots = full_name(settings.prefix, "snapshots")
        self.leadership = Leadership(TopicPartition(snapshots, 0))
        self.consumer = GroupConsumer(settings, [snapshots], self.leadership, self._log, _leave, self.metrics)
        store = SnapshotStore.of(settings)
        self.training = TrainerState(settings, self._log, store, identities, self._offer, self.metrics)
        self.training_loop = TrainingLoop(
            settings,
            self.training,
            store,
            self.tables,
            self._table_reader,
            self.producer,
            identities,
            self.leadership,
            self.metrics,
            time.monotonic,
        )
        self.tables.on_forgotten = self._forget
        self.tables.on_offered = self.training.offered
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def ready(self) -> bool:
        """Whether the trainer has joined its group, and holds its state or stands by."""
        joined = self.failure is None and self.consumer.joined.is_set()
        return joined and (self.training_loop.holds_state.is_set() or not self.leadership.leads.is_set())

    @property
    def standing(self) -> dict[str, Any]:
        """What /ready says besides."""
        return {"leads": self.leadership.leads.is_set()}

    def fail(self, error: BaseException) -> None:
        """Stop the process, loudly; called once with the first failure."""
        if self.failure is None:
            self.failure = error
            logger.critical("the trainer stops: %s", error, exc_info=error)
            self._on_failure(error)

    async def on_start(self) -> None:
        """Connect, catch up with the mirrored topics, join."""
        await self._log.start()
        await self._sender.start()
        await self._table_reader.start()
        self._spawn(self._table_reader.run(), "mirror")
        await self._table_reader.caught_up(self._table_reader.partitions)
        await self.consumer.start()
        self._spawn(self.consumer.run(), "intake")
        self._spawn(self.training_loop.run(), "training loop")
        self._spawn(self._announce_ready(), "ready")
        self._spawn(self._measure(), "gauges")

    async def on_stop(self) -> None:
        """Learn nothing more, store what is there, leave the group, close everything."""
        self.training_loop.close()
        for name in set(self._running) - {"mirror", "training loop"}:
            self._running[name].cancel()
        if self.failure is None and "training loop" in self._running:
            try:
                await asyncio.wait_for(self._last_words(), STOP_S)
            except TimeoutError:
                logger.warning("no last snapshot in %g s: what came since the one before will be learnt again", STOP_S)
        await self.producer.close()
        await self.consumer.stop()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._table_reader.stop()
        await self._sender.stop()
        await self._log.stop()

    async def _last_words(self) -> None:
        led = self.leadership.leads.is_set()
        await asyncio.wait([self._running["training loop"]])
        if led and self.failure is None:
            await self.training_loop.store_last()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._running[name] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _announce_ready(self) -> None:
        while not self.ready:
            await asyncio.sleep(0.05)
        self._on_ready()

    async def _measure(self) -> None:
        while True:
            self.metrics.items.set(len(self.training.items))
            self.metrics.catalog_items.set(len(self._catalog))
            for cursor in self.training.cursors.values():
                self.metrics.cursor(cursor)
            await asyncio.sleep(1.0)

    def _offer(self, item_id: str) -> CatalogItem | None:
        return self._catalog.get(self._items.find(item_id))

    def _forget(self, forgotten: Forgotten) -> None:
        self.training.forget(forgotten.user_id, forgotten.before)


async def _leave(partition: TopicPartition, records: Sequence[Record]) -> None:
    """Nothing is delivered to a trainer: its partitions only say who leads."""
