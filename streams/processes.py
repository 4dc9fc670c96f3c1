"""Child processes: the brokers, workers and trainers that the demo, drills, benchmark and tests start.

No child outlives us, even after kill -9. A shell starts it: one branch becomes the process, with the shell's id; the
other waits on a pipe whose far end only we hold, and stops the process when the pipe closes. That works on Linux and
macOS; `PR_SET_PDEATHSIG` is Linux's, and fires even when just the thread that started the process ends.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Self

from streams.errors import CrosscurrentError
from streams.settings import ENV_PREFIX, Settings

GRACE_S = 10.0
"""From SIGTERM to SIGKILL. Apache Kafka takes two seconds to close its logs."""

READY_S = 240.0
"""Longest start: on a fresh machine the first worker compiles its kernels."""

LOOK_S = 0.05
"""Between two checks of a process that starts."""

_SHELL = f"""
exec 3<&0
(
    read -r _ <&3 && exit
    kill -TERM $$
    for _ in $(seq {GRACE_S:.0f}); do sleep 1; kill -0 $$ || exit; done
    kill -KILL $$
) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"""


class ProcessError(CrosscurrentError):
    """A process ended by itself or did not start.

    Operator action: the message has its last output; on a busy machine a second try may be enough.
    """


class Process:
    """A child process that can be started more than once. As a context manager it starts and stops it.

    Args:
        name: of the process in messages, such as `worker 2`.
        command: program and arguments.
        log: file that its output is appended to.
        environ: its environment; ours by default.
        ready: regular expression that the line begins with by which the process says that it is ready.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None = None,
        ready: str = r"ready\b",
    ) -> None:
        self.name = name
        self._command, self._log, self._environ = command, log, environ
        self._ready = re.compile(rf"^{ready}.*\n", re.MULTILINE)
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._log_start = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code if it ended by itself, negative for a signal; None if it runs, was not started or was stopped."""
        return self._child.poll() if self._child is not None else None

    def output(self) -> str:
        """What it has written since it was last started."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[self._log_start :].decode("utf-8", errors="replace")

    def last_words(self, lines: int = 5) -> str:
        """The last lines of its output, for an error message."""
        last = self.output().splitlines()[-lines:]
        return " | ".join(line.strip() for line in last if line.strip()) or "it said nothing"

    def ready_line(self) -> str | None:
        """The line by which it said that it is ready; None before."""
        found = self._ready.search(self.output())
        return found and found[0].strip()

    def start(self) -> Self:
        """Start it.

        Raises:
            ProcessError: this system has no POSIX shell.
        """
        self.kill()
        reader, self._pipe = os.pipe()
        try:
            with self._log.open("ab") as output:
                self._log_start = output.tell()
                self._child = subprocess.Popen(
                    ["/bin/sh", "-c", _SHELL, "sh", *self._command],
                    stdin=reader,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environ,
                    start_new_session=True,  # Ctrl-C is ours to handle
                )
        except OSError as error:
            os.close(self._pipe)
            message = f"{self._command[0]} cannot be started on this system: {error}"
            raise ProcessError(message) from error
        finally:
            os.close(reader)
        return self

    def await_ready(self, timeout_s: float = READY_S, stop: Event | None = None) -> str | None:
        """Wait for the line by which it says that it is ready, and return it; None if `stop` was set before.

        Raises:
            ProcessError: it ended, or took too long.
        """
        deadline, stop = time.monotonic() + timeout_s, stop or Event()
        while (line := self.ready_line()) is None and not stop.wait(LOOK_S):
            self.check()
            if time.monotonic() > deadline:
                message = f"{self.name} did not become ready within {timeout_s:.0f} s: {self.last_words()}"
                raise ProcessError(message)
        return line

    def check(self) -> None:
        """Raise a `ProcessError` if it has ended by itself."""
        if self.exit_code is not None:
            message = f"{self.name} ended with exit code {self.exit_code}: {self.last_words()}"
            raise ProcessError(message)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; whether it has ended."""
        if self._child is not None:
            try:
                self._child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return False
        return True

    def stop(self) -> None:
        """Send SIGTERM, wait for the end, and kill it if that does not come within `GRACE_S`."""
        stop_all([self])

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; does nothing to a process that does not run."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        self._child = None
        try:
            os.write(self._pipe, b"\n")  # the waiting branch of the shell ends without sending a signal
        except BrokenPipeError:
            pass
        os.close(self._pipe)

    def pause(self) -> None:
        """Send SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self.signal(signal.SIGCONT)


def stop_all(processes: Sequence[Process]) -> None:
    """Stop processes side by side."""
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        process.wait(max(0.0, deadline - time.monotonic()))
        process.kill()


def cpu_s(pid: int | None) -> float | None:
    """CPU time of a process so far, all threads; None without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int | None) -> float | None:
    """Resident memory of a process in MB; None if it has ended."""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(done.stdout) / 1024 if done.stdout.strip() else None


def crosscurrent(command: str, *options: str, settings: Settings | None = None) -> list[str]:
    """Program and arguments of one of our own commands, with the settings' broker and prefix if any are given."""
    arguments = [sys.executable, "-m", "streams", command, *options]
    if settings is not None:
        kind = "--embedded" if settings.embedded else "--no-embedded"
        arguments += ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix, kind]
    return arguments


def environment(**settings: object) -> dict[str, str]:
    """Our own environment with these settings of Crosscurrent, by their names, and no others."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return ours | {ENV_PREFIX + name.upper(): str(value) for name, value in settings.items()}
