"""A connection for administration, and the kind of broker behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from streams.errors import BrokerError
from streams.kafka.connection import broker_error, check_connection, reaching
from streams.settings import Settings

EMBEDDED_CLUSTER_ID = "crosscurrent-embedded"
"""Cluster id that the embedded broker is started with and recognised by."""

CONNECT_S = 10.0
"""How long a command waits for a broker to answer; a restarting broker is back by then."""

PAUSE_S = 0.2
"""Between two tries."""


@contextmanager
def administration(settings: Settings, connect_s: float = CONNECT_S) -> Iterator[Any]:
    """A kafka-python admin client, closed at the end.

    Raises:
        BrokerError: no broker answers, or it refuses.
    """
    _reach(settings, connect_s)
    with reaching(settings):
        client = KafkaAdminClient(**settings.kafka_python_options(), bootstrap_timeout_ms=round(connect_s * 1000))
    try:
        yield client
    except KafkaError as error:
        raise broker_error(settings, error, "DESCRIBE") from error
    finally:
        client.close()


def recognised(settings: Settings) -> Settings:
    """The settings for the kind of broker that answers: unchanged, or those for the embedded one.

    Where the settings say which kind it is, no broker is asked.

    Raises:
        BrokerError: no broker answers.
    """
    if "embedded" in settings.model_fields_set:
        return settings.for_embedded_broker() if settings.embedded else settings
    with administration(settings) as client:
        cluster_id = client.describe_cluster()["cluster_id"]
    return settings.for_embedded_broker() if cluster_id == EMBEDDED_CLUSTER_ID else settings


def _reach(settings: Settings, connect_s: float) -> None:
    """Wait until a broker answers and accepts our connection. kafka-python would wait, too, and not say what is wrong.

    Raises:
        LoginError: a broker refuses the connection.
        BrokerError: none answered in time.
    """
    deadline = time.monotonic() + connect_s
    while True:
        try:
            return check_connection(settings, connect_s)
        except OSError as error:
            if time.monotonic() > deadline:
                raise BrokerError.unreachable(settings.bootstrap_servers, error) from error
        time.sleep(PAUSE_S)
