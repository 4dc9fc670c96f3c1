"""One node of Apache Kafka (KRaft), from a distribution in `KAFKA_HOME`, for development, tests and measurements."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from streams.brokers.broker import HOST, Broker, free_ports
from streams.errors import BrokerError

JAVA_OPTIONS = (
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
)
"""What the distribution's own start script gives Java. With a heap of 512 MB and Java's defaults, an event cost the
broker twice the processor time."""

FORMAT_S = 60.0
"""Longest time for formatting a data folder, which takes 1 s."""


class KafkaBroker(Broker):
    """One node of Apache Kafka.

    Args:
        port: for clients; None: a free one. The controller takes another free one.
        data: folder of its data, which is kept; None: a folder that is removed at the end.
        configs: more broker settings, such as `log.retention.check.interval.ms`.
    """

    title = "Apache Kafka"
    embedded = False

    def __init__(
        self, port: int | None = None, *, data: Path | None = None, configs: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(port)
        self._data = data and data.absolute()
        self._configs = configs or {}

    def _command(self, port: int) -> tuple[list[str], Mapping[str, str] | None]:
        java, libraries = _java(), _libraries()
        data = self._data or self._own_folder() / "data"
        properties = self._own_folder() / "server.properties"
        try:
            data.mkdir(parents=True, exist_ok=True)
            properties.write_text(_properties(port, free_ports(1)[0], data, self._configs), encoding="utf-8")
        except OSError as error:
            message = f"the data folder {data} cannot be used: {error.strerror}"
            raise BrokerError(message) from error
        if not (data / "meta.properties").exists():
            tool = [java, "-cp", libraries, "kafka.tools.StorageTool"]
            cluster_id = _run([*tool, "random-uuid"]).split()[-1]
            _run([*tool, "format", "-t", cluster_id, "-c", str(properties)])
        return [java, *JAVA_OPTIONS, "-cp", libraries, "kafka.Kafka", str(properties)], None


def _properties(port: int, controller_port: int, data: Path, more: Mapping[str, str]) -> str:
    """The node's `server.properties`."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(data),
        # one node holds one replica
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # the first member of a group need not wait for others
        "group.initial.rebalance.delay.ms": "0",
        # a misspelt topic is an error, not a new topic
        "auto.create.topics.enable": "false",
    }
    return "".join(f"{name}={value}\n" for name, value in {**settings, **more}.items())


def _libraries() -> str:
    """Java's class path; raises `BrokerError` without a distribution."""
    named = os.environ.get("KAFKA_HOME")
    if not named:
        message = "KAFKA_HOME names no folder: unpack a distribution of Apache Kafka 4 and set KAFKA_HOME to it"
        raise BrokerError(message)
    libraries = Path(named).absolute() / "libs"
    if not any(libraries.glob("kafka*.jar")):
        message = f"KAFKA_HOME ({named}) has no Kafka jars in libs: it must be the folder of an unpacked distribution"
        raise BrokerError(message)
    return f"{libraries}/*"


def _java() -> str:
    """Java's launcher; raises `BrokerError` if there is none."""
    in_home = Path(os.environ.get("JAVA_HOME", "/nowhere")) / "bin" / "java"
    java = str(in_home) if in_home.exists() else shutil.which("java")
    if java is None:
        message = "Apache Kafka needs Java 17 or later: install one, or set JAVA_HOME"
        raise BrokerError(message)
    return java


def _run(command: list[str]) -> str:
    """Run a tool; returns its output, raises `BrokerError` if it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=FORMAT_S, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        message = f"the data folder of Apache Kafka cannot be formatted: {words[-1] if words else 'no reason given'}"
        raise BrokerError(message)
    return done.stdout
