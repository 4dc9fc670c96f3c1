"""What became of suggestions: attributes later looks, carts, purchases and feedback to lists and to pools.

A list is what was suggested, or the whole pool of candidates that it was chosen from. It is open for `window_s` of
event time after its trigger. What its shopper does with one of its items meanwhile is attributed to it, and to the
shopper's other open lists with the item. The trigger itself does not count.

* An item is followed by a look, or by feedback `clicked`.
* It is taken by an addition to the cart, or by a purchase.
* Everything else is a miss when the list closes.

`models.ranking.ranker` learns from what was taken of pools. Lists are only counted. Where a shop says which items of a
list were `shown`, the others are counted only if they were followed, taken or `dismissed` by name. Where it says
nothing of a list, all its items count as shown.

The order in which topics are read does not matter. In a replay, or in another topic, an action may come before the list
that it answers. So actions are remembered for `late_s` of append time, and a list that is read after them gets the same
answers. A list so late that an action since its trigger may be forgotten is skipped: its misses would not be certain.

A list closes `late_s` after the end of its window, by the partition's clock: the greatest of the smaller of event time
and append time of its events. So a shopper's clock that is ahead closes no list, and a replay of old events closes
lists by their own time. After `training` and `restore`, the same lists close with the same answers.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.shop.events import Action, Click, Purchase
from models.shop.kinds import CROSS_SELL, UPSELL
from models.stored_state import pack, unpack

TOPICS = ("clicks", "purchases")
"""Topics of triggers and actions."""

ALL = -1
"""Instead of an item: the whole list. No item has this index."""

LIST_BYTES, ITEM_BYTES, ACTION_BYTES, GONE_BYTES = 1_500, 8, 500, 300
"""Of an open list, of each of its items without features, of an action that is remembered, of the id of a list that is
closed."""

_NONE, _FOLLOWED, _TAKEN = 0, 1, 2
_CLICKED, _SHOWN, _DISMISSED = 3, 4, 5
_SAID = {"shown": _SHOWN, "clicked": _CLICKED, "dismissed": _DISMISSED}
_BY_NAME = 2  # an older state has 1 for an item whose whole list was dismissed
_NEVER = float("-inf")

COUNTED = ("shown", "followed", "taken")
"""What items are counted as. Each includes the next: a taken item counts as followed and shown, too."""


@dataclass(frozen=True)
class AttributionConfig:
    """What counts as an answer to a suggestion."""

    window_s: float = 3_600.0
    """Event time in which an action answers a list: the window of a visit. Longer credits what has other causes, and
    keeps more lists open."""
    most_open: int = 50_000
    """Lists that are open at a time; further ones are passed over, as closing one early would call its sale a miss.
    A list takes about 1.5 kB in memory, and 0.2 kB in each snapshot's state."""
    most_open_pools: int = 10_000
    """... and pools of candidates. One of 150 candidates takes 12 kB in memory, 10 kB in a snapshot's state."""
    upsell_window_s: float = 30 * 86_400.0
    """Event time in which taking an item answers a pool's upsell: a month, as a better pan is seldom bought at once."""
    most_open_upsells: int = 10_000
    """Pools of upsells that are open for so long, one per slot of event time. One of 30 upsells takes 4 kB in memory
    and 2 kB in a snapshot's state."""
    most_of_shopper: int = 200
    """... of one shopper: everything that he does is compared with all of them. Nobody sees so many within an hour."""
    late_s: float = 60.0
    """How much later than its fellows an event may be and still count (event time), and a list than its trigger (append
    time): as long as the policy's `max_suggestion_age_s`. Everything done in so long is remembered."""


@dataclass(frozen=True, slots=True)
class Impression:
    """A list as it was sent."""

    suggestion_id: str
    user_id: str
    at: float
    """Event time of its trigger, epoch seconds."""
    topic: str
    """Of the trigger, one of `TOPICS`."""
    offset: int
    """Of the trigger."""
    items: Sequence[int]
    """Indices; of a list, best first."""
    kinds: Sequence[int]
    """`models.shop.kinds.CROSS_SELL` or `UPSELL`."""
    features: NDArray[np.float16]
    """(n, width) of a pool, finite; (n, 0) of a list, which is only counted."""


class Closed(NamedTuple):
    """A list whose window has closed, and what was taken of it."""

    items: NDArray[np.int32]
    """(n,) indices."""
    kinds: NDArray[np.int8]
    """(n,) `models.shop.kinds.CROSS_SELL` or `UPSELL`."""
    features: NDArray[np.float32]
    """(n, width) as sent."""
    taken: NDArray[np.bool_]
    """(n,) put into the cart or bought."""


