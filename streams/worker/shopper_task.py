"""The task of one partition of shoppers: clicks, purchases, profiles and feedback in; suggestions and pair deltas out.

Visits, carts and recent purchases are held in memory only and are a function of the recent log: a new owner replays the
remembered part of the log up to its position, without effects.

What shoppers have bought is remembered for longer, as histories. Rows that have changed are published in `histories`,
oldest change first, a bounded number of bytes a flush. The checkpoint says below which offset all purchases are in
published rows. A new owner adopts the rows and learns what they lack from the purchases that it reads again.

Clicks and purchases are merged by append time, as in Kafka Streams (KIP-353, KIP-695): the record with the smaller time
goes first, and an empty side is waited for briefly only if the broker is known to hold more of it. At the head of the
log nothing is waited for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np
from aiokafka import TopicPartition
from numpy.typing import NDArray

from models.sessions.click_columns import NOT_PLAIN
from models.sessions.click_kernel import UNKNOWN_ITEM
from models.sessions.histories import DAY_S, Histories
from models.sessions.repurchase import barred, cart_and_barred, collect_visit
from models.sessions.visits import (
    APPLIED,
    CLICK_ACTIONS,
    MOST_LOOKS,
    NOBODY_ASKS,
    Asking,
    EventStatus,
    Visits,
    asking,
)
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.policy import DEFAULT
from streams.errors import RecordError
from streams.kafka.cursor import Cursor, merged
from streams.kafka.replay import read_again, recent_past
from streams.wire.backfill import is_backfilled
from streams.wire.checkpoints import VERSION, Forgotten, encode_forgotten
from streams.wire.click_scanner import scan_clicks
from streams.wire.codec import decode_click, decode_feedback, decode_profile, decode_purchase
from streams.wire.history_rows import PublishedHistory, decode_histories, encode_history
from streams.wire.pair_deltas import SOURCE_TOPICS, PairBatch, source_name
from streams.wire.partitioner import partition_of
from streams.wire.record import Record, check_at, raw_value, refusal
from streams.wire.record_run import RecordRun
from streams.worker.context import WorkerContext
from streams.worker.partition_task import PartitionTask
from streams.worker.suggestion_batcher import Askers

MERGE_WAIT_S = 0.5
"""How long a record waits for records of the other topic that the broker is known to hold. It is short, because it
delays suggestions when one topic's leader is slow, and it matters only while a backlog is read."""

IDLE_JOIN_S = 1.0
"""How far the brokers' clocks may be ahead of ours when joins are finished by our clock, while no click arrives."""


MOST_PAIRS = 100_000
"""Pairs of a task that may wait for a flush, and those of one more event."""

PAIR_BYTES = 40
"""Of a pair that waits, with its share of what is kept of its event."""

SLICE = 25
"""Histories adopted or published before the event loop gets a turn: a millisecond with 20 items each, four with 200."""

FOREIGN_ROWS_S = 60.0
"""Between two checks whether a late owner has written rows; shorter than compaction keeps the newer ones."""

MOST_APART = 8
"""Clicks that are submitted one by one."""

MOST_STEPS = 1_000
"""Of the looks' table, that are collected while the log is read again: it takes them in half a millisecond."""

CLICK_OUTCOMES = ("forgotten", "repeated", "backfilled", "no trigger", "too old", None)
"""Outcomes of `models.sessions.click_kernel`, for the metrics; those that ask are counted when they are answered."""

T = TypeVar("T")

TOPICS = ("clicks", "purchases", "profiles", "feedback")
"""Short names of the topics keyed by shopper."""


@dataclass
class _Clicks:
    """The clicks of a run of records."""

    records: RecordRun
    buffer: NDArray[np.uint8]
    rows: NDArray[Any]
    """(n,) of `CLICK`."""
    actions: list[int]
    """Their actions."""
    ends: list[int]
    """The first click after each that does not follow it at once, as another record comes between."""
    next: int = 0
    """Number of the next."""

    def user_names(self, numbers: NDArray[np.int64]) -> list[bytes]:
        """Ids of the shoppers of some plain clicks, in UTF-8."""
        rows, data = self.rows[numbers], self.records.data
        bounds = zip(rows["user_start"].tolist(), rows["user_end"].tolist(), strict=True)
        return [data[start:end] for start, end in bounds]

    def item_id(self, number: int) -> str:
        """Item of a plain click."""
        row = self.rows[number]
        return self.buffer[row["item_start"] : row["item_end"]].tobytes().decode()


