"""The log of a broker keeps the contract of every log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import TopicPartition as BlockingPartition

from streams.brokers.broker import Broker
from streams.brokers.embedded import EmbeddedBroker
from streams.brokers.kafka import KafkaBroker
from streams.kafka.admin import administration
from streams.kafka.log import KafkaLog
from streams.settings import Settings
from tests.support.log_contract import FullLogContract, LogContract, Written


class BrokerSubject:
    """A topic of two partitions on a broker, read by a `KafkaLog`."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.settings = settings
        self.partition, self.other = TopicPartition(topic, 0), TopicPartition(topic, 1)
        self.log = KafkaLog(settings)

    async def append(self, records: Sequence[Written]) -> None:
        """One batch of the broker."""
        async with AIOKafkaProducer(**self.settings.aiokafka_options()) as producer:
            batch = producer.create_batch()
            for key, value, timestamp in records:
                assert batch.append(key=key, value=value, timestamp=timestamp) is not None
            await (await producer.send_batch(batch, self.partition.topic, partition=self.partition.partition))

    async def append_hole(self) -> None:
        """A transaction that is aborted: its record and its marker have offsets."""
        end = (await self.log.ends([self.partition]))[self.partition]
        options = self.settings.aiokafka_options() | {"transactional_id": f"{self.partition.topic}-aborting"}
        async with AIOKafkaProducer(**options) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(self.partition.topic, b"aborted", partition=self.partition.partition)
            await producer.abort_transaction()
        while (await self.log.ends([self.partition]))[self.partition] < end + 2:  # the broker writes the marker later
            await asyncio.sleep(0.01)

    async def expire(self, start: int) -> None:
        with administration(self.settings) as client:
            client.delete_records({BlockingPartition(*self.partition): start})

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        options = self.settings.aiokafka_options() | {"enable_auto_commit": False}
        async with AIOKafkaConsumer(**options, group_id=self.settings.full_group) as consumer:
            consumer.assign([partition])
            await consumer.commit({partition: offset})


@asynccontextmanager
async def log_on(broker: Broker, prefix: str) -> AsyncIterator[BrokerSubject]:
    """A topic of its own, gone after the test."""
    settings, topic = broker.settings(prefix=prefix, send_timeout_s=5), f"{prefix}log"
    configs = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    with administration(settings) as client:
        client.create_topics({topic: {"num_partitions": 2, "replication_factor": 1, "configs": configs}})
    subject = BrokerSubject(settings, topic)
    await subject.log.start()
    try:
        yield subject
    finally:
        await subject.log.stop()
        with administration(settings) as client:
            client.delete_topics([topic], raise_errors=False)


class TestLogOfTheEmbeddedBroker(LogContract):
    @pytest.fixture
    async def subject(self, embedded_broker: EmbeddedBroker, prefix: str) -> AsyncIterator[BrokerSubject]:
        async with log_on(embedded_broker, prefix) as subject:
            yield subject


class TestLogOfKafka(FullLogContract):
    @pytest.fixture
    async def subject(self, kafka_broker: KafkaBroker, prefix: str) -> AsyncIterator[BrokerSubject]:
        async with log_on(kafka_broker, prefix) as subject:
            yield subject
