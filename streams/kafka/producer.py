"""Sends messages in batches: in order, retried in place, with the waiting bytes counted.

While one packet of a partition waits for its acknowledgement the next one fills, so packets grow with the load and a
single message is sent at once. Packets that are due in one turn of the event loop go to each leader in one request, and
several requests may be under way. Messages of a partition are never reordered: a failed packet is sent again in its
place, and one over the broker's limit in smaller packets. A single message over the limit is shortened if it can be.

After `timeout_s` without an acknowledgement the producer fails, and so does everyone who waits for it. Nothing is lost
then, because positions are written only after acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, get_args, overload

import aiokafka
from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
    for_code,
)

from streams.errors import CrosscurrentError, SendError
from streams.kafka.connection import broker_error, connecting
from streams.kafka.produce_request import REQUEST_TIMEOUT_MS, Batch, Where, send_batches
from streams.kafka.topic_admin import config_of
from streams.next_change import NextChange
from streams.settings import Compression, Settings
from streams.threads import run_in_daemon_thread
from streams.wire.record_batches import (
    OVERHEAD_BYTES,
    PACKET_BYTES,
    PACKET_RECORDS,
    Block,
    batch_header,
    decoded_records,
    encoded_records,
    joined_records,
)
from streams.wire.topics import full_name

logger = logging.getLogger(__name__)

SHORTENED, LEFT_OUT = "shortened", "left out"
"""What became of a message over the broker's limit."""

REQUEST_BYTES = 8 << 20
"""After so many a request takes no more packets; brokers accept 100 MiB by default (`socket.request.max.bytes`)."""

CODECS = get_args(Compression)
"""Names of the codecs by their numbers in a record batch."""

COMPRESS: Sequence[Callable[[bytes], bytes]] = (bytes, gzip_encode, snappy_encode, lz4_encode, zstd_encode)
"""What compresses, by these numbers."""


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

    @property
    def number(self) -> int:
        """Of records."""
        return 1


class EncodedMessages(NamedTuple):
    """Messages that are encoded already."""

    block: Block
    shorten: Callable[[bytes], bytes | None] | None
    """As of each [`Message`][]."""

    @property
    def size(self) -> int:
        """Approximate bytes on the wire."""
        return self.block.size

    @property
    def number(self) -> int:
        """Of records."""
        return self.block.number

    def messages(self) -> list[Message]:
        """They, one by one."""
        return [Message(key, value, self.shorten) for key, value in decoded_records(self.block.records)]


class Packet(Sequence[Message]):
    """Messages of one partition that are sent together."""

    def __init__(self, parts: Sequence[Message | EncodedMessages]) -> None:
        self._parts = parts
        self._number = parts[0].number if len(parts) == 1 else sum(part.number for part in parts)

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Message]:
        for part in self._parts:
            if isinstance(part, Message):
                yield part
            else:
                yield from part.messages()

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        return list(self)[index]

    def records(self) -> bytes:
        """The records of its batch, encoded."""
        first = self._parts[0]
        if len(self._parts) == 1 and isinstance(first, EncodedMessages):
            return first.block.records
        blocks, single = list[bytes](), list[Message]()
        for part in self._parts:
            if isinstance(part, Message):
                single.append(part)
                continue
            if single:
                blocks.append(_encoded(single))
                single = []
            blocks.append(part.block.records)
        if single:
            blocks.append(_encoded(single))
        return blocks[0] if len(blocks) == 1 else joined_records(blocks, self._number)


def _encoded(messages: Iterable[Message]) -> bytes:
    keys, values, _ = zip(*messages, strict=True)
    return encoded_records(keys, values)


Settled = Callable[[Where, SendError | None], None]
"""Called with a partition whose packet is acknowledged by all in-sync replicas, or with the reason why it is not."""


class Sender(Protocol):
    """Sends packets of several partitions together."""

    async def send(self, packets: Mapping[Where, Packet], settled: Settled) -> None:
        """Send a packet to each of some partitions, and call `settled` for each as soon as its outcome is known.

        Of an error, `passing` says whether a retry makes sense, and `too_large` whether less can be sent.
        """


