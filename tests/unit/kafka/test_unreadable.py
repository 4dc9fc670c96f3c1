"""Records that a Kafka client cannot parse: both clients, and both parsers of aiokafka, deliver them and go on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import aiokafka
import kafka.consumer.fetcher
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from streams.connectors.jsonl import Line
from streams.drills.raw_producer import RECORDS_AT
from streams.errors import CodecError, RecordError
from streams.kafka import unreadable
from streams.wire.codec import dead_letter, decode_dead_letter
from streams.wire.record import Record, Unreadable, raw_value
from tests.support.batches import (
    CODECS,
    at,
    batch,
    batch_of,
    garbled,
    sealed,
    with_attributes,
    with_count,
    with_last_delta,
    with_offset_delta,
)

PARTITION = TopicPartition("clicks", 0)
ROOT = Path(__file__).parents[3]

Read = Callable[[bytes, int], tuple[list[Record], int]]
"""Parses a fetch from an offset on; returns its records, and from where the client fetches next."""


def read_aiokafka(data: bytes, start: int) -> tuple[list[Record], int]:
    unreadable.tolerate_unreadable()
    records = fetcher.MemoryRecords(data)
    parsed = fetcher.PartitionRecords(PARTITION, records, [], start, None, None, True, 1)
    return list(parsed), parsed.next_fetch_offset


def read_kafka_python(data: bytes, start: int) -> tuple[list[Record], int]:
    class Fetcher:
        PartitionRecords = kafka.consumer.fetcher.Fetcher.PartitionRecords

    class Consumer:
        _fetcher = Fetcher()

    consumer = Consumer()
    unreadable.tolerate_unreadable_blocking(consumer)
    parsed = consumer._fetcher.PartitionRecords(start, PARTITION, MemoryRecords(data), isolation_level=1)
    return parsed.take(1_000_000), parsed.next_fetch_offset


CLIENTS = {"aiokafka": read_aiokafka, "kafka-python": read_kafka_python}


@pytest.fixture(params=list(CLIENTS))
def read(request: pytest.FixtureRequest) -> Read:
    """Each client in turn."""
    return CLIENTS[request.param]


def fetched(read: Read, log: bytes, start: int = 0) -> list[Record]:
    """All records of a log, fetched until its end as a consumer would; each fetch starts with a whole batch."""
    bases = []
    position = 0
    while position < len(log):
        bases.append((int.from_bytes(log[position : position + 8], "big"), position))
        position += 12 + int.from_bytes(log[position + 8 : position + 12], "big")
    found: list[Record] = []
    for _ in range(10 * len(bases)):
        first = max(place for base, place in bases if base <= max(start, bases[0][0]))
        records, after = read(log[first:], start)
        found += records
        if after >= bases[-1][0] + 3:
            return found
        start = after
    pytest.fail(f"no end after offset {start}")


def around(bad: bytes) -> bytes:
    """A log: three good records from 10 on, a batch that claims 13 to 15, three good records from 16 on."""
    return batch("gzip", base=10) + at(13, bad) + batch(base=16)


WHOLE: dict[str, bytes] = {
    **{f"garbage in {codec}": garbled(batch(codec)) for codec in CODECS[1:]},
    "an unknown codec": with_attributes(batch(), lambda _: 7),
    "a checksum that is wrong": batch()[:-1] + b"!",
    "a batch that is cut off": sealed(batch()[:RECORDS_AT]),
    "10 million records that are not there": with_last_delta(with_count(batch()[: RECORDS_AT + 5], 10_000_000), 2),
    "an offset beyond the batch": with_offset_delta(batch(), 60),
}
"""Batches none of whose records can be read, by what is wrong."""


@pytest.mark.parametrize("codec", CODECS)
def test_a_bad_header_makes_its_record_unreadable_and_no_other(read: Read, codec: str) -> None:
    records = fetched(read, around(batch(codec, bad=1)), 10)
    assert [record.offset for record in records] == list(range(10, 19))
    (bad,) = [record for record in records if isinstance(record, Unreadable)]
    assert (bad.offset, bad.key, bad.recovered_value) == (14, b"k1", b"value 1")
    assert bad.timestamp == records[3].timestamp + 1
    with pytest.raises(RecordError, match=r"^clicks-0@14: .* got a header whose name is not UTF-8 \(b'\\xff\\xfe'\)$"):
        _ = bad.value
    good = [record for record in records if record is not bad]
    assert [raw_value(record) for record in good] == [b"value %d" % n for n in (0, 1, 2, 0, 2, 0, 1, 2)]
    assert [(record.key, record.timestamp) for record in records[3:6]] == [
        (b"k%d" % n, records[0].timestamp + n) for n in range(3)
    ]


@pytest.mark.parametrize("wrong", list(WHOLE))
def test_a_batch_that_cannot_be_read_is_unreadable_at_each_of_its_offsets(read: Read, wrong: str) -> None:
    records = fetched(read, around(WHOLE[wrong]), 10)
    assert [record.offset for record in records] == list(range(10, 19))
    assert [isinstance(record, Unreadable) for record in records] == 3 * [False] + 3 * [True] + 3 * [False]
    assert {raw_value(record) for record in records[3:6]} == {None}


def test_offsets_that_do_not_exist_before_a_bad_batch_are_not_unreadable(read: Read) -> None:
    bad = WHOLE["a checksum that is wrong"]
    records = fetched(read, batch(base=10) + at(16, bad) + batch(base=19), 10)
    assert [record.offset for record in records] == [10, 11, 12, 16, 17, 18, 19, 20, 21]


@pytest.mark.parametrize(("count", "read_well"), [(4, 3), (2, 2)])
def test_a_wrong_number_of_records_hides_none(read: Read, count: int, read_well: int) -> None:
    records = fetched(read, around(with_count(batch(), count)), 10)
    assert [record.offset for record in records] == list(range(10, 19))
    assert [isinstance(record, Unreadable) for record in records[3:6]] == read_well * [False] + (3 - read_well) * [True]


def test_a_fetch_that_starts_in_the_middle_of_a_bad_batch_delivers_the_rest_of_it(read: Read) -> None:
    log = around(batch("lz4", bad=1))
    assert [record.offset for record in fetched(read, log, 14)] == [14, 15, 16, 17, 18]
    assert [record.offset for record in fetched(read, log, 15)] == [15, 16, 17, 18]


def test_a_batch_with_a_last_offset_before_its_first_does_not_stop_the_reader(read: Read) -> None:
    records, after = read(at(13, with_last_delta(batch(), -100)), 13)
    assert [record.offset for record in records][:1] == [13]
    assert after > 13


def test_the_unreadable_records_of_one_batch_are_bounded(read: Read) -> None:
    claims_millions = with_last_delta(garbled(batch("zstd")), 10_000_000)
    records, after = read(claims_millions, 0)
    assert len(records) == unreadable.MAX_UNREADABLE
    assert after == 10_000_001
    assert isinstance(records[-1], Unreadable)
    assert "the same holds up to offset 10000000" in records[-1].fault


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_bomb_is_unreadable_and_the_stream_goes_on(read: Read, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.codecs.MAX_BATCH_BYTES", 1 << 20)
    bomb = batch_of([b"x", bytes(1 << 20), b"y"], codec)
    records = fetched(read, around(bomb), 10)
    assert [record.offset for record in records if isinstance(record, Unreadable)] == [13, 14, 15]
    assert [record.offset for record in records] == list(range(10, 19))


def test_a_fetch_ends_when_it_has_grown_too_large(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1 << 16
    monkeypatch.setattr("streams.kafka.unreadable.MAX_FETCH_BYTES", 2 * size)
    log = b"".join(batch_of([bytes(size)], "zstd", base=n) for n in range(8)) + batch(base=8)
    records, after = read(log, 0)
    assert after == len(records) == 2
    assert [record.offset for record in fetched(read, log)] == list(range(11))


def test_a_good_batch_with_a_wrong_checksum_once_is_read(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    assert read(batch(base=40)[:-1] + b"!", 40) == ([], 40)
    assert "clicks-0@40" in caplog.text
    records, _ = read(batch(base=40), 40)
    assert [raw_value(record) for record in records] == [b"value 0", b"value 1", b"value 2"]


def test_control_batches_and_empty_ones_are_passed_over_even_if_they_are_wrong(read: Read) -> None:
    control = with_attributes(batch(bad=0), lambda attributes: attributes | 0x20)
    empty = with_last_delta(with_count(batch()[:RECORDS_AT], 0), 2)  # as compaction leaves them
    for passed_over in (control, empty):
        assert [record.offset for record in fetched(read, around(passed_over), 10)] == [10, 11, 12, 16, 17, 18]


def test_compacted_offsets_stay_holes(read: Read) -> None:
    compacted = with_last_delta(batch(bad=1, records=2), 2)  # the record at 15 is gone
    assert [record.offset for record in fetched(read, around(compacted), 10)] == [10, 11, 12, 13, 14, 16, 17, 18]


def test_a_missing_library_is_no_fault_of_a_record(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    log = batch("zstd")
    monkeypatch.setattr("aiokafka.codec.cramjam", None)
    monkeypatch.setattr("kafka.codec.zstd", None)
    with pytest.raises(CodecError, match="records compressed with snappy cannot be read: .* aiokafka"):
        read(log, 0)


def test_old_formats_are_read_and_one_that_cannot_be_is_unreadable(read: Read) -> None:
    def legacy(magic: int, codec: int, offset: int) -> bytes:
        builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
        for n in range(3 if codec else 1):
            builder.append(offset + n, 1_700_000_000_000, b"k", b"old %d" % n)
        return bytes(builder.build())

    for magic in (0, 1):
        (plain,), after = read(legacy(magic, 0, 5), 5)
        assert (plain.offset, plain.value, after) == (5, b"old 0", 6)
        broken = legacy(magic, 0, 5)[:-1] + b"!"
        for _ in range(unreadable.CRC_FETCHES - 1):
            assert read(broken, 5) == ([], 5)
        (bad,), after = read(broken, 5)
        assert isinstance(bad, Unreadable)
        assert (bad.offset, after) == (5, 6)
    compressed, after = read(at(7, legacy(1, 1, 0)), 5)  # its offset is that of its last record
    assert [record.value for record in compressed] == [b"old 0", b"old 1", b"old 2"]


def test_mutated_batches_raise_nothing_and_every_offset_after_them_is_delivered(read: Read) -> None:
    draw, seen = random.Random(1), 0
    for _ in range(300):
        buffer = bytearray(batch(draw.choice(CODECS)))
        for _ in range(draw.randint(1, 3)):
            first = draw.choice([21, 21, RECORDS_AT])
            buffer[draw.randrange(first, len(buffer))] = draw.randrange(256)
        records = fetched(read, around(with_last_delta(bytes(buffer), 2)), 10)  # a broker sets the last offset itself
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))
        assert offsets[:3] + offsets[-3:] == [10, 11, 12, 16, 17, 18]
        seen += any(isinstance(record, Unreadable) for record in records)
    assert seen > 50


def test_the_dead_letter_has_the_value_where_it_could_be_read() -> None:
    lost = Unreadable("clicks", 3, 7, 0, None, None, "garbage")
    kept = Unreadable("clicks", 3, 8, 0, b"ann", b"{}", "a header whose name is not UTF-8")
    for record, key, value in ((lost, None, None), (kept, "YW5u", "e30=")):
        with pytest.raises(RecordError) as refused:
            _ = record.value
        letter_key, letter = dead_letter(record, refused.value, 1_700_000_000_000)
        assert letter_key == b"clicks"
        decoded = decode_dead_letter(Line("dead-letters", 0, letter_key, letter))
        assert (decoded.topic, decoded.partition, decoded.offset) == ("clicks", 3, record.offset)
        assert (decoded.key, decoded.value, decoded.path) == (key, value, None)
        assert record.fault in decoded.reason


def test_what_is_replaced_is_still_there() -> None:
    assert aiokafka.__version__ == "0.14.0"
    assert {"MemoryRecords", "PartitionRecords", "FetchResult"} <= set(vars(fetcher))
    assert "_unpack_records" in vars(unreadable._TolerantRecords.__mro__[1])
    assert {"getall", "check_assignment", "has_more", "_update_position"} <= set(vars(unreadable._RunResult.__mro__[1]))
    assert hasattr(kafka.consumer.fetcher.Fetcher.PartitionRecords, "_unpack_records")


def test_aiokafkas_parser_in_python_is_covered_too() -> None:
    """The tests above, in a process where aiokafka has no extensions in C."""
    if os.environ.get("AIOKAFKA_NO_EXTENSIONS"):
        pytest.skip("this is that process")
    arguments: Sequence[str] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "aiokafka", __file__]
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
