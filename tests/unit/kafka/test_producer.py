"""The producer: in order, retried in place, and loud when it fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from streams.errors import SendError
from streams.kafka.memory_log import MemoryLog
from streams.kafka.produce_request import Where
from streams.kafka.producer import (
    LEFT_OUT,
    SHORTENED,
    BatchingProducer,
    Message,
    Packet,
    Settled,
)
from streams.wire.record_batches import OVERHEAD_BYTES, PACKET_BYTES, PACKET_RECORDS, Block, encoded_records

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


class Limited(MemoryLog):
    """A broker that takes no packet over a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(clock=lambda: 0)
        self.limit, self.refused = limit, 0

    async def send_packet(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        size = sum(message.size for message in packet)
        if size > self.limit:
            self.refused += 1
            raise SendError.over_limit(topic, partition, size, "max.message.bytes", self.limit)
        await super().send_packet(topic, partition, packet)


def halved(value: bytes) -> bytes | None:
    return value[: len(value) // 2] if len(value) > 1 else None


def limited(limit: int) -> tuple[Limited, BatchingProducer, list[BaseException], Counter[str]]:
    log, failures, outcomes = Limited(limit), list[BaseException](), Counter[str]()
    producer = BatchingProducer(
        log, timeout_s=5.0, on_failure=failures.append, on_too_large=lambda _, outcome: outcomes.update([outcome])
    )
    return log, producer, failures, outcomes


async def test_packets_over_the_limit_are_halved_and_keep_their_order() -> None:
    log, producer, failures, outcomes = limited(500)
    sent: list[bytes | None] = [b"%03d" % number * 20 for number in range(200)]
    for value in sent:
        producer.enqueue("t", 0, None, value)
    await producer.wait_acked(producer.mark())
    assert values(log) == sent
    assert (failures, outcomes, producer.bytes, producer.retries) == ([], {}, 0, 0)
    first_refused = log.refused
    for value in sent:
        producer.enqueue("t", 0, None, value)
    await producer.wait_acked(producer.mark())
    assert log.refused == first_refused  # the producer has learnt the limit


def block(values: Sequence[bytes]) -> Block:
    records = encoded_records([b"key"] * len(values), values)
    return Block(records, len(values), sum(Message(b"key", value).size for value in values))


async def test_blocks_are_sent_and_counted_as_their_messages() -> None:
    log = MemoryLog(clock=lambda: 0)
    log.failures = [passing()]
    producer, failures = producer_on(log)
    producer.enqueue_block("t", 0, block([b"0", b"1"]))
    await asyncio.sleep(0)
    producer.enqueue("t", 0, None, b"2")
    producer.enqueue_block("t", 0, block([b"3"]))
    assert producer.bytes == 4 * (OVERHEAD_BYTES + 1) + 3 * len(b"key")
    assert producer.mark() == {("t", 0): 4}
    await producer.wait_acked(producer.mark())
    assert values(log) == [b"0", b"1", b"2", b"3"]
    assert (failures, producer.bytes, producer.retries, producer.mark()) == ([], 0, 1, {})


async def test_blocks_leave_together_up_to_the_size_of_a_packet() -> None:
    packets = list[int]()

    class Noting(MemoryLog):
        async def send_packet(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
            packets.append(len(packet))
            await super().send_packet(topic, partition, packet)

    producer, _ = producer_on(Noting(clock=lambda: 0))
    for number in (1000, 1000, 1500, 400, 200):
        producer.enqueue_block("t", 0, block([b"v"] * number))
    for number in (3, 1, 1):
        producer.enqueue_block("u", 0, block([bytes(PACKET_BYTES // 4)] * number))
    await producer.wait_acked(producer.mark())
    assert packets == [2000, 3, 1900, 2, 200]


async def test_blocks_over_the_limit_are_halved_and_shortened_as_their_messages() -> None:
    log, producer, failures, outcomes = limited(500)
    sent = [b"%03d" % number * 20 for number in range(200)]
    for first in range(0, 200, 50):
        producer.enqueue_block("t", 0, block(sent[first : first + 50]))
    await producer.wait_acked(producer.mark())
    assert values(log) == sent
    assert (failures, outcomes, producer.bytes, producer.retries) == ([], {}, 0, 0)
    first_refused = log.refused
    producer.enqueue_block("t", 0, block(sent), halved)
    producer.enqueue_block("t", 0, block([b"a" * 100, b"b" * 3000]), halved)
    await producer.wait_acked(producer.mark())
    assert log.refused > first_refused
    assert values(log)[200:-1] == [*sent, b"a" * 100]
    assert values(log)[-1] == b"b" * 375
    assert (failures, outcomes, producer.bytes) == ([], {SHORTENED: 1}, 0)


async def test_a_message_over_the_limit_is_shortened_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    log, producer, failures, outcomes = limited(100)
    for value in (b"a" * 50, b"b" * 1000, b"c" * 50, b"d" * 300):
        producer.enqueue("t", 0, None, value, halved)
    await producer.wait_acked(producer.mark())
    assert [value[:1] * (len(value) // 10) for value in values(log) if value] == [b"aaaaa", b"bbbbbb", b"ccccc", b"ddd"]
    assert (failures, outcomes, producer.bytes) == ([], {SHORTENED: 2}, 0)
    assert len(caplog.records) == 1
    assert "1,032 bytes are more than max.message.bytes of topic t (100) allows" in caplog.text


async def test_where_nothing_fits_nothing_stops(caplog: pytest.LogCaptureFixture) -> None:
    log, producer, failures, outcomes = limited(20)
    for _ in range(3):
        producer.enqueue("t", 0, b"key", b"value", halved)
    await producer.wait_acked(producer.mark())
    assert (values(log), failures, outcomes, producer.bytes) == ([], [], {LEFT_OUT: 3}, 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_message_that_cannot_be_shortened_fails_with_the_cure() -> None:
    _, producer, failures, _ = limited(100)
    producer.enqueue("progress", 0, b"key", b"x" * 300)
    with pytest.raises(SendError) as caught:
        await producer.wait_acked(producer.mark())
    assert failures == [caught.value]
    assert str(caught.value) == (
        "a send to progress-0 was not acknowledged: 335 bytes are more than max.message.bytes of topic progress (100) "
        "allows: set it to 1048588 or more (`kafka-configs --alter --add-config`)"
    )


async def test_messages_enqueued_while_a_packet_is_under_way_leave_as_one_packet() -> None:
    class Slow(MemoryLog):
        def __init__(self) -> None:
            super().__init__(clock=lambda: 0)
            self.packets: list[int] = []

        async def send_packet(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
            self.packets.append(len(packet))
            await asyncio.sleep(0.01)
            await super().send_packet(topic, partition, packet)

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


async def test_what_is_due_in_one_turn_is_sent_together_and_a_slow_partition_holds_up_no_other() -> None:
    class Together(MemoryLog):
        def __init__(self) -> None:
            super().__init__(clock=lambda: 0)
            self.sent: list[list[Where]] = []
            self.go_on = asyncio.Event()

        async def send(self, packets: Mapping[Where, Packet], settled: Settled) -> None:
            self.sent.append(list(packets))
            if ("t", 0) in packets:
                rest = {where: packet for where, packet in packets.items() if where != ("t", 0)}
                await super().send(rest, settled)
                await self.go_on.wait()
                packets = {("t", 0): packets["t", 0]}
            await super().send(packets, settled)

    log = Together()
    producer, failures = producer_on(log)
    for partition in range(3):
        producer.enqueue("t", partition, None, b"first")
    await asyncio.sleep(0.01)
    for partition in range(3):
        producer.enqueue("t", partition, None, b"second")
    await asyncio.sleep(0.01)
    assert log.sent == [[("t", 0), ("t", 1), ("t", 2)], [("t", 1), ("t", 2)]]
    log.go_on.set()
    await producer.wait_acked(producer.mark())
    assert values(log) == [b"first", b"second"]
    assert not failures


async def test_a_sender_with_a_bug_fails_the_producer() -> None:
    class Broken(MemoryLog):
        async def send(self, packets: Mapping[Where, Packet], settled: Settled) -> None:
            message = "a bug"
            raise ValueError(message)

    producer, failures = producer_on(Broken(clock=lambda: 0))
    producer.enqueue("t", 0, None, b"x")
    with pytest.raises(SendError, match="a bug"):
        await producer.wait_acked(producer.mark())
    assert len(failures) == 1


async def test_messages_that_are_queued_together_are_sent_as_if_they_were_queued_one_by_one() -> None:
    log = MemoryLog(clock=lambda: 0)
    producer, _ = producer_on(log)
    producer.enqueue_all("t", 0, [], [])
    assert producer.bytes == 0
    producer.enqueue_all("t", 0, [b"a", b"b"], [b"first", b"second"])
    bytes_together = producer.bytes
    await producer.wait_acked(producer.mark())
    for key, value in ((b"a", b"first"), (b"b", b"second")):
        producer.enqueue("t", 1, key, value)
    assert producer.bytes == bytes_together
    await producer.wait_acked(producer.mark())
    together, alone = ([(r.key, r.value) for r in log.records("t", partition)] for partition in (0, 1))
    assert together == alone == [(b"a", b"first"), (b"b", b"second")]
