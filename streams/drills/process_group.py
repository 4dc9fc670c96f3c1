"""The workers, or the trainer, of a drill."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from streams.processes import Process, ProcessError, crosscurrent, environment
from streams.settings import Settings

STOP_S = 30.0
"""From SIGTERM to the end: a worker writes its checkpoint for up to 10 s, a trainer a last snapshot for up to 20 s;
then they leave the group."""

SESSION_TIMEOUT_S = 6.0
"""Of the workers, on both brokers: the shortest that Apache Kafka allows by default."""

SETTINGS = {"session_timeout_s": SESSION_TIMEOUT_S, "train_every_s": 4.0, "snapshot_every_s": 8.0}
"""Settings of all drills that differ from the defaults. With so many snapshots two minutes see many swaps, with some
seconds without a swap between them."""


class ProcessGroup:
    """Processes of one kind (`worker` or `trainer`), by number from 0; trainers have no policy.

    A context manager that kills those that run, paused ones too.
    """

    def __init__(self, kind: str, settings: Settings, logs: Path, count: int, policy: Path | None = None) -> None:
        options = ["--no-web", *(() if policy is None else ("--policy", str(policy)))]
        command = crosscurrent(kind, *options, settings=settings)
        environ = environment(
            **{name: getattr(settings, name) for name in (*SETTINGS, "snapshot_store", "flush_interval_s")},
            **{f"visits__{name}": getattr(settings.visits, name) for name in ("window_s", "click_memory_s")},
        )
        self._processes = [
            Process(f"{kind} {number}" if count > 1 else f"the {kind}", command, logs / f"{kind}-{number}.log", environ)
            for number in range(1, count + 1)
        ]
        self.complaints: list[str] = []
        """One sentence for each unexpected end."""

    def __len__(self) -> int:
        return len(self._processes)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes)

    def __getitem__(self, number: int) -> Process:
        return self._processes[number]

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.kill()

    def check(self) -> None:
        """Complain of processes that have ended by themselves, once each."""
        for process in self._processes:
            if (code := process.exit_code) is not None:
                self.complaints.append(f"{process.name} ended by itself with exit code {code}: {process.last_words()}")
                process.kill()

    def revive(self) -> None:
        """Start those that do not run and wait until they are ready; complain of those that are not in time."""
        self.check()
        for process in self._processes:
            if not process.running:
                try:
                    process.start().await_ready()
                except ProcessError as error:
                    self.complaints.append(str(error))
                    process.kill()

    def stop(self, *numbers: int) -> None:
        """Stop some side by side, by default all; complain of those that do not exit with 0."""
        processes = [self._processes[number] for number in numbers or range(len(self))]
        for process in processes:
            process.signal(signal.SIGTERM)
        for process in processes:
            if not process.wait(STOP_S):
                self.complaints.append(f"{process.name} did not end within {STOP_S:.0f} s of SIGTERM")
            elif code := process.exit_code:
                self.complaints.append(f"{process.name} exited with {code} after SIGTERM: {process.last_words()}")
            process.kill()


def start_all(*groups: ProcessGroup) -> None:
    """Start all processes and wait until all are ready; raises `ProcessError` if one is not in time."""
    processes = list(chain.from_iterable(groups))
    for process in processes:
        process.start()
    for process in processes:
        process.await_ready()
