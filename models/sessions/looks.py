"""Recent looks of a shopper: the end of the log of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter

Look = tuple[float, int, int, int, float]
"""(event time, offset, item, action code, append time)."""

_appended_s = itemgetter(4)


class Looks:
    """The last looks of one shopper, in the order of the log and by event time.

    Looks leave by their place in the log, never by event time. So a replay of the end of the log gives the same state.

    Attributes:
        recent: the last `kept` looks of the log, by (event time, offset).
        trail: these and as many before them, in the order of the log.
    """

    __slots__ = ("recent", "trail")

    def __init__(self) -> None:
        self.recent: list[Look] = []
        self.trail: list[Look] = []

    def add(self, look: Look, place: int, kept: int) -> None:
        """Append a look with a greater offset and no smaller append time than any before, at a place in `recent`."""
        recent, trail = self.recent, self.trail
        recent.insert(place, look)
        trail.append(look)
        if len(trail) > kept:
            leaving = trail[-kept - 1]
            del recent[0 if recent[0] is leaving else bisect_left(recent, leaving)]
            if len(trail) > 2 * kept:
                del trail[0]

    def expire(self, horizon_s: float, kept: int) -> None:
        """Drop what was appended before a time."""
        if self.trail and self.trail[0][4] < horizon_s:
            del self.trail[: bisect_left(self.trail, horizon_s, key=_appended_s)]
            self.recent = sorted(self.trail[-kept:])

    def forget(self, before: float, kept: int) -> None:
        """Drop what happened at or before an event time."""
        self.trail = [look for look in self.trail if look[0] > before]
        self.recent = sorted(self.trail[-kept:])

    def appended_between(self, first_s: float, last_s: float, most: int) -> list[Look]:
        """The last `most` looks appended up to `last_s`, without those appended before `first_s`, by event time."""
        end = bisect_right(self.trail, last_s, key=_appended_s)
        start = bisect_left(self.trail, first_s, key=_appended_s)
        return sorted(self.trail[max(start, end - most, 0) : end])
