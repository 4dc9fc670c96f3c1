"""What the leading trainer holds: positions of the whole log, the curriculum, the network; and how it came by them.

Everything a snapshot's training state needs is here, as one cut: what is applied is handed on, and what is handed on is
learnt or waits in the learner. So whoever goes on from a snapshot applies the next record of each partition, and no
other. Records of all partitions are merged by append time, so that a backlog is learnt in the order of its days.

Blocking work is done aside, one piece at a time, and nothing is applied meanwhile.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from heapq import heapify, heappop, heapreplace
from typing import Any

import numpy as np
import torch
from aiokafka import TopicPartition
from numpy.typing import NDArray

from models.errors import SnapshotShapeError
from models.ranking.attribution import ALL, Attribution, Closed, Impression
from models.ranking.features import WIDTH
from models.ranking.ranker import CODE as RANKER_CODE
from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import Ranker
from models.sequence.config import CODE, MODEL
from models.sequence.features import Contents, content
from models.sequence.gate import Comparison
from models.sequence.learner import Learner
from models.sequence.scorer import Scorer
from models.sequence.vocabulary import NOBODY
from models.sequence.windowing import WindowBuilder
from models.sessions.visits import EventStatus
from models.shop.events import CatalogItem, Click, Feedback, Purchase
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES
from models.snapshot import Snapshot
from models.state import pack, unpack
from streams.errors import RecordError, SnapshotCorruptError, TakeOverError
from streams.kafka.cursor import Cursor
from streams.kafka.log import Log
from streams.kafka.replay import read_again, recent_past
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.threads import run_in_daemon_thread
from streams.trainer.metrics import TrainerMetrics
from streams.wire.codec import decode_answer, decode_click, decode_feedback, decode_profile, decode_purchase
from streams.wire.record import Record
from streams.wire.schemas import SuggestionRecord
from streams.wire.topics import Identity, full_name

logger = logging.getLogger(__name__)

LEARNT = ("clicks", "purchases")
"""Topics that say what shoppers do."""

READ = (*LEARNT, "feedback", "suggestions")
"""Topics whose positions are in a snapshot, the one of equal append times first."""

SEED = 1
"""Of everything that is drawn: the same log, read in the same pieces, gives the same weights."""

GREATEST_OFFSET = 2**63 - 1
"""Kafka's; a record that says more is none of ours."""

_THREAD = "training"


