"""Lists that running workers sent, by the moment that each was for, so that they can be scored like any other."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from models.evaluation.prequential.replay import Event
from models.serving.recommender import SuggestedItem
from models.shop.events import Action, Click, Purchase


class Moment(NamedTuple):
    """An event as a suggestion tells it: what is known where the log has no offsets."""

    user_id: str
    at_ms: int
    """Event time, epoch milliseconds: records write no more of it."""
    action: str
    item_ids: tuple[str, ...]


def moment_of(event: Event) -> Moment | None:
    """The moment of an event; a profile has none."""
    if isinstance(event, Click):
        return Moment(event.user_id, round(event.at * 1000), event.action, (event.item_id,))
    if isinstance(event, Purchase):
        return Moment(event.user_id, round(event.at * 1000), Action.PURCHASE, tuple(event.item_ids))
    return None


class SentLists:
    """Takes lists in the order of their triggers' offsets; of a moment that comes twice the first list goes first.

    Attributes:
        first_at: event time of the earliest list, epoch seconds.
        last_at: of the latest.
        lists: taken.
        repeated: not taken, as one of the same id was there.
        found: given out.
        missing: asked for, and not there.

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
        """Take a list; the first of an id counts."""
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
        """What was sent for an event; None: nothing was. Called once an event, in the order of the log."""
        moment = moment_of(event)
        lists = self._lists.get(moment) if moment is not None else None
        if not lists:
            self.missing += 1
            return None
        self.found += 1
        return lists.popleft()

    def as_json(self) -> Mapping[str, Any]:
        """How far lists and log agree."""
        return {
            "lists": self.lists,
            "repeated": self.repeated,
            "found": self.found,
            "without_event": self.lists - self.found,
            "events_without": self.missing,
        }
