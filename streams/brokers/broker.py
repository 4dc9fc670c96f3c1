"""What all brokers that we start have in common: a free port, a start that waits until it answers, an end."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from streams.brokers.child import Child
from streams.errors import BrokerError
from streams.kafka.admin import administration
from streams.settings import Settings

HOST = "127.0.0.1"
"""Loopback only: these brokers ask nobody who they are."""

PORTS = range(20_000, 32_000)
"""Where free ports are looked for: below those that systems give to outgoing connections (from 32,768 on Linux, 49,152
on macOS). One of those could be taken by a client while the broker is down, even by one that tries to reach it."""

START_S = 60.0
"""Longest start: Apache Kafka takes 3 s, many times that on a machine that builds something else."""

TRIES = 3
"""Starts with another port before giving up: between finding a free port and using it somebody else may take it."""


class Broker(ABC):
    """A broker process. Use it in a `with` statement, or call `start` and `stop`.

    It can be stopped (or killed) and started again, at the same port.

    Args:
        port: to listen on; None: a free one.
    """

    title: ClassVar[str]
    """What a person calls it."""
    embedded: ClassVar[bool]
    """Whether it needs `Settings.embedded`."""

    def __init__(self, port: int | None = None) -> None:
        self._fixed_port = port
        self._port: int | None = None
        self._child: Child | None = None
        self._folder: Path | None = None

    @property
    def port(self) -> int:
        """Where it listens; known once it was started."""
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
        """Process id, None while it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    def settings(self, **more: object) -> Settings:
        """Settings that connect to it."""
        return Settings.model_validate({"bootstrap_servers": self.bootstrap_servers, "embedded": self.embedded, **more})

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            BrokerError: it cannot be started here; the message says why and what else there is.
        """
        if self.pid is not None:
            return
        port = self._port or self._fixed_port
        ports = [port] if port else free_ports(TRIES)
        for port in ports:
            try:
                self._start_at(port)
            except BrokerError:
                self.stop()
                if port == ports[-1]:
                    raise
            else:
                self._port = port
                return

    def stop(self) -> None:
        """End it in the friendly way and wait; it can be started again."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """End it with SIGKILL and wait; it can be started again."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end for so long; whether it has ended."""
        return self._child is None or self._child.wait(timeout_s)

    def last_words(self) -> str:
        """End of what it has written."""
        return self._child.last_words() if self._child is not None else "it does not run"

    def close(self) -> None:
        """End it and remove its own files; it can not be started again with the same data."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _launch(self, port: int, log: Path) -> Child:
        """Start the process."""

    def _own_folder(self) -> Path:
        """A folder of ours alone, removed by `close`."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="crosscurrent-broker-"))
        return self._folder

    def _start_at(self, port: int) -> None:
        if not _is_free(port):
            message = f"port {port} is taken: choose another with --port, or none for a free one"
            raise BrokerError(message)
        child = self._child = self._launch(port, self._own_folder() / "broker.log")
        deadline = time.monotonic() + START_S
        while not _accepts(port):
            if not child.running:
                message = f"{self.title} ended while starting (exit code {child.exit_code}): {child.last_words()}"
                raise BrokerError(message)
            if time.monotonic() > deadline:
                message = f"{self.title} did not open port {port} within {START_S:.0f} s: {child.last_words()}"
                raise BrokerError(message)
            time.sleep(0.02)
        settings = Settings(bootstrap_servers=f"{HOST}:{port}", embedded=self.embedded)
        with administration(settings, connect_s=START_S) as client:
            client.describe_cluster()


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now.

    Raises:
        BrokerError: none found.
    """
    found = [port for port in random.sample(PORTS, 200) if _is_free(port)][:count]
    if len(found) < count:
        message = f"no free port between {PORTS.start} and {PORTS.stop}: choose one with --port"
        raise BrokerError(message)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False
