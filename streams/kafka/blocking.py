"""Sending and reading for commands, which have no event loop: kafka-python's producer and consumer.

Nothing sent is lost unnoticed, and nothing waits without end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import AuthorizationError, KafkaError, MessageSizeTooLargeError

from streams.errors import BrokerError, RecordError, RightsError, TopicsError
from streams.kafka.admin import CONNECT_S, administration
from streams.kafka.codecs import check_codecs
from streams.kafka.connection import broker_error, reaching
from streams.kafka.consumers import new_blocking_consumer
from streams.kafka.embedded_ends import true_ends_blocking
from streams.kafka.rights import NOT_THERE, lacking, may_use_group
from streams.settings import Settings
from streams.wire.topics import full_name

if TYPE_CHECKING:
    from streams.wire.record import Record

LINGER_MS = 20
"""How long a record waits for a batch to fill: unnoticed on a terminal, and full batches under load."""

MAX_WAITING = 20_000
"""Unacknowledged records above which a sender waits, as kafka-python's buffer is unbounded: some 10 MB, or a second of
sending."""

ABORT_S = 1
"""How long a sender that gives up waits for its thread."""

POLL_MS = 200
"""How long a reader waits for records before it checks whether it is done."""


def require_topics(settings: Settings, names: Collection[str], operation: str, group: str | None = None) -> None:
    """Make sure that topics (short names) exist, before a client's request makes the broker create one.

    Also that we may do on them what we are about to do, and use the group (full name), if any.

    Raises:
        TopicsError: some do not.
        RightsError: rights are missing.
        BrokerError: no broker answers.
    """
    full = [full_name(settings.prefix, name) for name in names]
    with administration(settings) as client:
        described = client.describe_topics(full)
        barred = list(lacking(described, dict.fromkeys(full, [operation])))
        if group is not None and not may_use_group(client, settings, group):
            barred.append(f"READ on group {group}")
    if barred:
        raise RightsError(settings.principal, barred)
    if missing := [topic["name"] for topic in described if topic["error_code"] == NOT_THERE]:
        message = f"topics are missing: {', '.join(missing)} (`crosscurrent topics create` makes them)"
        raise TopicsError(message)


class Sender:
    """Sends to topics, acknowledged by all in-sync replicas. A context manager that waits for the last acknowledgement.

    The murmur2 hash of a key gives the partition, as with Java clients.

    Args:
        settings: of the broker and the prefix.
        topics: short names.

    Raises:
        TopicsError: a topic is missing.
        RightsError: a right is missing.
        BrokerError: no broker answers.
    """

    def __init__(self, settings: Settings, topics: Collection[str]) -> None:
        require_topics(settings, topics, "WRITE")
        self._settings = settings
        self._full = {name: full_name(settings.prefix, name) for name in topics}
        self._timeout_s = settings.send_timeout_s
        self._waiting: deque[tuple[str, Any]] = deque()
        self.sent = 0
        """Records passed to `send`; all acknowledged once the context has ended."""
        with reaching(settings):
            self._producer = KafkaProducer(
                **settings.kafka_python_options(),
                acks="all",
                linger_ms=LINGER_MS,
                batch_size=128 << 10,
                metrics_enabled=False,  # they take a quarter of the time of a send
                max_block_ms=round(CONNECT_S * 1000),
                delivery_timeout_ms=round(self._timeout_s * 1000),
                request_timeout_ms=round(min(self._timeout_s / 2, 30) * 1000),
            )

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Send a record to a topic (short name); returns before it is acknowledged.

        The key gives the partition. A value of None is a tombstone, which needs a key.

        Raises:
            RecordError: the record is too large; others can still be sent.
            BrokerError: an earlier record was not acknowledged, or this one cannot be sent.
        """
        name = self._full[topic]
        try:
            self._waiting.append((name, self._producer.send(name, key=key, value=value, headers=list(headers))))
        except MessageSizeTooLargeError as error:
            size = len(key or b"") + len(value or b"")
            raise RecordError(None, "a record of less than a megabyte", f"{size} bytes") from error
        except KafkaError as error:
            raise self._not_acknowledged(name, error) from error
        self.sent += 1
        while self._waiting and (len(self._waiting) > MAX_WAITING or self._waiting[0][1].is_done):
            self._await_oldest()

    def flush(self) -> None:
        """Return when everything is acknowledged.

        Raises:
            BrokerError: a record was not.
        """
        while self._waiting:
            self._await_oldest()

    def _await_oldest(self) -> None:
        name, future = self._waiting.popleft()
        try:
            future.get(timeout=self._timeout_s + CONNECT_S)
        except KafkaError as error:
            raise self._not_acknowledged(name, error) from error

    def _not_acknowledged(self, topic: str, error: KafkaError) -> BrokerError | RightsError:
        if isinstance(error, AuthorizationError):
            return broker_error(self._settings, error, "WRITE")
        return BrokerError(f"a record for {topic} was not acknowledged: {str(error) or type(error).__name__}")

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # What is not acknowledged is dropped: `close` alone would raise its own error and leave a thread.
            self._producer._sender.force_close()  # noqa: SLF001 - there is no public way
            with suppress(KafkaError):
                self._producer.close(timeout=ABORT_S)
            return
        try:
            self.flush()
        finally:
            self._producer.close()


