from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as BlockingPartition

from streams.brokers.broker import Broker
from streams.brokers.embedded import EmbeddedBroker
from streams.brokers.kafka import KafkaBroker
from streams.errors import BrokerError, TopicsError
from streams.kafka import topic_admin
from streams.kafka.admin import administration, recognised
from streams.kafka.embedded_ends import true_ends, true_ends_blocking
from streams.settings import Settings
from streams.wire.topics import TOPICS


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "streams", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ready_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def eventually_free(port: int) -> bool:
    deadline = time.monotonic() + 20
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not listens(port)


async def send(settings: Settings, topic: str, batches: int, size: int) -> None:
    """Send to partition 0, in so many batches of so many records."""
    producer = AIOKafkaProducer(**settings.aiokafka_options())
    await producer.start()
    try:
        for _ in range(batches):
            batch = producer.create_batch()
            for number in range(size):
                assert batch.append(key=None, value=b"%d" % number, timestamp=None) is not None
            await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()


async def true_end(settings: Settings, topic: str) -> int:
    consumer = AIOKafkaConsumer(**settings.aiokafka_options())
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        if settings.embedded:
            ends = await true_ends(consumer, ends)
        assert ends[TopicPartition(topic, 1)] == 0
        return int(ends[TopicPartition(topic, 0)])
    finally:
        await consumer.stop()


def true_end_blocking(settings: Settings, topic: str) -> int:
    consumer = KafkaConsumer(**settings.kafka_python_options())
    try:
        partitions = [BlockingPartition(topic, 0), BlockingPartition(topic, 1)]
        ends = consumer.end_offsets(partitions)
        if settings.embedded:
            ends = true_ends_blocking(consumer, ends)
        assert ends[partitions[1]] == 0
        return int(ends[partitions[0]])
    finally:
        consumer.close()


def test_topics_are_made_once_and_as_they_must_be(broker: Broker, prefix: str) -> None:
    settings = broker.settings(prefix=prefix)
    with pytest.raises(TopicsError, match=f"missing: {prefix}clicks, .*crosscurrent topics create"):
        topic_admin.identities(settings)
    made = topic_admin.create(settings, partitions=3)
    assert made == [prefix + topic.name for topic in TOPICS]
    assert topic_admin.create(settings, partitions=3) == []
    assert topic_admin.check(settings) == []
    identities = topic_admin.identities(settings)
    assert {identity.partitions for identity in identities.values()} == {3}
    assert len({identity.topic_id for identity in identities.values()}) == len(made)


def test_a_topic_made_again_has_another_identity(created_topics: Settings) -> None:
    name = created_topics.prefix + "pairs"
    before = topic_admin.identities(created_topics)[name]
    with administration(created_topics) as client:
        client.delete_topics([name])
        deadline = time.monotonic() + 10
        while name in client.list_topics() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert topic_admin.create(created_topics) == [name]
    assert topic_admin.identities(created_topics)[name].topic_id != before.topic_id