class TrainerState:
    """The state of a trainer that leads. `take_over` builds it; all else needs it.

    Args:
        settings: of the process.
        log: is read.
        store: of snapshots.
        identities: of all topics, by full name.
        offer: what the catalogue says of an item, by id; None where it does not know it.
        metrics: counts.

    Attributes:
        version: newest snapshot with the trainer's state that this one comes from or has stored; None: none.
        curriculum: what is taught.
        learner: what learns it.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        store: SnapshotStore,
        identities: Mapping[str, Identity],
        offer: Callable[[str], CatalogItem | None],
        metrics: TrainerMetrics,
    ) -> None:
        self._settings, self._log, self._store = settings, log, store
        self._identities, self._offer, self._metrics = identities, offer, metrics
        self._topics = {full_name(settings.prefix, topic): topic for topic in READ}
        self._profiles = full_name(settings.prefix, "profiles")
        self._partitions = range(identities[self._profiles].partitions)
        self.version: str | None = None
        self.cursors: dict[TopicPartition, Cursor] = {}
        self._consents: dict[int, Cursor] = {}
        self._begin()

    def _begin(self) -> None:
        settings = self._settings
        self.items, self._contents, self._described = Items(), Contents(), 0
        self.learner = Learner(settings.learner, self._contents, SEED)
        self.window_builder = WindowBuilder(
            self.items, settings.visits, settings.learner, settings.gate, settings.train_every_s, self.learner
        )
        self.outcomes = Attribution(settings.outcomes)
        self.ranker = Ranker(settings.ranker, SEED)
        self._stored_events = 0

    # -- taking over -----------------------------------------------------------------------------------------------

    async def take_over(self, forgotten: Mapping[str, float]) -> None:
        """Go on from the newest snapshot that has a trainer's state, or begin at the start of the log.

        Args:
            forgotten: event time up to which nothing of a shopper may be used, by shopper.

        Raises:
            StoreUnreachableError: it cannot be known what was learnt so far.
            TakeOverError: the topics are not those of the snapshot.
            SnapshotShapeError: what was learnt has another shape than the settings ask for.
        """
        self.cursors = {}
        self._begin()
        snapshot, training = await run_in_daemon_thread(self._newest, _THREAD) or (None, {})
        self.version = snapshot.version if snapshot else None
        if snapshot is not None:
            await run_in_daemon_thread(lambda: self._restore(snapshot, training), _THREAD)
        cursors = await self._cursors(snapshot, training)
        for user_id, before in forgotten.items():
            self.window_builder.forget(user_id, before, self._partitions)
        await self._hear_consents()
        self.outcomes.restore(_below(training, "outcomes"))
        self.outcomes.drop(self._refuses)  # who refused or was forgotten since
        for number in self._partitions:
            await self._remember(number, cursors)
        self.cursors = cursors
        self._describe()

    async def is_newest(self) -> bool:
        """Whether nobody has stored a trainer's state later than ours."""
        return await run_in_daemon_thread(self._newest_version, _THREAD) == self.version

    def _newest_version(self) -> str | None:
        for version in reversed(self._store.versions(MODEL)):
            try:
                if self._store.stored(MODEL, version).manifest.training is not None:
                    return version
            except SnapshotCorruptError:
                continue
        return None

    def _newest(self) -> tuple[Snapshot, dict[str, NDArray[Any]]] | None:
        """The newest snapshot with a trainer's state; one that is broken is passed over, since an older one will do."""
        for version in reversed(self._store.versions(MODEL)):
            try:
                training = self._store.training(MODEL, version)
                if training is not None:
                    return self._store.load(MODEL, version), training
            except SnapshotCorruptError as error:
                logger.warning("%s %s is passed over: %s", MODEL, version, error)
        return None

    def _restore(self, snapshot: Snapshot, training: Mapping[str, NDArray[Any]]) -> None:
        where = f"{MODEL} {snapshot.version}"
        self._check_shape(where, snapshot.config)
        for name in unpack(training["items.names"], training["items.ends"]):
            self.items.index(name)
        self._describe()
        self.learner.restore(snapshot.arrays, _below(training, "learner"))
        self.window_builder.restore(_below(training, "curriculum"))
        order = _below(training, "ranker")
        if order and not self.ranker.restore(order):
            logger.warning("the order of lists was learnt by other code, and is learnt anew from here on")
        self._stored_events = self.window_builder.events

    def _check_shape(self, where: str, config: Mapping[str, Any]) -> None:
        """Arrays of another shape cannot be gone on with; all else of the configuration may change."""
        now = asdict(self._settings.learner)
        for path in ("looks", "buffer", "vocabulary", "network.units"):
            then, wanted = config, now
            for name in path.split("."):
                then, wanted = then[name], wanted[name]
            if then != wanted:
                raise SnapshotShapeError.of(where, f"config.{path}", f"{wanted}, as the settings say", str(then))

    async def _cursors(
        self, snapshot: Snapshot | None, training: Mapping[str, NDArray[Any]]
    ) -> dict[TopicPartition, Cursor]:
        partitions = [
            TopicPartition(full, number) for full in self._topics for number in range(self._identities[full].partitions)
        ]
        starts, ends = await self._log.starts(partitions), await self._log.ends(partitions)
        cursors = {}
        for tp in partitions:
            topic, position = self._topics[tp.topic], starts[tp]
            if snapshot is not None and topic not in snapshot.positions:
                position = ends[tp]  # it was made before this topic was read: what it answers is not known any more
            elif snapshot is not None:
                position = self._checked(snapshot, tp, ends[tp])
                if position < starts[tp]:
                    self._metrics.expired(tp.topic, starts[tp] - position)
                    logger.error(
                        "%s-%d: %d records expired before they were learnt (retention is shorter than the outage); "
                        "going on at %d",
                        tp.topic, tp.partition, starts[tp] - position, starts[tp],
                    )  # fmt: skip
            cursor = cursors[tp] = Cursor(tp, max(position, starts[tp]), self._log)
            if snapshot is not None and topic in snapshot.positions:
                cursor.appended_ms = int(training[f"appended_ms.{topic}"][tp.partition])
        return cursors

    def _checked(self, snapshot: Snapshot, tp: TopicPartition, end: int) -> int:
        """Position of a partition in a snapshot, as long as it is of this topic."""
        topic, now = self._topics[tp.topic], self._identities[tp.topic]
        then_id, positions = snapshot.topic_ids.get(topic, ""), snapshot.positions[topic]
        if (then_id, len(positions)) != (now.topic_id, now.partitions):
            raise TakeOverError.another_topic_learnt(tp.topic, f"{MODEL} {snapshot.version}", self._store.url)
        self._check_end(tp, positions[tp.partition], end)
        return positions[tp.partition]

    def _check_end(self, tp: TopicPartition, position: int, end: int) -> None:
        if position > end:
            where = f"{tp.topic}-{tp.partition}"
            raise TakeOverError.beyond_end_learnt(where, position, end, self._store.url)

    async def _hear_consents(self) -> None:
        """What all shoppers have said so far, before anything of theirs is used."""
        partitions = [TopicPartition(self._profiles, number) for number in self._partitions]
        starts, ends = await self._log.starts(partitions), await self._log.ends(partitions)
        self._consents = {}
        for tp in partitions:
            cursor = Cursor(tp, ends[tp], self._log)
            async for records in read_again(self._log, cursor, starts[tp], self._metrics.replayed.inc):
                for record in records:
                    self._hear(record)
            self._consents[tp.partition] = cursor

    def _refuses(self, user_id: str, at: float) -> bool:
        """Whether nothing of a shopper up to an event time may be used, whichever partition he has said so in."""
        return any(self.window_builder.refuses(number, user_id, at) for number in self._partitions)

    async def _remember(self, number: int, cursors: Mapping[TopicPartition, Cursor]) -> None:
        """Build the visits of a partition's shoppers anew, from the log, and learn nothing of them again."""
        clicks, purchases = (
            cursors[TopicPartition(full_name(self._settings.prefix, topic), number)] for topic in LEARNT
        )
        replayed, visits = self._metrics.replayed.inc, self.window_builder.visits(number)
        past = recent_past(self._log, clicks, purchases, self._settings.visits, replayed)
        async with aclosing(past):
            async for record in past:
                appended_s = record.timestamp / 1000
                try:
                    if record.topic == clicks.partition.topic:
                        visits.apply_click(decode_click(record), appended_s, record.offset, learn=False)
                    else:
                        purchase = decode_purchase(record)
                        visits.apply_purchase(purchase, appended_s, record.offset, learn=False, join=False)
                except RecordError:
                    continue  # counted when its turn was

    # -- what comes ------------------------------------------------------------------------------------------------

    async def look_ahead(self) -> bool:
        """Ask where the log ends, and expect what there is; returns whether there is anything."""
        cursors = [*self.cursors.values(), *self._consents.values()]
        ends = await self._log.ends([cursor.partition for cursor in cursors])
        for cursor in cursors:
            tp, end = cursor.partition, ends[cursor.partition]
            self._check_end(tp, cursor.position, end)
            cursor.expect(end)
            if tp.topic != self._profiles:
                self._metrics.lag(tp.topic, tp.partition, end - cursor.position)
        return any(cursor.needs_reading or cursor.held for cursor in cursors)

    async def apply_some(self) -> int:
        """Apply records that are expected, the smallest append time first, until there are enough or a chunk is due.

        Returns:
            How many.
        """
        for cursor in self._consents.values():
            await self._fill(cursor)
            while (record := cursor.front()) is not None:
                cursor.take()
                self._hear(record)
                cursor.applied(record)
            cursor.skip_trailing_hole()
        fronts: list[tuple[int, int, Cursor]] = []
        for order, cursor in enumerate(self.cursors.values()):
            await self._fill(cursor)
            if (record := cursor.front()) is not None:
                fronts.append((record.timestamp, order, cursor))
        heapify(fronts)
        applied, outcomes = 0, Counter[tuple[str, str]]()
        while fronts and applied < self._settings.batch_records and not self.window_builder.due:
            _, order, cursor = fronts[0]
            record = cursor.take()
            outcomes[record.topic, self._apply(record)] += 1
            cursor.applied(record)
            applied += 1
            if (after := cursor.front()) is not None:
                heapreplace(fronts, (after.timestamp, order, cursor))
            elif cursor.needs_reading:
                break  # what is still to be read may come before the others
            else:
                heappop(fronts)
        self._metrics.outcomes(outcomes)
        self._describe()
        return applied

    async def _fill(self, cursor: Cursor) -> None:
        if cursor.needs_reading:
            await cursor.fill()
        cursor.skip_trailing_hole()

    def _apply(self, record: Record) -> str:
        """Apply one record; returns what became of it."""
        appended_s, number, topic = record.timestamp / 1000, record.partition, self._topics[record.topic]
        try:
            if topic == "clicks":
                click = decode_click(record)
                verdict = self.window_builder.click(number, click, appended_s, record.offset)
                self._happened(number, click, verdict, record)
            elif topic == "purchases":
                purchase = decode_purchase(record)
                verdict = self.window_builder.purchase(number, purchase, appended_s, record.offset)
                self._happened(number, purchase, verdict, record)
            elif topic == "feedback":
                return self._heard(number, decode_feedback(record), appended_s)
            else:
                return self._suggested(*decode_answer(record))
        except RecordError:
            # of what a shop sends, the worker that owns the partition makes a dead letter
            return "passed over" if topic == "suggestions" else "dead letter"
        return "noted" if verdict is EventStatus.APPLIED else verdict.value

    def _happened(self, number: int, event: Click | Purchase, verdict: EventStatus, record: Record) -> None:
        """Attribute what a shopper did to the lists that it answers."""
        appended_s, applied = record.timestamp / 1000, verdict is EventStatus.APPLIED
        self.outcomes.record_event(number, event, self.items.index, appended_s, record.offset, applied=applied)

    def _heard(self, number: int, feedback: Feedback, appended_s: float) -> str:
        """What a shop says became of a list; returns what became of that."""
        user_id, at = feedback.user_id, feedback.at
        self.outcomes.advance(number, at, appended_s)
        if self.window_builder.refuses(number, user_id, at):
            return EventStatus.FORGOTTEN.value
        item = ALL if feedback.item_id is None else self.items.index(feedback.item_id)  # its list may still come
        self.outcomes.record_feedback(number, user_id, feedback.suggestion_id, item, at, feedback.action)
        return "noted"

    def _suggested(self, record: SuggestionRecord, at: float) -> str:
        """A list of ours, or of somebody who writes like us; returns what became of it."""
        trigger, topic = record.trigger, self._topics.get(record.trigger.topic, "")
        known = topic in LEARNT and trigger.partition in self._partitions and 0 <= trigger.offset <= GREATEST_OFFSET
        if not known or not record.items:
            return "passed over"
        if self._refuses(record.user_id, at):
            return EventStatus.FORGOTTEN.value
        features = np.full((len(record.items), WIDTH), np.nan, np.float32)
        with np.errstate(over="ignore"):  # infinite is not described, either
            for place, item in enumerate(record.items):
                if item.features is not None and len(item.features) == WIDTH:
                    features[place] = item.features
        items = [self.items.index(item.item_id) for item in record.items]
        kinds = [KIND_NAMES.index(item.kind) for item in record.items]
        self.outcomes.record_impression(
            trigger.partition,
            Impression(record.suggestion_id, record.user_id, at, topic, trigger.offset, items, kinds, features),
        )
        return "noted"

    def _hear(self, record: Record) -> None:
        """What a shopper says of himself; with the same effect as on a worker."""
        try:
            profile = decode_profile(record)
        except RecordError:
            return
        if profile is None:
            user_id, at, consent = (record.key or b"").decode(), record.timestamp / 1000, True
        else:
            user_id, at, consent = profile.user_id, profile.at, profile.consent
            if profile.forget:
                self.forget(user_id, at)
        if consent and self.window_builder.visits(record.partition).refuses(user_id):
            self.forget(user_id, at)
        self.window_builder.consent(record.partition, user_id, consent)
        if not consent:
            self.outcomes.forget(user_id, math.inf)

    def forget(self, user_id: str, before: float) -> None:
        """Use nothing of a shopper up to an event time any more; what was learnt stays learnt."""
        self.window_builder.forget(user_id, before, self._partitions)
        self.outcomes.forget(user_id, before)

    # -- what items are --------------------------------------------------------------------------------------------

    def offered(self, item: CatalogItem) -> None:
        """The catalogue says what an item is; of items that nobody has looked at there is nothing to be learnt."""
        if (index := self.items.find(item.item_id)) >= 0:
            self._contents.put(index, content(item))

    def _describe(self) -> None:
        """Look up what items are that have come."""
        for index in range(self._described, len(self.items)):
            if (item := self._offer(self.items.name(index))) is not None:
                self._contents.put(index, content(item))
        self._described = len(self.items)

    # -- learning --------------------------------------------------------------------------------------------------

    @property
    def to_learn(self) -> bool:
        """Whether anything has come since the last chunk."""
        return self.window_builder.waiting or self.learner.waiting > 0

    async def learn(self) -> None:
        """Learn everything that has come."""
        self.window_builder.gather()
        learner, threads, closed = self.learner, self._settings.train_threads, self.outcomes.take()
        positions, chunks = learner.positions, learner.chunks

        def work() -> None:
            torch.set_num_threads(threads)  # holds for the thread that says it
            learner.learn()
            self._learn_order(closed)

        await run_in_daemon_thread(work, _THREAD)
        self.window_builder.begin_chunk()
        self._metrics.learnt(self.window_builder, learner, learner.positions - positions, learner.chunks - chunks)
        self._metrics.answered(self.outcomes, self.ranker)

    def _learn_order(self, closed: Sequence[Closed]) -> None:
        for one in closed:
            self.ranker.learn_one(one)

    # -- snapshots -------------------------------------------------------------------------------------------------

    @property
    def unstored(self) -> bool:
        """Whether looks were handed on that no snapshot has."""
        return self.window_builder.events > self._stored_events

    def scorer(self, snapshot: Snapshot) -> Scorer:
        """What a snapshot answers with, over our items.

        Raises:
            KeyError: an array is missing.
            ValueError: arrays do not fit each other.
        """
        indices = [self.items.index(item_id) if item_id else NOBODY for item_id in snapshot.vocabulary]
        scale = float(snapshot.config["network"]["scale"])
        return Scorer(snapshot.arrays, np.array(indices, np.int64), self._contents, scale)

    def compare(self, candidate: Scorer, served: Scorer | None) -> Comparison:
        """Judge a candidate on what is held back."""
        return self.window_builder.gate.compare(candidate, served)

    def own_scorer(self) -> Scorer:
        """What has been learnt so far answers with."""
        scale = self._settings.learner.network.scale
        return Scorer(self.learner.arrays(), self.learner.vocabulary.item, self._contents, scale)

    def snapshot(self, metrics: Mapping[str, int | float]) -> tuple[Snapshot, dict[str, NDArray[Any]]]:
        """What is learnt, and the trainer's own state beside it; takes time. Everything must have been gathered."""
        learner, window_builder = self.learner, self.window_builder
        vocabulary = tuple(self.items.name(item) if item != NOBODY else "" for item in learner.vocabulary.item.tolist())
        names, ends = pack([self.items.name(index) for index in range(len(self.items))])
        training: dict[str, NDArray[Any]] = {"items.names": names, "items.ends": ends}
        training |= {f"learner.{name}": array for name, array in learner.training().items()}
        training |= {f"curriculum.{name}": array for name, array in window_builder.training().items()}
        training |= {f"outcomes.{name}": array for name, array in self.outcomes.training().items()}
        training |= {f"ranker.{name}": array for name, array in self.ranker.training().items()}
        for full, topic in self._topics.items():
            appended_ms = [cursor.appended_ms for tp, cursor in self.cursors.items() if tp.topic == full]
            training[f"appended_ms.{topic}"] = np.array(appended_ms, np.int64)
        snapshot = Snapshot(
            model=MODEL,
            code=CODE,
            arrays=learner.arrays(),
            vocabulary=vocabulary,
            config=asdict(self._settings.learner),
            positions=self._positions(),
            learnt={
                "events": window_builder.events,
                "held": window_builder.held,
                "positions": learner.positions,
                "chunks": learner.chunks,
            },
            metrics=metrics,
            at=window_builder.at,
            topic_ids=self._topic_ids(),
        )
        return snapshot, training

    def order_snapshot(self) -> Snapshot:
        """The order of lists that is learnt; it has no state of its own, which goes with the other."""
        ranker = self.ranker
        return Snapshot(
            model=RANKER,
            code=RANKER_CODE,
            arrays=ranker.arrays(),
            vocabulary=(),
            config=ranker.config_of(),
            positions=self._positions(),
            learnt={"events": ranker.learnt},
            metrics=ranker.metrics(),
            at=self.window_builder.at,
            topic_ids=self._topic_ids(),
        )

    def _positions(self) -> dict[str, dict[int, int]]:
        positions: dict[str, dict[int, int]] = {topic: {} for topic in READ}
        for tp, cursor in self.cursors.items():
            positions[self._topics[tp.topic]][tp.partition] = cursor.position
        return positions

    def _topic_ids(self) -> dict[str, str]:
        return {topic: self._identities[full].topic_id for full, topic in self._topics.items()}

    def stored(self, snapshot: Snapshot) -> None:
        """The store has it: what comes from now on is new."""
        self.version, self._stored_events = snapshot.version, int(snapshot.learnt["events"])


def _below(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Those whose names begin with the prefix and a dot, without it."""
    return {name.split(".", 1)[1]: array for name, array in arrays.items() if name.split(".", 1)[0] == prefix}
