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
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.threads import run_in_daemon_thread
from streams.wire.codec import written
from streams.wire.partitioner import partition_of
from streams.wire.record import Record

COUNTING = {"cooccurrence": "counts-1"}
"""Version of what is counted, as records tell it: it has no snapshots."""

ARM = "default"
"""The only arm of the experiment there is yet."""


class SuggestionRequest(NamedTuple):
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
        producer: BatchingProducer,
        metrics: Metrics,
        topic: str,
        partitions: int,
        most: int,
        clock: Callable[[], float],
    ) -> None:
        self._recommender, self._producer, self._metrics = recommender, producer, metrics
        self._topic, self._partitions, self._most, self._clock = topic, partitions, most, clock
        self._requests: list[SuggestionRequest] = []  # that nobody answers yet
        self._asked = self._told = 0  # how many, ever
        self._under_way: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        """Told when answering fails, besides whoever has asked."""

    @property
    def max_batch(self) -> int:
        """Questions that are answered at one go, at most."""
        return self._max_batch(self._recommender.predictor)

    def _max_batch(self, predictor: SequencePredictor | None) -> int:
        return self._most if predictor is None else min(self._most, predictor.max_batch)

    def submit(self, request: SuggestionRequest) -> None:
        """Put a question down; whoever does settles it a little later."""
        self._requests.append(request)
        self._asked += 1

    async def flush(self) -> None:
        """Answer what lies here, as much as at one go, unless that is under way; wait while too much lies here.

        Raises:
            Exception: what answering has failed with, now or before: nothing that was asked may be taken for answered.
        """
        self._begin()
        while self._under_way is not None and len(self._requests) >= self.max_batch:
            await asyncio.wait([self._under_way])
            self._begin()

    async def drain(self) -> None:
        """Return when everything that was asked before is answered: its records are in the outbox.

        Raises:
            Exception: as of `complete`.
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
        if self._under_way is not None or not self._requests:
            return
        predictor = self._recommender.predictor  # another may be installed at any time
        max_batch = self._max_batch(predictor)
        some, self._requests = self._requests[:max_batch], self._requests[max_batch:]
        if predictor is not None and len(some) > predictor.inline_limit:
            self._under_way = asyncio.get_running_loop().create_task(self._answer_in_thread(some, predictor))
            return
        try:
            self._answer(some, predictor, expected_of(predictor, _queries(some)))
        except Exception as error:
            self._fail(error)
            raise

    async def _answer_in_thread(self, requests: Sequence[SuggestionRequest], predictor: SequencePredictor) -> None:
        """Answer, having asked the sequence model in a thread; then go on with what has come meanwhile."""
        queries = _queries(requests)
        try:
            told = await run_in_daemon_thread(lambda: expected_of(predictor, queries), "expectations")
            self._answer(requests, predictor, told)
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
        self._requests = []
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])

    def _answer(
        self, requests: Sequence[SuggestionRequest], predictor: SequencePredictor | None, told: Expected
    ) -> None:
        """Send suggestions, made with what these weights expect."""
        recommender, metrics = self._recommender, self._metrics
        policy_hash, emit_empty = recommender.policy.hash, recommender.policy.emit_empty
        versions, told_of = self._versions(None), self._versions(predictor)
        answers = recommender.suggest_each(_queries(requests), told)
        outcomes: Counter[tuple[str, str]] = Counter()
        kinds: Counter[str] = Counter()
        now_ms = self._clock() * 1000
        for (record, item_ids, query), items in zip(requests, answers, strict=True):
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
            self._producer.enqueue(self._topic, partition_of(key, self._partitions), key, value)
        self._told += len(requests)
        metrics.outcomes(outcomes)
        metrics.suggested(kinds)

    def _versions(self, predictor: SequencePredictor | None) -> dict[str, str]:
        """What is answered with."""
        versions = dict(COUNTING)
        if predictor is not None:
            versions[MODEL] = predictor.version
        if ranker := self._recommender.learnt.version:
            versions[RANKER] = ranker
        return versions


def _queries(requests: Sequence[SuggestionRequest]) -> list[Query]:
    return [request.query for request in requests]


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
