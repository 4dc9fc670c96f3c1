"""Blends of counting and the sequence model, as papers have them: baselines that no worker runs.

* `average`: a logarithmic opinion pool (C. Genest, J. Zidek, Combining probability distributions, 1986).
* `weighted`: the same, its weights learnt by the exponentiated gradient (J. Kivinen, M. Warmuth, 1997).
* `stacked`: stacked generalization (D. Wolpert, 1992) by an online logistic regression.

Beside them stand both parts alone. What learns, learns from outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.next_item.counting_method import CoOccurrenceMethod, Counted, items_to_return_to
from models.evaluation.next_item.methods import Prefix, Scores, places_of_new
from models.ranking.drift import Drift, DriftConfig
from models.ranking.evidence import FLOOR, SILENCE, Evidence, shares
from models.ranking.pools import Weighted, WeightedConfig, average
from models.ranking.stacked import Stacked, StackedConfig
from models.sequence.features import gap_classes
from models.sequence.scorer import Scorer
from models.sessions.visits import ACTION_CODES
from models.shop.events import Action

COUNTING = "cooccurrence"

BLENDED = (COUNTING, "lstm")

BLENDS = ("average", "weighted", "stacked")


@dataclass(frozen=True)
class BlendsConfig:
    """How the parts are blended."""

    weighted: WeightedConfig = WeightedConfig()
    stacked: StackedConfig = StackedConfig()
    drift: DriftConfig = DriftConfig()
    candidates: int = 200
    """Candidates from the sequence model; counting gives all it has."""


class Blends:
    """Counting, the sequence model, and their blends, over counts that the caller keeps.

    Args:
        looks: longest window that the sequence model is asked with.
    """

    names: Sequence[str] = (*BLENDED, *BLENDS)

    def __init__(self, counting: CoOccurrenceMethod, looks: int, config: BlendsConfig, seed: int) -> None:
        self._counting, self._looks, self._config = counting, looks, config
        self._chance = np.random.default_rng(seed)
        self._scorer: Scorer | None = None
        self._weighted = Weighted(len(BLENDED), config.weighted)
        self._stacked = Stacked(config.stacked, seed)
        self._drift = Drift(len(BLENDED), config.drift)
        self._latest_at = 0.0
        self._views = np.empty(0)  # as of the last training, so that no waiting outcome is part of them
        self._asked: list[tuple[Prefix, int, Counted]] = []

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`Part.learn`][models.evaluation.next_item.hybrid.Part.learn]."""
        self._latest_at = max(self._latest_at, times[-1])

    def ask(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`Part.ask`][models.evaluation.next_item.hybrid.Part.ask]; keeps one outcome, until `learn_asked`."""
        if places := places_of_new(items):
            place = places[int(self._chance.integers(len(places)))]
            prefix = items[:place], times[:place]
            self._asked.append((prefix, items[place], self._counting.new(*prefix)))

    def learn_asked(self) -> None:
        """See [`Part.learn_asked`][models.evaluation.next_item.hybrid.Part.learn_asked]."""
        asked, self._asked = self._asked, []
        for first in range(0, len(asked), _BATCH):
            batch = asked[first : first + _BATCH]
            evidence = self._evidence([(prefix, counted) for prefix, _, counted in batch])
            for (_, taken, _), found in zip(batch, evidence, strict=True):
                place = found.place(taken)
                if place < 0:
                    continue
                self._drift.update(-found.logs[place])
                self._weighted.learn_one(found.logs, place, self._drift.faster())
                self._stacked.learn_one(found, place)

    def update(self, scorer: Scorer) -> None:
        """See [`Part.update`][models.evaluation.next_item.hybrid.Part.update]."""
        self._scorer = scorer
        self._views = np.log1p(self._counting.views(self._latest_at))

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """See [`Part.score_many`][models.evaluation.next_item.hybrid.Part.score_many]."""
        return [self._rank(found) for found in self._evidence([(each, self._counting.new(*each)) for each in prefixes])]

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

    def _evidence(self, asked: Sequence[tuple[Prefix, Counted]]) -> list[Evidence]:
        """Scores of both parts after each prefix, without items to return to."""
        scorer = self._scorer
        if scorer is None:
            return [_joined(items, counted, _NO_ITEMS, _NO_LOGITS, 0, self._views) for (items, _), counted in asked]
        looks = self._looks
        windows = [(items[-looks:], gap_classes(times)[-looks:]) for (items, times), _ in asked]
        logits = scorer.logits(scorer.read([(items, [_VIEW] * len(items), gaps) for items, gaps in windows]))
        return [
            _joined(items, counted, scorer.items, row, self._config.candidates, self._views)
            for row, ((items, _), counted) in zip(logits, asked, strict=True)
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


_BATCH = 64
"""Prefixes that are scored together."""

_VIEW = ACTION_CODES[Action.VIEW]

_NO_ITEMS = np.empty(0, np.int64)
_NO_LOGITS = np.empty(0, np.float32)
