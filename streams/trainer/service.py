"""The trainer: learns from the log, stores snapshots and announces them.

One trainer of a group leads and works; the others read the global tables and stand by. The leader reads the log by
positions, up to its end. Learning, comparing and storing run in a thread, so the event loop keeps answering the group
and the pages.

A snapshot is stored with the trainer's own state, and a successor goes on with the next record of each partition. So
nothing is learnt twice and nothing is missed, whenever a trainer is killed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from aiokafka import TopicPartition
from numpy.typing import NDArray

from models.errors import SnapshotError
from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL
from models.sequence.gate import Comparison
from models.sequence.scorer import Scorer
from models.shop.events import CatalogItem
from models.shop.policy import Policy
from models.snapshot import Snapshot
from streams.errors import SnapshotMissingError, StoreError
from streams.kafka.global_tables import CatchesUp, GlobalTableReader, GlobalTables
from streams.kafka.group_consumer import Delivered
from streams.kafka.log import KafkaLog
from streams.kafka.producer import BatchingProducer
from streams.lifecycle import ProcessService
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore, Stored
from streams.threads import run_in_daemon_thread
from streams.trainer.leadership import Leadership
from streams.trainer.metrics import TrainerMetrics
from streams.trainer.state import LEAST_IDS, TrainerState
from streams.wire.announcements import Announcement, encode_announcement
from streams.wire.checkpoints import Forgotten
from streams.wire.partitioner import partition_of
from streams.wire.topics import Identity, full_name

logger = logging.getLogger(__name__)

TRAINER_TABLES = ("catalog", "forgotten", "snapshots")
"""Compacted topics that a trainer needs: the items, who must not be learnt from, which snapshots serve."""

LEAST_WORDS = 5_000
"""Categories, brands and currencies more than were left by the last round of freeing before the next one."""

SWEEP_S = 1.0
"""Between two looks whether the catalogue's ids can be freed."""

LOOK_S = 0.5
"""Between two checks of the log's end when everything is applied; small against `train_every_s`."""

FETCH_BYTES = 1 << 20
"""Of one partition in a fetch: all partitions are read concurrently, and merged."""

STOP_S = 20.0
"""Longest time for the last snapshot at a stop; without it, events since the one before are learnt again."""

_THREAD = "training"

TRAINING_LOOP = "training loop"
"""Name of the task that learns."""


