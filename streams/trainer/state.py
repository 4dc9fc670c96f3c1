"""State of the leading trainer, and how it learns from the log and takes over from a snapshot.

A successor that restores a snapshot applies the next record of each partition, so nothing is learnt twice or missed.
Blocking work runs in a thread, one piece at a time, and no record is applied meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import numpy as np
import torch
from aiokafka import TopicPartition
from numpy.typing import NDArray

from models.ranking.attribution import Attribution
from models.ranking.features import WIDTH
from models.ranking.ranker import Ranker
from models.ranking.upsell_attribution import UpsellAttribution
from models.sequence.features import NOTHING, Contents, content
from models.sequence.gate import Comparison
from models.sequence.learner import Learner
from models.sequence.scorer import Scorer
from models.sequence.vocabulary import NOBODY
from models.sequence.windowing import WindowBuilder
from models.sessions.visits import EventStatus
from models.shop.events import CatalogItem, Click, Purchase
from models.shop.items import Items
from models.shop.policy import Policy
from models.snapshot import Snapshot
from streams.errors import RecordError
from streams.kafka.cursor import Cursor
from streams.kafka.log import Log
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.threads import run_in_daemon_thread
from streams.trainer import snapshot_codec
from streams.trainer.list_attribution import ListAttribution
from streams.trainer.log_reader import LogReader
from streams.trainer.metrics import TrainerMetrics
from streams.wire.backfill import is_backfilled
from streams.wire.codec import decode_answer, decode_click, decode_feedback, decode_profile, decode_purchase
from streams.wire.partitioner import partition_of
from streams.wire.pool_records import decode_pool
from streams.wire.record import Record
from streams.wire.topics import Identity

SEED = 1
"""Of all random numbers: the same log, read in the same pieces, gives the same weights."""

_THREAD = "training"

LEAST_IDS = 20_000
"""Ids more than were left by the last round of freeing before the next one: 4 MB."""

SENT = ("suggestions", "pools")
"""Topics that workers write: what cannot be used of them is passed over."""

logger = logging.getLogger(__name__)


class TrainerState:
    """Joins the reader of the log with everything that learns from it. `take_over` fills it; all else needs that.

    Args:
        identities: of all topics, by full name.
        offer: the catalogue's item of an id; None: unknown.
        policy: says what an order is for, and whether records in a partition other than their key's are learnt from.

    Attributes:
        version: newest snapshot with a trainer's state that this one comes from or has stored; None: none.
        cursors: positions; empty until `take_over` is done.
        attribution: open lists, and what became of others.
        pools: open pools of candidates.
        upsell_pools: pools whose upsells stay open for a month.
        ranker: the order of lists.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        store: SnapshotStore,
        identities: Mapping[str, Identity],
        offer: Callable[[str], CatalogItem | None],
        metrics: TrainerMetrics,
        policy: Policy,
    ) -> None:
        self._policy = policy
        self._settings, self._store, self._offer, self._metrics = settings, store, offer, metrics
        self._reader = LogReader(settings, log, identities, metrics, store.url)
        self.version: str | None = None
        self.cursors: Mapping[TopicPartition, Cursor] = {}
        self._begin()

    def _begin(self) -> None:
        settings, reader = self._settings, self._reader
        self.items, self._contents = Items(self._describe), Contents()
        self.learner = Learner(settings.learner, self._contents, SEED)
        self.window_builder = WindowBuilder(
            self.items,
            settings.visits,
            settings.learner,
            settings.gate,
            settings.train_every_s,
            self.learner,
            len(reader.partitions),
        )
        self.attribution, self.pools = Attribution(settings.outcomes), Attribution(settings.outcomes, WIDTH)
        self.upsell_pools = UpsellAttribution(settings.outcomes, WIDTH, len(reader.partitions))
        self.attributions = (self.attribution, self.pools, self.upsell_pools)
        self.ranker = Ranker(settings.ranker, self._policy)
        self._parts = snapshot_codec.Parts(
            self.items, self.learner, self.window_builder, *self.attributions, self.ranker
        )
        self._lists = ListAttribution(*self.attributions, self.items, self.window_builder, reader.topics)
        self._stored_events = 0

    # -- taking over -----------------------------------------------------------------------------------------------

    async def take_over(self, forgotten: Mapping[str, float]) -> None:
        """Go on from the newest snapshot that has a trainer's state, or begin at the start of the log.

        `forgotten` has the event time up to which nothing of a shopper may be used.

        Raises:
            StoreUnreachableError: it cannot be known what was learnt so far.
            TakeOverError: the topics are not those of the snapshot.
            SnapshotShapeError: what was learnt has another shape than the settings ask for.
        """
        self.cursors = {}
        self._begin()
        found = await run_in_daemon_thread(lambda: snapshot_codec.newest(self._store), _THREAD)
        snapshot, training = found or (None, {})
        self.version = snapshot.version if snapshot else None
        if snapshot is not None:
            await run_in_daemon_thread(lambda: self._restore(snapshot, training), _THREAD)
        await self._reader.seek(snapshot, training)
        for user_id, before in forgotten.items():
            self.window_builder.forget(user_id, before)
        await self._reader.apply_all_profiles(self._apply_profile)
        for number in self._reader.partitions:
            await self._rebuild_visits(number)
        await run_in_daemon_thread(lambda: snapshot_codec.restore_attributions(self._parts, training), _THREAD)
        for attribution in self.attributions:
            attribution.drop(self.window_builder.refuses)  # who refused or was forgotten since
        self.cursors = self._reader.cursors

    def _restore(self, snapshot: Snapshot, training: Mapping[str, NDArray[Any]]) -> None:
        snapshot_codec.restore(self._parts, self._settings.learner, snapshot, training)
        self._stored_events = self.window_builder.events

    async def _rebuild_visits(self, number: int) -> None:
        """Read a partition's visits from the log, and learn nothing from them again."""
        visits = self.window_builder.visits[number]
        async with aclosing(self._reader.past(number)) as past:
            async for record in past:
                appended_s = record.timestamp / 1000
                if self._refuses(record):
                    continue
                try:
                    if self._reader.topics[record.topic] == "clicks":
                        visits.apply_click(decode_click(record), appended_s, record.offset, learn=False)
                    else:
                        purchase = decode_purchase(record)
                        visits.apply_purchase(purchase, appended_s, record.offset, learn=False, join=False)
                except RecordError:
                    continue  # it was counted when it was applied first

    async def is_newest(self) -> bool:
        """Whether nobody has stored a trainer's state later than ours."""
        version = await run_in_daemon_thread(lambda: snapshot_codec.newest_version(self._store), _THREAD)
        return version == self.version

    # -- records ---------------------------------------------------------------------------------------------------

    async def look_ahead(self) -> bool:
        """See [`LogReader.look_ahead`][streams.trainer.log_reader.LogReader.look_ahead]."""
        return await self._reader.look_ahead()

    async def apply_some(self) -> int:
        """Apply records that are expected, until there are enough or a chunk is due; returns how many."""
        await self._reader.apply_profiles(self._apply_profile)
        applied = await self._reader.apply_some(self._apply, lambda: self.window_builder.due)
        if self.items.due(LEAST_IDS):
            await run_in_daemon_thread(self._free_ids, _THREAD)
        return applied

    def _free_ids(self) -> None:
        """Free the indices of ids that nothing refers to any more; takes 10 us a shopper."""
        items = self.items
        items.begin()
        for visits in self.window_builder.visits:
            held = (index for slot in visits.shoppers().tolist() for index in visits.held(slot))
            items.mark(np.fromiter(held, np.int64))
        for holder in (self.window_builder.gate, self.learner, *self.attributions, self.ranker):
            items.mark(holder.held())
        before, freed = items.used, items.free()
        logger.info("%d of %d item ids are freed: nothing refers to them any more", len(freed), before)

    def _refuses(self, record: Record) -> bool:
        """Whether a record is misplaced and nothing is learnt from those."""
        if self._policy.misplaced != "dead-letter":
            return False
        return partition_of(record.key or b"", len(self._reader.partitions)) != record.partition

    def _apply(self, record: Record) -> str:
        """Apply one record; returns what became of it."""
        appended_s, number, topic = record.timestamp / 1000, record.partition, self._reader.topics[record.topic]
        event: Click | Purchase
        if topic not in SENT and self._refuses(record):
            return "dead letter"
        try:
            if topic == "clicks":
                event = decode_click(record)
                status = self.window_builder.click(number, event, appended_s, record.offset)
            elif topic == "purchases":
                event = decode_purchase(record)
                status = self.window_builder.purchase(number, event, appended_s, record.offset)
            elif topic == "feedback":
                return self._lists.record_feedback(number, decode_feedback(record), appended_s)
            elif topic == "suggestions":
                return self._lists.record_suggestion(*decode_answer(record))
            else:
                return self._lists.record_pool(decode_pool(record, self._reader.partitions_of(record.topic)))
        except RecordError:
            # The worker that owns the partition sends a shop's bad records to the dead letters.
            return "passed over" if topic in SENT else "dead letter"
        applied = status is EventStatus.APPLIED
        if not is_backfilled(record):  # nobody was shown a list then
            for attribution in self.attributions:
                attribution.record_event(number, event, self.items.index, appended_s, record.offset, applied=applied)
        return "noted" if applied else status.value

    def _apply_profile(self, record: Record) -> None:
        try:
            profile = decode_profile(record)
        except RecordError:
            return
        if self._refuses(record) and not profile.forget:
            return
        self.window_builder.apply_profile(record.partition, profile)
        consent = self.window_builder.visits[record.partition].consent
        self._forget(profile.user_id, consent.refused_until(profile.user_id))

    def forget(self, user_id: str, before: float) -> None:
        """Use no event of a shopper up to an event time any more; what was learnt stays learnt."""
        self.window_builder.forget(user_id, before)
        self._forget(user_id, before)

    def _forget(self, user_id: str, before: float) -> None:
        if not self.cursors:
            return  # the attributions may be being restored: they are rid of all who refuse afterwards
        for attribution in self.attributions:
            attribution.forget(user_id, before)

    # -- catalogue -------------------------------------------------------------------------------------------------

    def offered(self, item: CatalogItem) -> None:
        """Take an item of the catalogue, if any event or list has named it."""
        if (index := self.items.find(item.item_id)) >= 0:
            self._contents.put(index, content(item))

    def _describe(self, index: int, item_id: str) -> None:
        """Look up an item that gets an index."""
        item = self._offer(item_id)
        self._contents.put(index, NOTHING if item is None else content(item))

    # -- learning --------------------------------------------------------------------------------------------------

    @property
    def to_learn(self) -> bool:
        """Whether anything has come since the last chunk."""
        return self.window_builder.waiting or self.learner.waiting > 0

    async def learn(self) -> None:
        """Learn everything that has come."""
        self.window_builder.gather()
        learner, ranker, closed, upsells = self.learner, self.ranker, self.pools.take(), self.upsell_pools.take()
        self.attribution.take()  # they are counted, and no more
        positions, chunks = learner.positions, learner.chunks

        def work() -> None:
            torch.set_num_threads(self._settings.train_threads)  # it holds for the calling thread only
            learner.learn()
            for pool in closed:
                ranker.learn_one(pool)
            for pool in upsells:
                ranker.learn_one(pool, month=True)

        await run_in_daemon_thread(work, _THREAD)
        self.window_builder.begin_chunk()
        self._metrics.learnt(self.window_builder, learner, learner.positions - positions, learner.chunks - chunks)
        self._metrics.ranked(self.attribution, self.pools, ranker)

    # -- snapshots -------------------------------------------------------------------------------------------------

    @property
    def unstored(self) -> bool:
        """Whether looks were learnt, or wait in the learner, that no snapshot has."""
        return self.window_builder.events > self._stored_events

    def scorer(self, snapshot: Snapshot) -> Scorer:
        """A snapshot's scorer, over our items.

        Raises:
            KeyError: an array is missing.
            ValueError: arrays do not fit each other.
        """
        indices = [self.items.index(item_id) if item_id else NOBODY for item_id in snapshot.vocabulary]
        scale = float(snapshot.config["network"]["scale"])
        return Scorer(snapshot.arrays, np.array(indices, np.int64), self._contents, scale)

    def compare(self, served: Scorer | None) -> Comparison:
        """Compare what has been learnt so far with another scorer, on the windows that are held back."""
        scale = self._settings.learner.network.scale
        own = Scorer(self.learner.arrays(), self.learner.vocabulary.item, self._contents, scale)
        return self.window_builder.gate.compare(own, served)

    def snapshot(self, metrics: Mapping[str, int | float]) -> tuple[Snapshot, dict[str, NDArray[Any]]]:
        """The sequence model, and the trainer's own state; takes time. All windows must have been gathered."""
        return snapshot_codec.sequence_snapshot(self._parts, self._settings.learner, self._reader.cut(), metrics)

    def order_snapshot(self) -> Snapshot:
        """The learnt order of lists."""
        return snapshot_codec.order_snapshot(self._parts, self._reader.cut())

    def stored(self, snapshot: Snapshot) -> None:
        """The store has a snapshot of ours: what comes from now on is new."""
        self.version, self._stored_events = snapshot.version, int(snapshot.learnt["events"])
