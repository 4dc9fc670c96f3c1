"""The task of one partition of shoppers: clicks, purchases, profiles and feedback in; suggestions and pair deltas out.

State (visits, carts, recent purchases) is held in memory only and is a function of the recent log: a new owner replays
the remembered part of the log up to its position, without effects.

Clicks and purchases are merged by append time, as in Kafka Streams (KIP-353, KIP-695): the record with the smaller time
goes first, and an empty side is waited for briefly only if the broker is known to hold more of it. At the head of the
log nothing is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain
from typing import TypeVar

import numpy as np
from aiokafka import TopicPartition

from models.serving.recommender import Query
from models.sessions.visits import EventStatus, Visits
from models.shop.events import Action, Click, Profile, Purchase
from streams.errors import RecordError
from streams.kafka.cursor import RUN_BYTES, Cursor, size_of
from streams.kafka.replay import read_again, recent_past
from streams.wire.backfill import is_backfilled
from streams.wire.checkpoints import VERSION, Forgotten, encode_forgotten
from streams.wire.codec import decode_click, decode_feedback, decode_profile, decode_purchase
from streams.wire.pair_deltas import SOURCE_TOPICS, PairBatch, source_name
from streams.wire.partitioner import partition_of
from streams.wire.record import Record
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask
from streams.worker.suggestion_batcher import SuggestionRequest

MERGE_WAIT_S = 0.5
"""How long a record waits for records of the other topic that the broker is known to hold. It is short, because it
delays suggestions when one topic's leader is slow, and it matters only while a backlog is read."""

IDLE_JOIN_S = 1.0
"""How far the brokers' clocks may be ahead of ours when joins are finished by our clock, while no click arrives."""


MOST_PAIRS = 100_000
"""Pairs of a task that may wait for a flush, and those of one more event."""

PAIR_BYTES = 160
"""Of a pair that waits: a tuple, its weight, and its place in a list."""

T = TypeVar("T")

TOPICS = ("clicks", "purchases", "profiles", "feedback")
"""Short names of the topics keyed by shopper."""