class UserAction(NamedTuple):
    """What a shopper did, or a shop said of his list; kept as long as a list that it answers may still come."""

    user_id: str
    number: int
    what: int
    item: int
    at: float
    topic: int  # of feedback: ALL
    offset: int
    suggestion_id: str  # of feedback
    clock_s: float  # of the partition, when it was applied
    appended_s: float


@dataclass(slots=True)
class Open:
    """A list that is open, and what was done with its items so far."""

    number: int
    impression: Impression
    topic: int
    end: float
    levels: bytearray
    dismissed: bytearray
    shown: bytearray | None  # None: nothing was said of any

    def apply(self, action: UserAction, late_s: float) -> None:
        """Apply an action of its shopper. Neither order nor repetition changes the result."""
        if action.at > self.end or self.end + late_s < action.clock_s or not self._answered_by(action):
            return
        what, items = action.what, self.impression.items
        if what == _SHOWN:
            self.shown = self.shown or bytearray(len(items))
        if action.item not in items and (action.item != ALL or what == _DISMISSED):
            return
        for place, item in enumerate(items):
            if action.item not in (item, ALL):
                continue
            if what == _DISMISSED:
                self.dismissed[place] = _BY_NAME
            elif self.shown is not None and what == _SHOWN:
                self.shown[place] = 1
            else:
                self.levels[place] = max(self.levels[place], _TAKEN if what == _TAKEN else _FOLLOWED)

    def _answered_by(self, action: UserAction) -> bool:
        """Whether feedback is of this list, or another action came after its trigger."""
        impression = self.impression
        if action.suggestion_id:
            return action.suggestion_id == impression.suggestion_id
        return action.at > impression.at or (
            action.at == impression.at and action.topic == self.topic and action.offset > impression.offset
        )


