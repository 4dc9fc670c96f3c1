"""Takes lists of suggestions, shops' feedback on them, and pools of candidates from the log.

What became of lists is counted; the order of lists is learnt from pools.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np

from models.ranking.attribution import ALL, TOPICS, Attribution, Impression
from models.sequence.windowing import WindowBuilder
from models.sessions.visits import EventStatus
from models.shop.events import Feedback
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES
from streams.wire.pool_records import LoggedPool
from streams.wire.schemas import SuggestionRecord


class ListAttribution:
    """Feeds the [`Attribution`][models.ranking.attribution.Attribution] of lists, and those of pools, with records.

    `windows` have the consent of the shoppers, and `topics` the short names by full name.
    """

    def __init__(
        self,
        lists: Attribution,
        pools: Attribution,
        upsell_pools: Attribution,
        items: Items,
        windows: WindowBuilder,
        topics: Mapping[str, str],
    ) -> None:
        self._lists, self._pools = lists, (pools, upsell_pools)
        self._items, self._windows, self._topics = items, windows, topics

    def record_feedback(self, number: int, feedback: Feedback, appended_s: float) -> str:
        """Record a shop's feedback from a partition; returns what became of it."""
        user_id, at = feedback.user_id, feedback.at
        self._lists.advance(number, at, appended_s)
        if self._windows.visits[number].consent.refuses(user_id, at):
            return EventStatus.FORGOTTEN.value
        item = ALL if feedback.item_id is None else self._items.index(feedback.item_id)  # its list may still come
        self._lists.record_feedback(number, user_id, feedback.suggestion_id, item, at, feedback.action)
        return "noted"

    def record_suggestion(self, record: SuggestionRecord, at: float) -> str:
        """Record a list; returns what became of it. Its producer may be another one that writes like a worker."""
        number, offset = record.trigger.partition, record.trigger.offset
        topic = self._short_name(record.trigger.topic, number)
        if topic is None or not record.items:
            return "passed over"
        if self._windows.refuses(record.user_id, at):
            return EventStatus.FORGOTTEN.value
        items = [self._items.index(item.item_id) for item in record.items]
        kinds = [KIND_NAMES.index(item.kind) for item in record.items]
        features = np.empty((len(items), 0), np.float16)
        impression = Impression(record.suggestion_id, record.user_id, at, topic, offset, items, kinds, features)
        self._lists.record_impression(number, impression)
        return "noted"

    def record_pool(self, pool: LoggedPool) -> str:
        """Record the pool of a list; returns what became of it."""
        number, offset = pool.trigger.partition, pool.trigger.offset
        topic = self._short_name(pool.trigger.topic, number)
        if topic is None:
            return "passed over"
        if self._windows.refuses(pool.user_id, pool.at):
            return EventStatus.FORGOTTEN.value
        items, kinds = array("i", map(self._items.index, pool.item_ids)), bytearray(pool.kinds)
        name = pool.trigger.suggestion_id
        impression = Impression(name, pool.user_id, pool.at, topic, offset, items, kinds, pool.features)
        for pools in self._pools:
            pools.record_impression(number, impression)
        return "noted"

    def _short_name(self, topic: str, number: int) -> str | None:
        """Short name of a trigger's topic; None: it is none of a trigger, or has no such partition."""
        name = self._topics.get(topic)
        return name if name in TOPICS and number < len(self._windows.visits) else None
