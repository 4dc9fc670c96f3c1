"""Our own commands as processes of the demo: started, waited for, and ended so that nothing is left behind.

Each is a [`Child`][streams.brokers.child.Child], out of reach of the terminal's Ctrl-C: the demo ends them itself, the
workers first, while the broker still takes what they write down.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.brokers.child import GRACE_S, Child
from streams.errors import CrosscurrentError


class ProcessEndedError(CrosscurrentError):
    """A process of the demo ended by itself or did not start. Operator action: the message has what it said last."""


class Processes:
    """Running commands, by name. A context manager that ends them.

    Args:
        logs: folder for a log each.
        environ: of the processes.
    """

    def __init__(self, logs: Path, environ: Mapping[str, str]) -> None:
        self._logs = logs
        self._environ = environ
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `crosscurrent` with these arguments."""
        command = [sys.executable, "-m", "streams", *arguments]
        self._children[name] = Child(command, self._log(name), self._environ)

    def line(self, name: str, start: str) -> str | None:
        """The first line that the process has printed and that starts so; None if there is none yet."""
        text = self._log(name).read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]  # the last line may still be on its way
        return next((line for line in whole.splitlines() if line.startswith(start)), None)

    def check(self) -> None:
        """Make sure that all are running.

        Raises:
            ProcessEndedError: one has ended.
        """
        for name, child in self._children.items():
            if not child.running:
                message = f"the {name} ended with exit code {child.exit_code}: {child.last_words(3)}"
                raise ProcessEndedError(message)

    def end(self) -> None:
        """End all but the first side by side, then the first: the broker, on which the others depend."""
        names = list(self._children)
        for group in (names[1:], names[:1]):
            for name in group:
                self._children[name].signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_S
            for name in group:
                child = self._children.pop(name)
                child.wait(max(0.0, deadline - time.monotonic()))
                child.kill()  # whether it has ended or not: also takes the leash away

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.replace(' ', '-')}.log"
