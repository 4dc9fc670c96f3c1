"""The suggestion batcher: answers the queries of all shopper tasks in batches.

Answering ten queries costs little more than one, so all queries of one event-loop turn are answered as one batch. Each
query carries its own snapshot of the visit, so batching never changes a result.

Of a sample of lists the pool of candidates is sent, too, behind the list: the trainer learns their order from it.

The sequence model predicts, the recommender answers with the predictions, the writer writes the records. Large batches
go through this in three threads, one after the other, while the tasks go on: compiled code releases the lock. In a
backlog full batches wait there behind the one that is being answered, so that no thread waits for the event loop. They
read rows and catalogue as they are, so what changes them waits for `still` first.

An event whose query waits here is applied but not answered: a task drains the batcher before it writes its positions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models.ranking.candidate_pool import CandidatePool
from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL
from models.sequence.predictor import Expected, SequencePredictor, shopper_key, shopper_keys
from models.serving.queries import Queries, QueryColumns, predicted
from models.serving.recommender import AnsweredBatch, Learnt, Recommender, seed_of
from models.sessions.histories import History
from models.sessions.look_kernel import Snapshots
from models.sessions.look_table import LookTable
from models.shop.events import Action
from models.shop.kinds import KIND_NAMES
from models.shop.policy import ARMS, DEFAULT, NONE, POPULAR
from streams.kafka.producer import BatchingProducer
from streams.metrics import Metrics
from streams.next_change import NextChange
from streams.settings import Settings
from streams.wire import waiting_requests
from streams.wire.codec import shorter_suggestion
from streams.wire.partitioner import partition_of
from streams.wire.pool_records import Trigger, encode_pool
from streams.wire.record import Record
from streams.wire.record_run import RecordRun
from streams.wire.suggestion_writer import (
    IDS_AT,
    OFFSET,
    PARTITION,
    TOPIC,
    USER_AT,
    Models,
    Requests,
    SuggestionWriter,
    Written,
    models_of,
)
from streams.wire.topics import Identity, full_name
from streams.wire.waiting_requests import ASKER, WaitingRequests, asked_by
from streams.worker.pool_sampler import PoolSampler

COUNTING = {"cooccurrence": "counts-1"}
"""Version of the co-occurrence counts in records: they have no snapshots."""


TRIGGER_TOPICS = ("clicks", "purchases")
"""Short names of the topics whose events are answered."""

OUTCOME_NAMES = ("nothing to suggest", "suggested", "withheld")
"""Of the outcomes of `streams.wire.suggestion_writer`, for the metrics."""

_PURCHASE = Action.PURCHASE


MOST_INLINE = 48
"""Queries of a batch that is answered at once, which takes a millisecond or two: a thread would begin it later."""

STAGES = ("predict", "batch", "write")
"""Threads that answer large batches, each one after the other: one is written while the next one is ranked, and the
sequence model predicts for a third."""

MOST_BEGUN = len(STAGES)
"""Batches in the threads: the one that is being answered, and full ones behind it."""


class Askers(NamedTuple):
    """For whom clicks ask, and what these shoppers have in the cart and have bought, one after the other."""

    rows: NDArray[Any]
    """Of `ASKER`."""
    cart: NDArray[np.int32]
    bought: NDArray[np.int32]
    cells: list[NDArray[np.void]]
    """Histories of those who have any."""

    @staticmethod
    def of(
        names: Sequence[bytes],
        carts: Sequence[list[int]],
        boughts: Sequence[list[int]],
        histories: Sequence[History],
        arms: Sequence[int] | int,
    ) -> Askers:
        """Shoppers by their ids in UTF-8; the rest as of `SuggestionBatcher.submit`, of each, or one for all."""
        rows = np.empty(len(names), ASKER)
        cells = [history.cells for history in histories]
        rows["key"] = shopper_keys(names)
        rows["baskets"] = [history.baskets for history in histories]
        rows["cart"], rows["bought"], rows["own"] = (list(map(len, lists)) for lists in (carts, boughts, cells))
        rows["arm"] = arms
        cart, bought = (np.fromiter(chain.from_iterable(lists), np.int32) for lists in (carts, boughts))
        return Askers(rows, cart, bought, [own for own in cells if len(own)])


class _Batch(NamedTuple):
    """Queries that are answered together."""

    queries: QueryColumns
    columns: NDArray[np.int64]  # of `Requests`
    texts: bytes
    looks: Snapshots


class _Begun(NamedTuple):
    """A batch that is being answered in the threads, or waits there."""

    batch: _Batch
    predictor: SequencePredictor | None
    answers: asyncio.Future[_Answers]


class _Answers(NamedTuple):
    """What a batch is answered with."""

    answered: AnsweredBatch
    written: Written
    emit_empty: bool  # as of the policy that it was answered by


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
        self._topics = {full_name(settings.prefix, topic): code for code, topic in enumerate(TRIGGER_TOPICS)}
        self._writer = SuggestionWriter(
            recommender.items, recommender.catalog, list(self._topics), identities[self._topic].partitions
        )
        self._counts = metrics.suggestions(list(self._topics), OUTCOME_NAMES, KIND_NAMES)
        self._shorten = [partial(shorter_suggestion, may_be_empty=may_be_empty) for may_be_empty in (False, True)]
        self._named: tuple[SequencePredictor | None, Learnt, str, Models] | None = None  # see `_models_of`
        self._pools_topic = full_name(settings.prefix, "pools")
        self._pools_partitions = identities[self._pools_topic].partitions
        self._pools = PoolSampler(settings.pools.bytes_per_s, clock)
        self._max_bytes = settings.outbox_bytes
        self._batch_records, self._clock, self._on_failure = settings.batch_records, clock, on_failure
        self.predictor: SequencePredictor | None = None
        self._queries, self._requests = Queries(), WaitingRequests()  # not being answered yet
        self._threads: tuple[ThreadPoolExecutor, ...] | None = None  # of `STAGES`
        self._begun: deque[_Begun] = deque()  # in the threads, in order
        self._sending: asyncio.Task[None] | None = None  # while there are any
        self._moved = NextChange()  # of these
        self._submitted = self._answered = 0  # since the start
        self._changers = 0  # coroutines that wait in `still`
        self._failure: Exception | None = None

    @property
    def max_batch(self) -> int:
        """Most queries of one batch."""
        return self._max_batch(self.predictor)

    def _max_batch(self, predictor: SequencePredictor | None) -> int:
        return self._batch_records if predictor is None else min(self._batch_records, predictor.max_batch)

    @property
    def nbytes(self) -> int:
        """Memory that writing records takes."""
        return self._writer.nbytes

    @property
    def waiting(self) -> int:
        """Queries that are not being answered yet."""
        return len(self._queries)

    @property
    def waiting_bytes(self) -> int:
        """Memory that they take, with those that are being answered."""
        size = self._queries.nbytes + self._requests.nbytes
        for batch, _, _ in self._begun:
            size += batch.queries.nbytes + batch.columns.nbytes + len(batch.texts)
            size += sum(array.nbytes for array in batch.looks)
        return size

    @property
    def busy(self) -> bool:
        """Whether a batch is being answered in the threads."""
        return bool(self._begun)

    @property
    def takes_more(self) -> bool:
        """Whether a full batch would be begun at once."""
        return len(self._begun) < MOST_BEGUN and not self._changers

    def warm(self) -> None:
        """Compile the writing and counting of records, or load what was compiled before."""
        self._writer.warm()
        topics, names = len(self._topics), len(OUTCOME_NAMES)
        self._counts.add(
            np.zeros((topics, names), np.int64), np.zeros(len(KIND_NAMES), np.int64), np.zeros(0, np.int64)
        )
        waiting_requests.warm()

    def held(self) -> NDArray[np.int64]:
        """Indices of the items of all queries that wait or are being answered, and of what predictors may answer."""
        predictors = {self.predictor, *(predictor for _, predictor, _ in self._begun)}
        held: list[NDArray[np.integer[Any]]] = [self._queries.held(), self._looks.asked_items()]
        for batch, _, _ in self._begun:
            held += [batch.queries.held(), batch.looks.look_items]
        held += [predictor.held() for predictor in predictors if predictor is not None]
        return np.concatenate(held, dtype=np.int64)

    def submit(  # noqa: PLR0913 - the parts of a query
        self,
        record: Record,
        user_id: str,
        at: float,
        action: Action,
        item_ids: Sequence[str],
        trigger: Sequence[int],
        cart: Sequence[int],
        bought: Sequence[int],
        arm: int,
        history: History,
    ) -> None:
        """Add the query of a shopper's event in a record; the next `flush` that finds no batch under way answers it.

        `trigger` has the event's items, `cart` those in the cart, and `bought` what must not be suggested again. The
        looks' table has been asked for its snapshot.
        """
        windowed = self.predictor is not None
        self._queries.add(
            shopper_key(user_id),
            at,
            upsells=action is not _PURCHASE,
            arm=arm,
            windowed=windowed,
            trigger=trigger,
            cart=cart,
            bought=bought,
            history=history,
        )
        self._requests.add(
            record,
            self._topics[record.topic],
            user_id,
            item_ids,
            at,
            action,
            arm=arm,
            windowed=windowed,
        )
        self._submitted += 1

    def submit_clicks(self, todo: NDArray[Any], clicks: NDArray[Any], run: RecordRun, askers: Askers) -> None:
        """As `submit` for clicks of a run that ask, as of `asked_by`."""
        asked = asked_by(todo, clicks, askers.rows, self._topics[run.topic], run.partition)
        queries = self._requests.add_clicks(asked, run.buffer, windowed=self.predictor is not None)
        self._queries.add_many(queries, todo["item"].astype(np.int32), askers.cart, askers.bought, askers.cells)
        self._submitted += len(asked)

    def flush(self) -> None:
        """Begin the next batch: behind others only if it is full. A quick one is answered at once.

        Raises:
            Exception: the first failure of answering, now or earlier; no query counts as answered then.
        """
        if self._failure is not None:
            raise self._failure
        predictor, waiting = self.predictor, len(self._queries)  # a predictor may be replaced during the batch
        if not waiting or not self.takes_more or (self._begun and waiting < self._max_batch(predictor)):
            return
        size = min(waiting, self._max_batch(predictor))
        quick = size <= (MOST_INLINE if predictor is None else min(MOST_INLINE, predictor.inline_limit))
        inline = quick and not self._begun
        queries = self._queries.take(size, keep=not inline)
        batch = _Batch(queries, *self._requests.take(size), self._looks.take(size))
        learnt = self._recommender.learnt  # may be replaced, from another thread
        try:
            self._choose(batch)
            if inline:
                expected = partial(self._predicted, batch, predictor)
                ranked = partial(self._ranked, batch, learnt, expected)
                self._send(batch, self._answers(batch, predictor, learnt, ranked))
            else:
                self._begin(batch, predictor, learnt)
        except Exception as error:
            self._fail(error)
            raise

    async def still(self) -> None:
        """Return when no batch is being answered in the threads; none begins before the caller's next `await`.

        To be called before rows, catalogue, item ids or the policy change.
        """
        while self._sending is not None:
            self._changers += 1
            try:
                await asyncio.wait([self._sending])
            finally:
                self._changers -= 1
                asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Begin the next batch, when what has waited for the last one has changed something."""
        if self._failure is None and self._producer.bytes <= self._max_bytes:
            try:
                self.flush()
            except Exception:  # noqa: S110 - noted by then: the next flush of a task raises it
                pass

    async def step(self) -> None:
        """Wait for the batch under way, or for one turn of the event loop; begin the next when the producer has room.

        Raises:
            SendError: the producer has failed.
            Exception: as of `flush`.
        """
        await (asyncio.sleep(0) if self._sending is None else self._moved.wait())
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
        self._queries.clear()
        self._requests.clear()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        for thread in self._threads or ():
            thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, batch: _Batch, predictor: SequencePredictor | None, learnt: Learnt) -> None:
        """Have a batch answered in the threads."""
        loop = asyncio.get_running_loop()
        if self._threads is None:
            self._threads = tuple(ThreadPoolExecutor(1, name) for name in STAGES)
        predicting, ranking, writing = self._threads
        expected: Callable[[], Expected] = partial(self._predicted, batch, predictor)
        if self._recommender.team.size == 1:  # else the team would be asked by two threads at once
            expected = partial(predicting.submit(expected).result, None)
        ranked = ranking.submit(self._ranked, batch, learnt, expected).result
        answers = loop.run_in_executor(writing, self._answers, batch, predictor, learnt, ranked)
        self._begun.append(_Begun(batch, predictor, answers))
        if self._sending is None:
            self._sending = loop.create_task(self._send_begun())

    async def _send_begun(self) -> None:
        """Send what is answered in the threads, and begin the next batches there."""
        try:
            while self._begun:
                batch, _, answers = self._begun[0]
                found = await answers
                await self._producer.wait_below(self._max_bytes)
                self._send(batch, found)
                self._begun.popleft()
                self._moved.happened()
                if self._producer.bytes <= self._max_bytes:
                    self.flush()
        except Exception as error:
            self._fail(error)
        finally:
            for _, _, answers in self._begun:
                answers.cancel()
            self._begun.clear()
            self._sending = None
            self._moved.happened()

    def _fail(self, error: Exception) -> None:
        """Answer nothing any more: the next flush raises the error, so no position is written."""
        if self._failure is None:
            self._failure = error
            self._on_failure(error)

    def _choose(self, batch: _Batch) -> None:
        """Choose the queries whose pools are logged, and what decides what is left to chance."""
        queries, seeds = batch.queries, partial(self._seeds, batch.columns)
        queries.log(self._pools.pick(queries.arms, seeds))
        if self._recommender.explores:
            queries.seeds[:] = seeds(range(len(queries)))

    def _predicted(self, batch: _Batch, predictor: SequencePredictor | None) -> Expected:
        """What the shoppers of a batch are expected to look at next."""
        return predicted(predictor, batch.queries, batch.looks, self._recommender.team)

    def _ranked(self, batch: _Batch, learnt: Learnt, expected: Callable[[], Expected]) -> AnsweredBatch:
        """The suggestions of a batch, ranked."""
        return self._recommender.answer_batch(batch.queries, expected(), batch.looks, learnt)

    def _answers(
        self, batch: _Batch, predictor: SequencePredictor | None, learnt: Learnt, ranked: Callable[[], AnsweredBatch]
    ) -> _Answers:
        """The suggestions of a batch, written."""
        answered, emit_empty = ranked(), self._recommender.policy.emit_empty
        requests = Requests(batch.columns, batch.texts, self._models_of(predictor, learnt))
        now_ms = self._clock() * 1000
        written = self._writer.write(requests, answered.lists, answered.reasons, now_ms, emit_empty=emit_empty)
        return _Answers(answered, written, emit_empty)

    def _send(self, batch: _Batch, answers: _Answers) -> None:
        """Send the suggestions of a batch, then the pools that are logged."""
        answered, written, emit_empty = answers
        shorten = self._shorten[emit_empty]
        for partition, block in written.blocks:
            self._producer.enqueue_block(self._topic, partition, block, shorten)
        for row in np.flatnonzero(answered.logged >= 0).tolist() if batch.queries.pools else ():
            if answered.lists.size[row] and (pool := answered.pool(row)) is not None:
                self._log_pool(batch, row, pool)
        self._recommender.done_with(answered)
        self._answered += len(batch.queries)
        self._count(written)

    def _seeds(self, columns: NDArray[np.int64], rows: Iterable[int]) -> list[int]:
        """What decides what is left to chance for the queries in some rows: hashes of the suggestions' ids."""
        topics, found = list(self._topics), columns[:, : OFFSET + 1].tolist()
        return [seed_of(f"{topics[found[row][TOPIC]]}-{found[row][PARTITION]}-{found[row][OFFSET]}") for row in rows]

    def _models_of(self, predictor: SequencePredictor | None, learnt: Learnt) -> Models:
        """Models, policy and arm as records name them: for each arm without and with a window of looks."""
        named, policy_hash = self._named, self._recommender.policy.hash
        if named is None or named[0] is not predictor or named[1] is not learnt or named[2] != policy_hash:
            arms = [(arm, used) for arm in range(len(ARMS)) for used in (None, predictor)]
            names = [_names(_versions(arm, used, learnt), policy_hash, arm) for arm, used in arms]
            self._named = named = (predictor, learnt, policy_hash, models_of(names))
        return named[3]

    def _count(self, written: Written) -> None:
        """Count the records of a batch."""
        self._counts.add(written.outcomes, written.kinds, written.latency_tenths)

    def _log_pool(self, batch: _Batch, row: int, pool: CandidatePool) -> None:
        """Send the pool of a list; it is left out where the broker finds it too large."""
        asked = batch.columns[row].tolist()
        trigger = Trigger(list(self._topics)[asked[TOPIC]], asked[PARTITION], asked[OFFSET])
        user_id = orjson.loads(batch.texts[asked[USER_AT] : asked[IDS_AT]])
        item_ids = list(map(self._recommender.items.name, pool.items.tolist()))
        key, value = encode_pool(user_id, float(batch.queries.at[row]), trigger, item_ids, pool.kinds, pool.features)
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


def _names(versions: Mapping[str, str], policy_hash: str, arm: int) -> bytes:
    """JSON from the models to the name of the latency."""
    rest = orjson.dumps({"models": versions, "policy": policy_hash, "arm": ARMS[arm]})
    return rest.removeprefix(b'{"models":')[:-1] + b',"latency_ms":'