class ShopperTask(PartitionTask):
    """See the module; `number` is the partition that all four topics share."""

    def __init__(self, name: str, partitions: Sequence[TopicPartition], context: WorkerContext) -> None:
        super().__init__(name, partitions, context)
        self.number = partitions[0].partition
        self._clicks_tp, self._purchases_tp, self._profiles_tp, self._feedback_tp = (
            TopicPartition(context.name(topic), self.number) for topic in TOPICS
        )
        self._topics = {tp.topic: tp for tp in partitions}
        self._histories_tp = TopicPartition(context.name("histories"), self.number)
        self.visits = self._new_visits()
        self.histories = self._new_histories()
        self._rows_checked, self._rows_written = 0, 0  # offset in `histories`; records of ours since
        self._rows_checked_s = 0.0
        self._clicks_time_s = 0.0
        self._waiting_since: float | None = None
        self._pairs = self._new_pairs()

    def pending_items(self) -> NDArray[np.int64]:
        """Indices of items that wait to be learnt: few, while those of the visits are many."""
        self.context.looks.run()
        return np.concatenate([np.fromiter(self.visits.joining(), np.int64), _held(self._pairs)])

    # -- restoring -------------------------------------------------------------------------------------------------

    def table_partitions(self) -> list[TopicPartition]:
        """See [`PartitionTask.table_partitions`][]; also the forgotten shoppers."""
        return [*super().table_partitions(), *self.context.all_of("forgotten")]

    async def restore(self) -> None:
        """Adopt the published histories, and replay the recent log up to the positions, without effects.

        Raises:
            TakeOverError: see `starting_cursors`; or the histories are of another topic `purchases`.
        """
        settings, recorded = self.context.settings, self.recorded()
        cursors = await self.starting_cursors()
        clicks, purchases = cursors[self._clicks_tp], cursors[self._purchases_tp]
        joined, published = 0, 0
        if recorded:
            joined = min(recorded.joined, purchases.position)
            published = min(recorded.histories, purchases.position)
        self.visits.drop()
        self.visits = self._new_visits()
        self.histories = self._new_histories()
        self._pairs, self._clicks_time_s = self._new_pairs(), 0.0
        for user_id, before in self.context.tables.forgotten.items():
            self.visits.forget(user_id, before)
        replayed = self.context.metrics.replayed.inc
        async for records in read_again(self.context.log, cursors[self._profiles_tp], 0, replayed):
            for record in records:
                self._replay(record, joined, published)
        await self._adopt_histories()
        past = recent_past(self.context.log, clicks, purchases, settings.visits, replayed, published)
        async with aclosing(past):
            async for runs in past:
                self._replay_runs(runs, joined, published)
        self.visits.outcomes()  # were counted when they were applied first
        self.context.looks.run()
        self.cursors, self.histories.position = cursors, purchases.position
        for user_id in self.histories.shoppers():  # rows may be older than what their shoppers have said
            self._forget_purchases(user_id)

    def _replay_runs(self, runs: Sequence[RecordRun], joined: int, published: int) -> None:
        """As `_replay`, of clicks and purchases in order."""
        clicks = self._scanned_runs(runs)
        for run in runs:
            are_clicks, done = run.topic == self._clicks_tp.topic, 0
            while done < len(run):
                if are_clicks and (count := self._collect_plain(clicks, None, NOBODY_ASKS, None)):
                    self._run_many_steps()
                    done += count
                    continue
                clicks.next += are_clicks
                self._replay(run[done], joined, published)
                self.histories.drop_excess()
                done += 1

    def _run_many_steps(self) -> None:
        if self.context.looks.waiting >= MOST_STEPS:
            self.context.looks.run()

    def _replay(self, record: Record, joined: int, published: int) -> None:
        """Apply a past record to the state only: its effects are published already.

        Except for joins from the offset `joined` on, and for histories from `published` on.
        """
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
                self.visits.collect_click(decode_click(record), appended_s, record.offset, None)
            else:
                event, join = decode_purchase(record), record.offset >= joined
                status = self.visits.collect_purchase(event, appended_s, record.offset, None, join)
                if status is APPLIED and record.offset >= published:
                    self._learn_purchase(event, record.offset)
        except RecordError:
            pass  # in the dead letters already: its position is below ours
        self._run_many_steps()

    # -- applying --------------------------------------------------------------------------------------------------

    def next_run(self) -> list[RecordRun]:
        """See [`PartitionTask.next_run`][]: profiles and feedback first, clicks and purchases by append time.

        Each run is of one topic.
        """
        most = self.context.batcher.max_batch
        for tp in (self._profiles_tp, self._feedback_tp):
            cursor = self.cursors[tp]
            if cursor.held and (taken := cursor.take_runs(most)):
                return taken
        clicks, purchases = self.cursors[self._clicks_tp], self.cursors[self._purchases_tp]
        no_click, no_purchase = clicks.front_run() is None, purchases.front_run() is None
        if no_click and no_purchase:
            return []
        if no_click or no_purchase:
            side, other = (purchases, clicks) if no_click else (clicks, purchases)
            if other.needs_reading or self._worth_waiting(other):
                return []
            self._waiting_since = None
            return side.take_runs(most)
        self._waiting_since = None
        return merged(clicks, purchases, most)

    def _worth_waiting(self, cursor: Cursor) -> bool:
        """Whether the broker is known to hold more of an empty side, and we have not waited for it long."""
        end = self.context.highwater(cursor.partition)
        if end is None or end <= cursor.expected:
            return False
        now = self.context.clock()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < MERGE_WAIT_S

    def apply(self, runs: Sequence[RecordRun]) -> None:
        """Apply runs of records in order; each record submits its query with the state as of its own event.

        What concerns looks is collected only: `run` of the looks' table does it for all tasks at once.
        """
        policy, now = self.context.recommender.policy, self.context.clock()
        oldest_ms = (now - policy.max_suggestion_age_s) * 1000 if policy.max_suggestion_age_s else float("-inf")
        outcomes: Counter[tuple[str, str]] = Counter()
        clicks, asks = self._scanned_runs(runs), asking(policy.triggers, oldest_ms)
        room = MOST_PAIRS - self.waiting_pairs
        for number, run in enumerate(runs):
            done = self._apply_run(run, clicks, asks, oldest_ms, room, outcomes)
            if done < len(run):
                self._put_back([run[done:], *runs[number + 1 :]])
                break
        for name, count in zip(CLICK_OUTCOMES, self.visits.outcomes(), strict=True):
            if name is not None and count:
                outcomes[self._clicks_tp.topic, name] += count
        if outcomes:
            self.context.metrics.outcomes(outcomes)
        if dropped := self.histories.drop_excess():
            self.context.metrics.histories_dropped.inc(dropped)

    def _apply_run(  # noqa: PLR0913 - what a call of `apply` knows
        self,
        run: RecordRun,
        clicks: _Clicks,
        asks: Asking,
        oldest_ms: float,
        room: int,
        outcomes: Counter[tuple[str, str]],
    ) -> int:
        """Apply the records of a topic; returns how many, as there may be no room for more pairs."""
        looks, topic, done = self.context.looks, run.topic, 0
        are_clicks = topic == self._clicks_tp.topic
        try:
            while done < len(run) and looks.most_pairs <= room:
                if are_clicks:
                    if count := self._collect_plain(clicks, self._pairs["clicks"], asks, room):
                        done += count
                        continue
                    clicks.next += 1
                record = run[done]
                try:
                    outcome = self._apply_one(record, oldest_ms)
                except RecordError as error:
                    self.send_to_dead_letters(record, error)
                    outcome = "dead letter"
                if outcome is not None:
                    outcomes[topic, outcome] += 1
                done += 1
        finally:
            self.cursors[self._topics[topic]].applied_run(run[:done])
        return done

    def _scanned_runs(self, runs: Sequence[RecordRun]) -> _Clicks:
        """The clicks among some runs, as rows."""
        found, ends = list[RecordRun](), list[int]()
        for run in runs:
            if run.topic == self._clicks_tp.topic:
                found.append(run)
                ends += [len(ends) + len(run)] * len(run)
        return self._scanned(RecordRun.joined(found) if found else RecordRun.of([]), ends)

    def _scanned(self, clicks: RecordRun, ends: list[int]) -> _Clicks:
        """Clicks as rows; `ends` are as of `_Clicks`."""
        partitions = self.context.identities[self._clicks_tp.topic].partitions
        buffer, rows = scan_clicks(clicks, partitions, self.number)
        return _Clicks(clicks, buffer, rows, rows["action"].tolist(), ends)

    def _collect_plain(self, clicks: _Clicks, sink: PairBatch | None, asks: Asking, most_pairs: int | None) -> int:
        """Collect the next clicks, as far as they are plain and follow each other; returns how many it were.

        With most pairs of the steps that wait, it ends as soon as there may be more.
        """
        first, visits, looks = clicks.next, self.visits, self.context.looks
        while clicks.actions[clicks.next] != NOT_PLAIN:
            self._join_before(int(clicks.rows["appended_ms"][first]) / 1000)
            most = MOST_LOOKS
            if most_pairs is not None:
                most = max(1, (most_pairs - looks.most_pairs) // looks.most_of_look + 1)
            collected = visits.collect_clicks(
                clicks.buffer, clicks.rows, first, clicks.ends[first], sink, asks, visits.joins_due_s, most
            )
            self._finish(clicks, collected.todo)
            if collected.reason == UNKNOWN_ITEM:
                self.context.items.index(clicks.item_id(collected.next))
            if collected.next > first:
                self._clicks_time_s = max(self._clicks_time_s, visits.clicks_s)
                clicks.next = collected.next
                break
        return clicks.next - first

    def _finish(self, clicks: _Clicks, todo: NDArray[Any]) -> None:
        """Change carts and submit queries for some clicks."""
        if len(todo) <= MOST_APART:
            self.visits.finish(todo, partial(self._ask_apart, clicks))
            return
        visits, bought_s = self.visits, self.context.recommender.policy.bought_days * DAY_S
        carts, boughts = list[list[int]](), list[list[int]]()

        def ask(_: int, slot: int, __: int, ___: int, at: float) -> None:
            cart, bought = visits.cart_and_bought_of(slot, at, bought_s)
            carts.append(cart)
            boughts.append(bought)

        visits.finish(todo, ask)
        if carts:
            self._ask_together(clicks, todo[todo["asks"] != 0], carts, boughts)

    def _ask_apart(self, clicks: _Clicks, number: int, slot: int, item: int, action: int, at: float) -> None:
        """Submit the query of a click."""
        policy = self.context.recommender.policy
        record = clicks.records[number]
        user_id = (record.key or b"").decode()
        history, arm = self.histories.of(user_id), policy.arm_of(user_id)
        cart, bought = cart_and_barred(self.visits, history, slot, at, policy)
        item_ids, acted = [self.context.items.name(item)], CLICK_ACTIONS[action]
        self.context.batcher.submit(record, user_id, at, acted, item_ids, [item], cart, bought, arm, history)

    def _ask_together(
        self, clicks: _Clicks, todo: NDArray[Any], carts: Sequence[list[int]], boughts: list[list[int]]
    ) -> None:
        """Submit the queries of clicks that ask, as arrays; few cost more than by `_ask_apart`."""
        policy = self.context.recommender.policy
        names = clicks.user_names(todo["number"])
        user_ids = [name.decode() for name in names]
        histories = self.histories.of_all(user_ids)
        if policy.repurchase == "learn":
            for place in [place for place, bought in enumerate(boughts) if bought]:
                boughts[place] = barred(boughts[place], histories[place], float(todo["at"][place]), policy)
        arms = list(map(policy.arm_of, user_ids)) if policy.arms else DEFAULT
        self.context.batcher.submit_clicks(
            todo, clicks.rows, clicks.records, Askers.of(names, carts, boughts, histories, arms)
        )

    def _put_back(self, runs: Sequence[RecordRun]) -> None:
        for run in reversed(runs):
            self.cursors[self._topics[run.topic]].put_back(run)

    @property
    def waiting_pairs(self) -> int:
        """Pairs that the next flush sends."""
        return sum(map(len, self._pairs.values()))

    def _delivered(self) -> None:
        """See [`PartitionTask._delivered`][]; only a task that has to read a gap is woken."""
        if self._may_apply():
            self.context.turns.add(self)
        else:
            super()._delivered()

    def _may_apply(self) -> bool:
        """Whether the state is complete, and the next records are at hand."""
        if not self.ready.is_set():
            return False
        for cursor in self.cursors.values():  # noqa: SIM110 - called several times an event; a generator costs 2 us
            if cursor.needs_reading:
                return False
        return True

    async def _go_on(self, term: int) -> None:
        """Fill gaps; records are applied in turns with those of the other tasks."""
        while self._owns(term):
            self._arrived.clear()
            await self._fill_gaps()
            if self._owns(term) and self.held:
                self.context.turns.add(self)
            await self._arrived.wait()

    def take_turn(self) -> bool:
        """See [`TakesTurns.take_turn`][streams.worker.turns.TakesTurns.take_turn]."""
        if not self._may_apply():
            return False
        runs = self.next_run()
        if runs:
            self.apply(runs)
        if not self._may_apply():
            self._arrived.set()
        elif self.held:
            (self.context.turns.add if runs else self.context.turns.add_later)(self)
        return bool(runs)

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
        if not self.context.placement.fits(record):
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
            verdict = self.visits.collect_click(event, appended_s, record.offset, self._pairs["clicks"])
            action, item_ids = event.action, [event.item_id]
        elif topic == self._purchases_tp.topic:
            event = self._placed(record, decode_purchase(record))
            verdict = self.visits.collect_purchase(event, appended_s, record.offset, self._pairs["purchases"])
            if verdict is APPLIED:
                self._learn_purchase(event, record.offset)
            action, item_ids = Action.PURCHASE, event.item_ids
        elif topic == self._profiles_tp.topic:
            return self._apply_profile(self._placed(record, decode_profile(record)))
        else:
            self._placed(record, decode_feedback(record))
            return "noted"
        if verdict is not APPLIED:
            return "repeated" if verdict is EventStatus.REPEATED else "forgotten"
        if is_backfilled(record):
            return "backfilled"
        policy = self.context.recommender.policy
        if action not in policy.triggers:
            return "no trigger"
        if record.timestamp < oldest_ms:
            return "too old"
        history = self.histories.of(event.user_id)
        cart, bought = collect_visit(self.visits, history, event.user_id, event.at, policy)
        trigger = [self.context.items.index(item_id) for item_id in item_ids]
        arm = policy.arm_of(event.user_id)
        self.context.batcher.submit(
            record, event.user_id, event.at, action, item_ids, trigger, cart, bought, arm, history
        )
        return None

    def _apply_profile(self, profile: Profile) -> str:
        """Apply a profile, and tell every other task and trainer if it forgets: they may never read this profile."""
        before = self.visits.apply_profile(profile)
        self._forget_purchases(profile.user_id)
        if before is not None:
            key, value = encode_forgotten(Forgotten(v=VERSION, user_id=profile.user_id, before=before))
            partition = partition_of(key, self.context.partitions("forgotten"))
            self.context.producer.enqueue(self.context.name("forgotten"), partition, key, value)
        return "noted"

    # -- histories -------------------------------------------------------------------------------------------------

    def _new_visits(self) -> Visits:
        return Visits(self.context.items, self.context.settings.visits, self.context.looks)

    def dropped(self) -> None:
        """See [`PartitionTask.dropped`][]."""
        super().dropped()
        self.visits.drop()

    def _new_histories(self) -> Histories:
        config, partitions = self.context.settings.histories, self.context.partitions("histories")
        return Histories(self.context.items, replace(config, most_shoppers=-(-config.most_shoppers // partitions)))

    def _learn_purchase(self, event: Purchase, offset: int) -> None:
        items = [self.context.items.index(item_id) for item_id in event.item_ids]
        self.histories.learn(event.user_id, items, event.at, offset)

    def forget(self, user_id: str, before: float) -> None:
        """Drop a shopper's events up to an event time, and use none of that time again."""
        self.visits.forget(user_id, before)
        if self.cursors:  # else `restore` is under way, and looks at all histories in the end
            self._forget_purchases(user_id)

    def _forget_purchases(self, user_id: str) -> None:
        """Drop from a history what may not be used any more."""
        until = self.visits.consent.refused_until(user_id)
        if self.histories.of(user_id).first <= until:
            self.histories.forget(user_id, until, self.visits.purchases(user_id))

    async def _adopt_histories(self) -> None:
        """Take the published rows of the partition.

        Raises:
            TakeOverError: one is of another topic `purchases`.
        """
        log, tp = self.context.log, self._histories_tp
        end = (await log.ends([self._purchases_tp]))[self._purchases_tp]
        start, stop = (await log.starts([tp]))[tp], (await log.ends([tp]))[tp]
        self._rows_checked, self._rows_written = stop, 0
        if start < stop:
            async with aclosing(log.read_range(tp, start, stop)) as batches:
                async for batch in batches:
                    for first in range(0, len(batch), SLICE):
                        records = batch[first : first + SLICE]
                        for record, found in zip(records, decode_histories(records), strict=True):
                            try:
                                self._adopt(record, found, end)
                            except RecordError as error:
                                self.context.metrics.unusable.labels(tp.topic).inc()
                                self.context.bad_records.write(tp.topic, error, "is passed over")
                        await asyncio.sleep(0)

    def _adopt(self, record: Record, found: PublishedHistory | RecordError, end: int) -> None:
        if record.value is None:
            self.histories.adopt((record.key or b"").decode(errors="replace"), None)
            return
        if isinstance(found, RecordError):
            raise found
        row, of = found
        check_at(record, row.history.last, self.context.clock())
        self._check_identity(self._purchases_tp, of.topic_id, of.partitions, "histories")
        if row.history.position > end:
            raise refusal(record, "$.position", f"at most the end of `purchases`, {end}", str(row.history.position))
        self.histories.adopt(row.user_id, row)

    async def _publish_histories(self) -> None:
        """Publish rows that have changed, those that have waited longest first, until the flush has no more bytes."""
        context, histories, done, sent = self.context, self.histories, 0, 0
        if not self.cursors or self.overtaken():
            return
        while sent < histories.config.flush_bytes and (user_id := histories.next_changed()) is not None:
            key, value = self._history_record(user_id)
            context.producer.enqueue(self._histories_tp.topic, self._histories_tp.partition, key, value)
            histories.published(user_id)
            self._rows_written += 1
            sent, done = sent + len(value or key), done + 1
            if done % SLICE == 0:
                await context.backpressure.wait_for_producer()
                await asyncio.sleep(0)
                if not self.cursors or self.overtaken():
                    break
        context.metrics.histories_published.inc(done)
        context.metrics.histories_bytes.inc(sent)

    def _history_record(self, user_id: str) -> tuple[bytes, bytes | None]:
        """Key and value of a shopper's row."""
        row = self.histories.row(user_id)
        purchases = self.context.identities[self._purchases_tp.topic]
        return user_id.encode(), None if row is None else encode_history(row, purchases)

    async def _correct_histories(self) -> None:
        """Look, once in a while, whether somebody else has written rows; publish ours again where theirs are last."""
        now_s, log, tp = self.context.clock(), self.context.log, self._histories_tp
        if now_s < self._rows_checked_s + FOREIGN_ROWS_S or not self.owned or self.overtaken():
            return
        self._rows_checked_s = now_s
        end = (await log.ends([tp]))[tp]
        if end > self._rows_checked + self._rows_written:
            last: dict[bytes | None, Record] = {}
            async with aclosing(log.read_range(tp, self._rows_checked, end)) as batches:
                async for batch in batches:
                    last.update((record.key, record) for record in batch)
            if self.overtaken():
                return
            for key, record in last.items():
                user_id = (key or b"").decode(errors="replace")
                if raw_value(record) != self._history_record(user_id)[1] and self.histories.mark_changed(user_id):
                    self.context.metrics.foreign_rows.inc()
        self._rows_checked, self._rows_written = end, 0

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
        self.visits.collect_ripe(time_s, self._pairs["joins"])

    def _new_pairs(self) -> dict[str, PairBatch]:
        """Empty batches of pair deltas by source."""
        identities, partitions = self.context.identities, self.context.partitions("pairs")
        ids = {source: identities[self.context.name(topic)].topic_id for source, topic in SOURCE_TOPICS.items()}
        return {
            source: PairBatch(source_name(source, self.number, topic_id), self.context.items, partitions)
            for source, topic_id in ids.items()
        }

    async def publish(self) -> None:
        """See [`PartitionTask.publish`][]: the deltas and rows of histories, then the positions."""
        cursors = self.cursors
        if self.visits.first_pending is not None:
            await self._join_while_idle()
            if self.cursors is not cursors:
                return
        self.context.looks.run()
        purchases = self.cursors[self._purchases_tp].position
        pending = self.visits.first_pending
        progress = self.progress(self.positions(), purchases if pending is None else min(pending, purchases))
        batches, self._pairs = self._pairs, self._new_pairs()
        with self.context.items.kept(lambda: _held(batches)):
            await self._send(batches)
        await self._publish_histories()
        unpublished = self.histories.first_unpublished
        histories = purchases if unpublished is None else min(unpublished, purchases)
        await self.checkpoint(msgspec.structs.replace(progress, histories=histories))
        await self._correct_histories()

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
            key = f"{source}-{self.number}".encode()
            for item_partition, value, _ in batch.messages(most, partial(self.context.expected_pairs.add, key)):
                yield topic, item_partition, key, value


def _held(batches: Mapping[str, PairBatch]) -> NDArray[np.int64]:
    """Indices of the items of pair deltas."""
    return np.concatenate([batch.held() for batch in batches.values()]).astype(np.int64)