class TrainingLoop:
    """Leads, learns, stores and announces. It knows no broker, so tests run it on a log in memory.

    Args:
        training: state of the leader.
        table_reader: of the tables of forgotten shoppers and announced snapshots.
        producer: sends announcements.
        identities: of all topics, by full name.
        clock: monotonic seconds, for intervals.
    """

    def __init__(
        self,
        settings: Settings,
        training: TrainerState,
        store: SnapshotStore,
        table_reader: CatchesUp,
        producer: BatchingProducer,
        identities: Mapping[str, Identity],
        leadership: Leadership,
        metrics: TrainerMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self.training, self._store = settings, training, store
        self._tables, self._table_reader, self._producer = table_reader.tables, table_reader, producer
        self.leadership, self._metrics, self._clock = leadership, metrics, clock
        self._topic = full_name(settings.prefix, "snapshots")
        self._partitions = identities[self._topic].partitions
        self._served: Snapshot | None = None
        self._candidate: Snapshot | None = None
        self._ordered = 0  # pools behind the last announced order
        self._closing = asyncio.Event()
        self.holds_state = asyncio.Event()
        """Set while a leader's state is restored."""

    async def run(self) -> None:
        """Work whenever we lead, until `close` is called."""
        while not self._closing.is_set():
            if not self.leadership.leads.is_set():
                await self._until_moved()
                continue
            term = self.leadership.term
            await self.hold_state()
            await self._work(term)
            self._metrics.leads.set(0)

    def close(self) -> None:
        """Learn nothing more: `run` returns after the step under way."""
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
        """Keep the state if it is the newest, else restore it."""
        await self._table_reader.caught_up()
        if self.training.cursors and await self.training.is_newest():
            return
        self.holds_state.clear()
        started = self._clock()
        await self.training.take_over(self._tables.forgotten)
        self._ordered = await run_in_daemon_thread(self._announced_pools, _THREAD)
        took_s = self._clock() - started
        self._metrics.take_over_s.observe(took_s)
        logger.info(
            "leading from %s on, %d looks learnt so far; taken over in %.2f s",
            self.training.version or "the start of the log",
            self.training.window_builder.events,
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
        """Learn from new events, store a snapshot, and announce it if it may serve and that leadership lasts.

        Returns None where nothing is new or the store cannot be used.
        """
        if self.training.to_learn:
            await self._learn()
        if not self.training.unstored:
            return None
        await self._table_reader.caught_up()
        announced = self._tables.announced.get(MODEL)
        comparison = await self._compare(announced)
        stored = await self._store_snapshot(comparison.metrics())
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
        """Store and announce what was learnt of the order of lists, whether it serves yet or not.

        Workers give the scores that judge it.
        """
        ranker = self.training.ranker
        if ranker.learnt == self._ordered:
            return
        saved = await self._save("the order of lists", lambda: (self.training.order_snapshot(), None))
        if saved is None:
            return
        _, stored = saved
        self._ordered = ranker.learnt
        await self._announce(stored, term)
        await self._prune(RANKER, stored.manifest.version)

    def _announced_pools(self) -> int:
        """Pools that the announced order has learnt from; 0 where none is announced or readable."""
        announced = self._tables.announced.get(RANKER)
        if announced is None:
            return 0
        try:
            return int(self._store.stored(RANKER, announced.version).manifest.learnt["events"])
        except (StoreError, SnapshotError, KeyError):
            return 0

    async def store_last(self) -> Stored | None:
        """Store the state as it is, with waiting events, and announce nothing."""
        if not self.training.cursors:
            return None
        self.training.window_builder.gather()
        return await self._store_snapshot({}) if self.training.unstored else None

    async def _compare(self, announced: Announcement | None) -> Comparison:
        served: Scorer | None = None
        if announced is not None:
            try:
                version = announced.version
                if self._served is None or self._served.version != version:
                    self._served = await run_in_daemon_thread(lambda: self._store.load(MODEL, version), _THREAD)
                served = self.training.scorer(self._served)
            except (StoreError, SnapshotError, KeyError, ValueError) as error:
                logger.warning(
                    "%s %s, which is announced, cannot be compared with: %s", MODEL, announced.version, error
                )
        comparison = await run_in_daemon_thread(lambda: self.training.compare(served), _THREAD)
        self._metrics.judged(comparison)
        return comparison

    async def _store_snapshot(self, metrics: Mapping[str, int | float]) -> Stored | None:
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
        """Store a snapshot, made in a thread with the trainer's own state if any; None if the store cannot be used."""

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
        """Announce a stored snapshot, but only while we lead."""
        model, version = stored.manifest.model, stored.manifest.version
        await self._table_reader.caught_up()
        announced = self._tables.announced.get(model)
        reason = "" if self.leadership.holds(term) else "another trainer may lead now"
        if announced is not None and announced.by == "trainer" and announced.version > version:
            if await self._is_stored(model, announced.version):
                reason = f"a trainer has announced {announced.version}, which has seen more"
            else:
                logger.warning(
                    "%s %s is announced and not in the store: another program writes to `snapshots`, or the store has "
                    "lost it",
                    model, announced.version,
                )  # fmt: skip
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

    async def _is_stored(self, model: str, version: str) -> bool:
        """Whether the store has a snapshot, as far as is known."""
        try:
            await run_in_daemon_thread(lambda: self._store.stored(model, version), _THREAD)
        except SnapshotMissingError:
            return False
        except (StoreError, SnapshotError):
            pass
        return True

    async def _prune(self, model: str, version: str) -> None:
        announced = self._tables.announced.get(model)
        served = {version} | ({announced.version} if announced else set())
        try:
            await run_in_daemon_thread(lambda: self._store.prune(model, self._settings.snapshots_kept, served), _THREAD)
        except StoreError as error:
            logger.warning("old snapshots cannot be deleted: %s", error)


class Trainer(ProcessService):
    """Connects a training loop to a broker; see [`ProcessService`][streams.lifecycle.ProcessService].

    Of the policy it needs `misplaced`, `credit` and `step_power`.
    """

    noun = "trainer"
    outlives = ("mirror", TRAINING_LOOP)
    stop_s = STOP_S
    unfinished = f"no last snapshot within {STOP_S:g} s (%r): what came since the one before will be learnt again"

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        identities: Mapping[str, Identity],
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        settings = settings.for_trainer()
        snapshots = full_name(settings.prefix, "snapshots")
        metrics, log = TrainerMetrics(), KafkaLog(settings, max_fetch_bytes=FETCH_BYTES)
        super().__init__(settings, [snapshots], metrics, log, on_ready, on_failure)
        self.pauses, self.deliver = _always, _ignore
        self.leadership = self.listener = Leadership(TopicPartition(snapshots, 0))
        store = SnapshotStore.of(settings)
        self.training = TrainerState(settings, log, store, identities, self._offer, metrics, policy)
        self._tables = GlobalTables(
            settings,
            metrics,
            TRAINER_TABLES,
            identities=identities,
            on_forgotten=self._forget,
            on_offered=self.training.offered,
        )
        self.table_reader = GlobalTableReader(settings, identities, self._tables, log)
        self.training_loop = TrainingLoop(
            settings,
            self.training,
            store,
            self.table_reader,
            self.producer,
            identities,
            self.leadership,
            metrics,
            time.monotonic,
        )

    @property
    def holds_state(self) -> bool:
        """Whether the trainer holds its state or stands by."""
        return self.training_loop.holds_state.is_set() or not self.leadership.leads.is_set()

    @property
    def standing(self) -> dict[str, Any]:
        """Further keys of /ready."""
        return {"leads": self.leadership.leads.is_set()}

    def start_work(self) -> None:
        """Learn whenever we lead."""
        self.spawn(self.training_loop.run(), TRAINING_LOOP)
        self.spawn(self.every(SWEEP_S, self._free_catalog), "item ids")

    async def on_stop(self) -> None:
        """Learn nothing more, store the state, leave the group, close everything."""
        self.training_loop.close()
        await super().on_stop()

    async def finish_work(self) -> None:
        """Finish the step under way and store the state, if we lead."""
        if TRAINING_LOOP in self._running:
            led = self.leadership.leads.is_set()
            await asyncio.wait([self._running[TRAINING_LOOP]])
            if led and self.failure is None:
                await self.training_loop.store_last()

    def measure(self) -> None:
        """Update the gauges."""
        self.metrics.items.set(self.training.items.used)
        self.metrics.states(self._sizes())
        self.metrics.catalog_items.set(len(self._tables.catalog))
        for cursor in self.training.cursors.values():
            self.metrics.cursor(cursor)

    def _sizes(self) -> dict[str, int]:
        """Memory of what is held, in bytes by state."""
        training, tables = self.training, self._tables
        looks, visits = training.window_builder.looks, training.window_builder.visits
        return {
            "item ids": training.items.nbytes + tables.items.nbytes,
            "catalog": tables.catalog.nbytes,
            "forgotten": tables.forgotten_bytes,
            "shoppers": looks.nbytes + sum(each.nbytes + each.consent.nbytes for each in visits),
            "sequence model": training.learner.nbytes,
            "lists": training.attribution.nbytes,
            "pools": training.pools.nbytes,
            "upsell pools": training.upsell_pools.nbytes,
            "ranker": training.ranker.nbytes,
        }

    def _offer(self, item_id: str) -> CatalogItem | None:
        item = self._tables.catalog.get(self._tables.items.find(item_id))
        return item if item is not None and item.item_id == item_id else None  # its index may just have been freed

    async def _free_catalog(self) -> None:
        """Free what the catalogue has numbered and no item has any more."""
        items, catalog, nobody = self._tables.items, self._tables.catalog, np.empty(0, np.int64)
        if not (items.due(LEAST_IDS) or catalog.words_due(LEAST_WORDS)):
            return
        items.begin()
        items.mark(catalog.held())
        catalog.freed(items.free())
        catalog.free_words(nobody, nobody)

    def _forget(self, forgotten: Forgotten) -> None:
        self.training.forget(forgotten.user_id, forgotten.before)


def _always(_: TopicPartition) -> bool:
    """Nothing is fetched: the partitions of a trainer's group only say who leads."""
    return True


async def _ignore(topic: str, batches: Sequence[Delivered]) -> None:
    """Nothing is delivered."""
