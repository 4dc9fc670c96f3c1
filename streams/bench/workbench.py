"""A worker without a broker, for benchmarks: real tasks, models, producer and global tables.

Records are offered to the tasks as the consumer would offer them. Sent records are packed as for the wire, and those
that a worker reads back (pairs, rows) are applied.
"""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from aiokafka import TopicPartition

from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import order_of
from models.sequence.config import MODEL
from models.sequence.snapshot import read_predictor
from models.serving.recommender import Learnt
from models.shop.policy import Policy
from models.snapshot import Snapshot
from streams.bench.events import Event
from streams.kafka import expected_rows
from streams.kafka.global_tables import GlobalTables
from streams.kafka.memory_log import MemoryLog, StoredRecord
from streams.kafka.produce_request import Batch, Where
from streams.kafka.producer import BatchingProducer, Packet, Settled, encoded
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire import merging, pair_deltas
from streams.wire.record_run import RecordRun
from streams.wire.topics import TOPICS, Identity
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask
from streams.worker.service import COLLECTOR_THRESHOLDS, TASK_KINDS, task_sizes
from streams.worker.source_ends import SourceEnds

LOOK_S = 0.0005
"""Between two looks whether a batch in a thread is answered, which costs no processor time in between."""

PURCHASES = Identity("purchases", Settings().partitions)
"""The topic that rows of histories must be for."""


class Packer:
    """Packs sent records as for the wire, and keeps those that a worker reads back."""

    def __init__(self, now_ms: int) -> None:
        self._ends: defaultdict[Where, int] = defaultdict(int)
        self._kept: defaultdict[str, list[StoredRecord]] = defaultdict(list)
        self.now_ms = now_ms

    async def send(self, packets: Mapping[Where, Packet], settled: Settled) -> None:
        """See [`Sender.send`][streams.kafka.producer.Sender.send]."""
        for where, packet in packets.items():
            self.pack(packet)
            topic, partition = where
            if topic in ("pairs", "neighbours"):
                self._kept[topic] += [
                    StoredRecord(topic, partition, offset, self.now_ms, message.key, message.value)
                    for offset, message in enumerate(packet, self._ends[where])
                ]
            self._ends[where] += len(packet)
            settled(where, None)

    def pack(self, packet: Packet) -> Batch:
        """A record batch with these messages."""
        return encoded(packet)

    def take(self, topic: str) -> list[StoredRecord]:
        """Records sent to a topic since the last call."""
        return self._kept.pop(topic, [])


