"""Workers as processes of their own: started, waited for, asked over their pages, and ended whatever a test does.

Each is a [`Child`][streams.brokers.child.Child]: it does not outlive the tests. What it prints and what it complains of
are kept apart, since a worker says `ready` on standard output and everything else on standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.brokers.broker import free_ports
from streams.brokers.child import Child
from streams.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]

PATIENCE_S = 90.0
"""Longest wait for anything; on a busy machine a worker takes many times the few seconds of its start."""

LOOK_S = 0.05
"""Between two looks."""

FLUSH_S = 0.3
"""How often workers publish what they have learnt, in tests."""

_APART = 'cd "$1" && shift && exec "$@" >stdout 2>stderr'

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, say: Callable[[], str] = str) -> T:
    """What `look` gives, once that is true; the test fails if it is not in time, with what there is to `say` of it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE_S:.0f} s: {what}{say()}")
        time.sleep(LOOK_S)


class WorkerProcess:
    """A running `crosscurrent worker`, or `trainer`. A context manager that ends it.

    Args:
        settings: broker and prefix.
        folder: for what it writes; its working directory.
        policy: its policy file.
        command: `trainer` for a trainer.
        more: further settings, by their variables without the beginning that all have.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        policy: Path | None = None,
        command: str = "worker",
        more: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / "stdout", folder / "stderr"
        (self.port,) = free_ports(1)
        words = [sys.executable, "-m", "streams", command, "--web-port", str(self.port)]
        words += ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
        words += [] if policy is None else ["--policy", str(policy)]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)} | {
            f"{ENV_PREFIX}FLUSH_INTERVAL_S": str(FLUSH_S),
            f"{ENV_PREFIX}SESSION_TIMEOUT_S": "6",
            "PYTHONPATH": str(ROOT),
            **{f"{ENV_PREFIX}{name}": value for name, value in (more or {}).items()},
        }
        self._child = Child(["/bin/sh", "-c", _APART, "sh", str(folder), *words], folder / "shell", environ)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def complaints(self) -> str:
        """What it has written to standard error."""
        return self.err.read_text(encoding="utf-8") if self.err.exists() else ""

    @property
    def printed(self) -> str:
        """What it has written to standard output."""
        return self.out.read_text(encoding="utf-8") if self.out.exists() else ""

    @property
    def running(self) -> bool:
        return self._child.running

    def await_ready(self) -> WorkerProcess:
        """Return when it has said that it is ready."""

        def said_so() -> bool:
            if not self.running:
                pytest.fail(f"the worker ended with exit code {self._child.exit_code}: {self.complaints[-3000:]}")
            return "ready\n" in self.printed.splitlines(keepends=True)

        eventually(said_so, "the worker says that it is ready")
        return self

    def signal(self, number: signal.Signals) -> None:
        self._child.signal(number)

    def wait(self) -> int | None:
        """Its exit code, once it has ended."""
        assert self._child.wait(PATIENCE_S), f"the worker does not end: {self.complaints[-3000:]}"
        return self._child.exit_code

    def stop(self) -> int | None:
        """SIGTERM; gives its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, as a power cut would; does no harm to one that has ended."""
        self._child.kill()

    def page(self, path: str) -> tuple[int, bytes]:
        """Status and body of one of its pages."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def tasks(self) -> dict[str, bool]:
        """Its lanes by name, and whether they hold their state."""
        tasks: dict[str, bool] = orjson.loads(self.page("/ready")[1])["lanes"]
        return tasks

    def counter(self, name: str) -> Counter[tuple[str, ...]]:
        """A counter by the values of its labels in the order of the labels' names."""
        found: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families(self.page("/metrics")[1].decode()):
            for sample in family.samples:
                if sample.name == f"crosscurrent_{name}_total":
                    found[tuple(value for _, value in sorted(sample.labels.items()))] = int(sample.value)
        return found
