"""A team of threads that work at once on the parts of one job, in compiled functions that release the lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[int, Callable[[], Any], "SimpleQueue[_Outcome]"]
_Outcome = tuple[int, Any, BaseException | None]


class ThreadTeam:
    """Makes calls at once: the first in the calling thread, each of the others in a thread of its own.

    The threads are started when they are first needed, and kept. They are daemons: one that hangs does not delay the
    end of the process. One caller at a time.

    >>> team = ThreadTeam(2, "summing")
    >>> team.run([lambda: 1 + 1, lambda: 2 + 2])
    [2, 4]

    Attributes:
        size: number of threads, the caller's included.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self._name = name
        self._jobs: list[SimpleQueue[_Job]] = []  # of each thread but the caller's

    def parts(self, number: int, least: int) -> list[slice]:
        """Consecutive parts of so many, as equal as can be and each of `least` or more; or all in one."""
        parts = max(1, min(self.size, number // least))
        return [slice(number * part // parts, number * (part + 1) // parts) for part in range(parts)]

    def run(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Results of at most `size` calls, all of which have ended.

        Raises:
            BaseException: what the first of those that failed has raised.
        """
        while len(self._jobs) < len(calls) - 1:
            self._start()
        outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        for number, call in enumerate(calls[1:]):
            self._jobs[number].put((number + 1, call, outcomes))
        if calls:
            outcomes.put(_outcome(0, calls[0]))
        results = []
        for _, result, error in sorted((outcomes.get() for _ in calls), key=lambda outcome: outcome[0]):
            if error is not None:
                raise error
            results.append(result)
        return results

    def _start(self) -> None:
        jobs: SimpleQueue[_Job] = SimpleQueue()
        self._jobs.append(jobs)
        name = f"{self._name}-{len(self._jobs)}"
        threading.Thread(target=_work, args=(jobs,), daemon=True, name=name).start()


def _work(jobs: SimpleQueue[_Job]) -> None:
    while True:
        number, call, outcomes = jobs.get()
        outcomes.put(_outcome(number, call))
        del call, outcomes  # a thread that waits holds nothing of its last call


def _outcome(number: int, call: Callable[[], Any]) -> _Outcome:
    try:
        return number, call(), None
    except BaseException as error:  # noqa: B036 - raised by the caller
        return number, None, error


ALONE = ThreadTeam(1, "")
"""No thread but the caller's."""
