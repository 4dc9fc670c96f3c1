"""Messages of pairs that come back to their sender are not decoded, and nothing else changes."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import numpy as np
import pytest

from streams.kafka.memory_log import StoredRecord
from streams.wire.pair_deltas import DecodedPairs
from streams.worker import expected_pairs, neighbour_task
from streams.worker.expected_pairs import ExpectedPairs
from tests.support.world import PARTITIONS, Process, Shop


def pairs_of(offset: int, source: str = "clicks-0") -> DecodedPairs:
    item = np.array([offset], np.int32)
    return DecodedPairs(source, offset, offset, item, item - 1, item.astype(np.int8), np.ones(1), np.ones(1))


def record(value: bytes, partition: int = 0, key: bytes = b"clicks-0") -> StoredRecord:
    return StoredRecord("pairs", partition, 0, 0, key, value)


def test_exactly_what_was_sent_there_is_known_once() -> None:
    expected, sent = ExpectedPairs(), [pairs_of(number) for number in range(4)]
    expected.watch(0)
    for number, pairs in enumerate(sent):
        expected.add(b"clicks-0", 0, b"message %d" % number, pairs)
    assert expected.take(record(b"message 0")) is sent[0]
    assert expected.take(record(b"message 0")) is None  # it came twice
    assert expected.take(record(b"message 1", partition=1)) is None
    assert expected.take(record(b"message 1", key=b"clicks-1")) is None
    assert expected.take(record(b"of another worker")) is None
    assert expected.take(record(b"message 2")) is sent[2]
    assert expected.take(record(b"message 1")) is None  # it would have come before
    assert expected.held().tolist() == [3, 2]
    assert expected.take(record(b"message 3")) is sent[3]
    assert expected.nbytes == 0


def test_only_messages_to_our_own_partitions_are_kept_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ExpectedPairs()
    expected.add(b"clicks-0", 0, b"to another worker", pairs_of(0))
    assert expected.nbytes == 0
    expected.watch(0)
    expected.add(b"clicks-0", 0, b"message", pairs_of(1))
    size = expected.nbytes
    assert size > len(b"message")
    monkeypatch.setattr(expected_pairs, "MAX_BYTES", 2 * size - 1)
    expected.add(b"clicks-0", 0, b"one more", pairs_of(2))
    assert expected.nbytes == size
    expected.unwatch(0)
    assert (expected.nbytes, expected.take(record(b"message"))) == (0, None)


def _visits(shop: Shop) -> None:
    for shopper in range(6):
        for place in range(4):
            shop.click(f"user-{shopper}", f"item-{(shopper + place * place) % 7}", 100.0 * shopper + place)


async def _rows(shop: Shop, *, again: bool) -> dict[str, dict[str, Any]]:
    """What is learnt; the messages may be in the log twice, the second time behind all others."""
    process = Process(shop)
    await process.take_over_all()
    await process.complete()
    if again:
        for partition in range(PARTITIONS):
            for message in shop.log.records("pairs", partition):
                shop.log.append("pairs", partition, message.key, message.value)
    await process.complete()
    assert process.context.expected_pairs.nbytes == 0
    await process.die()
    return {**shop.rows()}


@pytest.mark.parametrize("again", [False, True])
def test_the_rows_are_those_of_decoded_messages(monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    decoded, known = Shop(), Shop()
    for shop in (decoded, known):
        _visits(shop)

    def undecodable(*_: object) -> NoReturn:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(ExpectedPairs, "take", lambda *_: None)
        patched.setattr(ExpectedPairs, "add", lambda *_: None)
        rows = asyncio.run(_rows(decoded, again=again))
    if not again:
        monkeypatch.setattr(neighbour_task, "decode_pairs", undecodable)
    assert asyncio.run(_rows(known, again=again)) == rows
    assert len(rows) == 7
