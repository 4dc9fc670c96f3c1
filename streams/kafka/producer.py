"""Sends messages in batches: in order, retried in place, with the waiting bytes counted.

While one packet of a partition waits for its acknowledgement the next one fills, so packets grow with the load and a
single message is sent at once. Messages of a partition are never reordered: a failed packet is sent again in its place,
and one over the broker's limit in smaller packets. A single message over the limit is shortened if it can be.

After `timeout_s` without an acknowledgement the producer fails, and so does everyone who waits for it. Nothing is lost
then, because positions are written only after acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import aiokafka
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from streams.errors import CrosscurrentError, SendError
from streams.kafka.connection import broker_error, connecting
from streams.kafka.topic_admin import config_of
from streams.settings import Settings
from streams.threads import run_in_daemon_thread

logger = logging.getLogger(__name__)

PACKET_BYTES = 900_000
"""Largest packet; brokers accept 1,048,588 by default (`message.max.bytes`), batch headers included."""

PACKET_RECORDS = 2_000
"""Most records of one packet: building it blocks the event loop for a few milliseconds at most."""

SHORTENED, LEFT_OUT = "shortened", "left out"
"""What became of a message over the broker's limit."""

OVERHEAD_BYTES = 32
"""Of one record inside a batch: attributes, varints, offsets."""


