"""Makes the consumers of both clients: all of them deliver what they cannot parse as unreadable records.

See `streams.kafka.unreadable`.
"""

from __future__ import annotations

from typing import Any

import aiokafka
from kafka import KafkaConsumer

from streams.kafka.unreadable import tolerate_unreadable, tolerate_unreadable_blocking
from streams.settings import Settings


def new_consumer(settings: Settings, **options: Any) -> Any:
    """A consumer of aiokafka, not started."""
    tolerate_unreadable()
    return aiokafka.AIOKafkaConsumer(**settings.aiokafka_options(), **options)


def clients_of(*consumers: Any) -> list[Any]:
    """Clients of aiokafka behind some consumers; a consumer that is None, as before it connects, has none."""
    return [consumer._client for consumer in consumers if consumer is not None]  # noqa: SLF001 - there is no public way


def new_blocking_consumer(settings: Settings, **options: Any) -> Any:
    """A consumer of kafka-python."""
    consumer = KafkaConsumer(**settings.kafka_python_options(), **options)
    tolerate_unreadable_blocking(consumer)
    return consumer
