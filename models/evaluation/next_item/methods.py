"""The interface of protocol A's methods, and the simple methods of the literature.

A method learns whole sessions in time order and scores the next item after a prefix of another session. Items are dense
numbers. Scores are comparable within one answer only; items without a score are not ranked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Scores = tuple[NDArray[np.int32], NDArray[np.float64]]
"""(n,) distinct items, and (n,) their scores, greater is better."""


Prefix = tuple[Sequence[int], Sequence[float]]
"""Items of a session so far, at least one, and their times."""


Progress = Callable[[str, int, int], None]
"""Called with method and stage, steps done, steps in all."""


def places_of_new(items: Sequence[int]) -> list[int]:
    """Places in a session, from 1, of items that were not in it before.

    >>> places_of_new([7, 7, 5, 7, 6])
    [2, 4]
    """
    return [place for place in range(1, len(items)) if items[place] not in items[:place]]


class MethodGroup(Protocol):
    """Methods that learn and answer together."""

    names: Sequence[str]

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """Learn a session: items in order, and their times, ascending epoch seconds."""

    def finish(self) -> None:
        """Learn what still waits, at the end of the training."""

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """Scores of the next item after each prefix, by method."""


class SingleMethod:
    """A group of one method."""

    names: Sequence[str]

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """Scores of the next item after a prefix."""
        raise NotImplementedError

    def finish(self) -> None:
        """See [`MethodGroup.finish`][]."""

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """See [`MethodGroup.score_many`][]."""
        return [{self.names[0]: self.score(*prefix)} for prefix in prefixes]


class Popularity(SingleMethod):
    """Views of each item.

    >>> popularity = Popularity()
    >>> popularity.learn([4, 7, 4], [0.0, 1.0, 2.0])
    >>> [column.tolist() for column in popularity.score([7], [0.0])]
    [[4, 7], [2.0, 1.0]]
    """

    names: Sequence[str] = ("popularity",)

    def __init__(self) -> None:
        self._counts: defaultdict[int, float] = defaultdict(float)
        self._scores: Scores | None = None

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][]."""
        self._scores = None
        for item in items:
            self._counts[item] += 1.0

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`SingleMethod.score`][]."""
        if self._scores is None:
            self._scores = _columns(self._counts)
        return self._scores


class _Rules(SingleMethod):
    """Scores by the last item only, from weighted rules `a -> b`."""

    def __init__(self) -> None:
        self._rules: defaultdict[int, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
        self._columns: dict[int, Scores] = {}

    def _add(self, a: int, b: int, weight: float) -> None:
        self._columns.pop(a, None)
        self._rules[a][b] += weight

    def score(self, items: Sequence[int], times: Sequence[float]) -> Scores:
        """See [`SingleMethod.score`][]."""
        last = items[-1]
        if last not in self._columns:
            self._columns[last] = _columns(self._rules.get(last, {}))
        return self._columns[last]


class LastItem(_Rules):
    """Co-occurrence with the last item: how often both were in one session, in either order.

    ("AR" of Ludewig and Jannach, Evaluation of session-based recommendation algorithms, 2018.)

    >>> last = LastItem()
    >>> last.learn([1, 2, 3], [0.0, 1.0, 2.0])
    >>> last.learn([2, 1], [0.0, 1.0])
    >>> [column.tolist() for column in last.score([3, 1], [0.0, 1.0])]
    [[2, 3], [2.0, 1.0]]
    """

    names: Sequence[str] = ("last-item",)

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][]."""
        for place, a in enumerate(items):
            for b in items[place + 1 :]:
                if a != b:
                    self._add(a, b, 1.0)
                    self._add(b, a, 1.0)


class SequentialRules(_Rules):
    """Rules `a -> b` for b after a, weighted by 1 / steps between them.

    ("SR" of Ludewig and Jannach, 2018, with the weight they found best.)

    >>> rules = SequentialRules()
    >>> rules.learn([1, 2, 3], [0.0, 1.0, 2.0])
    >>> [column.tolist() for column in rules.score([1], [0.0])]
    [[2, 3], [1.0, 0.5]]
    """

    names: Sequence[str] = ("sequential-rules",)
    steps = 10
    """Most steps of a rule."""

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][]."""
        for place, b in enumerate(items):
            for distance, a in enumerate(reversed(items[max(0, place - self.steps) : place]), 1):
                if a != b:
                    self._add(a, b, 1.0 / distance)


def _columns(scores: dict[int, float]) -> Scores:
    return np.fromiter(scores.keys(), np.int32, len(scores)), np.fromiter(scores.values(), np.float64, len(scores))
