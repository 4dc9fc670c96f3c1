"""Copies the events of a run to topics of another prefix, where one worker applies them undisturbed.

The copies have the same partition, order, key, value and append time. Topics with `LogAppendTime` would give them new
times, and compacted ones lose the older records of a key, which are old enough to go at once. So the topics of the
copies keep the senders' times and all records until the copies have been compared. (The embedded broker always does.)
"""

from __future__ import annotations

import time
from collections.abc import Container

from kafka import KafkaProducer
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType

from streams.drills.errors import DrillError
from streams.drills.evidence import INPUTS, Place, Raw, read
from streams.errors import TopicsError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.settings import Settings
from streams.wire.topics import TOPICS, full_name

COPY_S, CONFIGS_S = 60.0, 30.0
"""Longest waits: for the last acknowledgement of a copy, and until the broker shows the altered configuration."""

KEEPS_ALL = {"message.timestamp.type": "CreateTime", "cleanup.policy": "delete", "retention.ms": "-1"}
"""Settings of a topic that keeps records as they are sent."""

INPUT_TOPICS = [topic for topic in TOPICS if topic.name in INPUTS]


def copy(settings: Settings, other: Settings, bad: Container[Place] = ()) -> None:
    """Create topics under another prefix of the same broker, and copy the shop's records but the bad ones to them.

    Raises:
        DrillError: the copy differs.
        TopicsError: topics cannot be created.
    """
    if other.embedded:
        topic_admin.create(other)
    else:
        _create_topics_that_keep_all(other)
    originals = {topic: read(settings, topic, bad) for topic in INPUTS}
    _send(other, originals)
    for topic, records in originals.items():
        copied = [record._replace(topic="", offset=0) for record in read(other, topic)]
        if copied != [record._replace(topic="", offset=0) for record in records]:
            message = f"the broker does not keep a copy of {full_name(settings.prefix, topic)} as it is"
            raise DrillError(message)
    if not other.embedded:
        _restore_configs(other)


def _create_topics_that_keep_all(settings: Settings) -> None:
    wanted = {
        full_name(settings.prefix, topic.name): {
            "num_partitions": settings.partitions,
            "replication_factor": settings.replication,
            "configs": {**topic.all_configs, **KEEPS_ALL},
        }
        for topic in INPUT_TOPICS
    }
    with administration(settings) as client:
        client.create_topics(wanted)
        client.wait_for_topics(list(wanted))


def _restore_configs(settings: Settings) -> None:
    """Give the topics the settings that workers require, and create the other topics."""
    altered = []
    for topic in INPUT_TOPICS:
        defaults = {name: (AlterConfigOp.DELETE, None) for name in KEEPS_ALL.keys() - topic.all_configs}
        name = full_name(settings.prefix, topic.name)
        altered.append(ConfigResource(ConfigResourceType.TOPIC, name, {**topic.all_configs, **defaults}))
    with administration(settings) as client:
        client.alter_configs(altered)
    deadline = time.monotonic() + CONFIGS_S
    while True:
        try:
            topic_admin.create(settings)
            return
        except TopicsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _send(settings: Settings, originals: dict[str, list[Raw]]) -> None:
    producer = KafkaProducer(
        **settings.kafka_python_options(), acks="all", linger_ms=20, max_in_flight_requests_per_connection=1
    )
    try:
        for topic, records in originals.items():
            for record in records:
                producer.send(
                    full_name(settings.prefix, topic),
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
        producer.flush(timeout=COPY_S)
    finally:
        producer.close(timeout=5.0)
