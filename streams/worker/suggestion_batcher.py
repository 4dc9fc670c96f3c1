"""The desk: what all lanes of a worker ask in one turn of the event loop is answered together.

At the head of the log a lane has an event or two at a time, and asking costs as much for one as for ten: arrays to
make, compiled functions to enter, a network to step. So lanes put their questions down here, and whoever of them comes
first after all have had their turn answers for all. A question holds its shopper's visit as of its own event, so that
nothing depends on who asks beside him.

Where asking the sequence model takes more than a few milliseconds it is done beside the event loop, one batch at a
time; the lanes go on meanwhile, and wait only where questions pile up.

An event whose question lies here has been applied and not been answered: a lane waits for the answers before it writes
its positions down.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import orjson

from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL
from models.sequence.predictor import Expected, SequencePredictor
from models.serving.recommender import Query, Recommender, SuggestedItem, expected_of
from streams.kafka.log import Record
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.threads import run_in_daemon_thread
from streams.wire.codec import written
from streams.wire.partitioner import partition_of

COUNTING = {"cooccurrence": "counts-1"}
"""Version of what is counted, as records tell it: it has no snapshots."""

ARM = "default"
"""The only arm of the experiment there is yet."""


class Question(NamedTuple):
    """What an event asks for."""

    record: Record
    item_ids: list[str]
    """Of the event."""
    query: Query


class SuggestionBatcher:
    """Takes questions and sends suggestions.

    Args:
        recommender: answers.
        outbox: takes the records.
        metrics: counts.
        topic: full name of the topic of suggestions.
        partitions: that it has.
        most: questions that are answered at one go, at most.
        clock: wall clock in epoch seconds.
    """

    def __init__(
        self,
        recommender: Recommender,
        outbox: BatchingProducer,
        metrics: Metrics,
        topic: str,
        partitions: int,
        most: int,
        clock: Callable[[], float],
    ) -> None:
        self._recommender, self._outbox, self._metrics = recommender, outbox, metrics
        self._topic, self._partitions, self._most, self._clock = topic, partitions, most, clock
        self._questions: list[Question] = []  # that nobody answers yet
        self._asked = self._told = 0  # how many, ever
        self._under_way: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        """Told when answering fails, besides whoever has asked."""

    @property
    def together(self) -> int:
        """Questions that are answered at one go, at most."""
        return self._together(self._recommender.expectations)

    def _together(self, expectations: SequencePredictor | None) -> int:
        return self._most if expectations is None else min(self._most, expectations.together)

    def ask(self, question: Question) -> None:
        """Put a question down; whoever does settles it a little later."""
        self._questions.append(question)
        self._asked += 1

    async def settle(self) -> None:
        """Answer what lies here, as much as at one go, unless that is under way; wait while too much lies here.

        Raises:
            Exception: what answering has failed with, now or before: nothing that was asked may be taken for answered.
        """
        self._begin()
        while self._under_way is not None and len(self._questions) >= self.together:
            await asyncio.wait([self._under_way])
            self._begin()

    async def answered(self) -> None:
        """Return when everything that was asked before is answered: its records are in the outbox.

        Raises:
            Exception: as of `settle`.
        """
        asked = self._asked
        self._begin()
        while self._told < asked:
            await (asyncio.sleep(0) if self._under_way is None else asyncio.wait([self._under_way]))
            self._begin()

    def _begin(self) -> None:
        """Take the next questions, if there are any and none are under way: quick ones are answered at once."""
        if self._failure is not None:
            raise self._failure
        if self._under_way is not None or not self._questions:
            return
        expectations = self._recommender.expectations  # another may be installed at any time
        together = self._together(expectations)
        some, self._questions = self._questions[:together], self._questions[together:]
        if expectations is not None and len(some) > expectations.prompt:
            self._under_way = asyncio.get_running_loop().create_task(self._answer_aside(some, expectations))
            return
        try:
            self._answer(some, expectations, expected_of(expectations, _queries(some)))
        except Exception as error:
            self._fail(error)
            raise

    async def _answer_aside(self, questions: Sequence[Question], expectations: SequencePredictor) -> None:
        """Answer, having asked the sequence model in a thread; then go on with what has come meanwhile."""
        queries = _queries(questions)
        try:
            told = await run_in_daemon_thread(lambda: expected_of(expectations, queries), "expectations")
            self._answer(questions, expectations, told)
            self._under_way = None
            self._begin()
        except Exception as error:
            self._under_way = None
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Answer nothing any more: whoever settles next raises it, and no position is written down."""
        if self._failure is None:
            self._failure = error
            self.on_failure(error)

    async def close(self) -> None:
        """Answer nothing any more. Events that were not answered by now come again after the next start."""
        self._questions = []
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])

    def _answer(self, questions: Sequence[Question], expectations: SequencePredictor | None, told: Expected) -> None:
        """Send suggestions, made with what these weights expect."""
        recommender, metrics = self._recommender, self._metrics
        policy_hash, emit_empty = recommender.policy.hash, recommender.policy.emit_empty
        versions, told_of = self._versions(None), self._versions(expectations)
        answers = recommender.suggest_each(_queries(questions), told)
        outcomes: Counter[tuple[str, str]] = Counter()
        kinds: Counter[str] = Counter()
        now_ms = self._clock() * 1000
        for (record, item_ids, query), items in zip(questions, answers, strict=True):
            outcomes[record.topic, "suggested" if items else "nothing to suggest"] += 1
            if not items and not emit_empty:
                continue
            latency_ms = max(0.0, round(now_ms - record.timestamp, 1))
            metrics.latency_s.observe(latency_ms / 1000)
            for item in items:
                kinds[item["kind"]] += 1
            answered_with = versions if query.window is None else told_of
            value = _value(record, item_ids, query, items, answered_with, policy_hash, latency_ms)
            key = query.user_id.encode()
            self._outbox.put(self._topic, partition_of(key, self._partitions), key, value)
        self._told += len(questions)
        metrics.outcomes(outcomes)
        metrics.suggested(kinds)

    def _versions(self, expectations: SequencePredictor | None) -> dict[str, str]:
        """What is answered with."""
        versions = dict(COUNTING)
        if expectations is not None:
            versions[MODEL] = expectations.version
        if ranker := self._recommender.learnt.version:
            versions[RANKER] = ranker
        return versions


def _queries(questions: Sequence[Question]) -> list[Query]:
    return [question.query for question in questions]


def _value(
    record: Record,
    item_ids: Sequence[str],
    query: Query,
    items: Sequence[SuggestedItem],
    versions: Mapping[str, str],
    policy_hash: str,
    latency_ms: float,
) -> bytes:
    """A record of the suggestions topic."""
    return orjson.dumps(
        {
            "v": 1,
            "suggestion_id": query.seed,
            "user_id": query.user_id,
            "at": written(query.at),
            "trigger": {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "action": query.action,
                "item_ids": item_ids,
            },
            "items": items,
            "models": versions,
            "policy": policy_hash,
            "arm": ARM,
            "latency_ms": latency_ms,
        }
    )
