"""Session-based nearest neighbours: VSKNN and STAN, as their papers and the session-rec framework have them.

Both look among the most recent sessions that share an item with the one under way for those most like it, and score
the items of those. Sessions are kept one after the other in arrays; from each place a link leads to the place before
that holds the same item, so that learning is incremental and recent sessions are found first.

* VSKNN: M. Ludewig, D. Jannach, Evaluation of session-based recommendation algorithms (2018).
* STAN: D. Garg and others, Sequence and time aware neighborhood for session-based recommendations (2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.evaluation.next_item.methods import Scores
from models.evaluation.next_item.sums import sums_by_item
from models.jit import cached_njit

_NOWHERE = -1

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class VsknnConfig:
    """Parameters of VSKNN: the defaults of session-rec."""

    neighbours: int = 100
    sample: int = 1_000
    """Most recent sessions that are looked at."""


@dataclass(frozen=True)
class StanConfig:
    """Parameters of STAN: the defaults of session-rec."""

    neighbours: int = 500
    sample: int = 5_000
    """Most recent sessions that are looked at."""
    position: float = 1.02
    """Places back in the session under way that weigh 1/e (lambda 1)."""
    recency_days: float = 5.0
    """Days since a neighbour ended that weigh 1/e (lambda 2)."""
    distance: float = 2.05
    """Places from the shared item, in a neighbour, that weigh 1/e (lambda 3)."""


class _Sessions:
    """Learnt sessions in arrays that grow."""

    def __init__(self) -> None:
        self.count = 0
        self.used = 0
        self.items: NDArray[np.int32] = np.zeros(1 << 16, np.int32)  # of all sessions, one after the other
        self.session_of: NDArray[np.int32] = np.zeros(1 << 16, np.int32)  # by place
        self.before: NDArray[np.int32] = np.zeros(1 << 16, np.int32)  # by place: the one before with the same item
        self.last: NDArray[np.int32] = np.full(1 << 12, _NOWHERE, np.int32)  # by item: its last place
        self.start: NDArray[np.int64] = np.zeros(
            1 << 12, np.int64
        )  # by session: its first place; the next one's is its end
        self.ended: NDArray[np.float64] = np.zeros(1 << 12, np.float64)  # by session, epoch seconds

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`Method.learn`][]."""
        while self.used + len(items) > len(self.items):
            self.items, self.session_of = _doubled(self.items), _doubled(self.session_of)
            self.before = _doubled(self.before)
        while self.count + 1 >= len(self.start):
            self.start, self.ended = _doubled(self.start), _doubled(self.ended)
        if (most := max(items, default=0)) >= len(self.last):
            more = np.full(2 * (most + 1) - len(self.last), _NOWHERE, np.int32)
            self.last = np.concatenate([self.last, more])
        for item in items:
            place = self.used
            self.items[place], self.session_of[place] = item, self.count
            self.before[place], self.last[item] = self.last[item], place
            self.used += 1
        self.ended[self.count] = times[-1] if len(times) else 0.0
        self.count += 1
        self.start[self.count] = self.used


class Vsknn(_Sessions):
    """Vector multiplication session-kNN: the later an item of the session under way, the more it counts.

    >>> method = Vsknn(VsknnConfig())
    >>> for number, session in enumerate([[1, 2, 3], [2, 4], [5, 6]]):
    ...     method.learn(session, [60.0 * number + place for place in range(len(session))])
    >>> ids, scores = method.score([1, 2], [300.0, 301.0])
    >>> dict(zip(ids.tolist(), scores.tolist()))  # likeness 0.5 + 1 and 1, by the last item
    {1: 1.5, 2: 2.5, 3: 1.5, 4: 1.0}
    """

    def __init__(self, config: VsknnConfig) -> None:
        super().__init__()
        self._config = config

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`Method.score`][]."""
        length = len(items)
        weights = {item: place / length for place, item in enumerate(items, 1)}
        latest = list(dict.fromkeys(reversed(items)))
        return _scored(self, latest, [weights[item] for item in latest], self._config.neighbours, self._config.sample)


class Stan(_Sessions):
    """Sequence and time aware neighbourhood.

    >>> method = Stan(StanConfig())
    >>> method.learn([1, 2, 3], [0.0, 1.0, 2.0])
    >>> ids, scores = method.score([2], [2.0])  # likeness 1 / sqrt(1 * 3); 1 and 3 are one place from 2
    >>> dict(zip(ids.tolist(), scores.round(4).tolist()))
    {1: 0.3545, 2: 0.5774, 3: 0.3545}
    """

    def __init__(self, config: StanConfig) -> None:
        super().__init__()
        self._config = config

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`Method.score`][]."""
        config, length = self._config, len(items)
        weights = {item: math.exp((place - length) / config.position) for place, item in enumerate(items, 1)}
        latest = list(dict.fromkeys(reversed(items)))
        return _scored(
            self,
            latest,
            [weights[item] for item in latest],
            config.neighbours,
            config.sample,
            now=times[-1],
            fade_s=config.recency_days * 86_400.0,
            distance=config.distance,
        )


