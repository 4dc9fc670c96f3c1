"""Session-based nearest neighbours: VSKNN, STAN and VSTAN, as in their papers and the session-rec framework.

All take the most recent sessions that share an item with the current one, choose the most similar of them, and score
their items. Sessions lie one after the other in flat arrays; each place links to the previous place of the same item,
so that learning is incremental and recent sessions are found first.

* VSKNN: M. Ludewig, D. Jannach, Evaluation of session-based recommendation algorithms (2018).
* STAN: D. Garg and others, Sequence and time aware neighborhood for session-based recommendations (2019).
* VSTAN: M. Ludewig and others, Empirical analysis of session-based recommendation algorithms (2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.evaluation.next_item.methods import Scores, SingleMethod
from models.evaluation.next_item.sums import repeats, sums_by_item
from models.jit import cached_njit, inline_njit

_NOWHERE = -1

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class VsknnConfig:
    """Parameters of VSKNN: the defaults of session-rec."""

    neighbours: int = 100
    sample: int = 1_000
    """Most recent sessions that are compared."""


@dataclass(frozen=True)
class StanConfig:
    """Parameters of STAN: the defaults of session-rec."""

    neighbours: int = 500
    sample: int = 5_000
    """Most recent sessions that are compared."""
    position: float = 1.02
    """Places back in the current session at which an item weighs 1/e (lambda 1)."""
    recency_days: float = 5.0
    """Days since a neighbour ended at which it weighs 1/e (lambda 2)."""
    distance: float = 2.05
    """Places from the shared item, in a neighbour, at which an item weighs 1/e (lambda 3)."""


@dataclass(frozen=True)
class VstanConfig(StanConfig):
    """Parameters of VSTAN: the defaults of session-rec."""

    latest: float = 1.02
    """Distinct items back to the latest one that a neighbour shares at which it weighs 1/e (lambda 4)."""
    rarity: float = 5.0
    """How much more a rare item scores: the factor of its inverse document frequency (lambda 5)."""


class _Learnt(NamedTuple):
    """All learnt sessions."""

    items: NDArray[np.int32]  # of all sessions, one after the other
    session_of: NDArray[np.int32]  # by place
    before: NDArray[np.int32]  # by place: the previous place of the same item
    last: NDArray[np.int32]  # by item: its last place
    start: NDArray[np.int64]  # by session: its first place; the next one's is its end
    ended: NDArray[np.float64]  # by session, epoch seconds
    number: int  # of sessions


class _Weighing(NamedTuple):
    """How sessions are compared; VSKNN has an infinite `distance`."""

    neighbours: int  # most sessions whose items are scored
    sample: int  # most recent sessions that are compared
    now: float = 0.0  # epoch seconds
    fade_s: float = math.inf  # age of a session at which it counts 1/e
    distance: float = math.inf  # places from the shared item at which an item counts 1/e
    size: float = 1.0  # of the current session, squared norm in the similarity; not for VSKNN
    latest: float = math.inf  # steps back to the latest shared item at which a session counts 1/e; not for VSKNN


class _Sessions(SingleMethod):
    """Learns sessions into arrays that grow."""

    def __init__(self) -> None:
        self._count = 0
        self._used = 0
        self._items: NDArray[np.int32] = np.zeros(1 << 16, np.int32)
        self._session_of: NDArray[np.int32] = np.zeros(1 << 16, np.int32)
        self._before: NDArray[np.int32] = np.zeros(1 << 16, np.int32)
        self._last: NDArray[np.int32] = np.full(1 << 12, _NOWHERE, np.int32)
        self._start: NDArray[np.int64] = np.zeros(1 << 12, np.int64)
        self._ended: NDArray[np.float64] = np.zeros(1 << 12, np.float64)

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][]."""
        while self._used + len(items) > len(self._items):
            self._items, self._session_of = _doubled(self._items), _doubled(self._session_of)
            self._before = _doubled(self._before)
        while self._count + 1 >= len(self._start):
            self._start, self._ended = _doubled(self._start), _doubled(self._ended)
        if (most := max(items, default=0)) >= len(self._last):
            more = np.full(2 * (most + 1) - len(self._last), _NOWHERE, np.int32)
            self._last = np.concatenate([self._last, more])
        for item in items:
            place = self._used
            self._items[place], self._session_of[place] = item, self._count
            self._before[place], self._last[item] = self._last[item], place
            self._used += 1
        self._ended[self._count] = times[-1] if len(times) else 0.0
        self._count += 1
        self._start[self._count] = self._used

    def _scores(self, items: Sequence[int], weights: Mapping[int, float], weighing: _Weighing) -> Scores:
        """Scores of a session from the most similar ones; `weights` are of its items, in the similarity."""
        latest = list(dict.fromkeys(reversed(items)))
        learnt = _Learnt(self._items, self._session_of, self._before, self._last, self._start, self._ended, self._count)
        of_latest = np.array([weights[item] for item in latest])
        return sums_by_item(*_score(np.array(latest, np.int32), of_latest, learnt, weighing))


