"""Compacted topics held in memory: catalogue, neighbours, progress, forgotten shoppers, announced snapshots.

Serving reads only these tables, so a suggestion needs no remote call. [`GlobalTables`][] is the state and applies one
record at a time. [`GlobalTableReader`][] reads the topics from their first record, outside any consumer group, and says
when it has reached their ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from models.cooccurrence.index import OLDER, Neighbours
from models.shop.catalog import Catalog
from models.shop.events import CatalogItem
from models.shop.items import Items
from streams.errors import BrokerError, RecordError
from streams.kafka.connection import connecting
from streams.kafka.consumers import clients_of, new_consumer
from streams.kafka.expected_rows import ExpectedRows, Found
from streams.kafka.log import Log
from streams.log_throttle import BadRecordLog
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.announcements import Announcement, decode_announcement
from streams.wire.checkpoints import Forgotten, Progress, decode_forgotten, decode_progress
from streams.wire.codec import decode_catalog
from streams.wire.neighbour_rows import POSITION_KEY, PositionRecord, decode_position, decode_row
from streams.wire.partitioner import partition_of
from streams.wire.record import AHEAD_S, MAX_PARTITIONS, Record, check_at, refusal
from streams.wire.record_run import RecordRun
from streams.wire.topics import Identity, full_name

logger = logging.getLogger(__name__)

TABLE_TOPICS = ("catalog", "neighbours", "progress", "forgotten", "snapshots")
"""Topics that have a table."""

MAX_MODELS = 100
"""Models whose announcements are held; there are two."""

ROW_BYTES, FORGOTTEN_BYTES = 350, 150
"""Of a row, besides its arrays: its id, its position, its place among those of its partition; of a shopper."""

PACE_S, FEW = 0.1, 1_000
"""Pause after a poll that brings few records, unless somebody waits for the end: rows and checkpoints come all the
time, and a fetch costs a millisecond of processor time however few it brings."""

EMBEDDED_FETCH_WAIT_MS, FETCH_WAIT_MS = 100, 500
"""Longest wait of a broker for records; an arriving one ends it at once, but not on the embedded broker."""

TURN_S = 0.005
"""After so long the event loop gets a turn: 200 rows of 100 neighbours, or one large record that is refused."""


class GlobalTables:
    """State of the compacted topics.

    Args:
        topics: short names of the topics to hold.
        identities: by full topic name. Records of rows, checkpoints and announcements are refused in a partition that
            is not their key's; not checked where a topic is left out.
        on_forgotten: called when a shopper is forgotten, or up to a later time than before.
        on_offered: called with every item put into the catalogue.
        on_announced: called with the model at every announcement; None withdraws the last one.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        topics: Sequence[str] = TABLE_TOPICS,
        *,
        identities: Mapping[str, Identity] = MappingProxyType({}),
        on_forgotten: Callable[[Forgotten], None] = lambda _: None,
        on_offered: Callable[[CatalogItem], None] = lambda _: None,
        on_announced: Callable[[str, Announcement | None], None] = lambda model, announcement: None,
    ) -> None:
        self.items = Items()
        self.catalog = Catalog(self.items)
        self.neighbours = Neighbours(self.items, settings.cooccurrence.half_life_s)
        self.forgotten: dict[str, float] = {}
        self.progress: dict[str, Progress] = {}
        self.positions: dict[int, PositionRecord] = {}
        """Greatest position record of each item partition."""
        self.announced: dict[str, Announcement] = {}
        """The snapshot to serve, by model."""
        self._metrics, self._identities = metrics, identities
        self._most_partitions = max((identity.partitions for identity in identities.values()), default=MAX_PARTITIONS)
        self._bad_records = BadRecordLog(logger)
        self._on_forgotten, self._on_offered, self._on_announced = on_forgotten, on_offered, on_announced
        self._items_of: defaultdict[int, set[str]] = defaultdict(set)
        self._regressed: defaultdict[int, set[str]] = defaultdict(set)
        self._removed: dict[int, set[str]] = {}  # of watched partitions
        self.expected_rows = ExpectedRows()
        """What this process has published of rows, and not read back yet."""
        appliers: dict[str, Callable[[Record], None]] = {
            "catalog": self._catalog,
            "neighbours": self._neighbours,
            "progress": self._progress,
            "forgotten": self._forgotten,
            "snapshots": self._snapshots,
        }
        self._apply = {full_name(settings.prefix, topic): appliers[topic] for topic in topics}
        self._rows_topic = full_name(settings.prefix, "neighbours")

    @property
    def topics(self) -> list[str]:
        """Full names of the topics held."""
        return list(self._apply)

    @property
    def row_bytes(self) -> int:
        """Memory of the rows of neighbours, about."""
        return self.neighbours.nbytes + ROW_BYTES * len(self.neighbours) + self.expected_rows.nbytes

    @property
    def forgotten_bytes(self) -> int:
        """Memory of the shoppers who asked to be forgotten, about."""
        return FORGOTTEN_BYTES * len(self.forgotten)

    def apply(self, record: Record) -> None:
        """Apply one record. An unusable one is counted and skipped: the owner of its partition reports it."""
        self.apply_some([record], 0)

    def _apply_one(self, record: Record) -> None:
        try:
            self._apply[record.topic](record)
        except RecordError as error:
            self._metrics.unusable.labels(record.topic).inc()
            self._bad_records.write(record.topic, error, "is passed over")

    def apply_some(self, records: Sequence[Record], first: int) -> int:
        """Apply a record as `apply` does, and rows of our own that come behind it; returns the number of the next.

        Rows are put together where `records` is a run.
        """
        if isinstance(records, RecordRun):
            run, number = records, first
        else:
            run, number = RecordRun.of([records[first]]), 0
        found = None
        if run.topic == self._rows_topic:
            found = self.expected_rows.find(run, number, time.time() + AHEAD_S)
        if found is None:
            self._apply_one(records[first])
            return first + 1
        self._put(found)
        return first + found.number

    def _put(self, found: Found) -> None:
        """Put some of the rows that were published together, unless later ones are there."""
        published = found.published
        rows, places = published.rows, np.arange(found.first, found.first + found.number)
        older = self.neighbours.put_rows(rows, places, published.position) == OLDER
        name = self.items.name
        self._items_of[published.partition].update(map(name, rows.items[places[~older]].tolist()))
        if older.any():
            regressed = rows.items[places[older]].tolist()
            self._regressed[published.partition].update(map(name, regressed))
            self._metrics.foreign_rows.inc(len(regressed))

    def items_of(self, partition: int) -> set[str]:
        """Items whose rows are in an item partition."""
        return self._items_of[partition]

    def take_regressed(self, partition: int) -> set[str]:
        """Items whose row a late owner overwrote with an older one, or removed; each is returned once, to republish it.

        Of watched partitions, removals by the owner itself are among them.
        """
        removed = self._removed.get(partition, set())
        if removed:
            self._removed[partition] = set()
        return self._regressed.pop(partition, set()) | removed

    def watch(self, partition: int) -> None:
        """From now on, note which rows of an item partition are removed; its owner asks for them again and again."""
        self._removed[partition] = set()

    def unwatch(self, partition: int) -> None:
        """Note no more removals: the partition is no longer ours."""
        self._removed.pop(partition, None)

    def _catalog(self, record: Record) -> None:
        try:
            item = decode_catalog(record)
        except RecordError:
            return  # the partition's owner sends it to the dead letters; the last good record stays
        if item is None:
            self.catalog.withdraw((record.key or b"").decode())
        else:
            self.catalog.put(item)
            self._on_offered(item)

    def _check_place(self, record: Record, partition: Callable[[int], int]) -> None:
        """Raise RecordError unless a record lies where only its partition's owner writes; `partition` of a count."""
        identity = self._identities.get(record.topic)
        if identity is not None and record.partition != (meant := partition(identity.partitions)):
            raise refusal(record, None, f"in partition {meant}, where its key belongs", f"partition {record.partition}")

    def _neighbours(self, record: Record) -> None:
        if record.key == POSITION_KEY:
            position = decode_position(record)
            check_at(record, position.at, time.time())
            held = self.positions.get(record.partition)
            if held is None or held.topic_id != position.topic_id or position.position >= held.position:
                self.positions[record.partition] = position
                self.neighbours.set_total(record.partition, position.baskets, position.at)
            return
        self._check_place(record, lambda partitions: partition_of(record.key or b"", partitions))
        if record.value is None:
            item_id = (record.key or b"").decode(errors="replace")
            self.neighbours.remove(item_id)
            self._items_of[record.partition].discard(item_id)
            self._regressed[record.partition].discard(item_id)
            if record.partition in self._removed:
                self._removed[record.partition].add(item_id)
            return
        row = decode_row(record)
        self.expected_rows.passed(record.partition, row.position)
        check_at(record, row.at, time.time())
        if row.position < self.neighbours.position(self.items.find(row.item_id)):
            self._regressed[record.partition].add(row.item_id)
            self._metrics.foreign_rows.inc()
            return
        self._items_of[record.partition].add(row.item_id)
        self.neighbours.put(row)

    def _progress(self, record: Record) -> None:
        progress = decode_progress(record)
        if progress.number >= self._most_partitions:
            raise refusal(record, "$.lane", f"a task of partitions below {self._most_partitions}", progress.task)
        self._check_place(record, lambda partitions: progress.number % partitions)
        self.progress[progress.task] = progress.merged(self.progress.get(progress.task))

    def _forgotten(self, record: Record) -> None:
        forgotten = decode_forgotten(record)
        if forgotten.before > self.forgotten.get(forgotten.user_id, float("-inf")):
            self.forgotten[forgotten.user_id] = forgotten.before
            self._on_forgotten(forgotten)

    def _snapshots(self, record: Record) -> None:
        model, announcement = decode_announcement(record)
        self._check_place(record, lambda partitions: partition_of(model.encode(), partitions))
        if announcement is None:
            self.announced.pop(model, None)
        elif model not in self.announced and len(self.announced) >= MAX_MODELS:
            raise refusal(record, None, f"of one of at most {MAX_MODELS} models", f"another, {model!r}")
        else:
            self.announced[model] = announcement
        self._on_announced(model, announcement)