class Message(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None
    shorten: Callable[[bytes], bytes | None] | None = None
    """Makes the value shorter, where the broker does not take all of it; gives None where nothing more can be left out.
    Of a message without it every byte is needed."""

    def shortened(self) -> Message | None:
        """The message with a shorter value, if there is one."""
        value = None if self.shorten is None or self.value is None else self.shorten(self.value)
        return None if value is None else self._replace(value=value)

    @property
    def size(self) -> int:
        """Approximate bytes on the wire."""
        return len(self.key or b"") + len(self.value or b"") + OVERHEAD_BYTES


class Sender(Protocol):
    """Sends one packet and returns when it is acknowledged by all in-sync replicas."""

    async def send(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        """Send.

        Raises:
            SendError: not acknowledged; `passing` says whether a retry makes sense, `too_large` whether less can be
                sent.
        """


class KafkaSender:
    """[`Sender`][] over aiokafka's batch interface: one future for each packet instead of one for each record."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers at the address.
        """
        self._producer = aiokafka.AIOKafkaProducer(
            **self._settings.aiokafka_options(),
            acks="all",
            max_batch_size=PACKET_BYTES + 100_000,
            max_request_size=2 * PACKET_BYTES,
            request_timeout_ms=10_000,
        )
        async with connecting(self._settings):
            await self._producer.start()

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def send(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        """See [`Sender.send`][]."""
        batch = self._producer.create_batch()
        for message in packet:
            if batch.append(key=message.key, value=message.value, timestamp=None) is None:
                raise SendError(topic, partition, "a packet over the size of a batch", too_large=True)
        try:
            await (await self._producer.send_batch(batch, topic, partition=partition))
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            config = "max.message.bytes" if isinstance(error, MessageSizeTooLargeError) else "segment.bytes"
            final = len(packet) == 1 and packet[0].shorten is None
            limit = await self._limit(topic, config) if final else None
            size = sum(message.size for message in packet)
            raise SendError.over_limit(topic, partition, size, config, limit) from error
        except KafkaError as error:
            barred = isinstance(error, TopicAuthorizationFailedError)
            reason = str(broker_error(self._settings, error, "WRITE")) if barred else repr(error)
            raise SendError(topic, partition, reason, passing=True) from error

    async def _limit(self, topic: str, config: str) -> int | None:
        """The limit that a topic has, for the last sentence of this process; None where the broker does not say."""
        try:
            value = await run_in_daemon_thread(lambda: config_of(self._settings, topic, config), "limit")
            return int(value or "")
        except (CrosscurrentError, ValueError):
            return None


@dataclass(slots=True)
class _Queue:
    """Messages of one partition, in order, and the number acknowledged."""

    waiting: deque[Message] = field(default_factory=deque)
    enqueued: int = 0
    acknowledged: int = 0
    packet_bytes: int = PACKET_BYTES
    """Largest packet; smaller once the broker has refused one."""
    task: asyncio.Task[None] | None = None


Mark = Mapping[tuple[str, int], int]
"""Messages enqueued so far, by (topic, partition), at some moment."""


class BatchingProducer:
    """One queue of messages for each partition.

    Args:
        timeout_s: how long a packet is retried.
        on_failure: called once, with the error, when the producer fails.
        on_too_large: called with the topic of each message over the broker's limit, and with what became of it:
            `SHORTENED` or `LEFT_OUT`.

    Attributes:
        bytes: of messages not yet acknowledged.
        retries: packets sent again.
        failure: set once the producer has failed.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        timeout_s: float,
        on_failure: Callable[[BaseException], None],
        on_too_large: Callable[[str, str], None] = lambda topic, outcome: None,
    ) -> None:
        self._sender, self._timeout_s, self._on_failure = sender, timeout_s, on_failure
        self._on_too_large = on_too_large
        self._told: set[tuple[str, str]] = set()  # topics and outcomes that are in the log
        self._queues: defaultdict[tuple[str, int], _Queue] = defaultdict(_Queue)
        self._moved = asyncio.Event()
        self.bytes = 0
        self.retries = 0
        self.failure: SendError | None = None

    def enqueue(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        shorten: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        """Queue a message; it is sent as soon as the partition's packet before it is acknowledged."""
        queue, message = self._queues[topic, partition], Message(key, value, shorten)
        queue.waiting.append(message)
        queue.enqueued += 1
        self.bytes += message.size
        if queue.task is None and self.failure is None:
            queue.task = asyncio.get_running_loop().create_task(self._drain(topic, partition, queue))

    def mark(self) -> Mark:
        """Everything enqueued so far."""
        return {name: queue.enqueued for name, queue in self._queues.items() if queue.acknowledged < queue.enqueued}

    async def wait_acked(self, mark: Mark) -> None:
        """Return when everything enqueued before the mark is acknowledged.

        Raises:
            SendError: the producer has failed; nothing after the mark counts as sent.
        """
        while any(self._queues[name].acknowledged < enqueued for name, enqueued in mark.items()):
            await self._wait_moved()

    async def wait_below(self, max_bytes: int) -> None:
        """Return when at most `max_bytes` wait to be acknowledged.

        Raises:
            SendError: the producer has failed.
        """
        while self.bytes > max_bytes:
            await self._wait_moved()

    async def _wait_moved(self) -> None:
        if self.failure is not None:
            raise self.failure
        await self._moved.wait()

    async def close(self) -> None:
        """Stop sending. Unacknowledged messages are dropped: their events are processed again after the next start."""
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, topic: str, partition: int, queue: _Queue) -> None:
        try:
            while queue.waiting:
                packet = self._packet(queue)
                try:
                    await self._send_until_acknowledged(topic, partition, packet)
                except SendError as error:
                    if not error.too_large:
                        raise
                    if len(packet) > 1:
                        queue.waiting.extendleft(reversed(packet))
                        queue.packet_bytes = sum(message.size for message in packet) // 2
                        continue
                    await self._send_shortened(topic, partition, packet[0], error)
                queue.acknowledged += len(packet)
                self.bytes -= sum(message.size for message in packet)
                self._wake()
        except SendError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("sending to %s-%s failed in a way that is a bug", topic, partition)
            self._fail(SendError(topic, partition, repr(error)))
        finally:
            queue.task = None

    def _packet(self, queue: _Queue) -> list[Message]:
        packet = [queue.waiting.popleft()]
        size = packet[0].size
        while queue.waiting and len(packet) < PACKET_RECORDS:
            size += queue.waiting[0].size
            if size > queue.packet_bytes:
                break
            packet.append(queue.waiting.popleft())
        return packet

    async def _send_shortened(self, topic: str, partition: int, message: Message, refused: SendError) -> None:
        """Send less and less of a message over the broker's limit, and at last nothing.

        Raises:
            SendError: every byte of it is needed, or the shorter one is not acknowledged.
        """
        if message.shorten is None:
            raise refused
        shorter = message.shortened()
        while shorter is not None:
            try:
                await self._send_until_acknowledged(topic, partition, [shorter])
            except SendError as error:
                if not error.too_large:
                    raise
                shorter = shorter.shortened()
            else:
                self._tell(topic, SHORTENED, refused)
                return
        self._tell(topic, LEFT_OUT, refused)

    def _tell(self, topic: str, outcome: str, refused: SendError) -> None:
        """Count what became of a message over the limit, and log the first of each topic."""
        self._on_too_large(topic, outcome)
        if (topic, outcome) not in self._told:
            self._told.add((topic, outcome))
            level = logging.WARNING if outcome is SHORTENED else logging.ERROR
            logger.log(level, "%s; the record is %s; further ones are only counted", refused, outcome)

    async def _send_until_acknowledged(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        now = asyncio.get_running_loop().time
        deadline, pause_s = now() + self._timeout_s, 0.05
        while True:
            try:
                return await self._sender.send(topic, partition, packet)
            except SendError as error:
                if not error.passing or now() + pause_s > deadline:
                    raise
                self.retries += 1
                logger.warning("%s; trying again in %.2f s", error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 2.0)

    def _fail(self, error: SendError) -> None:
        if self.failure is None:
            self.failure = error
            self._on_failure(error)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
