"""Measures exclusive times of functions from outside while the real code runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from threading import local
from time import thread_time
from types import GeneratorType
from typing import Any

CALIBRATION = 20_000
"""Calls of an empty function by which the overhead of the watch is measured, in a few milliseconds."""

_END = object()


class _Calling(local):
    """Of each thread: seconds that watched functions took inside those under way."""

    def __init__(self) -> None:
        self.inside: list[float] = []


class Stopwatch:
    """Adds up the time of functions, without the time of other watched functions that they call.

    Only for functions that do not await: other tasks that run meanwhile would be included. Functions may be called in
    several threads, but those of one stage in one thread at a time.

    Args:
        clock: seconds, of the calling thread's processor time by default.

    >>> watch, box = Stopwatch(), {"inner": sum}
    >>> with watch.around([(box, "inner", "adding")]):
    ...     box["inner"]([1, 2]), watch.calls["adding"]
    (3, 1)
    >>> box["inner"] is sum
    True
    """

    def __init__(self, clock: Callable[[], float] = thread_time) -> None:
        self._clock = clock
        self.calls: defaultdict[str, int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._calling = _Calling()
        self._own_s = self._calibrate()

    def seconds(self, stage: str) -> float:
        """Time of a stage, without the overhead of the watch."""
        return max(0.0, self._seconds[stage] - self.calls[stage] * self._own_s)

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function, watched; of a generator each step is watched."""
        seconds, calls, calling, clock = self._seconds, self.calls, self._calling, self._clock

        def step(work: Callable[[], Any]) -> Any:
            inside = calling.inside
            inside.append(0.0)
            started = clock()
            try:
                return work()
            finally:
                took = clock() - started
                seconds[stage] += took - inside.pop()
                calls[stage] += 1
                if inside:
                    inside[-1] += took

        def steps(generator: Iterator[Any]) -> Iterator[Any]:
            while (value := step(lambda: next(generator, _END))) is not _END:
                yield value

        @wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            result = step(lambda: function(*arguments, **named))
            return steps(result) if isinstance(result, GeneratorType) else result

        return watched

    @contextmanager
    def around(self, places: list[tuple[Any, str, str]]) -> Iterator[None]:
        """Watch functions: the owner (an object or a mapping), name and stage of each."""
        before = [_get(owner, name) for owner, name, _ in places]
        try:
            for (owner, name, stage), function in zip(places, before, strict=True):
                _set(owner, name, self.timed(function, stage))
            yield
        finally:
            for (owner, name, _), function in zip(places, before, strict=True):
                _set(owner, name, function)

    def _calibrate(self) -> float:
        """Overhead of the watch in each call, in seconds."""
        nothing = self.timed(lambda: None, "")
        for _ in range(CALIBRATION):
            nothing()
        return self._seconds.pop("") / self.calls.pop("")


def _get(owner: Any, name: str) -> Any:
    return owner[name] if isinstance(owner, Mapping) else getattr(owner, name)


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, Mapping):
        owner[name] = value  # type: ignore[index]
    else:
        setattr(owner, name, value)
