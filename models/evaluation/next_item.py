"""Protocol A: every method learns the same training sessions in time order, and is asked what comes next in others.

Two readings of the same answers: "new" takes the items of the prefix out of the ranking and asks only where the target
is none of them, as a suggestion is of something new; "all" asks every test and takes nothing out. All items seen in
training are ranked; a target that never was there is missed; ties count against the method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence_config import CoOccurrenceConfig
from models.evaluation.co_occurrence import CoOccurrenceMethod
from models.evaluation.methods import LastItem, Method, Popularity, SequentialRules
from models.evaluation.ranks import Figure, figures, place_of
from models.evaluation.session_knn import Stan, StanConfig, Vsknn, VsknnConfig
from models.evaluation.sessions import Session, Test, whole_sessions
from models.items import Items
from models.next_item import NextItemConfig
from models.visits import VisitConfig

K = 20
"""Length of the lists."""

VISITS = VisitConfig(items=50, window_s=86_400.0)
"""Sessions are told apart by the files, so that a visit is a session, however long."""

METHODS: Mapping[str, Callable[[Items], Method]] = {
    "popularity": lambda _: Popularity(),
    "last-item": lambda _: LastItem(),
    "sequential-rules": lambda _: SequentialRules(),
    "vsknn": lambda _: Vsknn(VsknnConfig()),
    "stan": lambda _: Stan(StanConfig()),
    "cooccurrence": lambda items: CoOccurrenceMethod(items, VISITS, CoOccurrenceConfig(), NextItemConfig()),
}
"""All methods, by name, in the order of the table."""

Say = Callable[[str, int, int], None]
"""Told how far a method is: name and stage, steps done, steps in all."""


@dataclass(slots=True)
class Result:
    """What a method did.

    Attributes:
        name: of the method.
        new: (n,) place of each target, 0 where the target is of the prefix.
        all: (n,) place of each target.
        learn_s: seconds of learning, by the clock handed in.
        score_s: seconds of asking, by the same.
    """

    name: str
    new: NDArray[np.int64]
    all: NDArray[np.int64]
    learn_s: float
    score_s: float


@dataclass(slots=True)
class Evaluation:
    """All methods on the same tests."""

    sessions: NDArray[np.int64]
    """(n,) number of the session of each test."""
    results: list[Result] = field(default_factory=list)

    def figures(self, result: Result, seed: int) -> dict[str, dict[str, Figure]]:
        """HR, MRR and NDCG of a method, by reading."""
        asked = result.new > 0
        return {
            "new": figures(result.new[asked], self.sessions[asked], K, seed),
            "all": figures(result.all, self.sessions, K, seed),
        }

    def as_json(self, seed: int) -> dict[str, Any]:
        """`methods` as `evaluate next-item --json` writes it: percent, and the 95 % intervals beside."""
        methods: dict[str, Any] = {}
        for result in self.results:
            readings = self.figures(result, seed)
            methods[result.name] = {
                reading: {name: figure.percent for name, figure in found.items()}
                | {"n": int((result.new > 0).sum()) if reading == "new" else len(result.all)}
                | {"interval": {name: [figure.low, figure.high] for name, figure in found.items()}}
                for reading, found in readings.items()
            } | {"seconds": round(result.learn_s + result.score_s, 2), "learn_seconds": round(result.learn_s, 2)}
        return methods


def evaluate(
    training: Sequence[Session],
    tests: Sequence[Test],
    methods: Iterable[str],
    say: Say,
    clock: Callable[[], float],
    *,
    learn_on_test: bool = False,
) -> Evaluation:
    """Let each method learn and be asked.

    Args:
        training: sessions in time order.
        tests: in time order.
        methods: names from `METHODS`.
        say: told how far it is.
        clock: seconds that learning and asking are measured in, such as `time.process_time`.
        learn_on_test: whether a test session is learnt, too, once its tests are scored.
    """
    items = Items()
    numbered = [(list(map(items.index, session.items)), session.times) for session in training]
    asked = [(list(map(items.index, test.prefix)), test.times, items.index(test.target)) for test in tests]
    after: dict[int, tuple[list[int], tuple[float, ...]]] = {}
    if learn_on_test:
        last = {test.session: number for number, test in enumerate(tests)}
        whole = whole_sessions(tests)
        after = {
            number: (list(map(items.index, whole[session].items)), whole[session].times)
            for session, number in last.items()
        }
    evaluation = Evaluation(np.array([test.session for test in tests], np.int64))
    for name in methods:
        method = METHODS[name](items)
        started_s = clock()
        for number, (session, times) in enumerate(numbered):
            if number % 1000 == 0:
                say(f"{name}: learning", number, len(numbered))
            method.learn(session, times)
        learnt_s = clock()
        new, every = np.zeros(len(tests), np.int64), np.zeros(len(tests), np.int64)
        for number, (prefix, times, target) in enumerate(asked):
            if number % 200 == 0:
                say(f"{name}: asking", number, len(asked))
            ids, scores = method.score(prefix, times)
            every[number] = place_of(target, ids, scores, _NONE)
            if target not in prefix:
                new[number] = place_of(target, ids, scores, np.array(prefix, np.int32))
            if number in after:
                method.learn(*after[number])
        evaluation.results.append(Result(name, new, every, learnt_s - started_s, clock() - learnt_s))
    return evaluation


_NONE = np.empty(0, np.int32)
