"""What became of what was suggested: later looks, carts, purchases and feedback, attributed to the lists they answer.

A list is open for `window_s` of event time from its trigger on. What its shopper does with one of its items meanwhile
is attributed to it, and to every other open list of his that has the item: each of them suggested it. The trigger
itself is none.

* a look, or feedback that it was `clicked`, is a reward of `followed`;
* an addition to the cart, or a purchase, is a reward of `taken`;
* `dismissed` is a miss, unless the item is taken after all;
* everything else is a miss when the list closes.

A shop that says what was `shown` of a list is believed: what was not is no miss. Of a list of which nothing is said all
items count as shown; how much less often those far down are looked at is for whoever learns (`models.ranking.ranker`).

What counts, counts whatever is read first. Workers answer in milliseconds, but the shopper of a replay does a day's
shopping in them, and a shop's feedback may overtake the list in another topic: so what was done is remembered for
`late_s` of append time, and a list that comes later than what answers it gets what it would have got. One that comes so
late that something done since its trigger may be forgotten is passed over: its misses would not be known to be any.

A list closes when nothing of its window can come any more: `late_s` after its end, on a clock that is the greatest of
the smaller of event and append time of the partition's events. So a shopper's clock that is ahead closes nobody's list,
and old events that are replayed close theirs by their own time. State is one value (`training`, `restore`): whoever
goes on from it closes the same lists with the same rewards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.shop.events import Action, Click, Purchase
from models.shop.kinds import CROSS_SELL, UPSELL
from models.state import pack, unpack

TOPICS = ("clicks", "purchases")
"""Where triggers and actions come from."""

ALL = -1
"""In the place of an item: all of the list. No item has this index."""

_NONE, _FOLLOWED, _TAKEN = 0, 1, 2
_CLICKED, _SHOWN, _DISMISSED = 3, 4, 5
_SAID = {"shown": _SHOWN, "clicked": _CLICKED, "dismissed": _DISMISSED}
_WITH_THE_LIST, _BY_NAME = 1, 2
_NEVER = float("-inf")

COUNTED = ("shown", "followed", "taken")
"""What is counted of items; each of these counts as those before it, too."""


@dataclass(frozen=True)
class AttributionConfig:
    """What counts as an answer to a suggestion, and for how much."""

    window_s: float = 3_600.0
    """Event time in which an action answers a list: the window of a visit. Longer credits what has other causes, and
    keeps more lists open."""
    followed: float = 0.2
    """Reward of an item that was looked at and no more: about one look in five is bought, where shops are good."""
    taken: float = 1.0
    """... of one that was put into the cart or bought."""
    most_open: int = 50_000
    """Lists that are open at a time; further ones are passed over, as closing one early would call its sale a miss.
    A list takes about 1 kB, in memory and in each snapshot's state."""
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
    """Indices, best first."""
    kinds: Sequence[int]
    """`models.serving.rules.CROSS_SELL` or `UPSELL`."""
    features: NDArray[np.float32]
    """(n, width), not finite where an item was not described."""


class Closed(NamedTuple):
    """A list whose window has closed, and what each of its items was worth."""

    at: float
    """Event time of its trigger, epoch seconds."""
    kinds: NDArray[np.int8]
    """(n,) `models.serving.rules.CROSS_SELL` or `UPSELL`."""
    places: NDArray[np.int16]
    """(n,) in the list, 0 first."""
    features: NDArray[np.float32]
    """(n, `models.serving.reranking.WIDTH`) as sent."""
    rewards: NDArray[np.float32]
    """(n,) from 0 to 1."""
    examined: NDArray[np.bool_]
    """(n,) False: the shop said that it was not shown."""
    learnable: NDArray[np.bool_]
    """(n,) False: suggested without evidence, and so not described."""
    taken: NDArray[np.bool_]
    """(n,) put into the cart or bought."""
    shopped: bool
    """Whether the shopper put anything into the cart or bought it, of the list or not."""


