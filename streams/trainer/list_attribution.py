"""Takes lists of suggestions, and what shops say of them, from the log; the order of lists is learnt from both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from models.ranking.attribution import ALL, TOPICS, Attribution, Impression, feature_rows
from models.sessions.visits import EventStatus
from models.shop.events import Feedback
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES
from streams.wire.schemas import SuggestionRecord

GREATEST_OFFSET = 2**63 - 1
"""Kafka's; a suggestion with a greater one is not from a worker."""


class ListAttribution:
    """Feeds an [`Attribution`][models.ranking.attribution.Attribution] with decoded records.

    Args:
        attribution: is fed.
        items: numbers the items.
        refuses: whether events of a shopper with an event time must not be used.
        topics: short names, by full name.
        partitions: numbers of the shoppers' partitions.
    """

    def __init__(
        self,
        attribution: Attribution,
        items: Items,
        refuses: Callable[[str, float], bool],
        topics: Mapping[str, str],
        partitions: Sequence[int],
    ) -> None:
        self._attribution, self._items, self._refuses = attribution, items, refuses
        self._topics, self._partitions = topics, partitions

    def record_feedback(self, number: int, feedback: Feedback, appended_s: float, refused: bool) -> str:
        """Record what a shop says of a list; returns what became of the record."""
        self._attribution.advance(number, feedback.at, appended_s)
        if refused:
            return EventStatus.FORGOTTEN.value
        item = ALL if feedback.item_id is None else self._items.index(feedback.item_id)  # its list may still come
        self._attribution.record_feedback(
            number, feedback.user_id, feedback.suggestion_id, item, feedback.at, feedback.action
        )
        return "noted"

    def record_suggestion(self, record: SuggestionRecord, at: float) -> str:
        """Record a list; returns what became of the record. It may be of another producer that writes like a worker."""
        trigger, topic = record.trigger, self._topics.get(record.trigger.topic, "")
        known = topic in TOPICS and trigger.partition in self._partitions and 0 <= trigger.offset <= GREATEST_OFFSET
        if not known or not record.items:
            return "passed over"
        if self._refuses(record.user_id, at):
            return EventStatus.FORGOTTEN.value
        items = [self._items.index(item.item_id) for item in record.items]
        kinds = [KIND_NAMES.index(item.kind) for item in record.items]
        features = feature_rows([item.features for item in record.items])
        self._attribution.record_impression(
            trigger.partition,
            Impression(record.suggestion_id, record.user_id, at, topic, trigger.offset, items, kinds, features),
        )
        return "noted"
