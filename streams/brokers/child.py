"""A process that does not outlive us, whatever ends us: a clean stop, an exception, or kill -9.

A shell starts it: one branch becomes the process (so that its id is the process's own), the other waits on a pipe whose
far end only we hold. When we are gone the pipe closes, and the branch ends the process. Works alike on Linux and macOS;
`PR_SET_PDEATHSIG` would do so on Linux alone, and there already when the thread that started the process ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.errors import BrokerError

GRACE_S = 10
"""From the friendly signal to the unfriendly one; Apache Kafka takes two seconds to close its logs."""

_LEASH = f"""
exec 3<&0
(
    read -r _ <&3 && exit
    kill -TERM $$
    for _ in $(seq {GRACE_S}); do sleep 1; kill -0 $$ || exit; done
    kill -KILL $$
) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"""


class Child:
    """A running process.

    Args:
        command: program and arguments.
        log: file that its output is appended to.
        environ: its environment; ours by default.

    Raises:
        BrokerError: this system has no POSIX shell.
    """

    def __init__(self, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self._log = log
        reader, self._leash = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _LEASH, "sh", *command],
                    stdin=reader,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    start_new_session=True,  # Ctrl-C is ours to handle
                )
        except OSError as error:
            os.close(self._leash)
            message = f"{command[0]} cannot be started on this system: {error}"
            raise BrokerError(message) from error
        finally:
            os.close(reader)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code; negative: the signal that ended it; None: it runs."""
        return self._process.poll()

    def last_words(self, lines: int = 5) -> str:
        """End of what it has written, for an error message."""
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip()) or "it said nothing"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it and wait until it has ended: with SIGTERM, and after the grace period with SIGKILL."""
        self._process.terminate()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self._reap()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; whether it has ended."""
        deadline = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            time.sleep(min(0.1, timeout_s))
        return not self.running

    def _reap(self) -> None:
        self._process.wait()
        if self._leash >= 0:
            try:
                os.write(self._leash, b"\n")  # the waiting branch ends without a kill
            except BrokenPipeError:
                pass
            os.close(self._leash)
            self._leash = -1
