"""Whether any broker answers, by the answers that the clients of a process get anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

TICK_S = 1.0
"""Between two looks."""


class BrokerContact:
    """Counts how long no broker has answered. The tables' consumer asks ten times a second, so silence means trouble.

    Args:
        clients: aiokafka's clients of this process, as far as there are any.

    Attributes:
        silent_s: seconds without an answer; 0 while there are answers, or no clients.
    """

    def __init__(self, clients: Callable[[], Iterable[Any]]) -> None:
        self._clients = clients
        self._answered_at = float("-inf")
        self._looked_at: float | None = None
        self.silent_s = 0.0

    def look(self, now: float) -> None:
        """Compare with the last look; `now` is monotonic, as are the times of the connections.

        A process that was stopped, or whose event loop was busy, has not waited: more than two ticks do not count.
        """
        clients = list(self._clients())
        times = [connection._last_action for client in clients for connection in client._conns.values()]  # noqa: SLF001
        answered_at = max(times, default=self._answered_at)
        since_s = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        if answered_at > self._answered_at or not clients:
            self._answered_at, self.silent_s = max(answered_at, self._answered_at), 0.0
        else:
            self.silent_s += min(since_s, 2 * TICK_S)
