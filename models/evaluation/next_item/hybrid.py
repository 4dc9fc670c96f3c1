"""Our methods in protocol A in one pass: the worker's recommender, and beside it its sources alone and their blends.

All learn the same stream once. Counting learns each session as it ends, as a worker does. The sequence model learns in
chunks, as the trainer does, and is asked with its newest weights. The recommender's order and the blends learn from
outcomes: of some sessions, prefixes are asked before anything learns them, and the next new item is the outcome.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.next_item.blends import Blends, BlendsConfig
from models.evaluation.next_item.counting_method import CoOccurrenceMethod, with_returns
from models.evaluation.next_item.methods import Prefix, Scores
from models.evaluation.next_item.neighbour_ranking import NextItemConfig
from models.evaluation.next_item.returns import Returns
from models.evaluation.next_item.served import Served, ServedConfig
from models.sequence.config import LearnerConfig
from models.sequence.features import Contents, gap_classes
from models.sequence.learner import Learner
from models.sequence.scorer import Scorer
from models.sequence.window_buffer import LookWindow
from models.sessions.visits import ACTION_CODES, VisitConfig
from models.shop.events import Action
from models.shop.items import Items

OURS = (*Blends.names, *Served.names)
"""Names of the rankings, those of the recommender last."""


@dataclass(frozen=True)
class HybridConfig:
    """Parameters of the parts."""

    visits: VisitConfig
    counting: CoOccurrenceConfig = CoOccurrenceConfig()
    ranking: NextItemConfig = NextItemConfig()
    learner: LearnerConfig = LearnerConfig()
    blends: BlendsConfig = BlendsConfig()
    served: ServedConfig = ServedConfig()
    outcome_every: int = 6
    """Sessions for each one that outcomes are learnt from: there are few weights, and asking costs more than learning.
    """


class Part(Protocol):
    """Rankings of new items that share the counts and the sequence model."""

    names: Sequence[str]

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See a session that counting has just learnt."""

    def ask(self, items: Sequence[int], times: Sequence[float]) -> None:
        """Ask what comes next after prefixes of a session that nothing has learnt yet; what came is the outcome."""

    def learn_asked(self) -> None:
        """Learn the outcomes that wait, before the sequence model learns their sessions."""

    def update(self, scorer: Scorer) -> None:
        """Use these weights of the sequence model from now on."""

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """Scores above 0 of what may come next after each prefix, by ranking, without items to return to."""


class Hybrid:
    """All our rankings from one pass; `items` numbers the items as the sessions do.

    Args:
        methods: names of the rankings that are wanted; of parts without any nothing is computed.
    """

    def __init__(self, items: Items, config: HybridConfig, seed: int, methods: Container[str] = OURS) -> None:
        self._config = config
        self._counting = CoOccurrenceMethod(items, config.visits, config.counting, config.ranking)
        self._contents = Contents()
        self._learner = Learner(config.learner, self._contents, seed)
        self._returns = Returns()
        self._parts: list[Part] = []
        if any(name in methods for name in Blends.names):
            self._parts.append(Blends(self._counting, config.learner.looks, config.blends, seed))
        if any(name in methods for name in Served.names):
            self._parts.append(Served(items, self._counting.counts, config.learner.looks, config.served))
        self.names: Sequence[str] = list(chain.from_iterable(part.names for part in self._parts))
        self._sessions = 0

    def learn(self, items: Sequence[int], times: Sequence[float]) -> None:
        """See [`MethodGroup.learn`][models.evaluation.next_item.methods.MethodGroup.learn]."""
        self._sessions += 1
        if self._sessions % self._config.outcome_every == 0 and self._learner.chunks:
            for part in self._parts:
                part.ask(items, times)
        self._counting.learn(items, times)
        self._returns.learn(items)
        for part in self._parts:
            part.learn(items, times)
        if self._learner.add(LookWindow(items, [_VIEW] * len(items), gap_classes(times), len(items), times[-1])):
            self.finish()

    def finish(self) -> None:
        """See [`MethodGroup.finish`][models.evaluation.next_item.methods.MethodGroup.finish]."""
        for part in self._parts:
            part.learn_asked()
        learner, scale = self._learner, self._config.learner.network.scale
        learner.learn()
        scorer = Scorer(learner.arrays(), learner.vocabulary.item, self._contents, scale)
        for part in self._parts:
            part.update(scorer)

    def score_many(self, prefixes: Sequence[Prefix]) -> list[dict[str, Scores]]:
        """See [`MethodGroup.score_many`][models.evaluation.next_item.methods.MethodGroup.score_many]."""
        found: list[dict[str, Scores]] = [{} for _ in prefixes]
        for part in self._parts:
            for (items, _), ranked, answers in zip(prefixes, found, part.score_many(prefixes), strict=True):
                for name, scores in answers.items():
                    ranked[name] = with_returns(items, *scores, self._returns)
        return found


_VIEW = ACTION_CODES[Action.VIEW]
"""All sessions are made of views."""
