"""Ids that have been seen of late, so that what is sent twice counts once."""

from __future__ import annotations

_FIRST_TIDYING = 64
"""Ids held before outdated ones are looked for."""


class Repeats:
    """When each id of one shopper was last seen, by append time.

    Whether an id is a repeat depends on the `memory` before it alone: each sighting counts from anew, a repeat, too.

    >>> seen = Repeats()
    >>> [seen.again("a", 0.0, appended_s, appended_s - 10.0) for appended_s in (100.0, 109.0, 118.0, 129.0)]
    [False, True, True, False]
    """

    __slots__ = ("_most", "_seen")

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}  # id: append time, event time
        self._most = _FIRST_TIDYING

    def __len__(self) -> int:
        """Ids held, outdated ones included that have not been tidied away."""
        return len(self._seen)

    def again(self, name: str, at: float, appended_s: float, horizon_s: float) -> bool:
        """Note an id; whether it had been seen.

        Args:
            name: the id.
            at: its event time, for `forget`.
            appended_s: its append time, no smaller than that of any before.
            horizon_s: append time before which sightings do not count. It must not go back.
        """
        known = self._seen.get(name)
        self._seen[name] = (appended_s, at)
        if known is not None:
            return known[0] >= horizon_s
        if len(self._seen) > self._most:
            self._seen = {name: seen for name, seen in self._seen.items() if seen[0] >= horizon_s}
            self._most = max(_FIRST_TIDYING, 2 * len(self._seen))
        return False

    def forget(self, before: float) -> None:
        """Drop what happened at or before an event time."""
        self._seen = {name: seen for name, seen in self._seen.items() if seen[1] > before}
