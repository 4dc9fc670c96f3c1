"""The workers and trainers of a drill: started, waited for, signalled, and ended so that nothing is left behind.

Each is a [`Child`][streams.brokers.child.Child]: out of reach of the terminal's Ctrl-C, and ended by its leash if we
are ended without a chance to do so.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from streams.brokers.child import Child
from streams.drills.errors import DrillError
from streams.settings import ENV_PREFIX, Settings

READY_S = 240.0
"""Longest start: on a fresh machine the first worker compiles its kernels."""

STOP_S = 30.0
"""From SIGTERM to the end: a worker writes down what it has done, for ten seconds at most, a trainer stores a last
snapshot, for twenty; then they leave the group."""

LOOK_S = 0.05
"""Between two looks at a process."""


class Processes:
    """Processes of one kind by number, from 0 on. A context manager that ends them, whatever state they are in.

    Args:
        kind: `worker` or `trainer`: the command that they run.
        settings: where and with what: everything that differs from the defaults.
        logs: folder; each life of each process has a file of its own.
        count: how many there are.
        environ: their environment; settings in it are left out.
        policy: file of the workers' policy; None: trainers have none.
    """

    def __init__(
        self,
        kind: str,
        settings: Settings,
        logs: Path,
        count: int,
        environ: Mapping[str, str],
        policy: Path | None = None,
    ) -> None:
        self._kind = kind
        self._arguments = [
            kind,
            "--no-web",
            *("--bootstrap-servers", settings.bootstrap_servers),
            *("--prefix", settings.prefix),
            *(() if policy is None else ("--policy", str(policy))),
            "--embedded" if settings.embedded else "--no-embedded",
        ]
        self._environ = {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}
        for name in ("session_timeout_s", "snapshot_store", "train_every_s", "snapshot_every_s"):
            self._environ[ENV_PREFIX + name.upper()] = str(getattr(settings, name))
        self._logs = logs
        self._lives = [0] * count
        self._children: list[Child | None] = [None] * count
        self.complaints: list[str] = []
        """Ends that should not have been: a sentence each."""

    def __len__(self) -> int:
        return len(self._children)

    def name(self, number: int) -> str:
        """What a person calls it: `worker 2`; the only one of its kind has no number."""
        return f"{self._kind} {number + 1}" if len(self) > 1 else f"the {self._kind}"

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exception: object) -> None:
        for number in range(len(self)):
            self.kill(number)

    def start(self, number: int) -> None:
        """Start one that does not run."""
        self._lives[number] += 1
        command = [sys.executable, "-m", "streams", *self._arguments]
        self._children[number] = Child(command, self._log(number), self._environ)

    def start_all(self) -> None:
        """Start all, and wait until all are ready.

        Raises:
            DrillError: one did not become ready.
        """
        for number in range(len(self)):
            self.start(number)
        deadline = time.monotonic() + READY_S
        for number in range(len(self)):
            self.await_ready(number, deadline)

    def await_ready(self, number: int, deadline: float | None = None) -> None:
        """Wait until one has said that it is ready.

        Args:
            number: of the process.
            deadline: by the monotonic clock; None: as long as a start may take.

        Raises:
            DrillError: it ended, or took too long.
        """
        deadline = deadline or time.monotonic() + READY_S
        while not self.is_ready(number):
            child = self._children[number]
            if child is None or not child.running:
                code = "" if child is None else f" with exit code {child.exit_code}: {child.last_words()}"
                message = f"{self.name(number)} ended before it was ready{code}"
                raise DrillError(message)
            if time.monotonic() > deadline:
                message = f"{self.name(number)} did not become ready in time: {child.last_words()}"
                raise DrillError(message)
            time.sleep(LOOK_S)

    def is_ready(self, number: int) -> bool:
        """Whether one has said so in its present life."""
        return b"\nready\n" in b"\n" + self._log(number).read_bytes()

    def check(self) -> None:
        """Take down those that have ended by themselves, once each."""
        for number, child in enumerate(self._children):
            if child is not None and not child.running:
                self.complaints.append(
                    f"{self.name(number)} ended by itself with exit code {child.exit_code}: {child.last_words()}"
                )
                child.kill()
                self._children[number] = None

    def kill(self, number: int) -> None:
        """End one with SIGKILL, as a power cut would; does nothing to one that does not run."""
        child, self._children[number] = self._children[number], None
        if child is not None:
            child.kill()

    def pause(self, number: int) -> None:
        """Stop one where it is, with SIGSTOP."""
        self._signal(number, signal.SIGSTOP)

    def wake(self, number: int) -> None:
        """Let a paused one go on, with SIGCONT."""
        self._signal(number, signal.SIGCONT)

    def stop_all(self) -> None:
        """End all that run in the friendly way, side by side; complains of those that do not exit with 0."""
        for number in range(len(self)):
            self._signal(number, signal.SIGTERM)
        for number in range(len(self)):
            self._await_end(number)

    def stop(self, number: int) -> None:
        """End one in the friendly way; complains if it does not exit with 0."""
        self._signal(number, signal.SIGTERM)
        self._await_end(number)

    def _await_end(self, number: int) -> None:
        child = self._children[number]
        if child is None:
            return
        ended = child.wait(STOP_S)
        if not ended:
            self.complaints.append(f"{self.name(number)} did not end within {STOP_S:.0f} s of SIGTERM")
        elif child.exit_code != 0:
            self.complaints.append(
                f"{self.name(number)} exited with {child.exit_code} after SIGTERM: {child.last_words()}"
            )
        self.kill(number)

    def _signal(self, number: int, which: signal.Signals) -> None:
        child = self._children[number]
        if child is not None:
            child.signal(which)

    def _log(self, number: int) -> Path:
        return self._logs / f"{self._kind}-{number + 1}-life-{self._lives[number]}.log"