class KafkaSender:
    """[`Sender`][] over aiokafka's client: one request to each leader, however many partitions it has.

    Several requests may be under way to a leader. The producer sends no partition's next packet before the last one is
    acknowledged, so this keeps the order of each partition.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._codecs = {full_name(settings.prefix, "suggestions"): CODECS.index(settings.suggestions_compression)}

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers at the address.
        """
        self._producer = aiokafka.AIOKafkaProducer(
            **self._settings.aiokafka_options(), acks="all", request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        async with connecting(self._settings):
            await self._producer.start()

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def send(self, packets: Mapping[Where, Packet], settled: Settled) -> None:
        """See [`Sender.send`][]."""
        requests: list[_Request] = []
        open_requests: dict[int, _Request] = {}
        for where, packet in packets.items():
            try:
                leader = await self._leader(*where)
            except KafkaError as error:
                settled(where, await self._send_error(where, packet, error))
                continue
            batch = encoded(packet, self._codecs.get(where[0], 0))
            size = sum(map(len, batch))
            request = open_requests.get(leader)
            if request is None or request.size + size > REQUEST_BYTES:
                request = open_requests[leader] = _Request(leader)
                requests.append(request)
            request.batches[where] = batch
            request.size += size
        if len(requests) == 1:
            await self._send(requests[0], packets, settled)
        else:
            await asyncio.gather(*(self._send(request, packets, settled) for request in requests))

    async def _leader(self, topic: str, partition: int) -> int:
        """Node that leads a partition.

        Raises:
            KafkaError: none does, or the topic is not known.
        """
        client = self._producer.client
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None and client.cluster.partitions_for_topic(topic) is None:
            await self._producer.partitions_for(topic)
            leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader < 0:
            client.force_metadata_update()
            raise LeaderNotAvailableError
        return int(leader)

    async def _send(self, request: _Request, packets: Mapping[Where, Packet], settled: Settled) -> None:
        errors: dict[Where, KafkaError | None]
        try:
            codes = await send_batches(self._producer.client, request.leader, request.batches)
        except KafkaError as error:
            errors = dict.fromkeys(request.batches, error)
        else:
            errors = {where: _error_of(codes.get(where, UnknownError.errno), where[0]) for where in request.batches}
        if any(getattr(error, "invalid_metadata", False) for error in errors.values()):
            self._producer.client.force_metadata_update()
        for where, failed in errors.items():
            settled(where, failed and await self._send_error(where, packets[where], failed))

    async def _send_error(self, where: Where, packet: Packet, error: KafkaError) -> SendError:
        """The error of a packet as the producer understands it."""
        topic, partition = where
        if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
            config = "max.message.bytes" if isinstance(error, MessageSizeTooLargeError) else "segment.bytes"
            final = len(packet) == 1 and packet[0].shorten is None
            limit = await self._limit(topic, config) if final else None
            return SendError.over_limit(topic, partition, sum(message.size for message in packet), config, limit)
        barred = isinstance(error, TopicAuthorizationFailedError)
        reason = str(broker_error(self._settings, error, "WRITE")) if barred else repr(error)
        return SendError(topic, partition, reason, passing=True)

    async def _limit(self, topic: str, config: str) -> int | None:
        """The limit that a topic has, for the last sentence of this process; None where the broker does not say."""
        try:
            value = await run_in_daemon_thread(lambda: config_of(self._settings, topic, config), "limit")
            return int(value or "")
        except (CrosscurrentError, ValueError):
            return None


@dataclass(slots=True)
class _Request:
    """What is sent to a leader at once."""

    leader: int
    batches: dict[Where, Batch] = field(default_factory=dict)
    size: int = 0


def encoded(packet: Packet, codec: int = 0) -> Batch:
    """A record batch, compressed by one of `CODECS` if that makes it smaller."""
    records = packet.records()
    if codec:
        compressed = COMPRESS[codec](records)
        if len(compressed) < len(records):
            return batch_header(compressed, len(packet), _now_ms(), codec), compressed
    return batch_header(records, len(packet), _now_ms()), records


def _now_ms() -> int:
    return int(time.time() * 1000)


def _error_of(code: int, topic: str) -> KafkaError | None:
    """What a broker answers of a topic; None: it has taken the batch."""
    if code == 0:
        return None
    error: type[KafkaError] = for_code(code)
    return error(topic) if error is TopicAuthorizationFailedError else error()


@dataclass(slots=True)
class _Queue:
    """Messages of one partition, in order, and the number acknowledged."""

    waiting: deque[Message | EncodedMessages] = field(default_factory=deque)
    enqueued: int = 0
    acknowledged: int = 0
    packet_bytes: int = PACKET_BYTES
    """Largest packet; smaller once the broker has refused one."""
    sending: Packet | None = None
    """The packet that is not acknowledged yet."""
    sending_bytes: int = 0
    """Its size."""
    moved: NextChange = field(default_factory=NextChange)
    """The next acknowledgement."""


Mark = Mapping[Where, int]
"""Messages enqueued so far, by partition, at some moment."""


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
        self._queues: defaultdict[Where, _Queue] = defaultdict(_Queue)
        self._due: list[Where] = []  # partitions that have messages, none of which is under way
        self._running: set[asyncio.Task[None]] = set()
        self._moved: asyncio.Event | None = None  # while it is waited for
        self.bytes = 0
        self.retries = 0
        self.failure: SendError | None = None
        self._closed = False

    def enqueue(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        shorten: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        """Queue a message; it is sent as soon as the partition's packet before it is acknowledged."""
        self._enqueue((topic, partition), Message(key, value, shorten))

    def enqueue_block(
        self, topic: str, partition: int, block: Block, shorten: Callable[[bytes], bytes | None] | None = None
    ) -> None:
        """Queue messages that are encoded, as `enqueue` does one by one."""
        self._enqueue((topic, partition), EncodedMessages(block, shorten))

    def enqueue_all(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Queue messages, as `enqueue` does one by one, at a fraction of the time."""
        if keys:
            size = sum(map(len, keys)) + sum(map(len, values)) + OVERHEAD_BYTES * len(keys)
            block = Block(encoded_records(keys, values), len(keys), size)
            self._enqueue((topic, partition), EncodedMessages(block, None))

    def _enqueue(self, where: Where, part: Message | EncodedMessages) -> None:
        queue = self._queues[where]
        queue.waiting.append(part)
        queue.enqueued += part.number
        self.bytes += part.size
        if queue.sending is None and len(queue.waiting) == 1:
            self._make_due(where)

    def mark(self) -> Mark:
        """Everything enqueued so far."""
        return {name: queue.enqueued for name, queue in self._queues.items() if queue.acknowledged < queue.enqueued}

    async def wait_acked(self, mark: Mark) -> None:
        """Return when everything enqueued before the mark is acknowledged.

        Raises:
            SendError: the producer has failed; nothing after the mark counts as sent.
        """
        for where, enqueued in mark.items():
            queue = self._queues[where]
            while queue.acknowledged < enqueued:
                if self.failure is not None:
                    raise self.failure
                await queue.moved.wait()

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
        if self._moved is None:
            self._moved = asyncio.Event()
        await self._moved.wait()

    async def close(self) -> None:
        """Stop sending. Unacknowledged messages are dropped: their events are processed again after the next start."""
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _make_due(self, where: Where) -> None:
        """Send a partition's next packet, together with all that are due by the next turn of the event loop."""
        self._due.append(where)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._send_due)

    def _send_due(self) -> None:
        due, self._due = self._due, []
        if self.failure is None and not self._closed:
            packets = {}
            for where in due:
                queue = self._queues[where]
                queue.sending = packets[where] = self._packet(queue)
            self._run(self._send(packets))

    async def _send(self, packets: Mapping[Where, Packet]) -> None:
        await self._sender.send(packets, self._settled)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("sending failed in a way that is a bug", exc_info=error)
            self._fail(SendError("any topic", 0, repr(error)))

    def _settled(self, where: Where, error: SendError | None) -> None:
        if error is None:
            self._acknowledged(where)
        else:
            self._run(self._recover(where, error))

    def _acknowledged(self, where: Where) -> None:
        """The packet under way needs no more care; the next one may go."""
        queue = self._queues[where]
        packet, queue.sending = queue.sending, None
        queue.acknowledged += 0 if packet is None else len(packet)
        self.bytes -= queue.sending_bytes
        queue.moved.happened()
        self._wake()
        if queue.waiting:
            self._make_due(where)

    async def _recover(self, where: Where, error: SendError) -> None:
        """Send a packet that was refused: again, in parts, or shortened."""
        queue = self._queues[where]
        packet = queue.sending or Packet([])
        try:
            refused = await self._retried(where, packet, error)
            if refused is not None and len(packet) > 1:
                queue.waiting.extendleft(reversed(packet))
                queue.packet_bytes = queue.sending_bytes // 2
                queue.sending = None
                self._make_due(where)
                return
            if refused is not None:
                await self._send_shortened(where, packet[0], refused)
            self._acknowledged(where)
        except SendError as failed:
            self._fail(failed)

    def _packet(self, queue: _Queue) -> Packet:
        waiting = queue.waiting
        first = waiting.popleft()
        if isinstance(first, EncodedMessages) and first.number > 1 and first.size > queue.packet_bytes:
            waiting.extendleft(reversed(first.messages()))
            first = waiting.popleft()
        parts, number, total = [first], first.number, first.size
        while waiting:
            number += waiting[0].number
            size = waiting[0].size
            if number > PACKET_RECORDS or total + size > queue.packet_bytes:
                break
            parts.append(waiting.popleft())
            total += size
        queue.sending_bytes = total
        return Packet(parts)

    async def _send_shortened(self, where: Where, message: Message, refused: SendError) -> None:
        """Send less and less of a message over the broker's limit, and at last nothing.

        Raises:
            SendError: every byte of it is needed, or the shorter one is not acknowledged.
        """
        if message.shorten is None:
            raise refused
        shorter = message.shortened()
        while shorter is not None:
            packet = Packet([shorter])
            if await self._retried(where, packet, await self._sent(where, packet)) is None:
                self._tell(where[0], SHORTENED, refused)
                return
            shorter = shorter.shortened()
        self._tell(where[0], LEFT_OUT, refused)

    def _tell(self, topic: str, outcome: str, refused: SendError) -> None:
        """Count what became of a message over the limit, and log the first of each topic."""
        self._on_too_large(topic, outcome)
        if (topic, outcome) not in self._told:
            self._told.add((topic, outcome))
            level = logging.WARNING if outcome is SHORTENED else logging.ERROR
            logger.log(level, "%s; the record is %s; further ones are only counted", refused, outcome)

    async def _sent(self, where: Where, packet: Packet) -> SendError | None:
        """Send a packet of one partition; returns why it is not acknowledged, None if it is."""
        outcomes: list[SendError | None] = []
        await self._sender.send({where: packet}, lambda _, error: outcomes.append(error))
        return outcomes[0]

    async def _retried(self, where: Where, packet: Packet, error: SendError | None) -> SendError | None:
        """Send a packet again, after an error, until it is acknowledged (None) or too large (the error).

        Raises:
            SendError: the error does not pass, or not in time.
        """
        now = asyncio.get_running_loop().time
        deadline, pause_s = now() + self._timeout_s, 0.05
        while error is not None and not error.too_large:
            if not error.passing or now() + pause_s > deadline:
                raise error
            self.retries += 1
            logger.warning("%s; trying again in %.2f s", error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)
            error = await self._sent(where, packet)
        return error

    def _fail(self, error: SendError) -> None:
        if self.failure is None:
            self.failure = error
            self._on_failure(error)
        for queue in self._queues.values():
            queue.moved.happened()
        self._wake()

    def _wake(self) -> None:
        if self._moved is not None:
            self._moved.set()
            self._moved = None
