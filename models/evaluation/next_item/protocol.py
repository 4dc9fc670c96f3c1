"""Protocol A: every method learns the same sessions in time order, and predicts the next items of later ones.

The same answers are scored twice. "new" removes the items of the prefix from the ranking and skips tests whose target
is one of them, since suggestions are of new items. "all" scores every test and removes nothing. All items of the
training are ranked; a target outside it is missed; ties count against the method.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.next_item.blends import COUNTING
from models.evaluation.next_item.counting_method import CoOccurrenceMethod
from models.evaluation.next_item.hybrid import OURS, Hybrid, HybridConfig
from models.evaluation.next_item.implicit_models import MODELS, Implicit
from models.evaluation.next_item.methods import LastItem, MethodGroup, Popularity, Progress, SequentialRules
from models.evaluation.next_item.neighbour_ranking import NextItemConfig
from models.evaluation.next_item.session_knn import Stan, StanConfig, Vsknn, VsknnConfig, Vstan, VstanConfig
from models.evaluation.next_item.sessions import Session, Test, whole_sessions
from models.evaluation.ranks import as_json, figures, place_of
from models.sessions.visits import VisitConfig
from models.shop.items import Items

K = 20
"""Length of the lists."""

BATCH = 256
"""Tests that are scored together."""

VISITS = VisitConfig(items=50, window_s=86_400.0)
"""The files delimit sessions, so a visit lasts as long as its session."""

BASELINES: Mapping[str, Callable[[], MethodGroup]] = {
    "popularity": Popularity,
    "last-item": LastItem,
    "sequential-rules": SequentialRules,
    "vsknn": lambda: Vsknn(VsknnConfig()),
    "stan": lambda: Stan(StanConfig()),
    "vstan": lambda: Vstan(VstanConfig()),
}
"""Methods of the literature, besides the models of `implicit`."""

METHODS = (*BASELINES, *MODELS, *OURS)
"""Names of all methods, in the order of the table."""


@dataclass(slots=True)
class Result:
    """Results of one method."""

    name: str
    new: NDArray[np.int64]  # (n,): place of each target, 0 where the target is in the prefix
    all: NDArray[np.int64]  # (n,): place of each target
    learn_s: float
    score_s: float


@dataclass(slots=True)
class Evaluation:
    """Results of all methods on the same tests."""

    sessions: NDArray[np.int64]
    """(n,) session of each test."""
    results: list[Result] = field(default_factory=list)

    def as_json(self, seed: int) -> dict[str, Any]:
        """`methods` as `evaluate next-item --json` writes it: percent with 95 % intervals."""
        methods: dict[str, Any] = {}
        for result in self.results:
            asked = result.new > 0
            new = figures(result.new[asked], self.sessions[asked], K, seed)
            methods[result.name] = {
                "new": as_json(new, int(asked.sum())),
                "all": as_json(figures(result.all, self.sessions, K, seed), len(result.all)),
                "seconds": round(result.learn_s + result.score_s, 2),
                "learn_seconds": round(result.learn_s, 2),
            }
        return methods


def evaluate(
    training: Sequence[Session],
    tests: Sequence[Test],
    methods: Collection[str],
    progress: Progress,
    clock: Callable[[], float],
    seed: int,
    *,
    learn_on_test: bool = False,
) -> Evaluation:
    """Train each of `methods` and score it on the same tests; sessions and tests are in time order.

    The clock measures seconds, such as `time.process_time`. With `learn_on_test` a test session is learnt once its
    tests are scored.
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
    for group in method_groups(methods, items, seed):
        title = ", ".join(group.names)
        started_s = clock()
        for number, (session, times) in enumerate(numbered):
            if number % 1000 == 0:
                progress(f"{title}: learning", number, len(numbered))
            group.learn(session, times)
        progress(f"{title}: learning", len(numbered), len(numbered))
        group.finish()
        learnt_s = clock()
        places = {name: np.zeros((2, len(tests)), np.int64) for name in group.names}
        for first, stop in pairwise(_stops(len(asked), after)):
            progress(f"{title}: asking", first, len(asked))
            batch = asked[first:stop]
            answers = group.score_many([(prefix, times) for prefix, times, _ in batch])
            for number, ((prefix, _, target), answer) in enumerate(zip(batch, answers, strict=True), first):
                for name, (ids, scores) in answer.items():
                    places[name][1, number] = place_of(target, ids, scores, _NONE)
                    if target not in prefix:
                        places[name][0, number] = place_of(target, ids, scores, np.array(prefix, np.int32))
            if stop - 1 in after:
                group.learn(*after[stop - 1])
        asked_s = clock()
        evaluation.results += [
            Result(name, new, every, learnt_s - started_s, asked_s - learnt_s) for name, (new, every) in places.items()
        ]
    evaluation.results = [result for result in evaluation.results if result.name in methods]
    return evaluation


def _stops(tests: int, after: Collection[int]) -> list[int]:
    """Ends of the batches, 0 first: every BATCH tests, and where a session is to be learnt."""
    return sorted({*range(0, tests, BATCH), *(number + 1 for number in after), tests})


def method_groups(methods: Container[str], items: Items, seed: int) -> Iterator[MethodGroup]:
    """The groups that methods belong to, each built when its turn comes."""
    for name, make in BASELINES.items():
        if name in methods:
            yield make()
    for name in MODELS:
        if name in methods:
            yield Implicit(name, seed)
    if any(name in methods for name in OURS if name != COUNTING):
        yield Hybrid(items, HybridConfig(VISITS), seed, methods)
    elif COUNTING in methods:
        yield CoOccurrenceMethod(items, VISITS, CoOccurrenceConfig(), NextItemConfig())


_NONE = np.empty(0, np.int32)
