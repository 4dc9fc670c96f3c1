"""Our methods in protocol A: counting, the sequence model, and three blends of both.

All learn the same stream once. Counting learns each session as it ends, as a worker does. The sequence model learns in
chunks, as the trainer does, and answers from its newest weights. The blends learn from outcomes: for some sessions, a
prefix is scored before anything learns the session, and its next item is the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.next_item.counting_method import CoOccurrenceMethod, Counted, items_to_return_to, with_returns
from models.evaluation.next_item.methods import Scores
from models.evaluation.next_item.neighbour_ranking import NextItemConfig
from models.evaluation.next_item.returns import Returns
from models.ranking.drift import Drift, DriftConfig
from models.ranking.evidence import FLOOR, SILENCE, Evidence, shares
from models.ranking.pools import Weighted, WeightedConfig, average
from models.ranking.stacked import Stacked, StackedConfig
from models.sequence.config import LearnerConfig
from models.sequence.features import Contents, gap_classes
from models.sequence.learner import Learner
from models.sequence.scorer import Scorer
from models.sequence.window_buffer import LookWindow
from models.sessions.visits import ACTION_CODES, VisitConfig
from models.shop.events import Action
from models.shop.items import Items

COUNTING = "cooccurrence"

BLENDED = (COUNTING, "lstm")

BLENDS = ("average", "weighted", "stacked")

OURS = (*BLENDED, *BLENDS)
"""Names of the rankings, the parts first."""

VIEW = ACTION_CODES[Action.VIEW]
"""All sessions are made of views."""


@dataclass(frozen=True)
class HybridConfig:
    """Parameters of the parts."""

    visits: VisitConfig
    counting: CoOccurrenceConfig = CoOccurrenceConfig()
    ranking: NextItemConfig = NextItemConfig()
    learner: LearnerConfig = LearnerConfig()
    weighted: WeightedConfig = WeightedConfig()
    stacked: StackedConfig = StackedConfig()
    drift: DriftConfig = DriftConfig()
    outcome_every: int = 6
    """Sessions for each outcome: blends have few weights, and scoring costs more than learning."""
    candidates: int = 200
    """Candidates from the sequence model; counting gives all it has."""


class Hybrid:
    """All our rankings from one pass; `items` numbers the items as the sessions do."""

    names: Sequence[str] = OURS

    def __init__(self, items: Items, config: HybridConfig, seed: int) -> None:
        self._config = config
        self._chance = np.random.default_rng(seed)
        self._counting = CoOccurrenceMethod(items, config.visits, config.counting, config.ranking)
        self._contents = Contents()
        self._learner = Learner(config.learner, self._contents, seed)
        self._scorer: Scorer | None = None
        self._returns = Returns()
        self._weighted = Weighted(len(BLENDED), config.weighted)
        self._stacked = Stacked(config.stacked, seed)
        self._drift = Drift(len(BLENDED), config.drift)
        self._sessions = 0
        self._latest_at = 0.0
        self._views = np.empty(0)  # as of the last training, so that no waiting outcome is part of them
        self._asked: list[tuple[list[int], Sequence[float], int, Counted]] = []

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][models.evaluation.next_item.methods.MethodGroup.learn]."""
        self._sessions += 1
        self._latest_at = max(self._latest_at, times[-1])
        if self._sessions % self._config.outcome_every == 0 and self._scorer is not None:
            self._ask(items, times)
        self._counting.learn(items, times)
        self._returns.learn(items)
        if self._learner.add(_window(items, times)):
            self.finish()

    def finish(self) -> None:
        """See [`MethodGroup.finish`][models.evaluation.next_item.methods.MethodGroup.finish]."""
        self._learn_outcomes()
        self._learner.learn()
        learner, scale = self._learner, self._config.learner.network.scale
        self._scorer = Scorer(learner.arrays(), learner.vocabulary.item, self._contents, scale)
        self._views = np.log1p(self._counting.views(self._latest_at))

    def score_many(self, prefixes: Sequence[tuple[Sequence[int], Sequence[float]]]) -> list[dict[str, Scores]]:
        """See [`MethodGroup.score_many`][models.evaluation.next_item.methods.MethodGroup.score_many]."""
        evidence = self._evidence([(list(items), times, self._counting.new(items, times)) for items, times in prefixes])
        return [
            {name: with_returns(items, *scores, self._returns) for name, scores in self._rank(found).items()}
            for (items, _), found in zip(prefixes, evidence, strict=True)
        ]

    # -- outcomes --------------------------------------------------------------------------------------------------

    def _ask(self, items: Sequence[int], times: Sequence[float]) -> None:
        """Keep the scores of counting before one of the views of a new item."""
        places = [place for place in range(1, len(items)) if items[place] not in items[:place]]
        if not places:
            return
        place = places[int(self._chance.integers(len(places)))]
        prefix = list(items[:place])
        self._asked.append((prefix, times[:place], items[place], self._counting.new(prefix, times[:place])))

    def _learn_outcomes(self) -> None:
        """Teach the blends the waiting outcomes, before the sequence model learns their sessions."""
        asked, self._asked = self._asked, []
        for first in range(0, len(asked), _BATCH):
            batch = asked[first : first + _BATCH]
            evidence = self._evidence([(items, times, scores) for items, times, _, scores in batch])
            for (_, _, taken, _), found in zip(batch, evidence, strict=True):
                place = found.place(taken)
                if place < 0:
                    continue
                self._drift.update(-found.logs[place])
                self._weighted.learn_one(found.logs, place, self._drift.faster())
                self._stacked.learn_one(found, place)

    # -- answers ---------------------------------------------------------------------------------------------------

    def _rank(self, found: Evidence) -> dict[str, Scores]:
        """Scores above 0 by ranking: the parts score what they know, the blends all candidates."""
        items, logs = found.items, found.logs
        ranked: dict[str, Scores] = {}
        for source, name in enumerate(BLENDED):
            known = logs[:, source] > SILENCE
            ranked[name] = items[known], np.exp(logs[known, source])
        if not len(items):
            return ranked | dict.fromkeys(BLENDS, (items, np.empty(0)))
        ranked["average"] = items, average(logs)
        ranked["weighted"] = items, self._weighted.predict(logs, self._drift.damping())
        ranked["stacked"] = items, self._stacked.predict(found) if self._stacked.learnt else average(logs)
        return ranked

    def _evidence(self, asked: Sequence[tuple[list[int], Sequence[float], Counted]]) -> list[Evidence]:
        """Scores of both parts after each prefix, without items to return to."""
        scorer = self._scorer
        if scorer is None:
            return [_joined(items, counted, _NO_ITEMS, _NO_LOGITS, 0, self._views) for items, _, counted in asked]
        windows = [_window(items, times) for items, times, _ in asked]
        looks = self._config.learner.looks
        read = scorer.read(
            [(window.items[-looks:], window.actions[-looks:], window.gaps[-looks:]) for window in windows]
        )
        logits = scorer.logits(read)
        return [
            _joined(items, counted, scorer.items, row, self._config.candidates, self._views)
            for row, (items, _, counted) in zip(logits, asked, strict=True)
        ]


