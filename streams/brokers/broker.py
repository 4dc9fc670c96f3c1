"""The base of the brokers: it finds a free port, waits until the broker answers, and stops it."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from streams.errors import BrokerError
from streams.kafka.admin import administration
from streams.processes import Process
from streams.settings import Settings

HOST = "127.0.0.1"
"""Loopback only: these brokers do not authenticate clients."""

PORTS = range(20_000, 32_000)
"""Free ports are looked for here: below those of outgoing connections (from 32,768 on Linux, 49,152 on macOS), which a
client could take while the broker is down."""

START_S = 60.0
"""Longest start: Apache Kafka takes 3 s, and many times that on a busy machine."""

TRIES = 3
"""Ports to try: another program may take a free port before the broker opens it."""


class Broker(ABC):
    """A broker process, which can be started again at the same port; a free one if none is given. A context manager."""

    title: ClassVar[str]  # its name in messages
    embedded: ClassVar[bool]  # as in `Settings`

    def __init__(self, port: int | None = None) -> None:
        self._port = port
        self._process: Process | None = None
        self._folder: Path | None = None

    @property
    def port(self) -> int:
        """The port it listens on; raises `BrokerError` if none was given and it has not been started."""
        if self._port is None:
            message = f"{self.title} has not been started"
            raise BrokerError(message)
        return self._port

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._process.pid if self._process is not None else None

    def settings(self, **more: object) -> Settings:
        """Settings that connect to it."""
        return Settings.model_validate({"bootstrap_servers": self.bootstrap_servers, "embedded": self.embedded, **more})

    def start(self) -> None:
        """Start it and wait until it answers; raises `BrokerError` if it cannot be started here."""
        if self.pid is not None:
            return
        self.kill()
        ports = [self._port] if self._port else free_ports(TRIES)
        for port in ports:
            try:
                self._start_at(port)
                break
            except BrokerError:
                self.stop()
                if port == ports[-1]:
                    raise
        self._port = port

    def stop(self) -> None:
        """Stop it and wait; it can be started again."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Kill it with SIGKILL and wait; it can be started again."""
        if self._process is not None:
            self._process.kill()

    def last_words(self) -> str:
        """The last lines of its output."""
        return self._process.last_words() if self._process is not None else "it does not run"

    def close(self) -> None:
        """Stop it and remove its files; data is kept only in a folder that was given."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def _command(self, port: int) -> tuple[list[str], Mapping[str, str] | None]:
        """Program and arguments, and the environment (None: ours)."""

    def _own_folder(self) -> Path:
        """A temporary folder, removed by `close`."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="crosscurrent-broker-"))
        return self._folder

    def _start_at(self, port: int) -> None:
        if not _is_free(port):
            message = f"port {port} is taken: choose another with --port, or none for a free one"
            raise BrokerError(message)
        command, environ = self._command(port)
        process = self._process = Process(self.title, command, self._own_folder() / "broker.log", environ).start()
        deadline = time.monotonic() + START_S
        while not _accepts(port):
            if not process.running:
                message = f"{self.title} ended while starting (exit code {process.exit_code}): {process.last_words()}"
                raise BrokerError(message)
            if time.monotonic() > deadline:
                message = f"{self.title} did not open port {port} within {START_S:.0f} s: {process.last_words()}"
                raise BrokerError(message)
            time.sleep(0.02)
        settings = Settings(bootstrap_servers=f"{HOST}:{port}", embedded=self.embedded)
        with administration(settings, connect_s=START_S) as client:
            client.describe_cluster()


def free_ports(count: int) -> list[int]:
    """Ports that are free now; raises `BrokerError` if there are too few."""
    found = [port for port in random.sample(PORTS, 200) if _is_free(port)][:count]
    if len(found) < count:
        message = f"no free port between {PORTS.start} and {PORTS.stop}: choose one with --port"
        raise BrokerError(message)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections in TIME_WAIT
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex((HOST, port)) == 0
