"""True ends of partitions on the embedded broker, whose ListOffsets answers are too small.

It answers with the first offset of the last batch plus one (still so in its latest release): after two batches of 300
records, 301. A fetch from there returns the right high watermark. Only used with `Settings.embedded`; other brokers
answer with the last stable offset.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import for_code
from aiokafka.protocol.fetch import FetchRequest

from streams.errors import BrokerError

LEAST_WAIT_MS = 1
"""The broker waits this long even if asked not to wait. With 100 ms for each partition, restoring all tasks took twenty
seconds."""

LEAST_BYTES, MOST_BYTES = 1, 1 << 20
"""Of one partition, whose records are not wanted, and of all."""

ANSWER_S = 10.0
"""Time for all high watermarks to arrive; each takes one local round trip."""


async def true_ends(consumer: Any, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Where the partitions end, given what `end_offsets` of an aiokafka consumer answered.

    Neither its assignment nor its positions are touched.
    """
    client = consumer._client  # noqa: SLF001 - there is no public way to a single fetch
    true, topics = dict(ends), defaultdict(list)
    filled = [tp for tp, end in ends.items() if end]
    if not filled:
        return true
    for tp in filled:
        topics[tp.topic].append((tp.partition, ends[tp], LEAST_BYTES))
    node = client.get_random_node()  # there is only one broker; metadata under way may lack the topic
    answer = await client.send(node, FetchRequest(LEAST_WAIT_MS, 0, MOST_BYTES, 0, list(topics.items())))
    for topic, partitions in answer.topics:
        for partition, error, high_watermark, *_ in partitions:
            if error:
                raise for_code(error)()
            tp = TopicPartition(topic, partition)
            true[tp] = max(high_watermark, true[tp])
    return true


def true_ends_blocking(consumer: Any, ends: Mapping[Any, int]) -> dict[Any, int]:
    """Where the partitions end, given what `end_offsets` of an idle kafka-python consumer answered.

    It is left assigned to these partitions, at these ends.

    Raises:
        BrokerError: the broker does not answer.
    """
    true = dict(ends)
    waiting = {tp for tp, end in ends.items() if end}
    consumer.assign(list(waiting))
    for tp in waiting:
        consumer.seek(tp, ends[tp])
    deadline = time.monotonic() + ANSWER_S
    while waiting:
        if time.monotonic() > deadline:
            message = f"the embedded broker does not say where {', '.join(map(str, sorted(waiting)))} end"
            raise BrokerError(message)
        consumer.poll(timeout_ms=100)
        for tp in list(waiting):
            if (high_watermark := consumer.highwater(tp)) is not None:
                true[tp] = max(high_watermark, ends[tp])
                waiting.discard(tp)
    for tp, end in true.items():
        if tp in consumer.assignment():
            consumer.seek(tp, end)
    return true