class CatchesUp(Protocol):
    """Feeds global tables and knows how far it has read."""

    tables: GlobalTables

    async def caught_up(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Return when everything that these partitions, or all, held at the call is applied."""


async def at_once() -> None:
    """Nobody reads tables in a thread."""


async def apply_in_turns(
    tables: GlobalTables, records: Sequence[Record], still: Callable[[], Awaitable[None]] = at_once
) -> None:
    """Apply records; others get a turn now and then, however long each takes: a hostile one may take a second.

    `still` is awaited before each turn; it returns when nobody reads the tables in a thread.
    """
    await apply_all_in_turns(tables, [records], still)


async def apply_all_in_turns(
    tables: GlobalTables, fetched: Iterable[Sequence[Record]], still: Callable[[], Awaitable[None]]
) -> None:
    """As `apply_in_turns`, of the records of several partitions: waiting once more for each would hold up answers."""
    await still()
    turn_at = time.monotonic() + TURN_S
    for records in fetched:
        done = 0
        while done < len(records):
            done = tables.apply_some(records, done)
            if time.monotonic() >= turn_at:
                await asyncio.sleep(0)
                await still()
                turn_at = time.monotonic() + TURN_S
    await asyncio.sleep(0)


class GlobalTableReader:
    """Reads the topics of global tables from their first record on; `identities` are by full topic name.

    `still` is as of `apply_in_turns`.
    """

    def __init__(
        self,
        settings: Settings,
        identities: Mapping[str, Identity],
        tables: GlobalTables,
        log: Log,
        still: Callable[[], Awaitable[None]] = at_once,
    ) -> None:
        self._settings, self.tables, self._log, self._still = settings, tables, log, still
        self._partitions = [
            TopicPartition(name, p) for name in tables.topics for p in range(identities[name].partitions)
        ]
        self._positions: dict[TopicPartition, int] = {}
        self._moved = asyncio.Event()
        self._waited_for = asyncio.Event()  # set while somebody waits for the end
        self._waiting = 0
        self._consumer: Any = None

    async def start(self) -> None:
        """Connect and seek to the first records.

        Raises:
            BrokerError: no broker answers.
        """
        self._consumer = new_consumer(
            self._settings,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=EMBEDDED_FETCH_WAIT_MS if self._settings.embedded else FETCH_WAIT_MS,
            max_partition_fetch_bytes=2 << 20,
        )
        async with connecting(self._settings):
            await self._consumer.start()
        self._consumer.assign(self._partitions)
        for partition, start in (await self._log.starts(self._partitions)).items():
            self._consumer.seek(partition, start)
            self._positions[partition] = start

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    @property
    def clients(self) -> list[Any]:
        """Clients of aiokafka, while connected."""
        return clients_of(self._consumer)

    async def run(self) -> None:
        """Apply records as they arrive, until cancelled."""
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=200, max_records=2_000)
            except OffsetOutOfRangeError as error:
                for partition, start in (await self._log.starts(list(error.args[0]))).items():
                    self._consumer.seek(partition, start)
                continue
            await apply_all_in_turns(self.tables, fetched.values(), self._still)
            if self._waiting:  # the fetch position also moves past markers and compacted records
                for partition in self._partitions:
                    self._positions[partition] = await self._consumer.position(partition)
                self._moved.set()
                self._moved = asyncio.Event()
            elif 0 < sum(map(len, fetched.values())) < FEW:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._waited_for.wait(), PACE_S)

    async def caught_up(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """See [`CatchesUp.caught_up`][].

        Raises:
            BrokerError: the broker returned nothing within the send timeout.
        """
        ends = await self._log.ends(self._partitions if partitions is None else partitions)
        self._waiting += 1
        self._waited_for.set()
        try:
            before, deadline = -1, 0.0
            while behind := [p for p, end in ends.items() if self._positions[p] < end]:
                if (reached := sum(self._positions.values())) != before:
                    before, deadline = reached, time.monotonic() + self._settings.send_timeout_s
                elif time.monotonic() > deadline:
                    raise BrokerError.no_records(behind[0], self._positions[behind[0]])
                await self._moved.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._waited_for.clear()
