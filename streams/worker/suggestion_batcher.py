"""The suggestion batcher: answers the queries of all shopper tasks in batches.

Answering ten queries costs little more than one, so all queries of one event-loop turn are answered as one batch. Each
query carries its own snapshot of the visit, so batching never changes a result.

Of a sample of lists the pool of candidates is sent, too, behind the list: the trainer learns their order from it.

The sequence model predicts, then the recommender answers with the predictions. Where predicting takes more than a few
milliseconds it is done in a thread, one batch at a time, while the tasks go on.

An event whose query waits here is applied but not answered: a task drains the batcher before it writes its positions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models.ranking.candidate_pool import CandidatePool
from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL
from models.sequence.predictor import Expected, SequencePredictor
from models.serving.recommender import Learnt, Query, Recommender, SuggestedItem, expected_of
from models.sessions.look_kernel import Snapshots
from models.sessions.look_table import LookTable
from models.shop.events import MAX_TRIGGER_IDS
from models.shop.policy import ARMS, DEFAULT, NONE, POPULAR
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.settings import Settings
from streams.threads import run_in_daemon_thread
from streams.wire.codec import shorter_suggestion, written
from streams.wire.partitioner import partition_of
from streams.wire.pool_records import Trigger, encode_pool
from streams.wire.record import Record
from streams.wire.topics import Identity, full_name
from streams.worker.pool_sampler import PoolSampler

COUNTING = {"cooccurrence": "counts-1"}
"""Version of the co-occurrence counts in records: they have no snapshots."""


class SuggestionRequest(NamedTuple):
    """A query and the event that asks it."""

    record: Record
    item_ids: list[str]
    """Of the event."""
    query: Query


class SuggestionBatcher:
    """Collects queries and sends suggestions.

    Args:
        identities: of all topics, by full name.
        clock: wall clock in epoch seconds.
        on_failure: called once when answering fails.
        looks: has the snapshots of the queries, in the order in which they are submitted.

    Attributes:
        predictor: of the sequence model, if there is one; may be replaced at any time, from another thread too.
    """

    def __init__(
        self,
        recommender: Recommender,
        producer: BatchingProducer,
        metrics: Metrics,
        settings: Settings,
        identities: Mapping[str, Identity],
        clock: Callable[[], float],
        on_failure: Callable[[BaseException], None],
        looks: LookTable,
    ) -> None:
        self._recommender, self._producer, self._metrics = recommender, producer, metrics
        self._looks = looks
        self._topic = full_name(settings.prefix, "suggestions")
        self._partitions = identities[self._topic].partitions
        self._pools_topic = full_name(settings.prefix, "pools")
        self._pools_partitions = identities[self._pools_topic].partitions
        self._pools = PoolSampler(settings.pools.bytes_per_s, clock)
        self._max_bytes = settings.outbox_bytes
        self._batch_records, self._clock, self._on_failure = settings.batch_records, clock, on_failure
        self.predictor: SequencePredictor | None = None
        self._requests: list[SuggestionRequest] = []  # not being answered yet
        self._answering: Sequence[SuggestionRequest] = ()  # in a thread
        self._answering_looks: Snapshots | None = None  # ... and what their shoppers looked at
        self._answers_with: SequencePredictor | None = None  # there
        self._submitted = self._answered = 0  # since the start
        self._under_way: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    @property
    def max_batch(self) -> int:
        """Most queries of one batch."""
        return self._max_batch(self.predictor)

    def _max_batch(self, predictor: SequencePredictor | None) -> int:
        return self._batch_records if predictor is None else min(self._batch_records, predictor.max_batch)

    @property
    def waiting(self) -> int:
        """Queries that are not being answered yet."""
        return len(self._requests)

    @property
    def busy(self) -> bool:
        """Whether a batch is being answered in a thread."""
        return self._under_way is not None

    def held(self) -> NDArray[np.int64]:
        """Indices of the items of all queries that wait or are being answered, and of what predictors may answer."""
        predictors = {self.predictor, self._answers_with}
        queried = np.fromiter(_held(chain(self._answering, self._requests)), np.int64)
        looked_at = [self._looks.asked_items()]
        if self._answering_looks is not None:
            looked_at.append(self._answering_looks.look_items)
        expected = (predictor.held() for predictor in predictors if predictor is not None)
        return np.concatenate([queried, *looked_at, *expected])

    def submit(self, request: SuggestionRequest) -> None:
        """Add a query; the next `flush` that finds no batch under way answers it.

        The looks' table has been asked for its snapshot.
        """
        self._requests.append(request)
        self._submitted += 1

    def flush(self) -> None:
        """Begin the next batch, unless one is under way; a quick one is answered at once.

        Raises:
            Exception: the first failure of answering, now or earlier; no query counts as answered then.
        """
        if self._failure is not None:
            raise self._failure
        if self._under_way is not None or not self._requests:
            return
        predictor = self.predictor  # may be replaced while the batch is answered
        max_batch = self._max_batch(predictor)
        batch, self._requests = self._requests[:max_batch], self._requests[max_batch:]
        looks = self._looks.take(len(batch))
        if predictor is not None and len(batch) > predictor.inline_limit:
            self._answering, self._answering_looks, self._answers_with = batch, looks, predictor
            self._under_way = asyncio.get_running_loop().create_task(self._answer_in_thread(batch, looks, predictor))
            return
        try:
            self._answer(batch, looks, predictor, expected_of(predictor, _queries(batch), looks))
        except Exception as error:
            self._fail(error)
            raise

    async def step(self) -> None:
        """Wait for the batch under way, or for one turn of the event loop; begin the next when the producer has room.

        Raises:
            SendError: the producer has failed.
            Exception: as of `flush`.
        """
        await (asyncio.sleep(0) if self._under_way is None else asyncio.wait([self._under_way]))
        await self._producer.wait_below(self._max_bytes)
        self.flush()

    async def drain(self) -> None:
        """Return when all queries submitted so far are answered, their records handed to the producer.

        Raises:
            Exception: as of `flush`.
        """
        submitted = self._submitted
        await self._producer.wait_below(self._max_bytes)
        self.flush()
        while self._answered < submitted:
            await self.step()

    def forget(self, user_id: str) -> None:
        """Drop what the sequence model keeps of a shopper."""
        if (predictor := self.predictor) is not None:
            predictor.forget(user_id)

    async def close(self) -> None:
        """Answer nothing any more. Events not answered by now are applied again after the next start."""
        self._requests = []
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])

    async def _answer_in_thread(
        self, batch: Sequence[SuggestionRequest], looks: Snapshots, predictor: SequencePredictor
    ) -> None:
        """Predict in a thread, answer, and begin the next batch."""
        queries = _queries(batch)
        try:
            expected = await run_in_daemon_thread(lambda: expected_of(predictor, queries, looks), "expectations")
            await self._producer.wait_below(self._max_bytes)
            self._answer(batch, looks, predictor, expected)
            self._under_way, self._answering, self._answering_looks, self._answers_with = None, (), None, None
            if self._producer.bytes <= self._max_bytes:
                self.flush()
        except Exception as error:
            self._under_way = None
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Answer nothing any more: the next flush raises the error, so no position is written."""
        if self._failure is None:
            self._failure = error
            self._on_failure(error)

    def _answer(
        self,
        batch: Sequence[SuggestionRequest],
        looks: Snapshots,
        predictor: SequencePredictor | None,
        expected: Expected,
    ) -> None:
        """Send the suggestions of a batch, given the predictions of these weights."""
        recommender, metrics = self._recommender, self._metrics
        policy_hash, emit_empty = recommender.policy.hash, recommender.policy.emit_empty
        shorten = partial(shorter_suggestion, may_be_empty=emit_empty)
        versions: dict[tuple[int, bool], dict[str, str]] = {}
        queries = _queries(batch)
        self._pools.pick(queries)
        learnt = recommender.learnt  # may be replaced, from another thread
        answers = recommender.answer_each(queries, expected, learnt, looks)
        outcomes: Counter[tuple[str, str]] = Counter()
        kinds: Counter[str] = Counter()
        now_ms = self._clock() * 1000
        for (record, item_ids, query), (items, pool) in zip(batch, answers, strict=True):
            withheld = bool(items) and query.arm == NONE
            outcomes[record.topic, "withheld" if withheld else "suggested" if items else "nothing to suggest"] += 1
            if not items and not emit_empty:
                continue
            latency_ms = max(0.0, round(now_ms - record.timestamp, 1))
            metrics.latency_s.observe(latency_ms / 1000)
            sent = [] if withheld else items
            for item in sent:
                kinds[item["kind"]] += 1
            took_part = query.arm, query.window is not None
            if took_part not in versions:
                used = predictor if query.window is not None else None
                versions[took_part] = _versions(query.arm, used, learnt)
            value = _value(record, item_ids, query, sent, versions[took_part], policy_hash, latency_ms)
            key = query.user_id.encode()
            self._producer.enqueue(self._topic, partition_of(key, self._partitions), key, value, shorten)
            if items and pool is not None:
                self._log_pool(record, query, pool)
        self._answered += len(batch)
        metrics.outcomes(outcomes)
        metrics.suggested(kinds)

    def _log_pool(self, record: Record, query: Query, pool: CandidatePool) -> None:
        """Send a list's pool; it is left out where the broker finds it too large."""
        trigger = Trigger(record.topic, record.partition, record.offset)
        item_ids = list(map(self._recommender.items.name, pool.items.tolist()))
        key, value = encode_pool(query.user_id, query.at, trigger, item_ids, pool.kinds, pool.features)
        self._pools.spend(len(value))
        self._metrics.pools_written.inc()
        self._metrics.pools_bytes.inc(len(value))
        partition = partition_of(key, self._pools_partitions)
        self._producer.enqueue(self._pools_topic, partition, key, value, _left_out)


