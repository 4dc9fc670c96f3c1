"""Recently seen ids, so that an event that is sent twice counts once."""

from __future__ import annotations

_FIRST_LIMIT = 64
"""Ids held before outdated ones are removed for the first time."""


class Repeats:
    """When each id of one shopper was last seen, by append time.

    Whether an id is a repeat depends on the memory before it alone. Each sighting, a repeat too, restarts its memory.

    >>> seen = Repeats()
    >>> [seen.again("a", 0.0, appended_s, appended_s - 10.0) for appended_s in (100.0, 109.0, 118.0, 129.0)]
    [False, True, True, False]
    """

    __slots__ = ("_limit", "_seen")

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}  # id: append time, event time
        self._limit = _FIRST_LIMIT

    def __len__(self) -> int:
        """Ids held, outdated ones included."""
        return len(self._seen)

    def again(self, name: str, at: float, appended_s: float, horizon_s: float) -> bool:
        """Note an id with its event time; returns whether it had been seen at or after the horizon, an append time.

        Neither `appended_s` nor `horizon_s` may decrease from call to call.
        """
        known = self._seen.get(name)
        self._seen[name] = (appended_s, at)
        if known is not None:
            return known[0] >= horizon_s
        if len(self._seen) > self._limit:
            self._seen = {name: seen for name, seen in self._seen.items() if seen[0] >= horizon_s}
            self._limit = max(_FIRST_LIMIT, 2 * len(self._seen))
        return False

    def forget(self, before: float) -> None:
        """Drop what happened at or before an event time."""
        self._seen = {name: seen for name, seen in self._seen.items() if seen[1] > before}
