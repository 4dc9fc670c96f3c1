"""The lane of one partition of shoppers: clicks, purchases, profiles and feedback in; suggestions and pair deltas out.

State (visits, carts, recent purchases) lives in memory only and is a function of the recent log: whoever takes the
lane over reads the log again, silently, from `memory` before the committed position up to it.

Clicks and purchases are merged by append time wherever both are at hand, as Kafka Streams does (KIP-353, KIP-695): the
record with the smaller time goes first, and an empty side is waited for (a little) only if the broker is known to hold
more of it. At the head of the log nothing is ever waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from aiokafka import TopicPartition

from models.serving.recommender import Query
from models.sessions.visits import EventStatus, Visits
from models.shop.events import Action, Click, Profile, Purchase
from streams.errors import RecordError
from streams.kafka.cursor import Cursor
from streams.kafka.replay import read_again, recent_past
from streams.wire.checkpoints import VERSION, Forgotten, encode_forgotten
from streams.wire.codec import decode_click, decode_feedback, decode_profile, decode_purchase
from streams.wire.pair_deltas import PairBatch
from streams.wire.partitioner import partition_of
from streams.wire.record import Record
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask
from streams.worker.suggestion_batcher import SuggestionRequest

MERGE_WAIT_S = 0.5
"""How long a record waits for the other topic's records that the broker is known to hold. Short: it delays a
suggestion when one topic's leader is slow; it only matters when a backlog is read."""

IDLE_JOIN_S = 1.0
"""How far the brokers' clocks may be ahead of ours, for joins that are finished by our clock while no click comes."""


