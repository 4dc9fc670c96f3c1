"""Runs of a fetch are what aiokafka's parser, made tolerant, yields record by record."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from streams.kafka import unreadable
from streams.wire.record import Record, Unreadable, raw_value
from streams.wire.record_run import RecordRun
from tests.support.batches import CODECS, at, with_attributes

PARTITION = TopicPartition("clicks", 3)
NOW_MS = 1_700_000_000_000

unreadable.tolerate_unreadable()


_Original = unreadable._TolerantRecords.__mro__[1]


class OneByOne(_Original):  # type: ignore[misc, valid-type]
    """The records as aiokafka yields them, with unreadable ones."""

    def _unpack_records(self) -> Iterator[Record]:
        return unreadable._tolerant(self, super()._unpack_records, self._tp, self._records)


_part = st.none() | st.binary(max_size=6) | st.binary(min_size=60, max_size=70)
_headers = st.lists(
    st.tuples(st.text(max_size=3) | st.sampled_from(["trace", "é"]), st.none() | st.binary(max_size=3)), max_size=2
)
_record = st.tuples(_part, _part, st.just([]) | _headers, st.integers(0, 5), st.integers(-300, 300))
_batch = st.fixed_dictionaries(
    {
        "records": st.lists(_record, min_size=1, max_size=6),
        "codec": st.sampled_from([*CODECS, "none", "none"]),
        "bits": st.sampled_from([0, 0, 0, 0x08, 0x10, 0x20, 0x48]),
        "producer": st.sampled_from([-1, 7]),
        "gap": st.integers(0, 3),
        "left_out": st.integers(0, 3),  # offsets at the end that compaction removed
        "damage": st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2),
        "sealed": st.booleans(),
        "first_ms": st.sampled_from([NOW_MS, NOW_MS, 0, 1, -1]),
    }
)


def _built(batch: dict[str, Any], base: int) -> tuple[bytes, int]:
    """A batch at a base offset, and the offset after it."""
    builder = DefaultRecordBatchBuilder(2, CODECS.index(batch["codec"]), 0, batch["producer"], 0, 0, 1 << 31)
    offset = -1
    for key, value, headers, skipped, ms in batch["records"]:
        offset += 1 + skipped
        builder.append(offset, max(-1, batch["first_ms"] + ms), key, value, headers)
    last = offset + batch["left_out"]
    raw = bytearray(builder.build())
    struct.pack_into(">i", raw, 23, last)
    for place, byte in batch["damage"]:
        if 21 <= (place := 21 + place % (len(raw) - 21)) and not 23 <= place < 27:  # not the last offset
            raw[place] = byte
    whole = with_attributes(bytes(raw), lambda bits: bits | batch["bits"])  # seals it
    if batch["damage"] and not batch["sealed"]:
        whole = whole[:17] + raw[17:21] + whole[21:]
    return at(base, whole), base + last + 1


def _fields(record: Record) -> tuple[object, ...]:
    kind = isinstance(record, Unreadable)
    fault = record.fault if isinstance(record, Unreadable) else None
    timestamp_type = getattr(record, "timestamp_type", None)
    where = record.topic, record.partition, record.offset, record.timestamp, timestamp_type
    return kind, fault, where, record.key, raw_value(record), tuple(record.headers)


@contextmanager
def _failures(counts: dict[tuple[object, int], int]) -> Iterator[None]:
    """Count fetches of batches with wrong checksums here."""
    before, unreadable._crc_failures = unreadable._crc_failures, counts
    try:
        yield
    finally:
        unreadable._crc_failures = before


def _taken(fetched: fetcher.PartitionRecords, takes: Sequence[int]) -> list[tuple[object, ...]]:
    """All records of a fetch, taken in runs of at most so many, and then the rest."""
    found, over = [], False
    for most in [*takes, None]:
        run, over = fetched.take(most)
        assert isinstance(run, RecordRun)
        assert most is None or len(run) <= most
        assert [_fields(record) for record in run] == [_fields(run[i]) for i in range(len(run))]
        found += [_fields(record) for record in run]
        assert not run or fetched.next_fetch_offset > run.last_offset
    assert over
    return found


@given(
    st.lists(_batch, min_size=1, max_size=5),
    st.integers(0, 12),
    st.integers(0, 80),
    st.lists(st.integers(1, 7), max_size=6),
    st.lists(st.tuples(st.just(7), st.integers(0, 40)), max_size=2),
)
@settings(max_examples=600, deadline=None)
def test_runs_are_what_aiokafka_yields(
    batches: Sequence[dict[str, Any]],
    start: int,
    cut: int,
    takes: Sequence[int],
    aborted: Sequence[tuple[int, int]],
) -> None:
    log, base = b"", 0
    for batch in batches:
        base += batch["gap"]
        raw, base = _built(batch, base)
        log += raw
    log = log[: len(log) - cut] if cut > 60 else log
    options = [start, None, None, True, 1]
    failures: dict[str, dict[tuple[object, int], int]] = {"one by one": {}, "runs": {}}
    for _ in range(unreadable.CRC_FETCHES):  # the last fetch gives damaged batches up
        with _failures(failures["one by one"]):
            expected = OneByOne(PARTITION, unreadable._batches(log), list(aborted), *options)
            wanted = [_fields(record) for record in expected]
        with _failures(failures["runs"]):
            fetched = fetcher.PartitionRecords(PARTITION, unreadable._batches(log), list(aborted), *options)
            found = _taken(fetched, takes)
        assert found == wanted
        assert list(failures["runs"].values()) == list(failures["one by one"].values())
        if failures["runs"]:  # it is fetched again from the bad batch, and not from offsets removed before it
            assert fetched.next_fetch_offset >= expected.next_fetch_offset
        else:
            assert fetched.next_fetch_offset == expected.next_fetch_offset