def _joined(
    prefix: Sequence[int],
    counted: Counted,
    known: NDArray[np.int64],
    logits: NDArray[np.float32],
    candidates: int,
    views: NDArray[np.float64],
) -> Evidence:
    """Scores of counting and of the sequence model for the same candidates after a prefix.

    `logits` (n,) are of the `known` items (n,), ascending; `candidates` of them join those of counting. `views` are
    (items,) logarithms.
    """
    logits = np.where(np.isin(known, items_to_return_to(prefix)), -np.inf, logits)
    best = np.argpartition(-logits, candidates)[:candidates] if candidates < len(logits) else np.arange(len(logits))
    best = best[np.isfinite(logits[best])]
    items = np.union1d(counted.items, known[best]).astype(np.int32)
    counts = np.zeros((2, len(items)))
    counts[:, np.searchsorted(items, counted.items)] = counted.scores, counted.last
    chances = np.zeros(len(items))
    if len(best):
        places = np.minimum(np.searchsorted(known, items), len(known) - 1)
        most = logits.max()
        odds = np.exp(logits - most)
        chances = np.where(known[places] == items, odds[places] / odds.sum(), 0.0)
    popular = np.zeros(len(items))
    popular[items < len(views)] = views[items[items < len(views)]]
    logs = np.stack([shares(counts[0]), np.log(chances + FLOOR)], axis=1)
    return Evidence(items, logs, np.stack([shares(counts[1]), popular], axis=1), (np.log(len(prefix)),))


def _window(items: Sequence[int], times: Sequence[float]) -> LookWindow:
    return LookWindow(items, [VIEW] * len(items), gap_classes(times), len(items), times[-1])


_BATCH = 64
"""Prefixes that are scored together."""

_NO_ITEMS = np.empty(0, np.int64)
_NO_LOGITS = np.empty(0, np.float32)