class ShopperTask(PartitionTask):
    """See the module. `partition` is the number that all four topics share."""

    def __init__(self, name: str, partitions: Sequence[TopicPartition], context: WorkerContext) -> None:
        super().__init__(name, partitions, context)
        self.number = partitions[0].partition
        by_topic = {tp.topic: tp for tp in partitions}
        self._clicks_tp = by_topic[context.name("clicks")]
        self._purchases_tp = by_topic[context.name("purchases")]
        self._profiles_tp = by_topic[context.name("profiles")]
        self._feedback_tp = by_topic[context.name("feedback")]
        self._partitions = {tp.topic: context.identities[tp.topic].partitions for tp in self.partitions}
        self.visits = Visits(context.items, context.settings.visits)
        self._clicks_time_s = 0.0
        self._waiting_since: float | None = None
        self._pairs = self._new_pairs()

    # -- taking over -----------------------------------------------------------------------------------------------

    def mirrored(self) -> list[TopicPartition]:
        """See [`PartitionTask.mirrored`][]; the forgotten shoppers, too."""
        forgotten = self.context.name("forgotten")
        partitions = range(self.context.identities[forgotten].partitions)
        return [*super().mirrored(), *(TopicPartition(forgotten, p) for p in partitions)]

    def overtaken(self) -> bool:
        """See [`PartitionTask.overtaken`][]."""
        recorded = self.recorded()
        return recorded is not None and any(
            at.position > self.cursors[TopicPartition(topic, self.number)].position
            for topic, at in recorded.topics.items()
        )

    async def restore(self) -> None:
        """Read the recent log again, up to the positions, and learn nothing from it a second time."""
        settings, recorded = self.context.settings, self.recorded()
        positions = await self.starting_positions()
        joined = recorded.joined if recorded else 0
        self.visits = Visits(self.context.items, settings.visits)
        self._pairs, self._clicks_time_s = self._new_pairs(), 0.0
        for user_id, before in self.context.tables.forgotten.items():
            self.visits.forget(user_id, before)
        cursors = {tp: Cursor(tp, position, self.context.log) for tp, position in positions.items()}
        for tp, cursor in cursors.items():
            known = recorded.topics.get(tp.topic) if recorded else None
            cursor.appended_ms = known.appended_ms if known else 0
        replayed = self.context.metrics.replayed.inc
        async for records in read_again(self.context.log, cursors[self._profiles_tp], 0, replayed):
            for record in records:
                self._silently(record, joined)
        clicks, purchases = cursors[self._clicks_tp], cursors[self._purchases_tp]
        async with aclosing(recent_past(self.context.log, clicks, purchases, settings.visits, replayed)) as past:
            async for record in past:
                self._silently(record, joined)
        self.cursors = cursors

    def _silently(self, record: Record, joined: int) -> None:
        """Apply a record of the past: state only. Its effects are out already, but for joins that were pending."""
        appended_s = record.timestamp / 1000
        try:
            if record.topic == self._clicks_tp.topic:
                self._join_before(appended_s)
                self.visits.apply_click(decode_click(record), appended_s, record.offset, learn=False)
            elif record.topic == self._purchases_tp.topic:
                self.visits.apply_purchase(
                    decode_purchase(record), appended_s, record.offset, learn=False, join=record.offset >= joined
                )
            else:
                self.visits.apply_profile(decode_profile(record))
        except RecordError:
            pass  # in the dead letters already: its position is below ours

    # -- the run ---------------------------------------------------------------------------------------------------

    def next_run(self) -> list[Record]:
        """See [`PartitionTask.next_run`][]: profiles and feedback at once, clicks and purchases by append time."""
        most = self.context.batcher.max_batch
        for tp in (self._profiles_tp, self._feedback_tp):
            if taken := self.cursors[tp].take_while(most, _any):
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
            return side.take_while(most, _any)
        self._waiting_since = None
        run: list[Record] = []
        while len(run) < most and click is not None and purchase is not None:
            if click.timestamp <= purchase.timestamp:
                run.append(clicks.take())
                click = clicks.front()
            else:
                run.append(purchases.take())
                purchase = purchases.front()
        return run

    def _worth_waiting(self, cursor: Cursor) -> bool:
        """Whether the broker is known to hold more of a side that has nothing here, for a little while."""
        end = self.context.highwater(cursor.partition)
        if end is None or end <= cursor.expected:
            return False
        now = self.context.clock()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < MERGE_WAIT_S

    def apply(self, records: Sequence[Record]) -> None:
        """Apply records in order; what they ask for, as of each event's own moment, is put down at the desk."""
        policy, now = self.context.recommender.policy, self.context.clock()
        oldest_ms = (now - policy.max_suggestion_age_s) * 1000 if policy.max_suggestion_age_s else float("-inf")
        outcomes: Counter[tuple[str, str]] = Counter()
        for record in records:
            cursor = self.cursors[TopicPartition(record.topic, record.partition)]
            try:
                outcome = self._apply_one(record, oldest_ms)
            except RecordError as error:
                self.send_to_dead_letters(record, error)
                outcome = "dead letter"
            if outcome is not None:
                outcomes[record.topic, outcome] += 1
            if partition_of(record.key or b"", self._partitions[record.topic]) != record.partition:
                self.context.metrics.misplaced.inc()
            cursor.applied(record)
        self.context.metrics.outcomes(outcomes)

    async def complete(self) -> None:
        """See [`PartitionTask.settle`][]: answer what this lane and the others have asked meanwhile."""
        await self.context.batcher.flush()

    def _apply_one(self, record: Record, oldest_ms: float) -> str | None:
        """Apply one record; returns what became of it, None if a question was put down."""
        topic, appended_s = record.topic, record.timestamp / 1000
        event: Click | Purchase
        if topic == self._clicks_tp.topic:
            event = decode_click(record)
            self._join_before(appended_s)
            verdict, pairs = self.visits.apply_click(event, appended_s, record.offset)
            source, action, item_ids = "clicks", event.action, [event.item_id]
        elif topic == self._purchases_tp.topic:
            event = decode_purchase(record)
            verdict, pairs = self.visits.apply_purchase(event, appended_s, record.offset)
            source, action, item_ids = "purchases", Action.PURCHASE, event.item_ids
        elif topic == self._profiles_tp.topic:
            return self._apply_profile(decode_profile(record))
        else:
            decode_feedback(record)
            return "noted"
        if pairs:
            self._pairs[source].add(record.offset, event.at, pairs)
        if verdict is not EventStatus.APPLIED:
            return "repeated" if verdict is EventStatus.REPEATED else "forgotten"
        policy = self.context.recommender.policy
        if action not in policy.triggers:
            return "no trigger"
        if record.timestamp < oldest_ms:
            return "too old"
        index = self.context.items.index
        visit = self.visits.snapshot(event.user_id, event.at, policy.bought_days * 86400.0)
        seed = f"{topic}-{record.partition}-{record.offset}"
        window = None
        if self.context.recommender.predictor is not None:
            window = self.visits.window(event.user_id, event.at)
        trigger = [index(item_id) for item_id in item_ids]
        query = Query(action, trigger, visit, event.at, seed, event.user_id, window)
        self.context.batcher.submit(SuggestionRequest(record, item_ids, query))
        return None

    def _apply_profile(self, profile: Profile) -> str:
        """Apply a profile, and tell every other task and trainer if it forgets: they may never read this profile."""
        before = self.visits.apply_profile(profile)
        if before is not None:
            topic = self.context.name("forgotten")
            key, value = encode_forgotten(Forgotten(v=VERSION, user_id=profile.user_id, before=before))
            partition = partition_of(key, self.context.identities[topic].partitions)
            self.context.producer.enqueue(topic, partition, key, value)
        return "noted"

    # -- joins and pairs -------------------------------------------------------------------------------------------

    def _join_before(self, clicks_appended_s: float) -> None:
        """Finish the joins that wait for no click any more, before a click of that time is applied."""
        if clicks_appended_s > self._clicks_time_s:
            self._clicks_time_s = clicks_appended_s
        if self.visits.first_pending is not None:
            self._learn_joins(self._clicks_time_s)

    async def _join_while_idle(self) -> None:
        """Finish joins by the clock while no click comes, but only if every click there is has been applied."""
        asked_at, clicks = self.context.clock(), self.cursors[self._clicks_tp]
        end = (await self.context.log.ends([self._clicks_tp]))[self._clicks_tp]
        if self.cursors.get(self._clicks_tp) is clicks and clicks.position >= end:
            self._learn_joins(max(self._clicks_time_s, asked_at - IDLE_JOIN_S))

    def _learn_joins(self, time_s: float) -> None:
        for offset, at, pairs in self.visits.ripen(time_s):
            if pairs:
                self._pairs["joins"].add(offset, at, pairs)

    def _new_pairs(self) -> dict[str, PairBatch]:
        """Pair deltas by source. Joins are a source of their own: they come later than their purchase's own pairs."""
        identities, partitions = self.context.identities, self.context.partitions("pairs")
        topics = {"clicks": "clicks", "purchases": "purchases", "joins": "purchases"}
        return {
            source: PairBatch(
                f"{source}-{self.number}@{identities[self.context.name(topic)].topic_id}",
                self.context.items,
                partitions,
            )
            for source, topic in topics.items()
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
        try:  # suggest, then learn; and what those positions say has been applied has been asked before
            await self.context.batcher.drain()
        finally:
            topic, most = self.context.name("pairs"), self.context.settings.max_message_bytes
            for source, batch in batches.items():
                for item_partition, value, _ in batch.messages(most):
                    self.context.producer.enqueue(topic, item_partition, f"{source}-{self.number}".encode(), value)
        await self.checkpoint(progress)


def _any(_: Record) -> bool:
    return True
