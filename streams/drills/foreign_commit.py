"""Commits offsets for the workers' group from outside, as another program with the same group name would."""

from __future__ import annotations

import asyncio

import aiokafka
from aiokafka.errors import KafkaError

from streams.settings import Settings
from streams.wire.topics import full_name

TOPICS = ("clicks", "purchases", "pairs", "catalog")

BEYOND = 10**9
"""Offset behind the end of the first partition of each topic; the other partitions get their end."""


def commit_ends(settings: Settings) -> str | None:
    """Commit the ends of all partitions, and one beyond; returns why the broker refused, or None."""
    return asyncio.run(_commit(settings))


async def _commit(settings: Settings) -> str | None:
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, group_id=settings.full_group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [
            aiokafka.TopicPartition(full_name(settings.prefix, topic), number)
            for topic in TOPICS
            for number in range(settings.partitions)
        ]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        await consumer.commit({tp: BEYOND if tp.partition == 0 else max(end, 1) for tp, end in ends.items()})
    except KafkaError as error:
        return type(error).__name__
    finally:
        await consumer.stop()
    return None
