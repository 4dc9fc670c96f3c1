"""An event loop whose clock jumps to the next timer, so that no test sleeps."""

from __future__ import annotations

import asyncio
import selectors
import threading
import time


class _JumpingSelector(selectors.DefaultSelector):
    """Waits only where a thread or a socket could wake the loop; otherwise the clock jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._earlier = set(threading.enumerate())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0.0):
            return ready
        threads = set(threading.enumerate()) - self._earlier
        alone = len(self.get_map()) == 1 and all(isinstance(thread, threading._DummyThread) for thread in threads)
        if alone and (ready := super().select(0)):  # of a thread that has ended since the first look
            return ready
        if alone and timeout is None:
            message = "nothing will ever wake this event loop: it has no timer, no socket and no thread"
            raise RuntimeError(message)
        if alone and timeout is not None:
            self.now += timeout
            return ready
        started = time.monotonic()
        ready = super().select(timeout)
        self.now += time.monotonic() - started
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and stands still while coroutines run, so that their timing is exact.

    While a thread that was started since, or a socket, could wake the loop, time passes as on the wall.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now
