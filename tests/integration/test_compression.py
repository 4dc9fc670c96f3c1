"""Records of `suggestions` are compressed as the settings say, and kafka-python reads them."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from streams.kafka.blocking import TopicReader
from streams.kafka.producer import BatchingProducer, KafkaSender
from streams.settings import Compression, Settings


async def _send(settings: Settings, values: list[bytes]) -> None:
    sender, failures = KafkaSender(settings), list[BaseException]()
    await sender.start()
    producer = BatchingProducer(sender, timeout_s=10.0, on_failure=failures.append)
    for value in values:
        producer.enqueue(settings.prefix + "suggestions", 0, b"ann", value)
    await producer.wait_acked(producer.mark())
    await producer.close()
    await sender.stop()
    assert not failures


@pytest.mark.parametrize("compression", get_args(Compression))
def test_suggestions_are_read_however_they_are_compressed(created_topics: Settings, compression: str) -> None:
    values = [b"%d" % number + 2_000 * b"kettle" for number in range(100)]
    settings = created_topics.model_copy(update={"suggestions_compression": compression})
    asyncio.run(_send(settings, values))
    with TopicReader(created_topics, ["suggestions"]) as reader:
        read = [record for batch in reader.read(from_start=True, until_end=True) for record in batch]
    assert [(record.key, record.value) for record in read] == [(b"ann", value) for value in values]
