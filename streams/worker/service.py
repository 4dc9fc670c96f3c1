"""The worker: joins everything between the topics into one process."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from models import warm as models_warm
from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import order_of
from models.sequence.config import MODEL
from models.sequence.snapshot import read_predictor
from models.serving.recommender import Learnt
from models.shop.policy import Policy
from models.snapshot import Snapshot
from streams.kafka import expected_rows, topic_admin
from streams.kafka.global_tables import GlobalTableReader, GlobalTables
from streams.kafka.group_consumer import Deliver
from streams.kafka.log import KafkaLog
from streams.lifecycle import ProcessService
from streams.metrics import Metrics
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.wire import pair_deltas
from streams.wire.announcements import Announcement
from streams.wire.checkpoints import Forgotten
from streams.wire.topics import Identity, full_name
from streams.worker import shopper_task
from streams.worker.assignment import TaskManager
from streams.worker.catalog_task import CatalogTask
from streams.worker.context import WorkerContext
from streams.worker.id_sweep import IdSweep
from streams.worker.model_loader import ModelLoader
from streams.worker.neighbour_task import NeighbourTask
from streams.worker.partition_task import PartitionTask, TaskKind
from streams.worker.policy_loader import PolicyLoader
from streams.worker.shopper_task import ShopperTask
from streams.worker.watchdog import Watchdog

logger = logging.getLogger(__name__)

TASK_KINDS = (
    TaskKind("shoppers", shopper_task.TOPICS, ShopperTask),
    TaskKind("items", ("pairs",), NeighbourTask),
    TaskKind("catalog", ("catalog",), CatalogTask),
)
CONSUMED = [topic for kind in TASK_KINDS for topic in kind.topics]
"""Short names of the topics that the group consumes."""

REVOKE_FLUSH_SHARE = 1 / 6
"""Of the session timeout: longest flush before joining the rebalanced group. Together with the wait for a heartbeat
before it, it stays below half a session, which is how long a join of the embedded broker waits."""

SWEEP_S = 1.0
"""Between two looks whether item ids can be freed."""

RECORD_BYTES = 1_000
"""Of a record that waits, about."""

COLLECTOR_THRESHOLDS = (5_000, 10, 1_000)
"""Of Python's garbage collector. The hot path makes many objects and hardly any cycles, and a collection delays the
events of that moment: 3 ms for the youngest 5,000 objects, 20 ms for 50,000. Full collections hardly ever run."""


SWITCH_S = 0.0005
"""Longest time that a thread which answers a batch waits for the event loop to let it go on, several times a batch."""


def task_sizes(tasks: Iterable[PartitionTask]) -> dict[str, int]:
    """Memory of tasks' state, in bytes by state."""
    rows = shoppers = histories = records = pairs = 0
    for task in tasks:
        records += RECORD_BYTES * task.held
        if isinstance(task, NeighbourTask):
            rows += task.rows.nbytes
        elif isinstance(task, ShopperTask):
            shoppers += task.visits.nbytes + task.visits.consent.nbytes
            histories += task.histories.nbytes
            pairs += shopper_task.PAIR_BYTES * task.waiting_pairs
    return {
        "owned rows": rows,
        "shoppers": shoppers,
        "histories": histories,
        "waiting records": records,
        "waiting pairs": pairs,
    }


