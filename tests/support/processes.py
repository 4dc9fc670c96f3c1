"""Workers and trainers as processes of their own, whose pages can be read.

Standard output and standard error are kept apart: a worker says `ready` on the first and everything else on the second.
"""

from __future__ import annotations

import signal
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
from streams.processes import Process, crosscurrent, environment
from streams.settings import Settings
from tests.support import faulty_process

ROOT = Path(__file__).parents[2]

PATIENCE_S = 90.0
"""Longest wait for anything: on a busy machine a worker takes many times its usual start of a few seconds."""

LOOK_S = 0.05
"""Between two checks."""

FLUSH_S = 0.3
"""Flush interval of workers in tests."""

_APART = 'cd "$1" && shift && exec "$@" >stdout 2>stderr'

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, say: Callable[[], str] = str) -> T:
    """The first true result of `look`; without one in time the test fails, with what `say` adds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE_S:.0f} s: {what}{say()}")
        time.sleep(LOOK_S)


class WorkerProcess:
    """A running `crosscurrent worker` or `trainer`. A context manager that kills it.

    Args:
        settings: broker and prefix.
        folder: its working directory, with its output.
        policy: its policy file.
        command: `trainer` for a trainer.
        more: further settings, by name.
        fault: built into it; see `tests.support.faulty_process`.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        policy: Path | None = None,
        command: str = "worker",
        more: Mapping[str, str] | None = None,
        fault: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / "stdout", folder / "stderr"
        (self.port,) = free_ports(1)
        options = ["--web-port", str(self.port), *(() if policy is None else ("--policy", str(policy)))]
        options += ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
        environ = environment(flush_interval_s=FLUSH_S, session_timeout_s=6, **(more or {})) | {"PYTHONPATH": str(ROOT)}
        program = crosscurrent(command, *options)
        if fault is not None:
            environ |= {faulty_process.VARIABLE: fault}
            program = [part if part != "streams" else faulty_process.__name__ for part in program]
        words = ["/bin/sh", "-c", _APART, "sh", str(folder), *program]
        self._process = Process(f"the {command}", words, folder / "shell", environ).start()

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
        return self._process.running

    def await_ready(self) -> WorkerProcess:
        """Return when it has said that it is ready."""

        def said_so() -> bool:
            if not self.running:
                pytest.fail(f"the worker ended with exit code {self._process.exit_code}: {self.complaints[-3000:]}")
            return "ready\n" in self.printed.splitlines(keepends=True)

        eventually(said_so, "the worker says that it is ready")
        return self

    def signal(self, number: signal.Signals) -> None:
        self._process.signal(number)

    def wait(self) -> int | None:
        """Its exit code, once it has ended."""
        assert self._process.wait(PATIENCE_S), f"the worker does not end: {self.complaints[-3000:]}"
        return self._process.exit_code

    def stop(self) -> int | None:
        """SIGTERM; gives its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL; does nothing to one that has ended."""
        self._process.kill()

    def page(self, path: str) -> tuple[int, bytes]:
        """Status and body of one of its pages."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def tasks(self) -> dict[str, bool]:
        """Its partition tasks by name, and whether they are ready."""
        tasks: dict[str, bool] = orjson.loads(self.page("/ready")[1])["lanes"]
        return tasks

    def gauge(self, name: str, **labels: str) -> float:
        """A gauge by its labels; 0 where it has no value yet."""
        for family in text_string_to_metric_families(self.page("/metrics")[1].decode()):
            for sample in family.samples:
                if sample.name == f"crosscurrent_{name}" and sample.labels == labels:
                    return sample.value
        return 0.0

    def counter(self, name: str) -> Counter[tuple[str, ...]]:
        """A counter, by the values of its labels in the order of the labels' names."""
        found: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families(self.page("/metrics")[1].decode()):
            for sample in family.samples:
                if sample.name == f"crosscurrent_{name}_total":
                    found[tuple(value for _, value in sorted(sample.labels.items()))] = int(sample.value)
        return found