class Attribution:
    """Open lists of all partitions, and recent actions.

    Args:
        width: number of features of an item; 0: lists, not pools.

    Attributes:
        opened: number of lists that were opened.
        skipped: ... that were not: too many were open, in all or of the shopper, or actions since their trigger may be
            forgotten.
        closed: ... that were closed.
        late: looks, carts and purchases more than `late_s` behind the clock: a list that they answer may have closed.
        counts: (3, len(COUNTED)) items of closed lists by kind; items that were not shown are not counted.

    >>> attribution = Attribution(AttributionConfig(window_s=60.0, late_s=0.0))
    >>> items, features = [4, 5], np.empty((2, 0), np.float16)
    >>> attribution.record_impression(0, Impression("clicks-0-7", "ann", 100.0, "clicks", 7, items, [1, 2], features))
    >>> attribution.advance(0, 130.0, 1e9)
    >>> attribution.record_action(0, "ann", 5, 130.0, "clicks", 8, taken=True)
    >>> attribution.advance(0, 161.0, 1e9)
    >>> [closed.taken.tolist() for closed in attribution.take()]
    [[False, True]]
    """

    def __init__(self, config: AttributionConfig, width: int = 0) -> None:
        self._config, self._width = config, width
        self._window_s, self._most_open = config.window_s, config.most_open_pools if width else config.most_open
        self._open: dict[str, Open] = {}
        self._rows = 0  # items of all open lists
        self._of_user: dict[str, list[str]] = {}
        self._ends: dict[int, list[tuple[float, str]]] = {}  # a heap by partition
        self._over: set[tuple[float, str]] = set()
        self._clock_s: dict[int, float] = {}
        self._appended_s: dict[int, float] = {}
        self._actions: dict[int, deque[UserAction]] = {}
        self._actions_of_user: dict[str, list[UserAction]] = {}
        self._behind: dict[tuple[int, int], int] = {}  # last offset that is forgotten, by partition and topic
        self._gone: dict[tuple[int, int], list[tuple[int, str]]] = {}  # closed, may come again; heaps by offset
        self._gone_ids: set[str] = set()
        self.opened = self.skipped = self.closed = self.late = 0
        self.counts = np.zeros((3, len(COUNTED)), np.int64)

    def __len__(self) -> int:
        """Open lists."""
        return len(self._open) - len(self._over)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        actions = sum(map(len, self._actions.values()))
        items = (ITEM_BYTES + 2 * self._width) * self._rows
        return LIST_BYTES * len(self._open) + items + ACTION_BYTES * actions + GONE_BYTES * len(self._gone_ids)

    def held(self) -> NDArray[np.int64]:
        """Indices of the items of all lists and actions; negative ones are none."""
        listed = chain.from_iterable(opened.impression.items for opened in list(self._open.values()))
        acted = (action.item for actions in list(self._actions.values()) for action in list(actions))
        return np.fromiter(chain(listed, acted), np.int64)

    # -- events ---------------------------------------------------------------------------------------------------

    def record_impression(self, number: int, impression: Impression) -> None:
        """Record a list that was sent, by the number of its trigger's partition; one with a known id is ignored."""
        suggestion_id, topic = impression.suggestion_id, TOPICS.index(impression.topic)
        opened = self._open.get(suggestion_id)
        if opened is not None and (opened.end, suggestion_id) not in self._over:
            return
        forgotten = impression.offset <= self._behind.get((number, topic), -1)
        if not forgotten and (opened is not None or suggestion_id in self._gone_ids):
            return
        if forgotten or len(self) >= self._most_open or self._has_most(impression.user_id):
            self.skipped += 1
            return
        n = len(impression.items)
        opened = Open(number, impression, topic, impression.at + self._window_s, bytearray(n), bytearray(n), None)
        self._add(opened)
        self.opened += 1
        for action in self._actions_of_user.get(impression.user_id, ()):
            opened.apply(action, self._config.late_s)
        self._ripen(number)

    def _has_most(self, user_id: str) -> bool:
        """Whether a shopper has as many open lists as are compared with what he does."""
        mine, most = self._of_user.get(user_id, ()), self._config.most_of_shopper
        return len(mine) >= most and sum((self._open[name].end, name) not in self._over for name in mine) >= most

    def record_action(
        self, number: int, user_id: str, item: int, at: float, topic: str, offset: int, *, taken: bool
    ) -> None:
        """Record that a shopper looked at an item, or carted or bought it; after `advance` with the event."""
        self.late += at + self._config.late_s < self._clock_s.get(number, _NEVER)
        self._record(number, user_id, _TAKEN if taken else _FOLLOWED, item, at, TOPICS.index(topic), offset, "")

    def record_event(
        self,
        number: int,
        event: Click | Purchase,
        index: Callable[[str], int],
        appended_s: float,
        offset: int,
        *,
        applied: bool,
    ) -> None:
        """Record a click or purchase: `advance`, and `record_action` for each item that was looked at or taken.

        `index` gives the index of an item id. Where the event is not `applied` (a repeat, or the shopper refuses), the
        clock advances and no more. A removal from the cart answers no list.
        """
        self.advance(number, event.at, appended_s)
        if not applied:
            return
        if isinstance(event, Purchase):
            topic, item_ids, taken = "purchases", event.item_ids, True
        elif event.action is not Action.REMOVE_FROM_CART:
            topic, item_ids, taken = "clicks", [event.item_id], event.action is Action.ADD_TO_CART
        else:
            return
        for item_id in item_ids:
            self.record_action(number, event.user_id, index(item_id), event.at, topic, offset, taken=taken)

    def record_feedback(self, number: int, user_id: str, suggestion_id: str, item: int, at: float, action: str) -> None:
        """Record a shop's `shown`, `clicked` or `dismissed` of an item, or of ALL; after `advance` with the same event.

        Feedback on another shopper's list is ignored.
        """
        self._record(number, user_id, _SAID[action], item, at, ALL, ALL, suggestion_id)

    def advance(self, number: int, at: float, appended_s: float) -> None:
        """Move the clock of a partition to an event, by its event time and its append time, epoch seconds."""
        self._clock_s[number] = max(self._clock_s.get(number, _NEVER), min(at, appended_s))
        self._appended_s[number] = max(self._appended_s.get(number, _NEVER), appended_s)
        self._ripen(number)
        actions, horizon_s = self._actions.get(number), self._appended_s[number] - self._config.late_s
        while actions and actions[0].appended_s < horizon_s:
            action = actions.popleft()
            self._take_from_user(action)
            if not action.suggestion_id:
                self._forget_up_to((number, action.topic), action.offset)

    def forget(self, user_id: str, before: float) -> None:
        """Drop a shopper's open lists and actions up to an event time."""
        for suggestion_id in list(self._of_user.get(user_id, ())):
            if self._open[suggestion_id].impression.at <= before:
                self._drop(suggestion_id)
        if any(action.at <= before for action in self._actions_of_user.get(user_id, ())):
            self._drop_actions(lambda action: action.user_id == user_id and action.at <= before)

    def drop(self, refused: Callable[[str, float], bool]) -> None:
        """Drop the open lists and actions of shoppers who refuse, by user id and event time."""
        for suggestion_id, opened in list(self._open.items()):
            if refused(opened.impression.user_id, opened.impression.at):
                self._drop(suggestion_id)
        self._drop_actions(lambda action: refused(action.user_id, action.at))

    def _record(
        self, number: int, user_id: str, what: int, item: int, at: float, topic: int, offset: int, suggestion_id: str
    ) -> None:
        clock_s, appended_s = self._clock_s.get(number, _NEVER), self._appended_s.get(number, _NEVER)
        action = UserAction(user_id, number, what, item, at, topic, offset, suggestion_id, clock_s, appended_s)
        self._actions.setdefault(number, deque()).append(action)
        self._actions_of_user.setdefault(user_id, []).append(action)
        for open_id in self._of_user.get(user_id, ()):
            self._open[open_id].apply(action, self._config.late_s)

    def _drop_actions(self, refused: Callable[[UserAction], bool]) -> None:
        for number, actions in self._actions.items():
            for action in (dropped := [action for action in actions if refused(action)]):
                self._take_from_user(action)
            if dropped:
                self._actions[number] = deque(action for action in actions if not refused(action))

    def _take_from_user(self, action: UserAction) -> None:
        mine = self._actions_of_user[action.user_id]
        mine.remove(action)
        if not mine:
            del self._actions_of_user[action.user_id]

    def _forget_up_to(self, where: tuple[int, int], offset: int) -> None:
        """Actions up to an offset are forgotten: lists with a trigger up to there are skipped from now on."""
        self._behind[where] = offset
        gone = self._gone.get(where)
        while gone and gone[0][0] <= offset:
            self._gone_ids.discard(heappop(gone)[1])

    # -- closing ---------------------------------------------------------------------------------------------------

    def take(self) -> list[Closed]:
        """The lists that have closed since the last call, by the end of their window, then by id."""
        return [self._close(suggestion_id) for _, suggestion_id in sorted(self._over)]

    def _ripen(self, number: int) -> None:
        """Find the lists of a partition that no action can answer any more."""
        ends, clock_s = self._ends.get(number), self._clock_s.get(number, _NEVER)
        while ends and ends[0][0] + self._config.late_s < clock_s:
            end, suggestion_id = heappop(ends)
            opened = self._open.get(suggestion_id)
            if opened is not None and opened.end == end:  # else it was dropped
                self._over.add((end, suggestion_id))

    def _close(self, suggestion_id: str) -> Closed:
        closing = self._drop(suggestion_id)
        impression, where = closing.impression, (closing.number, closing.topic)
        if impression.offset > self._behind.get(where, -1):
            heappush(self._gone.setdefault(where, []), (impression.offset, suggestion_id))
            self._gone_ids.add(suggestion_id)
        levels, dismissed = np.frombuffer(closing.levels, np.int8), np.frombuffer(closing.dismissed, np.int8)
        shown = np.array(closing.shown or [closing.shown is None] * len(levels), np.bool_)
        named: NDArray[np.bool_] = np.logical_or(levels > _NONE, dismissed == _BY_NAME)
        examined = shown | named
        kinds = np.array(impression.kinds, np.int8)
        self.closed += 1
        for kind in (CROSS_SELL, UPSELL):
            mine = levels[examined & (kinds == kind)]
            self.counts[kind] += len(mine), int((mine >= _FOLLOWED).sum()), int((mine >= _TAKEN).sum())
        items, features = np.array(impression.items, np.int32), impression.features.astype(np.float32)
        return Closed(items, kinds, features, levels == _TAKEN)

    def _add(self, opened: Open) -> None:
        impression = opened.impression
        self._open[impression.suggestion_id] = opened
        self._rows += len(impression.items)
        self._of_user.setdefault(impression.user_id, []).append(impression.suggestion_id)
        heappush(self._ends.setdefault(opened.number, []), (opened.end, impression.suggestion_id))

    def _drop(self, suggestion_id: str) -> Open:
        dropped = self._open.pop(suggestion_id)
        self._rows -= len(dropped.impression.items)
        self._over.discard((dropped.end, suggestion_id))
        mine = self._of_user[dropped.impression.user_id]
        mine.remove(suggestion_id)
        if not mine:
            del self._of_user[dropped.impression.user_id]
        return dropped

    # -- state -----------------------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """State by name."""
        lists = list(self._open.values())
        impressions = [opened.impression for opened in lists]
        actions = [action for number in sorted(self._actions) for action in self._actions[number]]
        gone = [(where, offset, name) for where, heap in sorted(self._gone.items()) for offset, name in sorted(heap)]
        unsaid = [[-1] * len(opened.levels) for opened in lists]
        marks: list[Sequence[Sequence[int]]] = [
            [impression.kinds for impression in impressions],
            [opened.levels for opened in lists],
            [opened.dismissed for opened in lists],
            [none if opened.shown is None else opened.shown for opened, none in zip(lists, unsaid, strict=True)],
        ]
        headers = [(opened.number, opened.topic, opened.impression.offset, len(opened.levels)) for opened in lists]
        clocks = [(number, self._clock_s[number], self._appended_s[number]) for number in sorted(self._clock_s)]
        arrays: dict[str, NDArray[Any]] = {
            "counts": np.array([self.opened, self.skipped, self.closed, self.late], np.int64),
            "fates": self.counts.copy(),
            "clocks": _table(clocks, 3, np.float64),
            "behind": _table([(*where, offset) for where, offset in sorted(self._behind.items())], 3),
            "lists": _table(headers, 4),
            "ats": np.array([impression.at for impression in impressions], np.float64),
            "items": _joined([impression.items for impression in impressions], np.int32),
            "marks": np.column_stack([_joined(column, np.int8) for column in marks]),
            "features": np.concatenate(
                [np.empty((0, self._width), np.float16), *(sent.features for sent in impressions)]
            ),
            "deeds": _table([(act.number, act.what, act.item, act.topic, act.offset) for act in actions], 5),
            "deeds.at": _table([(act.at, act.clock_s, act.appended_s) for act in actions], 3, np.float64),
            "gone": _table([(*where, offset) for where, offset, _ in gone], 3),
        }
        texts = {
            "ids": [impression.suggestion_id for impression in impressions],
            "users": [impression.user_id for impression in impressions],
            "deeds.users": [action.user_id for action in actions],
            "deeds.ids": [action.suggestion_id for action in actions],
            "gone.ids": [name for _, _, name in gone],
        }
        for name, values in texts.items():
            arrays[name], arrays[f"{name}.ends"] = pack(values)
        return arrays

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the state that `training` gave; an empty one changes nothing."""
        if not training:
            return

        def texts(name: str) -> list[str]:
            return unpack(training[name], training[f"{name}.ends"])

        self.opened, self.skipped, self.closed, self.late = training["counts"].tolist()
        self.counts = training["fates"].copy()
        for number, clock_s, appended_s in training["clocks"].tolist():
            self._clock_s[int(number)], self._appended_s[int(number)] = clock_s, appended_s
        self._behind = {(number, topic): offset for number, topic, offset in training["behind"].tolist()}
        items, features, first = training["items"], training["features"][:, : self._width].astype(np.float16), 0
        if (marks := training.get("marks")) is None:  # in older snapshots they are in the same table
            items, marks = items[:, 0], items[:, 1:]
        lists = zip(texts("ids"), texts("users"), training["lists"].tolist(), training["ats"].tolist(), strict=True)
        for suggestion_id, user_id, (number, topic, offset, *_, n), at in lists:  # older ones have one column more
            last = first + n
            indices = array("i", items[first:last].astype(np.int32).tobytes())
            kinds, levels, dismissed, shown = marks[first:last].T.tolist()
            of_pool = features[first:last].copy()
            impression = Impression(
                suggestion_id, user_id, at, TOPICS[topic], offset, indices, bytearray(kinds), of_pool
            )
            said, end = None if -1 in shown else bytearray(shown), at + self._window_s
            self._add(Open(number, impression, topic, end, bytearray(levels), bytearray(dismissed), said))
            first = last
        users, ids = texts("deeds.users"), texts("deeds.ids")
        actions = zip(users, ids, training["deeds"].tolist(), training["deeds.at"].tolist(), strict=True)
        for user_id, suggestion_id, (number, what, item, topic, offset), times in actions:
            at, clock_s, appended_s = times
            action = UserAction(user_id, number, what, item, at, topic, offset, suggestion_id, clock_s, appended_s)
            self._actions.setdefault(number, deque()).append(action)
            self._actions_of_user.setdefault(user_id, []).append(action)
        for suggestion_id, (number, topic, offset) in zip(texts("gone.ids"), training["gone"].tolist(), strict=True):
            self._gone.setdefault((number, topic), []).append((offset, suggestion_id))
            self._gone_ids.add(suggestion_id)
        for heap in self._gone.values():
            heapify(heap)
        for number in self._ends:
            self._ripen(number)


def _table(rows: Sequence[tuple[Any, ...]], width: int, kind: type[np.generic] = np.int64) -> NDArray[Any]:
    """(n, width), also for no rows."""
    return np.array(rows, kind).reshape(-1, width)


def _joined(lists: Sequence[Sequence[int]], kind: type[np.generic]) -> NDArray[Any]:
    """The elements of all lists, one after the other."""
    return np.concatenate([np.empty(0, kind), *(np.asarray(part, kind) for part in lists)])