class UserAction(NamedTuple):
    """What a shopper did, or his shop said of a list of his; kept as long as a list may come that it answers."""

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
class _Open:
    number: int
    impression: Impression
    topic: int
    end: float
    levels: list[int]
    dismissed: list[int]
    shown: list[bool] | None  # None: nothing was said of any
    shopped: bool = False  # something was taken, of the list or not

    def apply(self, action: UserAction, late_s: float) -> None:
        """Note what a deed of its shopper says of it; in any order, and as often as it comes."""
        if action.at > self.end or self.end + late_s < action.clock_s:
            return
        impression = self.impression
        if action.suggestion_id:
            if action.suggestion_id != impression.suggestion_id:
                return
        elif not (
            action.at > impression.at
            or (action.at == impression.at and action.topic == self.topic and action.offset > impression.offset)
        ):
            return
        self.shopped |= action.what == _TAKEN
        if action.what == _SHOWN and self.shown is None:
            self.shown = [False] * len(impression.items)
        for place, item in enumerate(impression.items):
            if action.item not in (item, ALL):
                continue
            if action.what == _DISMISSED:
                self.dismissed[place] = max(self.dismissed[place], _WITH_THE_LIST if action.item == ALL else _BY_NAME)
            elif action.what == _SHOWN:
                assert self.shown is not None  # noqa: S101 - see above
                self.shown[place] = True
            else:
                self.levels[place] = max(self.levels[place], _TAKEN if action.what == _TAKEN else _FOLLOWED)


