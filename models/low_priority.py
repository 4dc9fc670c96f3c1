"""Long calls of compiled functions, made in threads of lower priority, so that processors go to the others first."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

NICENESS = 10
"""What such a thread adds to its niceness."""


def at_low_priority(call: Callable[[], T]) -> T:
    """Result of a call that takes milliseconds and hardly needs Python's lock; the caller waits.

    Niceness cannot be taken back without a right, hence the thread. The caller keeps its own: with a lower priority it
    could wait for a processor while it holds the lock, and all other threads with it. On Linux only, as elsewhere
    niceness is the whole process's.

    Raises:
        BaseException: what the call raises.

    >>> at_low_priority(lambda: 1 + 1)
    2
    """
    if sys.platform != "linux":
        return call()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            os.nice(NICENESS)
            results.append(call())
        except BaseException as error:  # noqa: B036 - raised by the caller
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="low priority")
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return results[0]
