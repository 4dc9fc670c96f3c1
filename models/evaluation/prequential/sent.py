"""Lists that running workers sent, by the event that triggered each, so that protocol D can score them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from models.evaluation.prequential.replay import Event
from models.serving.recommender import SuggestedItem
from models.shop.events import MAX_TRIGGER_IDS, Action, Click, Purchase


class Moment(NamedTuple):
    """An event as a suggestion names it, without the offset, which a replayed log does not have."""

    user_id: str
    at_ms: int
    """Event time, epoch milliseconds, the precision of records."""
    action: str
    item_ids: tuple[str, ...]


def moment_of(event: Event) -> Moment | None:
    """The moment of an event; a profile has none."""
    if isinstance(event, Click):
        return Moment(event.user_id, round(event.at * 1000), event.action, (event.item_id,))
    if isinstance(event, Purchase):
        return Moment(event.user_id, round(event.at * 1000), Action.PURCHASE, tuple(event.item_ids[:MAX_TRIGGER_IDS]))
    return None


class SentLists:
    """Holds lists, added in the order of their triggers' offsets; equal moments take their lists in that order.

    Attributes:
        first_at: event time of the earliest list, epoch seconds.
        last_at: event time of the latest list.
        lists: number of lists.
        repeated: lists that were dropped because their id was there.
        found: lists that were taken.
        missing: events without a list.

    >>> sent, event = SentLists(), Click("ann", "mug", Action.VIEW, 1.5)
    >>> sent.add("clicks-0-7", Moment("ann", 1500, "view", ("mug",)), [])
    >>> sent.add("clicks-0-7", Moment("ann", 1500, "view", ("mug",)), [])
    >>> sent.take(event), sent.take(event), sent.repeated, sent.covers(1.5), sent.covers(1.6)
    ([], None, 1, True, False)
    """

    def __init__(self) -> None:
        self._lists: defaultdict[Moment, deque[Sequence[SuggestedItem]]] = defaultdict(deque)
        self._ids: set[str] = set()
        self.first_at, self.last_at = inf, -inf
        self.lists = self.repeated = self.found = self.missing = 0

    def add(self, suggestion_id: str, moment: Moment, items: Sequence[SuggestedItem]) -> None:
        """Add a list; the first of each id counts."""
        if suggestion_id in self._ids:
            self.repeated += 1
            return
        self._ids.add(suggestion_id)
        self._lists[moment].append(items)
        self.lists += 1
        self.first_at = min(self.first_at, moment.at_ms / 1000)
        self.last_at = max(self.last_at, moment.at_ms / 1000)

    def covers(self, at: float) -> bool:
        """Whether an event time lies between the earliest and the latest list."""
        return self.first_at <= at <= self.last_at

    def take(self, event: Event) -> Sequence[SuggestedItem] | None:
        """The list for an event, None if there is none; called once for each event, in the order of the log."""
        moment = moment_of(event)
        lists = self._lists.get(moment) if moment is not None else None
        if not lists:
            self.missing += 1
            return None
        self.found += 1
        return lists.popleft()

    def as_json(self) -> Mapping[str, Any]:
        """How well lists and log match."""
        return {
            "lists": self.lists,
            "repeated": self.repeated,
            "found": self.found,
            "without_event": self.lists - self.found,
            "events_without": self.missing,
        }