class Attribution:
    """Open lists of all partitions, and what was done of late.

    Args:
        config: what counts.

    Attributes:
        opened: lists.
        skipped: lists that were passed over: too many were open, or what was done since their trigger is not known.
        closed: lists that were taken.
        late: looks, carts and purchases more than `late_s` behind the clock: a list that they answer may have closed.
        counts: (3, len(COUNTED)) items of closed lists by kind; those not shown are none.

    >>> outcomes = Attribution(AttributionConfig(window_s=60.0, late_s=0.0))
    >>> features = np.zeros((2, 1), np.float32)
    >>> outcomes.record_impression(0, Impression("clicks-0-7", "ann", 100.0, "clicks", 7, [4, 5], [1, 2], features))
    >>> outcomes.advance(0, 130.0, 1e9)
    >>> outcomes.record_action(0, "ann", 5, 130.0, "clicks", 8, taken=False)
    >>> outcomes.advance(0, 161.0, 1e9)
    >>> [one.rewards.tolist() for one in outcomes.take()]
    [[0.0, 0.20000000298023224]]
    """

    def __init__(self, config: AttributionConfig) -> None:
        self._config = config
        self._open: dict[str, _Open] = {}
        self._of_user: dict[str, list[str]] = {}
        self._ends: dict[int, list[tuple[float, str]]] = {}  # a heap by partition
        self._over: set[tuple[float, str]] = set()
        self._clock_s: dict[int, float] = {}
        self._appended_s: dict[int, float] = {}
        self._actions: dict[int, deque[UserAction]] = {}
        self._actions_of_user: dict[str, list[UserAction]] = {}
        self._behind: dict[tuple[int, int], int] = {}  # last offset that is not remembered, by partition and topic
        self._gone: dict[tuple[int, int], list[tuple[int, str]]] = {}  # closed, and may come again; heaps by offset
        self._gone_ids: set[str] = set()
        self.opened = self.skipped = self.closed = self.late = 0
        self.counts = np.zeros((3, len(COUNTED)), np.int64)

    def __len__(self) -> int:
        """Open lists."""
        return len(self._open) - len(self._over)

    # -- what comes ------------------------------------------------------------------------------------------------

    def record_impression(self, number: int, impression: Impression) -> None:
        """A list was sent; one that is known already is the same.

        Args:
            number: of the trigger's partition.
            impression: the list.
        """
        suggestion_id, topic = impression.suggestion_id, TOPICS.index(impression.topic)
        if suggestion_id in self._open or suggestion_id in self._gone_ids:
            return
        if len(self) >= self._config.most_open or impression.offset <= self._behind.get((number, topic), -1):
            self.skipped += 1
            return
        n = len(impression.items)
        one = _Open(number, impression, topic, impression.at + self._config.window_s, [_NONE] * n, [0] * n, None)
        self._add(one)
        self.opened += 1
        for action in self._actions_of_user.get(impression.user_id, ()):
            one.apply(action, self._config.late_s)
        self._ripen(number)

    def record_action(
        self, number: int, user_id: str, item: int, at: float, topic: str, offset: int, *, taken: bool
    ) -> None:
        """A shopper looked at an item, or took it; after `advance` with the same event.

        Args:
            number: of the partition.
            user_id: who.
            item: index.
            at: event time, epoch seconds.
            topic: one of `TOPICS`.
            offset: there.
            taken: put into the cart, or bought.
        """
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
        """A shopper did something: `advance`, and `record_action` for each item that he looked at or took.

        Args:
            number: of the partition.
            event: what he did; taking something out of the cart answers no list.
            index: of an item, by id.
            appended_s: append time.
            offset: of the event.
            applied: whether it counts, or is a repeat or of one who refuses.
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
        """A shop says what became of a list; after `advance` with the same event.

        Args:
            number: of the partition.
            user_id: whose list it is; anybody else's is passed over.
            suggestion_id: of the list.
            item: index, or `ALL` of the list.
            at: event time, epoch seconds.
            action: `shown`, `clicked` or `dismissed`.
        """
        self._record(number, user_id, _SAID[action], item, at, ALL, ALL, suggestion_id)

    def advance(self, number: int, at: float, appended_s: float) -> None:
        """An event of a partition is applied.

        Args:
            number: of the partition.
            at: its event time, epoch seconds.
            appended_s: its append time.
        """
        self._clock_s[number] = max(self._clock_s.get(number, _NEVER), min(at, appended_s))
        self._appended_s[number] = max(self._appended_s.get(number, _NEVER), appended_s)
        self._ripen(number)
        actions, horizon_s = self._actions.get(number), self._appended_s[number] - self._config.late_s
        while actions and actions[0].appended_s < horizon_s:
            action = actions.popleft()
            self._take_from_user(action)
            if not action.suggestion_id:
                self._leave_behind((number, action.topic), action.offset)

    def forget(self, user_id: str, before: float) -> None:
        """Drop what is open of a shopper, and what he did, up to an event time."""
        for suggestion_id in list(self._of_user.get(user_id, ())):
            if self._open[suggestion_id].impression.at <= before:
                self._drop(suggestion_id)
        if user_id in self._actions_of_user:
            self._drop_actions(lambda action: action.user_id == user_id and action.at <= before)

    def drop(self, refused: Callable[[str, float], bool]) -> None:
        """Drop what is open, and what was done, of shoppers who refuse.

        Args:
            refused: of a shopper and an event time, whether nothing of that time may be used.
        """
        for suggestion_id, one in list(self._open.items()):
            if refused(one.impression.user_id, one.impression.at):
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

    def _leave_behind(self, where: tuple[int, int], offset: int) -> None:
        """What was done up to an offset is not remembered: no list of that time is taken any more."""
        self._behind[where] = offset
        gone = self._gone.get(where)
        while gone and gone[0][0] <= offset:
            self._gone_ids.discard(heappop(gone)[1])

    # -- what is over ----------------------------------------------------------------------------------------------

    def take(self) -> list[Closed]:
        """The lists that have closed since, in the order of the ends of their windows, then of their ids."""
        return [self._close(suggestion_id) for _, suggestion_id in sorted(self._over)]

    def _ripen(self, number: int) -> None:
        """Find the lists of a partition that nothing can answer any more."""
        ends, clock_s = self._ends.get(number), self._clock_s.get(number, _NEVER)
        while ends and ends[0][0] + self._config.late_s < clock_s:
            end, suggestion_id = heappop(ends)
            one = self._open.get(suggestion_id)
            if one is not None and one.end == end:  # else it was dropped
                self._over.add((end, suggestion_id))

    def _close(self, suggestion_id: str) -> Closed:
        one = self._drop(suggestion_id)
        config, impression, where = self._config, one.impression, (one.number, one.topic)
        if impression.offset > self._behind.get(where, -1):
            heappush(self._gone.setdefault(where, []), (impression.offset, suggestion_id))
            self._gone_ids.add(suggestion_id)
        levels, dismissed = np.array(one.levels), np.array(one.dismissed)
        followed = (levels == _FOLLOWED) & (dismissed == 0)
        rewards = np.where(levels == _TAKEN, config.taken, np.where(followed, config.followed, 0.0))
        shown = np.array(one.shown or [one.shown is None] * len(levels), np.bool_)
        named: NDArray[np.bool_] = np.logical_or(levels > _NONE, dismissed == _BY_NAME)
        examined = shown | named
        kinds = np.array(impression.kinds, np.int8)
        self.closed += 1
        for kind in (CROSS_SELL, UPSELL):
            mine = levels[examined & (kinds == kind)]
            self.counts[kind] += len(mine), int((mine >= _FOLLOWED).sum()), int((mine >= _TAKEN).sum())
        learnable: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(impression.features), axis=1)
        places = np.arange(len(levels), dtype=np.int16)
        rewards, taken = rewards.astype(np.float32), levels == _TAKEN
        return Closed(
            impression.at, kinds, places, impression.features, rewards, examined, learnable, taken, one.shopped
        )

    def _add(self, one: _Open) -> None:
        impression = one.impression
        self._open[impression.suggestion_id] = one
        self._of_user.setdefault(impression.user_id, []).append(impression.suggestion_id)
        heappush(self._ends.setdefault(one.number, []), (one.end, impression.suggestion_id))

    def _drop(self, suggestion_id: str) -> _Open:
        one = self._open.pop(suggestion_id)
        self._over.discard((one.end, suggestion_id))
        mine = self._of_user[one.impression.user_id]
        mine.remove(suggestion_id)
        if not mine:
            del self._of_user[one.impression.user_id]
        return one

    # -- going on elsewhere ----------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """What another needs to go on, by name."""
        lists = list(self._open.values())
        actions = [action for number in sorted(self._actions) for action in self._actions[number]]
        gone = [(where, offset, one) for where, closed in sorted(self._gone.items()) for offset, one in sorted(closed)]
        impression = [one.impression for one in lists]
        width = impression[0].features.shape[1] if impression else 0
        items = [
            (item, kind, level, dismissed, -1 if one.shown is None else one.shown[place])
            for one in lists
            for place, (item, kind, level, dismissed) in enumerate(
                zip(one.impression.items, one.impression.kinds, one.levels, one.dismissed, strict=True)
            )
        ]
        found: dict[str, NDArray[Any]] = {
            "counts": np.array([self.opened, self.skipped, self.closed, self.late], np.int64),
            "fates": self.counts.copy(),
            "clocks": _rows([(n, self._clock_s[n], self._appended_s[n]) for n in sorted(self._clock_s)], 3, np.float64),
            "behind": _rows([(*where, offset) for where, offset in sorted(self._behind.items())], 3),
            "lists": _rows(
                [
                    (one.number, one.topic, one.impression.offset, one.shopped, len(one.impression.items))
                    for one in lists
                ],
                5,
            ),
            "ats": np.array([one.at for one in impression], np.float64),
            "items": _rows(items, 5),
            "features": np.concatenate([np.empty((0, width), np.float32), *(one.features for one in impression)]),
            "deeds": _rows(
                [(action.number, action.what, action.item, action.topic, action.offset) for action in actions], 5
            ),
            "deeds.at": _rows([(action.at, action.clock_s, action.appended_s) for action in actions], 3, np.float64),
            "gone": _rows([(*where, offset) for where, offset, _ in gone], 3),
        }
        texts = {
            "ids": [one.suggestion_id for one in impression],
            "users": [one.user_id for one in impression],
            "deeds.users": [action.user_id for action in actions],
            "deeds.ids": [action.suggestion_id for action in actions],
            "gone.ids": [one for _, _, one in gone],
        }
        for name, mine in texts.items():
            found[name], found[f"{name}.ends"] = pack(mine)
        return found

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """Go on where another was when it gave `training`; nothing at all: begin."""
        if not training:
            return

        def texts(name: str) -> list[str]:
            return unpack(training[name], training[f"{name}.ends"])

        self.opened, self.skipped, self.closed, self.late = training["counts"].tolist()
        self.counts = training["fates"].copy()
        for number, clock_s, appended_s in training["clocks"].tolist():
            self._clock_s[int(number)], self._appended_s[int(number)] = clock_s, appended_s
        self._behind = {(number, topic): offset for number, topic, offset in training["behind"].tolist()}
        rows, features, first = training["items"].tolist(), np.array(training["features"], np.float32), 0
        lists = zip(texts("ids"), texts("users"), training["lists"].tolist(), training["ats"].tolist(), strict=True)
        for suggestion_id, user_id, (number, topic, offset, shopped, n), at in lists:
            items, kinds, levels, dismissed, shown = (
                list(column) for column in zip(*rows[first : first + n], strict=True)
            )
            impression = Impression(
                suggestion_id, user_id, at, TOPICS[topic], offset, items, kinds, features[first : first + n]
            )
            said = None if -1 in shown else [bool(one) for one in shown]
            self._add(
                _Open(number, impression, topic, at + self._config.window_s, levels, dismissed, said, bool(shopped))
            )
            first += n
        actions = zip(
            texts("deeds.users"), texts("deeds.ids"), training["deeds"].tolist(), training["deeds.at"].tolist(),
            strict=True,
        )  # fmt: skip
        for user_id, suggestion_id, (number, what, item, topic, offset), times in actions:
            action = UserAction(user_id, number, what, item, times[0], topic, offset, suggestion_id, times[1], times[2])
            self._actions.setdefault(number, deque()).append(action)
            self._actions_of_user.setdefault(user_id, []).append(action)
        for suggestion_id, (number, topic, offset) in zip(texts("gone.ids"), training["gone"].tolist(), strict=True):
            self._gone.setdefault((number, topic), []).append((offset, suggestion_id))
            self._gone_ids.add(suggestion_id)
        for heap in self._gone.values():
            heapify(heap)
        for number in self._ends:
            self._ripen(number)


def _rows(rows: Sequence[tuple[Any, ...]], width: int, kind: type[np.generic] = np.int64) -> NDArray[Any]:
    """(n, width) also where there is none."""
    return np.array(rows, kind).reshape(-1, width)