def _scored(
    sessions: _Sessions,
    latest: list[int],
    weights: list[float],
    neighbours: int,
    sample: int,
    now: float = 0.0,
    fade_s: float = math.inf,
    distance: float = math.inf,
) -> Scores:
    """Scores from the sessions most like this one; VSKNN's with an infinite `distance`, else STAN's."""
    found, pieces = _score(
        np.array(latest, np.int32),
        np.array(weights),
        neighbours,
        sample,
        now,
        fade_s,
        distance,
        sessions.items,
        sessions.session_of,
        sessions.before,
        sessions.last,
        sessions.start,
        sessions.ended,
        sessions.count,
    )
    return sums_by_item(found, pieces)


@cached_njit()
def _score(
    latest: NDArray[np.int32],
    weights: NDArray[np.float64],
    neighbours: int,
    sample: int,
    now: float,
    fade_s: float,
    distance: float,
    items: NDArray[np.int32],
    session_of: NDArray[np.int32],
    before: NDArray[np.int32],
    last: NDArray[np.int32],
    start: NDArray[np.int64],
    ended: NDArray[np.float64],
    count: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """What each of the sessions most like this one adds to the scores of its items, one after the other.

    Args:
        latest: (n,) distinct items of the session under way, latest first.
        weights: (n,) what each of them counts for likeness.
        neighbours: most sessions whose items are scored.
        sample: most recent sessions that are looked at.
        now: epoch seconds.
        fade_s: age of a session at which it counts 1/e.
        distance: see `_scored`.
        items: of all sessions, one after the other.
        session_of: by place in `items`.
        before: by place: the one before with the same item.
        last: by item: its last place.
        start: by session.
        ended: by session, epoch seconds.
        count: of sessions.
    """
    aware = distance != np.inf
    # Of each item the most recent sessions: whatever is among the `sample` most recent of all is among those.
    room = 0
    found = np.empty(min(count, sample) * len(latest), np.int32)
    for item in latest:
        place = last[item] if item < len(last) else _NOWHERE
        taken, newest = 0, -1
        while place != _NOWHERE and taken < sample:
            if session_of[place] != newest:
                newest = session_of[place]
                found[room] = newest
                room += 1
                taken += 1
            place = before[place]
    candidates = np.unique(found[:room])[-sample:]
    likeness = np.zeros(len(candidates))
    for number in range(len(latest)):
        item = latest[number]
        place = last[item] if item < len(last) else _NOWHERE
        newest = -1
        while place != _NOWHERE and len(candidates) and session_of[place] >= candidates[0]:
            if session_of[place] != newest:
                newest = session_of[place]
                likeness[np.searchsorted(candidates, newest)] += weights[number]
            place = before[place]
    if aware:
        for number in range(len(candidates)):
            session = candidates[number]
            length = start[session + 1] - start[session]
            age_s = max(0.0, now - ended[session])
            likeness[number] *= math.exp(-age_s / fade_s) / math.sqrt(len(latest) * length)
    # Best first, the more recent first among equals.
    best = np.argsort(-likeness[::-1], kind="mergesort")[:neighbours]
    best = len(candidates) - 1 - best
    slots = 0
    for number in best:
        slots += start[candidates[number] + 1] - start[candidates[number]]
    all_items, all_scores = np.empty(slots, np.int32), np.empty(slots)
    used = 0
    for number in best:
        session = candidates[number]
        first, end = start[session], start[session + 1]
        step, shared = 0, first
        for back in range(len(latest)):
            for place in range(end - 1, first - 1, -1):
                if items[place] == latest[back]:
                    step, shared = back + 1, place
                    break
            if step:
                break
        for place in range(first, end):
            again = False
            for other in range(first, place):
                if items[other] == items[place]:
                    again = True
                    break
            if again:
                continue
            all_items[used] = items[place]
            nearness = math.exp(-abs(place - shared) / distance) if aware else 1.0 / step
            all_scores[used] = likeness[number] * nearness
            used += 1
    return all_items[:used], all_scores[:used]


def _doubled(array: NDArray[_Number]) -> NDArray[_Number]:
    return np.concatenate([array, np.zeros_like(array)])