def test_differences_are_said_and_stop_a_worker(broker: Broker, prefix: str) -> None:
    settings = broker.settings(prefix=prefix)
    with administration(settings) as client:
        client.create_topics(
            {
                prefix + "clicks": {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.ms": "60000"}},
                prefix + "neighbours": {
                    "num_partitions": 4,
                    "replication_factor": 1,
                    "configs": {"cleanup.policy": "delete"},
                },
            }
        )
    with pytest.raises(TopicsError, match=f"{prefix}clicks: partitions 2, not 4"):
        topic_admin.create(settings, partitions=4)
    differences = "\n".join(topic_admin.check(settings))
    assert f"topics keyed by shoppers must have equally many partitions, and have: {prefix}clicks 2" in differences
    assert f"{prefix}neighbours: cleanup.policy delete, not compact" in differences
    assert f"{prefix}clicks keeps records for 0.000694 days" in differences
    with pytest.raises(TopicsError, match="equally many partitions"):
        topic_admin.identities(settings)


def test_more_copies_than_brokers_are_refused_by_kafka(kafka_broker: KafkaBroker, prefix: str) -> None:
    with pytest.raises(TopicsError, match="the broker refuses to make topics .*replication factor of 3"):
        topic_admin.create(kafka_broker.settings(prefix=prefix), replication=3)


def test_kind_of_broker_is_recognised(broker: Broker) -> None:
    found = recognised(Settings(bootstrap_servers=broker.bootstrap_servers))
    assert found.embedded is broker.embedded


def test_true_ends_of_partitions(created_topics: Settings) -> None:
    topic = created_topics.prefix + "clicks"
    assert asyncio.run(true_end(created_topics, topic)) == 0
    assert true_end_blocking(created_topics, topic) == 0
    asyncio.run(send(created_topics, topic, batches=3, size=100))
    assert asyncio.run(true_end(created_topics, topic)) == 300
    assert true_end_blocking(created_topics, topic) == 300


def test_the_embedded_broker_still_needs_its_workaround(embedded_broker: EmbeddedBroker, prefix: str) -> None:
    """When this fails, a release has mended it: `embedded_ends` and all that asks for it can go."""
    settings = embedded_broker.settings(prefix=prefix)
    topic_admin.create(settings, partitions=2)
    asyncio.run(send(settings, prefix + "clicks", batches=3, size=100))
    said = asyncio.run(true_end(settings.model_copy(update={"embedded": False}), prefix + "clicks"))
    assert said == 201


def test_an_embedded_broker_comes_back_at_the_same_port(embedded_broker: EmbeddedBroker) -> None:
    with EmbeddedBroker() as broker:
        port = broker.port
        for end in (broker.stop, broker.kill):
            end()
            assert broker.pid is None
            assert not listens(port)
            broker.start()
            assert broker.port == port
            assert listens(port)


def test_kafka_keeps_what_it_has_acknowledged(kafka_broker: KafkaBroker, prefix: str, tmp_path: Path) -> None:
    """Through a stop and a start at the same port, a kill, and another node on the same data at another port."""
    topic = prefix + "clicks"
    with KafkaBroker(data=tmp_path / "data", configs={"broker.session.timeout.ms": "3000"}) as broker:
        settings = broker.settings(prefix=prefix)
        topic_admin.create(settings, partitions=2)
        asyncio.run(send(settings, topic, batches=2, size=50))
        broker.stop()
        assert not listens(broker.port)
        broker.start()
        assert asyncio.run(true_end(settings, topic)) == 100
        asyncio.run(send(settings, topic, batches=1, size=50))
        broker.kill()
        assert broker.pid is None
    with KafkaBroker(data=tmp_path / "data") as another:
        assert another.port != broker.port
        assert asyncio.run(true_end(another.settings(prefix=prefix), topic)) == 150


def test_a_port_that_is_taken_is_an_error(embedded_broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match=f"port {embedded_broker.port} is taken"):
        EmbeddedBroker(embedded_broker.port).start()


def test_an_unreachable_broker_is_one_sentence() -> None:
    with pytest.raises(BrokerError, match="no Kafka broker could be used at 127.0.0.1:9"):
        with administration(Settings(bootstrap_servers="127.0.0.1:9"), connect_s=0.5):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_ready_and_ends_with_success(number: signal.Signals) -> None:
    with command("broker") as process:
        word, address = ready_line(process).split()
        host, port = address.split(":")
        assert (word, host) == ("ready", "127.0.0.1")
        assert listens(int(port))
        process.send_signal(number)
        assert process.wait(20) == 0
        assert not listens(int(port))


def test_a_broker_ends_with_its_parent_even_by_kill_9(broker: Broker) -> None:
    with command("broker", *(() if broker.embedded else ("--kafka",))) as process:
        port = int(ready_line(process).rpartition(":")[2])
        assert listens(port)
        process.kill()
        process.wait(20)
    assert eventually_free(port)


def test_a_broker_that_ends_by_itself_ends_the_command() -> None:
    with command("broker") as process:
        port = int(ready_line(process).rpartition(":")[2])
        with command("broker", "--port", str(port)) as second:
            assert second.wait(20) == 1
            assert second.stderr is not None
            assert f"port {port} is taken" in second.stderr.read()
        children = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
        )
        broker_pid = next(int(line.split()[0]) for line in children.stdout.splitlines() if f":{port}" in line)
        os.kill(broker_pid, signal.SIGKILL)
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "the embedded broker has ended by itself" in process.stderr.read()


def test_commands_create_and_check(broker: Broker, prefix: str) -> None:
    where = ("--bootstrap-servers", broker.bootstrap_servers, "--prefix", prefix)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "streams", *arguments, *where], capture_output=True, text=True, check=False
        )

    missing = run("topics", "check")
    assert missing.returncode == 1
    assert missing.stderr.startswith(f"missing: {prefix}clicks")
    made = run("topics", "create", "--partitions", "2")
    assert made.returncode == 0, made.stderr
    assert len(made.stdout.splitlines()) == 1
    assert run("topics", "create", "--partitions", "2").returncode == 0
    assert run("topics", "check").returncode == 0
    other = run("topics", "create", "--partitions", "3")
    assert other.returncode == 1
    assert "partitions 2, not 3" in other.stderr
    assert "Traceback" not in other.stderr
