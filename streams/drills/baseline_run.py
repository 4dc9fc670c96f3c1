"""Copies the events of a run to topics of another prefix, where one worker applies them undisturbed.

The copies have the same partition, order, key, value and append time. Topics with `LogAppendTime` would give them new
times, so the topics of the copies keep the senders' times until all is copied. (The embedded broker always does.)
"""

from __future__ import annotations

import time
from collections.abc import Container

from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from streams.drills.errors import DrillError
from streams.drills.evidence import INPUTS, Place, Raw, read
from streams.errors import TopicsError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.settings import Settings
from streams.wire.topics import TOPICS, full_name

COPY_S, CONFIGS_S = 60.0, 30.0
"""Longest waits: for the last acknowledgement of a copy, and until the broker shows the altered configuration."""

TIMESTAMPS = "message.timestamp.type"
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
        _create_topics_that_keep_times(other)
    originals = {topic: read(settings, topic, bad) for topic in INPUTS}
    _send(other, originals)
    for topic, records in originals.items():
        copied = [record._replace(topic="", offset=0) for record in read(other, topic)]
        if copied != [record._replace(topic="", offset=0) for record in records]:
            message = f"the broker does not keep a copy of {full_name(settings.prefix, topic)} as it is"
            raise DrillError(message)
    if not other.embedded:
        _restore_append_times(other)


def _create_topics_that_keep_times(settings: Settings) -> None:
    wanted = {
        full_name(settings.prefix, topic.name): {
            "num_partitions": settings.partitions,
            "replication_factor": settings.replication,
            "configs": {**topic.all_configs, TIMESTAMPS: "CreateTime"},
        }
        for topic in INPUT_TOPICS
    }
    with administration(settings) as client:
        client.create_topics(wanted)
        client.wait_for_topics(list(wanted))


def _restore_append_times(settings: Settings) -> None:
    """Set `LogAppendTime` again, which workers require, and create the other topics."""
    altered = [
        ConfigResource(
            ConfigResourceType.TOPIC,
            full_name(settings.prefix, topic.name),
            {TIMESTAMPS: topic.all_configs[TIMESTAMPS]},
        )
        for topic in INPUT_TOPICS
        if TIMESTAMPS in topic.all_configs
    ]
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