def _versions(arm: int, predictor: SequencePredictor | None, learnt: Learnt) -> dict[str, str]:
    """Versions of the models that take part in an answer of an arm."""
    if arm == NONE:
        return {}
    versions = dict(COUNTING)
    if predictor is not None and arm != POPULAR:
        versions[MODEL] = predictor.version
    if arm == DEFAULT and learnt.order.serves.any():
        versions[RANKER] = learnt.version
    return versions


def _left_out(_: bytes) -> None:
    """Nothing of a pool that the broker finds too large is worth sending."""


def _queries(batch: Sequence[SuggestionRequest]) -> list[Query]:
    return [request.query for request in batch]


def _held(requests: Iterable[SuggestionRequest]) -> Iterator[int]:
    """Indices of the items of queries."""
    for _, _, query in requests:
        yield from chain(query.trigger, query.visit.cart, query.visit.bought)
        yield from query.history.cells["item"].tolist()


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
    trigger = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "action": query.action,
        "item_ids": item_ids[:MAX_TRIGGER_IDS],
    }
    if len(item_ids) > MAX_TRIGGER_IDS:
        trigger["item_count"] = len(item_ids)
    return orjson.dumps(
        {
            "v": 1,
            "suggestion_id": query.seed,
            "user_id": query.user_id,
            "at": written(query.at),
            "trigger": trigger,
            "items": items,
            "models": versions,
            "policy": policy_hash,
            "arm": ARMS[query.arm],
            "latency_ms": latency_ms,
        }
    )