class ShopperTask(PartitionTask):
    """See the module; `number` is the partition that all four topics share."""

    def __init__(self, name: str, partitions: Sequence[TopicPartition], context: WorkerContext) -> None:
        super().__init__(name, partitions, context)
        self.number = partitions[0].partition
        self._clicks_tp, self._purchases_tp, self._profiles_tp, self._feedback_tp = (
            TopicPartition(context.name(topic), self.number) for topic in TOPICS
        )
        self.visits = Visits(context.items, context.settings.visits)
        self._clicks_time_s = 0.0
        self._waiting_since: float | None = None
        self._pairs = self._new_pairs()

    def pending_items(self) -> Iterator[int]:
        """Indices of items that wait to be learnt: few, while those of the visits are many."""
        return chain(self.visits.joining(), _held(self._pairs))

    # -- restoring -------------------------------------------------------------------------------------------------

    def table_partitions(self) -> list[TopicPartition]:
        """See [`PartitionTask.table_partitions`][]; also the forgotten shoppers."""
        return [*super().table_partitions(), *self.context.all_of("forgotten")]

    async def restore(self) -> None:
        """Replay the recent log up to the positions, without effects."""
        settings, recorded = self.context.settings, self.recorded()
        cursors = await self.starting_cursors()
        joined = min(recorded.joined, cursors[self._purchases_tp].position) if recorded else 0
        self.visits = Visits(self.context.items, settings.visits)
        self._pairs, self._clicks_time_s = self._new_pairs(), 0.0
        for user_id, before in self.context.tables.forgotten.items():
            self.visits.forget(user_id, before)
        replayed = self.context.metrics.replayed.inc
        async for records in read_again(self.context.log, cursors[self._profiles_tp], 0, replayed):
            for record in records:
                self._replay(record, joined)
        clicks, purchases = cursors[self._clicks_tp], cursors[self._purchases_tp]
        async with aclosing(recent_past(self.context.log, clicks, purchases, settings.visits, replayed)) as past:
            async for record in past:
                self._replay(record, joined)
        self.cursors = cursors

    def _replay(self, record: Record, joined: int) -> None:
        """Apply a past record to the state only: its effects are published already, except for pending joins."""
        appended_s = record.timestamp / 1000
        refused = self._refuses_misplaced and not self.context.placement.fits(record)
        try:
            if record.topic == self._profiles_tp.topic:
                profile = decode_profile(record)
                if profile.forget or not refused:
                    self.visits.apply_profile(profile)
            elif refused:
                return
            elif record.topic == self._clicks_tp.topic:
                self._join_before(appended_s)
                self.visits.apply_click(decode_click(record), appended_s, record.offset, learn=False)
            else:
                self.visits.apply_purchase(
                    decode_purchase(record), appended_s, record.offset, learn=False, join=record.offset >= joined
                )
        except RecordError:
            pass  # in the dead letters already: its position is below ours

    # -- applying --------------------------------------------------------------------------------------------------

    def next_run(self) -> list[Record]:
        """See [`PartitionTask.next_run`][]: profiles and feedback first, clicks and purchases by append time."""
        most = self.context.batcher.max_batch
        for tp in (self._profiles_tp, self._feedback_tp):
            if taken := self.cursors[tp].take_many(most):
                return taken
        clicks, purchases = self.cursors[self._clicks_tp], self.cursors[self._purchases_tp]
        click, purchase = clicks.front(), purchases.front()
        if click is None and purchase is None:
            return []
        if click is None or purchase is None:
            side, other = (purchases, clicks) if click is None else (clicks, purchases)
            if other.needs_reading or self._worth_waiting(other):
                return []
            self._waiting_since = None
            return side.take_many(most)
        self._waiting_since = None
        run: list[Record] = []
        size = 0
        while len(run) < most and size < RUN_BYTES and click is not None and purchase is not None:
            if click.timestamp <= purchase.timestamp:
                run.append(clicks.take())
                click = clicks.front()
            else:
                run.append(purchases.take())
                purchase = purchases.front()
            size += size_of(run[-1])
        return run

    def _worth_waiting(self, cursor: Cursor) -> bool:
        """Whether the broker is known to hold more of an empty side, and we have not waited for it long."""
        end = self.context.highwater(cursor.partition)
        if end is None or end <= cursor.expected:
            return False
        now = self.context.clock()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < MERGE_WAIT_S

    def apply(self, records: Sequence[Record]) -> None:
        """Apply records in order; each submits its query with the state as of its own event."""
        policy, now = self.context.recommender.policy, self.context.clock()
        oldest_ms = (now - policy.max_suggestion_age_s) * 1000 if policy.max_suggestion_age_s else float("-inf")
        outcomes: Counter[tuple[str, str]] = Counter()
        for done, record in enumerate(records):
            if self.waiting_pairs > MOST_PAIRS:
                self._put_back(records[done:])
                break
            cursor = self.cursors[TopicPartition(record.topic, record.partition)]
            try:
                outcome = self._apply_one(record, oldest_ms)
            except RecordError as error:
                self.send_to_dead_letters(record, error)
                outcome = "dead letter"
            if outcome is not None:
                outcomes[record.topic, outcome] += 1
            cursor.applied(record)
        self.context.metrics.outcomes(outcomes)

    def _put_back(self, records: Sequence[Record]) -> None:
        for tp, cursor in self.cursors.items():
            if mine := [record for record in records if record.topic == tp.topic]:
                cursor.put_back(mine)

    @property
    def waiting_pairs(self) -> int:
        """Pairs that the next flush sends."""
        return sum(map(len, self._pairs.values()))

    async def finish_run(self) -> None:
        """See [`PartitionTask.finish_run`][]: answer the queries of this task and the others; flush too many pairs."""
        await self.context.backpressure.wait_for_batcher()
        if self.waiting_pairs > MOST_PAIRS:
            await self.flush(last=True)

    @property
    def _refuses_misplaced(self) -> bool:
        return self.context.recommender.policy.misplaced == "dead-letter"

    def _placed(self, record: Record, event: T) -> T:
        """The event of a record, unless it is misplaced and refused (RecordError).

        Who asks to be forgotten is forgotten, wherever the record lies.
        """
        forgets = isinstance(event, Profile) and event.forget
        self.context.placement.check(record, refuse=self._refuses_misplaced and not forgets)
        return event

    def _apply_one(self, record: Record, oldest_ms: float) -> str | None:
        """Apply one record; returns its outcome, None if it has submitted a query."""
        topic, appended_s = record.topic, record.timestamp / 1000
        event: Click | Purchase
        if topic == self._clicks_tp.topic:
            event = self._placed(record, decode_click(record))
            self._join_before(appended_s)
            verdict, pairs = self.visits.apply_click(event, appended_s, record.offset)
            source, action, item_ids = "clicks", event.action, [event.item_id]
        elif topic == self._purchases_tp.topic:
            event = self._placed(record, decode_purchase(record))
            verdict, pairs = self.visits.apply_purchase(event, appended_s, record.offset)
            source, action, item_ids = "purchases", Action.PURCHASE, event.item_ids
        elif topic == self._profiles_tp.topic:
            return self._apply_profile(self._placed(record, decode_profile(record)))
        else:
            self._placed(record, decode_feedback(record))
            return "noted"
        if pairs:
            self._pairs[source].add(record.offset, event.at, pairs)
        if verdict is not EventStatus.APPLIED:
            return "repeated" if verdict is EventStatus.REPEATED else "forgotten"
        if is_backfilled(record):
            return "backfilled"
        policy = self.context.recommender.policy
        if action not in policy.triggers:
            return "no trigger"
        if record.timestamp < oldest_ms:
            return "too old"
        visit = self.visits.snapshot(event.user_id, event.at, policy.bought_days * 86400.0)
        seed = f"{topic}-{record.partition}-{record.offset}"
        predicted = self.context.batcher.predictor is not None
        window = self.visits.window(event.user_id, event.at) if predicted else None
        trigger = [self.context.items.index(item_id) for item_id in item_ids]
        query = Query(action, trigger, visit, event.at, seed, event.user_id, window, policy.arm_of(event.user_id))
        self.context.batcher.submit(SuggestionRequest(record, item_ids, query))
        return None

    def _apply_profile(self, profile: Profile) -> str:
        """Apply a profile, and tell every other task and trainer if it forgets: they may never read this profile."""
        before = self.visits.apply_profile(profile)
        if before is not None:
            key, value = encode_forgotten(Forgotten(v=VERSION, user_id=profile.user_id, before=before))
            partition = partition_of(key, self.context.partitions("forgotten"))
            self.context.producer.enqueue(self.context.name("forgotten"), partition, key, value)
        return "noted"

    # -- joins and pairs -------------------------------------------------------------------------------------------

    def _join_before(self, clicks_appended_s: float) -> None:
        """Finish the joins that wait for no more clicks, before a click of that time is applied."""
        self._clicks_time_s = max(self._clicks_time_s, clicks_appended_s)
        if self.visits.first_pending is not None:
            self._learn_joins(self._clicks_time_s)

    async def _join_while_idle(self) -> None:
        """Finish joins by our clock while no click arrives, but only if all clicks have been applied."""
        asked_at, clicks = self.context.clock(), self.cursors[self._clicks_tp]
        end = (await self.context.log.ends([self._clicks_tp]))[self._clicks_tp]
        if self.cursors.get(self._clicks_tp) is clicks and clicks.position >= end:
            self._learn_joins(max(self._clicks_time_s, asked_at - IDLE_JOIN_S))

    def _learn_joins(self, time_s: float) -> None:
        for offset, at, pairs in self.visits.ripen(time_s):
            if pairs:
                self._pairs["joins"].add(offset, at, pairs)

    def _new_pairs(self) -> dict[str, PairBatch]:
        """Empty batches of pair deltas by source."""
        identities, partitions = self.context.identities, self.context.partitions("pairs")
        ids = {source: identities[self.context.name(topic)].topic_id for source, topic in SOURCE_TOPICS.items()}
        return {
            source: PairBatch(source_name(source, self.number, topic_id), self.context.items, partitions)
            for source, topic_id in ids.items()
        }

    async def publish(self) -> None:
        """See [`PartitionTask.publish`][]: the deltas, then the positions."""
        cursors = self.cursors
        if self.visits.first_pending is not None:
            await self._join_while_idle()
            if self.cursors is not cursors:
                return
        purchases = self.cursors[self._purchases_tp].position
        pending = self.visits.first_pending
        progress = self.progress(self.positions(), purchases if pending is None else min(pending, purchases))
        batches, self._pairs = self._pairs, self._new_pairs()
        with self.context.items.kept(lambda: np.fromiter(_held(batches), np.int64)):
            await self._send(batches)
        await self.checkpoint(progress)

    async def _send(self, batches: Mapping[str, PairBatch]) -> None:
        messages = self._messages(batches)
        try:  # answer before learning, and before the positions say that the events are applied
            await self.context.batcher.drain()
            for message in messages:
                self.context.producer.enqueue(*message)
                await self.context.backpressure.wait_for_producer()
        finally:
            for message in messages:
                self.context.producer.enqueue(*message)

    def _messages(self, batches: Mapping[str, PairBatch]) -> Iterator[tuple[str, int, bytes, bytes]]:
        """The deltas as topic, partition, key and value."""
        topic, most = self.context.name("pairs"), self.context.settings.max_message_bytes
        for source, batch in batches.items():
            for item_partition, value, _ in batch.messages(most):
                yield topic, item_partition, f"{source}-{self.number}".encode(), value


def _held(batches: Mapping[str, PairBatch]) -> Iterator[int]:
    """Indices of the items of pairs, TOTAL among them."""
    return chain.from_iterable(batch.held() for batch in batches.values())
