"""What leaves the process: packed, in order, tried again in place, bounded in bytes.

One queue a partition. While a packet is on its way the next one gathers, so packets grow with the load and a lone
message waits for nobody. A later message of a partition never goes before the earlier one is acknowledged; what fails
is sent again, the same packet in the same place; after `timeout_s` without an acknowledgement the outbox gives up,
says so to everyone who waits, and the worker stops with nothing lost, since positions wait for acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import aiokafka
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from streams.errors import BrokerError, SendError
from streams.settings import Settings

logger = logging.getLogger(__name__)

PACKET_BYTES = 900_000
"""Most bytes of one packet; brokers take 1,048,588 by default (`message.max.bytes`), headers of a batch included."""

PACKET_RECORDS = 2_000
"""Most records of one packet, so that building it holds the event loop for a few milliseconds at most."""

OVERHEAD_BYTES = 32
"""A record's own frame inside a batch: attributes, varints, offsets."""


class Message(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None

    @property
    def size(self) -> int:
        """Bytes on the wire, about."""
        return len(self.key or b"") + len(self.value or b"") + OVERHEAD_BYTES


class Sender(Protocol):
    """Sends one packet and returns when it is acknowledged by all in-sync replicas."""

    async def send(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        """Send.

        Raises:
            SendError: not acknowledged; `passing` says whether trying again makes sense.
        """


class KafkaSender:
    """[`Sender`][] over aiokafka's batch interface: one future a packet instead of one a record."""

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
        try:
            await self._producer.start()
        except KafkaError as error:
            raise BrokerError.unreachable(self._settings.bootstrap_servers, error) from error

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def send(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        """See [`Sender.send`][]."""
        batch = self._producer.create_batch()
        for key, value in packet:
            if batch.append(key=key, value=value, timestamp=None) is None:
                raise SendError(topic, partition, "a packet over the size of a batch", passing=False)
        try:
            acknowledged = await self._producer.send_batch(batch, topic, partition=partition)
            await acknowledged
        except MessageSizeTooLargeError as error:
            raise SendError(topic, partition, repr(error), passing=False) from error
        except KafkaError as error:
            raise SendError(topic, partition, repr(error), passing=True) from error


class _Queue:
    """Messages of one partition, in order, and how many of them are acknowledged."""

    __slots__ = ("acknowledged", "put", "task", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.put = 0
        self.acknowledged = 0
        self.task: asyncio.Task[None] | None = None


Mark = Mapping[tuple[str, int], int]
"""How many messages had been put into each queue at some moment."""


class BatchingProducer:
    """Queues of messages on their way.

    Args:
        sender: sends a packet and waits for its acknowledgement.
        most_bytes: above it `full` is True and the intake pauses.
        timeout_s: how long a packet is tried.
        on_failure: called once, with the error, when the outbox gives up.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        most_bytes: int,
        timeout_s: float,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._sender = sender
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s
        self._on_failure = on_failure
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._moved = asyncio.Event()
        self.bytes = 0
        self.sent = 0
        self.retries = 0
        self.failure: SendError | None = None

    @property
    def full(self) -> bool:
        """Whether more bytes wait than is healthy; the intake pauses until they have gone."""
        return self.bytes > self._most_bytes

    async def wait_capacity(self) -> None:
        """Return when the outbox is not full: whoever has much to send waits here, so that flushes stay short.

        Raises:
            SendError: the outbox has given up.
        """
        while self.full:
            if self.failure is not None:
                raise self.failure
            await self._moved.wait()

    def enqueue(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Queue a message; it is on its way as soon as the partition's packet before it is acknowledged."""
        queue = self._queues.get((topic, partition))
        if queue is None:
            queue = self._queues[topic, partition] = _Queue()
        message = Message(key, value)
        queue.waiting.append(message)
        queue.put += 1
        self.bytes += message.size
        if queue.task is None and self.failure is None:
            queue.task = asyncio.get_running_loop().create_task(self._drain(topic, partition, queue))

    def mark(self) -> Mark:
        """This moment: everything put so far."""
        return {name: queue.put for name, queue in self._queues.items() if queue.acknowledged < queue.put}

    async def wait_acked(self, mark: Mark) -> None:
        """Return when everything put before the mark is acknowledged.

        Raises:
            SendError: the outbox has given up; nothing after the mark may be taken for sent.
        """
        while any(self._queues[name].acknowledged < put for name, put in mark.items()):
            if self.failure is not None:
                raise self.failure
            await self._moved.wait()

    async def close(self) -> None:
        """Stop sending. What is not acknowledged by now is dropped: its events come again after the next start."""
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, topic: str, partition: int, queue: _Queue) -> None:
        try:
            while queue.waiting:
                packet = self._packet(queue)
                await self._send_until_acknowledged(topic, partition, packet)
                queue.acknowledged += len(packet)
                self.sent += len(packet)
                self.bytes -= sum(message.size for message in packet)
                self._stir()
        except SendError as error:
            self._give_up(error)
        except Exception as error:
            logger.exception("sending to %s-%s failed in a way that is a bug", topic, partition)
            self._give_up(SendError(topic, partition, repr(error), passing=False))
        finally:
            queue.task = None

    def _packet(self, queue: _Queue) -> list[Message]:
        packet, size = [queue.waiting.popleft()], 0
        size = packet[0].size
        while queue.waiting and len(packet) < PACKET_RECORDS:
            size += queue.waiting[0].size
            if size > PACKET_BYTES:
                break
            packet.append(queue.waiting.popleft())
        return packet

    async def _send_until_acknowledged(self, topic: str, partition: int, packet: Sequence[Message]) -> None:
        deadline, pause_s = time.monotonic() + self._timeout_s, 0.05
        while True:
            try:
                return await self._sender.send(topic, partition, packet)
            except SendError as error:
                if not error.passing or time.monotonic() + pause_s > deadline:
                    raise
                self.retries += 1
                logger.warning("%s; trying again in %.2f s", error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 2.0)

    def _give_up(self, error: SendError) -> None:
        if self.failure is None:
            self.failure = error
            self._on_failure(error)
        self._stir()

    def _stir(self) -> None:
        """Wake everyone who waits for acknowledgements."""
        self._moved.set()
        self._moved = asyncio.Event()