class Vsknn(_Sessions):
    """Vector multiplication session-kNN: the later an item of the current session, the more it counts.

    >>> method = Vsknn(VsknnConfig())
    >>> for number, session in enumerate([[1, 2, 3], [2, 4], [5, 6]]):
    ...     method.learn(session, [60.0 * number + place for place in range(len(session))])
    >>> ids, scores = method.score([1, 2], [300.0, 301.0])
    >>> dict(zip(ids.tolist(), scores.tolist()))  # similarity 0.5 + 1 and 1, by the last item
    {1: 1.5, 2: 2.5, 3: 1.5, 4: 1.0}
    """

    names: Sequence[str] = ("vsknn",)

    def __init__(self, config: VsknnConfig) -> None:
        super().__init__()
        self._weighing = _Weighing(config.neighbours, config.sample)

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`SingleMethod.score`][]."""
        weights = {item: place / len(items) for place, item in enumerate(items, 1)}
        return self._scores(items, weights, self._weighing)


class Stan(_Sessions):
    """Sequence and time aware neighbourhood.

    >>> method = Stan(StanConfig())
    >>> method.learn([1, 2, 3], [0.0, 1.0, 2.0])
    >>> ids, scores = method.score([2], [2.0])  # similarity 1 / sqrt(1 * 3); 1 and 3 are one place from 2
    >>> dict(zip(ids.tolist(), scores.round(4).tolist()))
    {1: 0.3545, 2: 0.5774, 3: 0.3545}
    """

    names: Sequence[str] = ("stan",)

    def __init__(self, config: StanConfig) -> None:
        super().__init__()
        self._config = config
        self._latest = math.inf

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`SingleMethod.score`][]."""
        config, length = self._config, len(items)
        weights = {item: math.exp((place - length) / config.position) for place, item in enumerate(items, 1)}
        fade_s, size = config.recency_days * 86_400.0, self._size(weights)
        weighing = _Weighing(
            config.neighbours, config.sample, float(times[-1]), fade_s, config.distance, size, self._latest
        )
        return self._scores(items, weights, weighing)

    def _size(self, weights: Mapping[int, float]) -> float:
        return float(len(weights))