class Worker(ProcessService):
    """Everything between the topics, in one process; see [`ProcessService`][streams.lifecycle.ProcessService].

    `policy` is in force at the start, and `read_policy` reads it again whenever `policy_loader` is asked to. `deliver`
    puts batches into the channel of their topic's agent.
    """

    noun = "worker"
    stop_s = 10.0
    unfinished = "not everything was written down (%r); the successor does it again"

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        read_policy: Callable[[], Policy],
        identities: Mapping[str, Identity],
        deliver: Deliver,
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        metrics, log = Metrics(), KafkaLog(settings)
        topics = [full_name(settings.prefix, topic) for topic in CONSUMED]
        super().__init__(settings, topics, metrics, log, on_ready, on_failure)
        self.deliver = deliver
        store = SnapshotStore.of(settings)
        installs = {MODEL: self._install_predictor, RANKER: self._install_order}
        self._loaders = [ModelLoader(model, store, install, metrics) for model, install in installs.items()]
        self.tables = GlobalTables(
            settings, metrics, identities=identities, on_forgotten=self._forget, on_announced=self._announced
        )
        self.table_reader = GlobalTableReader(settings, identities, self.tables, log, lambda: self._batcher.still())
        context = WorkerContext(
            settings=settings,
            log=log,
            producer=self.producer,
            table_reader=self.table_reader,
            metrics=metrics,
            identities=identities,
            clock=time.time,
            highwater=self.consumer.highwater,
            commit=self.consumer.commit,
            policy=policy,
            on_failure=self.fail,
        )
        self.context = context
        self._recommender, self._batcher = context.recommender, context.batcher
        self._placement = context.placement
        self.policy_loader = PolicyLoader(read_policy, self._recommender, metrics, self._batcher.still)
        self._backpressure = context.backpressure
        self.pauses = self._backpressure.pauses
        flush_s = settings.session_timeout_s * REVOKE_FLUSH_SHARE
        self.tasks = self.listener = TaskManager(
            TASK_KINDS,
            context,
            revoke_flush_s=flush_s,
            on_failure=self.fail,
            look_at_topics=lambda: topic_admin.identities(settings),
        )
        self._watchdog = Watchdog(self.tasks, log, self._backpressure.idle, lambda: self.consumer.delivered, metrics)

    @property
    def holds_state(self) -> bool:
        """Whether all tasks hold their state."""
        return self.tasks.all_ready

    @property
    def standing(self) -> dict[str, Any]:
        """Further keys of /ready: tasks that hold their state, misplaced records, snapshots."""
        return {
            "lanes": {task.name: task.ready.is_set() for task in self.tasks},
            "misplaced": self._placement.misplaced,
            "snapshots": {
                loader.model: {"in_use": loader.installed, "fault": loader.fault} for loader in self._loaders
            },
        }

    def warm(self) -> None:
        """Compile the kernels, or load them from the cache."""
        super().warm()
        models_warm.warm()
        self._batcher.warm()
        self.context.row_writer.warm()
        expected_rows.warm()
        pair_deltas.warm()

    def on_tables_read(self) -> None:
        """Start loading snapshots, and spare the garbage collector the tables."""
        logger.info("mirrored %d rows and %d items", len(self.tables.neighbours), len(self.tables.catalog))
        for loader in self._loaders:
            self.spawn(loader.run(), f"snapshots of {loader.model}")
        self.spawn(self.policy_loader.run(), "policy")
        gc.freeze()  # the collector never scans the tables again
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        sys.setswitchinterval(SWITCH_S)

    def start_work(self) -> None:
        """Flush the tasks and watch the delivery."""
        self.spawn(self.tasks.keep_flushing(self.settings.flush_interval_s), "flush")
        self.spawn(self._free_ids(), "item ids")
        self.spawn(self.every(self.settings.watchdog_s, self._watchdog.check), "watchdog")

    async def _free_ids(self) -> None:
        sweep = IdSweep(self.context, lambda: self.tasks)
        while True:
            await self._batcher.still()
            while sweep.step():
                await asyncio.sleep(0)
                await self._batcher.still()
            await asyncio.sleep(SWEEP_S)

    async def finish_work(self) -> None:
        """Flush all tasks: pair deltas first, then rows of our own items that they change."""
        for task in self.tasks:
            task.on_revoked()
        await self.tasks.flush_last()

    async def close_work(self) -> None:
        """Stop the tasks and the batcher."""
        await self.tasks.close()
        await self.context.turns.close()
        await self._batcher.close()

    def measure(self) -> None:
        """Update the gauges."""
        metrics = self.metrics
        metrics.tasks.set(sum(task.ready.is_set() for task in self.tasks))
        metrics.items.set(self.tables.items.used)
        metrics.catalog_items.set(len(self.tables.catalog))
        metrics.rows.set(len(self.tables.neighbours))
        metrics.histories.set(sum(len(task.histories) for task in self.tasks if isinstance(task, ShopperTask)))
        metrics.load.set(self._backpressure.load)
        metrics.outbox_bytes.set(self.producer.bytes)
        metrics.retries.set(self.producer.retries)
        metrics.states(self.context.sizes() | task_sizes(self.tasks))
        for task in self.tasks:
            for cursor in task.cursors.values():
                metrics.cursor(cursor)

    def _forget(self, forgotten: Forgotten) -> None:
        for task in self.tasks:
            if isinstance(task, ShopperTask):
                task.forget(forgotten.user_id, forgotten.before)
        self._batcher.forget(forgotten.user_id)

    def _install_predictor(self, snapshot: Snapshot) -> None:
        """Predict with other weights from the next batch on; called in a thread."""
        with self.tables.items.kept():
            predictor = read_predictor(snapshot, self.tables.items, self.tables.catalog)
            predictor.touch()
            self._batcher.predictor = predictor

    def _install_order(self, snapshot: Snapshot) -> None:
        """Rank by what was learnt from outcomes, from the next batch on; called in a thread."""
        with self.tables.items.kept():
            self._recommender.learnt = Learnt(order_of(snapshot, self.tables.items), snapshot.version)

    def _announced(self, model: str, announcement: Announcement | None) -> None:
        for loader in self._loaders:
            loader.announced(model, announcement)