class _NothingToRead:
    def __init__(self, tables: GlobalTables) -> None:
        self.tables = tables

    async def caught_up(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Everything is applied already."""


class Workbench:
    """A worker without a broker. An async context manager; its tasks own all partitions inside it.

    It starts at `now_ms` (epoch milliseconds); only `pass_a_second` moves its clock. Its topic `histories` holds some
    rows, for `PURCHASES`.
    """

    def __init__(self, catalog: Iterable[Event], now_ms: int, histories: Iterable[Event] = ()) -> None:
        self._settings = Settings(publish_bytes_per_s=10**12, outbox_bytes=1 << 30)  # the bench paces the flushes
        self.packer = Packer(now_ms)
        self.metrics = Metrics()
        self.tables = GlobalTables(self._settings, self.metrics)
        self.producer = BatchingProducer(self.packer, timeout_s=1, on_failure=self._fail)
        identities = {topic.name: Identity(topic.name, self._settings.partitions) for topic in TOPICS}
        self._log = MemoryLog(clock=lambda: now_ms)
        self._context = WorkerContext(
            settings=self._settings,
            log=self._log,
            producer=self.producer,
            table_reader=_NothingToRead(self.tables),
            metrics=self.metrics,
            identities=identities,
            clock=self._clock,
            highwater=lambda _: None,
            commit=lambda _: None,
            policy=Policy(emit_empty=True, max_suggestion_age_s=0),
            on_failure=self._fail,
        )
        self._context.source_ends = SourceEnds(self._context.log, self._end, identities, self._settings.prefix)
        for event in histories:
            self._log.append(event.topic, event.partition, event.key, event.value)
        for event in catalog:
            self.tables.apply(StoredRecord(event.topic, event.partition, 0, 0, event.key, event.value))
        self._tasks: dict[str, dict[int, PartitionTask]] = {"shoppers": {}, "items": {}}
        self._running: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._thresholds = gc.get_threshold()
        self._offsets: defaultdict[tuple[str, int], int] = defaultdict(int)

    async def __aenter__(self) -> Workbench:
        self._context.recommender.warm()
        self._context.batcher.warm()
        merging.warm()
        self._context.turns.pace_s = 0.0  # processor time counts, and it waits in a loop
        self._context.row_writer.warm()
        expected_rows.warm()
        pair_deltas.warm()
        gc.freeze()  # as a worker does
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        for kind in TASK_KINDS:
            for number in range(self._settings.partitions) if kind.name in self._tasks else ():
                partitions = [TopicPartition(topic, number) for topic in kind.topics]
                task = self._tasks[kind.name][number] = kind.make(f"{kind.name}-{number}", partitions, self._context)
                task.on_assigned()
                self._running.append(asyncio.create_task(task.run()))
                await task.ready.wait()
        for number in range(self._settings.partitions):  # adopted: they would only count as memory
            partition = TopicPartition("histories", number)
            self._log.expire(partition, (await self._log.ends([partition]))[partition])
        return self

    async def __aexit__(self, *exception: object) -> None:
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._context.turns.close()
        await self.producer.close()
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def install(self, snapshots: Iterable[Snapshot]) -> None:
        """Serve with snapshots, as a worker does that has fetched them."""
        items, catalog = self.tables.items, self.tables.catalog
        for snapshot in snapshots:
            if snapshot.model == MODEL:
                self._context.batcher.predictor = read_predictor(snapshot, items, catalog)
            elif snapshot.model == RANKER:
                self._context.recommender.learnt = Learnt(order_of(snapshot, items), snapshot.version)

    def sizes(self) -> dict[str, int]:
        """Memory in bytes by state, as a worker tells it."""
        tasks = (task for kind in self._tasks.values() for task in kind.values())
        return self._context.sizes() | task_sizes(tasks)

    def _end(self, partition: TopicPartition) -> int:
        """End of a partition: records are offered, not appended."""
        return self._offsets[partition.topic, partition.partition]

    def _clock(self) -> float:
        return self.packer.now_ms / 1000

    def pass_a_second(self) -> None:
        """Move the clock."""
        self.packer.now_ms += 1000

    def records(self, events: Iterable[Event]) -> list[StoredRecord]:
        """Events as the consumer would deliver them, all appended now."""
        records, at_ms = [], self.packer.now_ms
        for topic, partition, key, value in events:
            offset = self._offsets[topic, partition]
            self._offsets[topic, partition] = offset + 1
            records.append(StoredRecord(topic, partition, offset, at_ms, key, value))
        return records

    async def apply(self, records: Sequence[StoredRecord], most: int) -> None:
        """Have the tasks apply records, offered `most` at a time."""
        kind = self._tasks["items" if records and records[0].topic == "pairs" else "shoppers"]
        rest = iter(records)
        while some := list(islice(rest, most)):
            batches: defaultdict[tuple[str, int], list[StoredRecord]] = defaultdict(list)
            for record in some:
                batches[record.topic, record.partition].append(record)
            for (_, partition), batch in batches.items():
                kind[partition].offer(batch)
            while any(task.held for task in kind.values()):
                await asyncio.sleep(LOOK_S if self._context.batcher.busy else 0)
                self._check()

    async def flush_pairs(self) -> None:
        """Publish the pair deltas and count them into the rows."""
        await asyncio.gather(*(task.flush() for task in self._tasks["shoppers"].values()))
        pairs = self.packer.take("pairs")
        await self.apply(pairs, len(pairs))

    async def flush_rows(self) -> int:
        """Publish the changed rows and apply them to the tables; returns their bytes."""
        await asyncio.gather(*(task.flush() for task in self._tasks["items"].values()))
        rows = self.packer.take("neighbours")
        by_partition: defaultdict[int, list[StoredRecord]] = defaultdict(list)
        for row in rows:
            by_partition[row.partition].append(row)
        for run in map(RecordRun.of, by_partition.values()):
            done = 0
            while done < len(run):
                done = self.tables.apply_some(run, done)
        return sum(len(row.value or b"") for row in rows)

    def _fail(self, error: BaseException) -> None:
        self._failure = error

    def _check(self) -> None:
        """Raise the failure of a task or of the producer."""
        for running in filter(asyncio.Task.done, self._running):
            running.result()
        if self._failure is not None:
            raise self._failure