class Vstan(Stan):
    """STAN with the vector similarity of VSKNN, and with inverse document frequencies.

    >>> method = Vstan(VstanConfig())
    >>> for session in ([1, 2, 3], [4, 5]):
    ...     method.learn(session, [0.0] * len(session))
    >>> ids, scores = method.score([2, 9], [0.0, 0.0])  # 2 is one item back, and weighs exp(-1 / 1.02)
    >>> weight, size = math.exp(-1 / 1.02), 1 + math.exp(-2 / 1.02)
    >>> expected = weight / math.sqrt(size * 3) * weight * (1 + 5 * math.log(2 / 1))
    >>> ids.tolist(), [round(float(score / expected), 4) for score in scores]  # 1 and 3 are one place from 2
    ([1, 2, 3], [0.614, 1.0, 0.614])
    """

    names: Sequence[str] = ("vstan",)

    def __init__(self, config: VstanConfig) -> None:
        super().__init__(config)
        self._latest, self._rarity = config.latest, config.rarity
        self._views: NDArray[np.int64] = np.zeros(0, np.int64)
        self._viewed = 0  # places that are counted in `_views`

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`SingleMethod.score`][]."""
        if self._viewed < self._used:
            self._views, self._viewed = np.bincount(self._items[: self._used]), self._used
        ids, scores = super().score(items, times)
        return ids, scores * (1.0 + self._rarity * np.log(self._count / self._views[ids]))

    def _size(self, weights: Mapping[int, float]) -> float:
        return sum(weight * weight for weight in weights.values())


@cached_njit()
def _score(
    latest: NDArray[np.int32], weights: NDArray[np.float64], learnt: _Learnt, weighing: _Weighing
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """What each of the most similar sessions adds to the scores of its items, one after the other."""
    candidates = _recent_sessions(latest, learnt, weighing.sample)
    similarity = _similarity(latest, weights, candidates, learnt, weighing)
    # Best first, the more recent first among equals.
    best = np.argsort(-similarity[::-1], kind="mergesort")[: weighing.neighbours]
    best = len(candidates) - 1 - best
    slots = 0
    for number in best:
        slots += learnt.start[candidates[number] + 1] - learnt.start[candidates[number]]
    all_items, all_scores = np.empty(slots, np.int32), np.empty(slots)
    used = 0
    for number in best:
        first, end = learnt.start[candidates[number]], learnt.start[candidates[number] + 1]
        step, shared = _latest_shared(latest, first, end, learnt.items)
        for place in range(first, end):
            if repeats(learnt.items, first, place):
                continue
            all_items[used] = learnt.items[place]
            if weighing.distance != np.inf:
                nearness = math.exp(-abs(place - shared) / weighing.distance - (step - 1) / weighing.latest)
            else:
                nearness = 1.0 / step
            all_scores[used] = similarity[number] * nearness
            used += 1
    return all_items[:used], all_scores[:used]


@cached_njit()
def _recent_sessions(latest: NDArray[np.int32], learnt: _Learnt, sample: int) -> NDArray[np.int32]:
    """The most recent sessions with any of the items, ascending.

    The `sample` most recent sessions of each item include the `sample` most recent of all.
    """
    used = 0
    found = np.empty(min(learnt.number, sample) * len(latest), np.int32)
    for item in latest:
        place = learnt.last[item] if item < len(learnt.last) else _NOWHERE
        taken, newest = 0, -1
        while place != _NOWHERE and taken < sample:
            if learnt.session_of[place] != newest:
                newest = learnt.session_of[place]
                found[used] = newest
                used += 1
                taken += 1
            place = learnt.before[place]
    return np.unique(found[:used])[-sample:]


@cached_njit()
def _similarity(
    latest: NDArray[np.int32],
    weights: NDArray[np.float64],
    candidates: NDArray[np.int32],
    learnt: _Learnt,
    weighing: _Weighing,
) -> NDArray[np.float64]:
    """(candidates,) summed weights of the shared items; STAN's divided by the lengths, and fading with age."""
    similarity = np.zeros(len(candidates))
    for number in range(len(latest)):
        item = latest[number]
        place = learnt.last[item] if item < len(learnt.last) else _NOWHERE
        newest = -1
        while place != _NOWHERE and len(candidates) and learnt.session_of[place] >= candidates[0]:
            if learnt.session_of[place] != newest:
                newest = learnt.session_of[place]
                similarity[np.searchsorted(candidates, newest)] += weights[number]
            place = learnt.before[place]
    if weighing.distance != np.inf:
        for number in range(len(candidates)):
            session = candidates[number]
            length = learnt.start[session + 1] - learnt.start[session]
            age_s = max(0.0, weighing.now - learnt.ended[session])
            similarity[number] *= math.exp(-age_s / weighing.fade_s) / math.sqrt(weighing.size * length)
    return similarity


@inline_njit
def _latest_shared(latest: NDArray[np.int32], first: int, end: int, items: NDArray[np.int32]) -> tuple[int, int]:
    """Steps back to the latest item that a session shares, from 1, and its last place there."""
    for back in range(len(latest)):
        for place in range(end - 1, first - 1, -1):
            if items[place] == latest[back]:
                return back + 1, place
    return 0, first


def _doubled(array: NDArray[_Number]) -> NDArray[_Number]:
    return np.concatenate([array, np.zeros_like(array)])
