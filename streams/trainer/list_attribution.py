"""Takes lists of suggestions, and shops' feedback on them, from the log; the order of lists is learnt from both."""

from __future__ import annotations

from collections.abc import Mapping

from models.ranking.attribution import ALL, TOPICS, Attribution, Impression, feature_rows
from models.sequence.windowing import WindowBuilder
from models.sessions.visits import EventStatus
from models.shop.events import Feedback
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES
from streams.wire.schemas import SuggestionRecord


class ListAttribution:
    """Feeds an [`Attribution`][models.ranking.attribution.Attribution] with decoded records.

    `windows` have the consent of the shoppers, and `topics` the short names by full name.
    """

    def __init__(
        self, attribution: Attribution, items: Items, windows: WindowBuilder, topics: Mapping[str, str]
    ) -> None:
        self._attribution, self._items, self._windows, self._topics = attribution, items, windows, topics

    def record_feedback(self, number: int, feedback: Feedback, appended_s: float) -> str:
        """Record a shop's feedback from a partition; returns what became of it."""
        user_id, at = feedback.user_id, feedback.at
        self._attribution.advance(number, at, appended_s)
        if self._windows.visits[number].consent.refuses(user_id, at):
            return EventStatus.FORGOTTEN.value
        item = ALL if feedback.item_id is None else self._items.index(feedback.item_id)  # its list may still come
        self._attribution.record_feedback(number, user_id, feedback.suggestion_id, item, at, feedback.action)
        return "noted"

    def record_suggestion(self, record: SuggestionRecord, at: float) -> str:
        """Record a list; returns what became of it. Its producer may be another one that writes like a worker."""
        number, offset, topic = record.trigger.partition, record.trigger.offset, self._topics.get(record.trigger.topic)
        if topic not in TOPICS or number >= len(self._windows.visits) or not record.items:
            return "passed over"
        if self._windows.refuses(record.user_id, at):
            return EventStatus.FORGOTTEN.value
        items = [self._items.index(item.item_id) for item in record.items]
        kinds = [KIND_NAMES.index(item.kind) for item in record.items]
        features = feature_rows([item.features for item in record.items])
        impression = Impression(record.suggestion_id, record.user_id, at, topic, offset, items, kinds, features)
        self._attribution.record_impression(number, impression)
        return "noted"
