"""The producer: in order, retried in place, and loud when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from streams.errors import SendError
from streams.kafka.memory_log import MemoryLog
from streams.kafka.producer import PACKET_RECORDS, BatchingProducer, Message

MAX_BYTES = 1000


def passing() -> SendError:
    return SendError("t", 0, "not enough replicas", passing=True)


def producer_on(log: MemoryLog, timeout_s: float = 5.0) -> tuple[BatchingProducer, list[BaseException]]:
    failures: list[BaseException] = []
    return BatchingProducer(log, timeout_s=timeout_s, on_failure=failures.append), failures


def values(log: MemoryLog, topic: str = "t") -> list[bytes | None]:
    return [r.value for r in log.records(topic, 0)]


async def test_a_failed_send_is_retried_in_place_and_nothing_overtakes_it() -> None:
    log = MemoryLog(clock=lambda: 0)
    log.failures = [passing(), passing()]
    producer, failures = producer_on(log)
    producer.enqueue("t", 0, None, b"first")
    await asyncio.sleep(0)
    producer.enqueue("t", 0, None, b"second")
    await producer.wait_acked(producer.mark())
    assert not failures
    assert producer.retries == 2
    assert producer.bytes == 0
    assert values(log) == [b"first", b"second"]


async def test_a_failure_reaches_every_waiter_and_nothing_counts_as_sent() -> None:
    log = MemoryLog(clock=lambda: 0)
    log.failures = [SendError("t", 0, "too large", passing=False)]
    producer, failures = producer_on(log)
    producer.enqueue("t", 0, None, b"lost?")
    with pytest.raises(SendError, match="too large"):
        await producer.wait_acked(producer.mark())
    producer.enqueue("t", 0, None, b"later")
    with pytest.raises(SendError):
        await producer.wait_acked(producer.mark())
    assert values(log) == []
    assert len(failures) == 1


async def test_it_fails_after_its_timeout() -> None:
    log = MemoryLog(clock=lambda: 0)
    log.failures = [passing() for _ in range(100)]
    producer, failures = producer_on(log, timeout_s=0.2)
    producer.enqueue("t", 0, None, b"x")
    with pytest.raises(SendError, match="not enough replicas"):
        await producer.wait_acked(producer.mark())
    assert failures


async def test_messages_enqueued_while_a_packet_is_under_way_leave_as_one_packet() -> None:
    class Slow(MemoryLog):
        def __init__(self) -> None:
            super().__init__(clock=lambda: 0)
            self.packets: list[int] = []

        async def send(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
            self.packets.append(len(packet))
            await asyncio.sleep(0.01)
            await super().send(topic, partition, packet)

    log = Slow()
    producer, _ = producer_on(log)
    producer.enqueue("t", 0, None, b"0")
    await asyncio.sleep(0)
    for i in range(PACKET_RECORDS + 1):
        producer.enqueue("t", 0, None, b"%d" % i)
    assert producer.bytes > MAX_BYTES
    await producer.wait_acked(producer.mark())
    assert producer.bytes <= MAX_BYTES
    assert log.packets == [1, PACKET_RECORDS, 1]


async def test_a_mark_waits_only_for_messages_enqueued_before_it() -> None:
    log = MemoryLog(clock=lambda: 0)
    producer, _ = producer_on(log)
    producer.enqueue("t", 0, None, b"x")
    mark = producer.mark()
    log_b = log.failures
    await producer.wait_acked(mark)
    log_b.append(SendError("u", 0, "never", passing=True))
    producer.enqueue("u", 0, None, b"y")
    await producer.wait_acked(mark)
