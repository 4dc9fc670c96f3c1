"""Global tables pass over what nobody can have written, count it, and say it now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest
from aiokafka import TopicPartition

from models.cooccurrence.count_kernel import CutRows
from models.cooccurrence.counter import Row
from streams.kafka import expected_rows, global_tables
from streams.kafka.expected_rows import PublishedRows
from streams.kafka.global_tables import MAX_MODELS, TABLE_TOPICS, GlobalTableReader, GlobalTables, apply_in_turns
from streams.kafka.memory_log import MemoryLog, StoredRecord
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.neighbour_rows import encode_row
from streams.wire.partitioner import partition_of
from streams.wire.record_run import RecordRun
from streams.wire.topics import Identity
from tests.support.internal_records import FORGED, WRITTEN

IDENTITIES = {topic: Identity("id", 8) for topic in TABLE_TOPICS}
PLACES = {"row": partition_of(b"kettle", 8), "progress": 3, "announcement": partition_of(b"sequence", 8)}


def _unusable(metrics: Metrics, topic: str) -> float:
    return metrics.registry.get_sample_value("crosscurrent_mirror_unusable_total", {"topic": topic}) or 0.0


@pytest.mark.parametrize("kind", PLACES)
def test_a_record_in_a_partition_that_is_not_its_keys_is_passed_over(kind: str) -> None:
    [internal] = [written for written in WRITTEN if written.kind == kind]
    for partition in range(8):
        metrics = Metrics()
        tables = GlobalTables(Settings(), metrics, identities=IDENTITIES)
        tables.apply(internal.record(partition=partition))
        held = bool(tables.progress or tables.announced or len(tables.neighbours))
        assert held is (partition == PLACES[kind])
        assert _unusable(metrics, internal.topic) == (not held)


def test_progress_of_partitions_that_do_not_exist_is_passed_over() -> None:
    metrics = Metrics()
    tables = GlobalTables(Settings(), metrics, identities=IDENTITIES)
    for number in range(0, 80, 8):  # all of them belong in partition 0
        name = f"shoppers-{number}"
        tables.apply(
            StoredRecord("progress", 0, 0, 0, name.encode(), b'{"v":1,"lane":"%b","topics":{}}' % name.encode())
        )
    assert list(tables.progress) == ["shoppers-0"]
    assert _unusable(metrics, "progress") == 9


def test_made_up_models_are_held_up_to_a_bound() -> None:
    [internal] = [written for written in WRITTEN if written.kind == "announcement"]
    metrics = Metrics()
    tables = GlobalTables(Settings(), metrics)
    for number in range(MAX_MODELS + 5):
        model, value = f"model-{number}".encode(), internal.value or b""
        tables.apply(internal._replace(key=model, value=value.replace(b"sequence", model)).record())
    assert len(tables.announced) == MAX_MODELS
    assert _unusable(metrics, "snapshots") == 5
    tables.apply(internal._replace(key=b"model-0", value=None).record())
    tables.apply(internal._replace(key=b"sequence").record())
    assert "sequence" in tables.announced


@pytest.mark.parametrize("kind", ["row", "position"])
def test_a_date_far_ahead_is_refused(kind: str) -> None:
    [internal] = [written for written in WRITTEN if written.kind == kind]
    ahead = f'"at":{time.time() + 2 * 86_400:.1f}'.encode()
    metrics = Metrics()
    tables = GlobalTables(Settings(), metrics, identities=IDENTITIES)
    value = (internal.value or b"").replace(b'"at":1773480413.5', ahead)
    tables.apply(internal._replace(value=value).record(partition=PLACES["row"]))
    assert not (tables.positions or len(tables.neighbours))
    assert _unusable(metrics, "neighbours") == 1


def test_forged_records_are_counted_each_and_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    tables = GlobalTables(Settings(), metrics, identities=IDENTITIES)
    forged = [internal for internal in FORGED.values() if internal.topic in TABLE_TOPICS]
    for internal in forged:
        tables.apply(internal.record())
    assert not (tables.progress or tables.forgotten or tables.positions or tables.announced or len(tables.neighbours))
    topics = {internal.topic for internal in forged}
    assert sum(_unusable(metrics, topic) for topic in topics) == len(forged)
    assert len([record for record in caplog.records if "passed over" in record.message]) == len(topics)


async def test_others_get_a_turn_after_each_record_that_takes_long_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.global_tables.TURN_S", 0.0)
    metrics = Metrics()
    tables = GlobalTables(Settings(), metrics, identities=IDENTITIES)
    value = b'{"v":1,"item_id":"mug","title":"Mug","category":"Kitchen","price":-1,"x":[' + b"1," * 40_000 + b"1]}"
    hostile = [StoredRecord("catalog", 0, offset, 0, b"mug", value) for offset in range(10)]
    turns = 0

    async def serve() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    serving = asyncio.create_task(serve())
    await apply_in_turns(tables, hostile)
    serving.cancel()
    assert turns >= len(hostile)


def _row(baskets: float, position: int) -> Row:
    counts = np.array([[0, 3, 0]], np.int32)
    return Row("kettle", position, 1e9, (0.0, baskets), (0, 5), ["mug"], np.array([[0.0, 2.0, 0.0]]), counts)


def _record(row: Row, value: bytes, offset: int = 0) -> StoredRecord:
    return StoredRecord("neighbours", 0, offset, 0, row.item_id.encode(), value)


def _expect(tables: GlobalTables, rows: Sequence[Row], values: Sequence[bytes]) -> None:
    """Have the tables expect rows of one position, as their owner does once it has enqueued them."""
    neighbours = [tables.items.indices(row.neighbours) for row in rows]
    columns = CutRows(
        tables.items.indices([row.item_id for row in rows]),
        np.array([row.at for row in rows]),
        np.array([row.own for row in rows]),
        np.array([row.own_count for row in rows]),
        np.cumsum([0, *map(len, neighbours)]),
        np.concatenate(neighbours),
        np.concatenate([row.weights for row in rows]),
        np.concatenate([row.counts for row in rows]),
    )
    published = PublishedRows(0, rows[0].position, columns)
    tables.expected_rows.add(published, [row.item_id.encode() for row in rows], values)


def test_a_row_that_this_process_has_published_need_not_be_decoded() -> None:
    tables, row = GlobalTables(Settings(), Metrics()), _row(4.0, 7)
    value = b"known, so never looked at"
    _expect(tables, [row], [value])
    tables.apply(_record(row, value))
    served = tables.neighbours.row("kettle")
    assert served is not None
    assert (served.position, served.own, served.neighbours) == (7, (0.0, 4.0), ["mug"])


def test_what_another_process_has_published_is_decoded() -> None:
    tables, ours, theirs = GlobalTables(Settings(), Metrics()), _row(4.0, 7), _row(8.0, 9)
    _expect(tables, [ours], [encode_row(ours)])
    tables.apply(_record(theirs, encode_row(theirs)))
    tables.apply(_record(ours, encode_row(ours), 1))  # late: it is older
    served = tables.neighbours.row("kettle")
    assert served is not None
    assert served.own == (0.0, 8.0)
    assert tables.take_regressed(0) == {"kettle"}


def test_rows_are_known_again_behind_rows_of_others_and_behind_those_that_compaction_has_removed() -> None:
    tables, value = GlobalTables(Settings(), Metrics()), "known, so never looked at"
    rows = [_row(float(place), 7) for place in range(6)]
    for place, row in enumerate(rows):
        row.item_id = f"item-{place}"
    theirs = _row(8.0, 7)
    values = [f"{value} {place}".encode() for place in range(6)]
    _expect(tables, rows[:4], values[:4])
    for row in rows[4:]:
        row.position = 9
    _expect(tables, rows[4:], values[4:])
    foreign = _record(theirs, encode_row(theirs))
    own = [_record(row, value) for row, value in zip(rows, values, strict=True)]
    for record in [own[0], foreign, own[2], own[3], own[5]]:
        tables.apply(record)
    assert [name for name in (*[row.item_id for row in rows], "kettle") if tables.neighbours.row(name) is not None] == [
        "item-0", "item-2", "item-3", "item-5", "kettle",
    ]  # fmt: skip
    assert tables.expected_rows.nbytes == 0


def test_rows_that_never_come_make_room_once_later_ones_are_read() -> None:
    tables, lost, late = GlobalTables(Settings(), Metrics()), _row(4.0, 7), _row(5.0, 9)
    _expect(tables, [lost], [b"never appended"])
    _expect(tables, [late], [b"known, so never looked at"])
    other = _row(6.0, 8)
    tables.apply(_record(other, encode_row(other)))
    tables.apply(_record(late, b"known, so never looked at"))
    assert tables.neighbours.position(tables.items.find("kettle")) == 9
    assert tables.expected_rows.nbytes == 0


def test_a_row_whose_key_is_another_item_is_not_ours() -> None:
    metrics = Metrics()
    tables, row = GlobalTables(Settings(), metrics), _row(4.0, 7)
    _expect(tables, [row], [encode_row(row)])
    tables.apply(StoredRecord("neighbours", 0, 0, 0, b"saucer", encode_row(row)))
    assert len(tables.neighbours) == 0
    assert _unusable(metrics, "neighbours") == 1


class _Fetches:
    """A consumer that brings a record, and then none."""

    def __init__(self, records: RecordRun) -> None:
        self._records = [records]

    async def getmany(self, **_: object) -> dict[TopicPartition, RecordRun]:
        await asyncio.sleep(0)
        return {TopicPartition("neighbours", 0): records for records in [self._records.pop()]} if self._records else {}

    async def position(self, partition: TopicPartition) -> int:
        return 1 if partition.topic == "neighbours" else 0


async def test_a_pause_between_polls_ends_once_somebody_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(global_tables, "PACE_S", 3600.0)
    log, row = MemoryLog(clock=lambda: 0), _row(4.0, 7)
    identities = {topic: Identity(topic, 1) for topic in TABLE_TOPICS}
    tables = GlobalTables(Settings(), Metrics(), identities=identities)
    reader = GlobalTableReader(Settings(), identities, tables, log)
    reader._consumer = _Fetches(RecordRun.of([_record(row, encode_row(row))]))
    reader._positions = dict.fromkeys(reader._partitions, 0)
    reading = asyncio.create_task(reader.run())
    while tables.neighbours.row("kettle") is None:
        await asyncio.sleep(0)
    log.append("neighbours", 0, b"kettle", encode_row(row))
    await asyncio.wait_for(reader.caught_up(), 10)
    reading.cancel()


def test_only_so_many_rows_are_known_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_rows, "EXPECTED_ROWS", 0)
    metrics = Metrics()
    tables, row = GlobalTables(Settings(), metrics), _row(4.0, 7)
    _expect(tables, [row], [b"nothing that can be decoded"])
    tables.apply(_record(row, b"nothing that can be decoded"))
    assert tables.neighbours.row("kettle") is None
    assert _unusable(metrics, "neighbours") == 1


def _mixed(chance: np.random.Generator, number: int) -> list[Row]:
    """Rows of six items at rising positions, now and then of an older one."""
    rows = []
    for position in range(number):
        names = [f"item-{place}" for place in chance.permutation(6)[: chance.integers(1, 6)]]
        item_id, *neighbours = names
        weights = chance.random((len(neighbours), 3))
        counts = chance.integers(0, 9, (len(neighbours), 3)).astype(np.int32)
        late = max(0, position - int(chance.choice([0, 0, 0, 7])))
        rows.append(
            Row(item_id, late, 1e9 + position, (0.5 * position, 1.0), (position, 5), neighbours, weights, counts)
        )
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_tables_are_the_same_whether_rows_are_expected_or_decoded(seed: int) -> None:
    """Some were published together, some by another process, some in another partition; some items are removed."""
    chance = np.random.default_rng(seed)
    told, untold = GlobalTables(Settings(), Metrics()), GlobalTables(Settings(), Metrics())
    for tables in (told, untold):
        tables.watch(0)
    rows, records = _mixed(chance, 120), list[StoredRecord]()
    first = 0
    while first < len(rows):
        together = [rows[first]]
        for row in rows[first + 1 : first + int(chance.integers(1, 9))]:
            if row.item_id not in {other.item_id for other in together}:
                row.position = together[0].position
                together.append(row)
        first += len(together)
        values = [encode_row(row) for row in together]
        if chance.random() < 0.7:
            _expect(told, together, values)
        elsewhere = int(chance.random() < 0.1)
        records += [
            StoredRecord("neighbours", elsewhere, 0, 0, row.item_id.encode(), value)
            for row, value in zip(together, values, strict=True)
        ]
        if chance.random() < 0.2:
            records.append(StoredRecord("neighbours", 0, 0, 0, b"item-3", None))
        while records and chance.random() < 0.7:
            some, records = records[:20], records[20:]
            done = 0
            while done < len(some):
                done = told.apply_some(some, done)
            for record in some:
                untold.apply(record)
    names = [f"item-{place}" for place in range(6)]
    for name in names:
        ours, theirs = told.neighbours.row(name), untold.neighbours.row(name)
        assert (ours is None) is (theirs is None)
        assert ours is None or theirs is None or encode_row(ours) == encode_row(theirs)
    assert len(told.neighbours) == len(untold.neighbours)
    for partition in range(2):
        assert told.items_of(partition) == untold.items_of(partition)
        assert told.take_regressed(partition) == untold.take_regressed(partition)