class TopicReader:
    """Reads whole topics, without a group assignment. A context manager.

    Args:
        settings: of the broker and the prefix.
        topics: short names.
        group: whose commits `from_committed` and `commit` use, without prefix.

    Raises:
        CodecError: a package for compressed records is missing.
        TopicsError: a topic is missing.
        RightsError: a right is missing.
        BrokerError: no broker answers.
    """

    def __init__(self, settings: Settings, topics: Collection[str], group: str | None = None) -> None:
        check_codecs()
        full_group = None if group is None else settings.prefix + group
        require_topics(settings, topics, "READ", full_group)
        self._settings = settings
        self._ends: dict[TopicPartition, int] = {}
        with reaching(settings):
            self._consumer = new_blocking_consumer(
                settings,
                group_id=full_group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=4 << 20,
                max_poll_records=2000,
                metrics_enabled=False,
                bootstrap_timeout_ms=round(CONNECT_S * 1000),
            )
            self.partitions = [
                TopicPartition(name, number)
                for name in (full_name(settings.prefix, topic) for topic in topics)
                for number in sorted(self._consumer.partitions_for_topic(name) or ())
            ]

    def ends(self) -> dict[TopicPartition, int]:
        """Ends of the partitions now; corrected on the embedded broker."""
        with reaching(self._settings):
            ends = dict(self._consumer.end_offsets(self.partitions))
            return true_ends_blocking(self._consumer, ends) if self._settings.embedded else ends

    def read(
        self, *, from_start: bool = False, from_committed: bool = False, until_end: bool
    ) -> Iterator[list[Record]]:
        """Batches of records as they arrive; an empty batch where none arrived for `POLL_MS`.

        Args:
            from_start: from the first record, else from the current end.
            from_committed: from the group's committed offsets, or from the first record where there are none.
            until_end: up to the current end, else without end.

        Raises:
            BrokerError: the broker is gone.
        """
        ends = self._ends = self.ends()
        with reaching(self._settings):
            self._consumer.assign(self.partitions)
            if from_start or from_committed:
                self._consumer.seek_to_beginning(*self.partitions)
                for partition in self.partitions if from_committed else ():
                    if (committed := self._consumer.committed(partition)) is not None:
                        self._consumer.seek(partition, committed)
            else:
                for partition, end in ends.items():
                    self._consumer.seek(partition, end)
            left = self._behind(ends) if until_end else {}
            while left or not until_end:
                polled: Mapping[TopicPartition, list[Record]] = self._consumer.poll(timeout_ms=POLL_MS)
                if until_end:
                    yield [r for partition, batch in polled.items() for r in batch if r.offset < ends[partition]]
                    left = self._behind(left)
                else:
                    yield [record for batch in polled.values() for record in batch]

    def commit(self) -> None:
        """Commit for the group everything that `read` has yielded up to the end.

        Raises:
            BrokerError: the broker refuses.
        """
        with reaching(self._settings):
            done = {tp: min(self._consumer.position(tp), end) for tp, end in self._ends.items()}
            self._consumer.commit({tp: OffsetAndMetadata(offset, "", -1) for tp, offset in done.items()})

    def _behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Partitions whose ends are not reached yet."""
        return {tp: end for tp, end in ends.items() if self._consumer.position(tp) < end}

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._consumer.close()
