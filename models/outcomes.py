"""What became of what was suggested: later looks, carts, purchases and feedback, attributed to the lists they answer.

A list is open for `window_s` of event time from its trigger on. What its shopper does with one of its items meanwhile
is attributed to it, and to every other open list of his that has the item: each of them suggested it. Attribution goes
by event time, so it makes no difference whether the action or the suggestion is read first; the trigger itself is none.

* a look, or feedback that it was `clicked`, is a reward of `followed`;
* an addition to the cart, or a purchase, is a reward of `taken`;
* `dismissed` is a miss, unless the item is taken after all;
* everything else is a miss when the list closes.

A shop that says what was `shown` of a list is believed: what was not is no miss. Of a list of which nothing is said all
items count as shown; how much less often those far down are looked at is for whoever learns (`models.ranker`).

A list closes when nothing of its window can come any more: `late_s` after its end, on a clock that is the greatest of
the smaller of event and append time of the partition's events. So a shopper's clock that is ahead closes nobody's list,
and old events that are replayed close theirs by their own time. State is one value (`training`, `restore`): whoever
goes on from it closes the same lists with the same rewards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.packing import pack, unpack
from models.rules import CROSS_SELL, UPSELL

TOPICS = ("clicks", "purchases")
"""Where triggers and actions come from."""

_NONE, _FOLLOWED, _TAKEN = 0, 1, 2
_NEVER = float("-inf")

FATES = ("shown", "followed", "taken")
"""What is counted of items; each of these counts as those before it, too."""


@dataclass(frozen=True)
class OutcomesConfig:
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
    """How much later than its fellows an event may be, and still count."""


@dataclass(frozen=True, slots=True)
class Sent:
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
    """`models.rules.CROSS_SELL` or `UPSELL`."""
    features: NDArray[np.float32]
    """(n, width), NaN where an item was not described."""


class Closed(NamedTuple):
    """A list whose window has closed, and what each of its items was worth."""

    at: float
    """Event time of its trigger, epoch seconds."""
    kinds: NDArray[np.int8]
    """(n,) `models.rules.CROSS_SELL` or `UPSELL`."""
    places: NDArray[np.int16]
    """(n,) in the list, 0 first."""
    features: NDArray[np.float32]
    """(n, `models.leaders.WIDTH`) as sent."""
    rewards: NDArray[np.float32]
    """(n,) from 0 to 1."""
    examined: NDArray[np.bool_]
    """(n,) False: the shop said that it was not shown."""
    learnable: NDArray[np.bool_]
    """(n,) False: suggested without evidence, and so not described."""


class _Act(NamedTuple):
    user_id: str
    number: int
    item: int
    at: float
    topic: int
    offset: int
    level: int
    clock_s: float


@dataclass(slots=True)
class _Open:
    number: int
    sent: Sent
    topic: int
    levels: list[int]
    dismissed: list[bool]
    shown: list[bool] | None  # None: nothing was said of any

    def answered_by(self, act: _Act, window_s: float) -> bool:
        """Whether an action of its shopper is behind its trigger and within its window."""
        sent = self.sent
        behind = act.at > sent.at or (act.at == sent.at and act.topic == self.topic and act.offset > sent.offset)
        return behind and act.at <= sent.at + window_s


class Outcomes:
    """Open lists of all partitions, and what was done of late.

    Args:
        config: what counts.

    Attributes:
        opened: lists.
        skipped: lists that were passed over: too many were open, or their window was over when they came.
        closed: lists.
        fates: (3, len(FATES)) items of closed lists by kind; those not shown are none.

    >>> outcomes = Outcomes(OutcomesConfig(window_s=60.0, late_s=0.0))
    >>> features = np.zeros((2, 1), np.float32)
    >>> outcomes.suggested(0, Sent("clicks-0-7", "ann", 100.0, "clicks", 7, [4, 5], [1, 2], features))
    >>> outcomes.advance(0, 130.0, 1e9)
    >>> outcomes.acted(0, "ann", 5, 130.0, "clicks", 8, taken=False)
    >>> outcomes.advance(0, 161.0, 1e9)
    >>> [one.rewards.tolist() for one in outcomes.take()]
    [[0.0, 0.20000000298023224]]
    """

    def __init__(self, config: OutcomesConfig) -> None:
        self._config = config
        self._open: dict[str, _Open] = {}
        self._of_user: dict[str, list[str]] = {}
        self._ends: dict[int, list[tuple[float, str]]] = {}
        self._clock_s: dict[int, float] = {}
        self._acts: dict[int, deque[_Act]] = {}
        self._acts_of_user: dict[str, list[_Act]] = {}
        self.opened = self.skipped = self.closed = 0
        self.fates = np.zeros((3, len(FATES)), np.int64)

    def __len__(self) -> int:
        """Open lists."""
        return len(self._open)

    # -- what comes ------------------------------------------------------------------------------------------------

    def suggested(self, number: int, sent: Sent) -> None:
        """A list was sent; one that is known already is the same.

        Args:
            number: of the partition.
            sent: the list.
        """
        if sent.suggestion_id in self._open:
            return
        if len(self._open) >= self._config.most_open or self._is_over(number, sent):
            self.skipped += 1
            return
        n = len(sent.items)
        one = _Open(number, sent, TOPICS.index(sent.topic), [_NONE] * n, [False] * n, None)
        self._add(one)
        self.opened += 1
        for act in self._acts_of_user.get(sent.user_id, ()):
            self._attribute(act, one)

    def acted(self, number: int, user_id: str, item: int, at: float, topic: str, offset: int, *, taken: bool) -> None:
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
        level = _TAKEN if taken else _FOLLOWED
        clock_s = self._clock_s.get(number, _NEVER)
        act = _Act(user_id, number, item, at, TOPICS.index(topic), offset, level, clock_s)
        self._acts.setdefault(number, deque()).append(act)
        self._acts_of_user.setdefault(user_id, []).append(act)
        for suggestion_id in self._of_user.get(user_id, ()):
            self._attribute(act, self._open[suggestion_id])

    def heard(self, suggestion_id: str, item: int | None, action: str) -> None:
        """A shop says what became of a list.

        Args:
            suggestion_id: of the list; one that is not open is passed over.
            item: index; None: all of the list.
            action: `shown`, `clicked` or `dismissed`.
        """
        one = self._open.get(suggestion_id)
        if one is None or self._is_over(one.number, one.sent):
            return
        meant = [item is None or item == mine for mine in one.sent.items]
        if action == "shown":
            one.shown = [a or b for a, b in zip(one.shown or [False] * len(meant), meant, strict=True)]
        elif action == "dismissed":
            one.dismissed = [a or b for a, b in zip(one.dismissed, meant, strict=True)]
        else:
            one.levels = [max(level, _FOLLOWED * yes) for level, yes in zip(one.levels, meant, strict=True)]

    def advance(self, number: int, at: float, appended_s: float) -> None:
        """An event of a partition was applied.

        Args:
            number: of the partition.
            at: its event time, epoch seconds.
            appended_s: its append time.
        """
        clock_s = self._clock_s[number] = max(self._clock_s.get(number, _NEVER), min(at, appended_s))
        acts = self._acts.get(number)
        while acts and acts[0].clock_s < clock_s - self._config.late_s:
            act = acts.popleft()
            mine = self._acts_of_user.get(act.user_id)
            if mine and act in mine:
                mine.remove(act)
                if not mine:
                    del self._acts_of_user[act.user_id]

    def forget(self, user_id: str, before: float) -> None:
        """Drop what is open of a shopper, and what he did, up to an event time."""
        for suggestion_id in list(self._of_user.get(user_id, ())):
            if self._open[suggestion_id].sent.at <= before:
                self._drop(suggestion_id)
        if left := [act for act in self._acts_of_user.pop(user_id, ()) if act.at > before]:
            self._acts_of_user[user_id] = left

    # -- what is over ----------------------------------------------------------------------------------------------

    def take(self) -> list[Closed]:
        """The lists that have closed since, in the order of the ends of their windows, then of their ids."""
        over: set[tuple[float, str]] = set()  # a list that was dropped and sent again is in `_ends` twice
        for number, ends in self._ends.items():
            while ends and ends[0][0] + self._config.late_s < self._clock_s.get(number, _NEVER):
                end, suggestion_id = heappop(ends)
                one = self._open.get(suggestion_id)
                if one is not None and one.sent.at + self._config.window_s == end:
                    over.add((end, suggestion_id))
        return [self._close(suggestion_id) for _, suggestion_id in sorted(over)]

    def _is_over(self, number: int, sent: Sent) -> bool:
        config = self._config
        return sent.at + config.window_s + config.late_s < self._clock_s.get(number, _NEVER)

    def _attribute(self, act: _Act, one: _Open) -> None:
        if not one.answered_by(act, self._config.window_s) or self._is_over(one.number, one.sent):
            return
        for place, item in enumerate(one.sent.items):
            if item == act.item:
                one.levels[place] = max(one.levels[place], act.level)

    def _close(self, suggestion_id: str) -> Closed:
        one = self._drop(suggestion_id)
        config, n = self._config, len(one.sent.items)
        levels, dismissed = np.array(one.levels), np.array(one.dismissed, np.bool_)
        followed = (levels == _FOLLOWED) & ~dismissed
        rewards = np.where(levels == _TAKEN, config.taken, np.where(followed, config.followed, 0.0))
        examined = np.ones(n, np.bool_) if one.shown is None else np.array(one.shown, np.bool_) | (levels > _NONE)
        kinds = np.array(one.sent.kinds, np.int8)
        self.closed += 1
        for kind in (CROSS_SELL, UPSELL):
            mine = levels[examined & (kinds == kind)]
            self.fates[kind] += len(mine), int((mine >= _FOLLOWED).sum()), int((mine >= _TAKEN).sum())
        learnable: NDArray[np.bool_] = np.logical_not(np.isnan(one.sent.features).any(axis=1))
        places = np.arange(n, dtype=np.int16)
        return Closed(one.sent.at, kinds, places, one.sent.features, rewards.astype(np.float32), examined, learnable)

    def _add(self, one: _Open) -> None:
        sent = one.sent
        self._open[sent.suggestion_id] = one
        self._of_user.setdefault(sent.user_id, []).append(sent.suggestion_id)
        heappush(self._ends.setdefault(one.number, []), (sent.at + self._config.window_s, sent.suggestion_id))

    def _drop(self, suggestion_id: str) -> _Open:
        one = self._open.pop(suggestion_id)
        mine = self._of_user[one.sent.user_id]
        mine.remove(suggestion_id)
        if not mine:
            del self._of_user[one.sent.user_id]
        return one

    # -- going on elsewhere ----------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """What another needs to go on, by name."""
        lists = list(self._open.values())
        sent = [one.sent for one in lists]
        acts = [act for mine in self._acts.values() for act in mine if act in self._acts_of_user.get(act.user_id, ())]
        ids, id_ends = pack([one.suggestion_id for one in sent])
        users, user_ends = pack([one.user_id for one in sent])
        actors, actor_ends = pack([act.user_id for act in acts])
        width = sent[0].features.shape[1] if sent else 0
        items = [
            (item, kind, level, dismissed, -1 if one.shown is None else one.shown[place])
            for one in lists
            for place, (item, kind, level, dismissed) in enumerate(
                zip(one.sent.items, one.sent.kinds, one.levels, one.dismissed, strict=True)
            )
        ]
        return {
            "counts": np.array([self.opened, self.skipped, self.closed], np.int64),
            "fates": self.fates.copy(),
            "clocks": np.array(sorted(self._clock_s.items()), np.float64).reshape(-1, 2),
            "ids": ids,
            "ids.ends": id_ends,
            "users": users,
            "users.ends": user_ends,
            "lists": np.array(
                [(one.number, one.topic, one.sent.offset, len(one.sent.items)) for one in lists], np.int64
            ).reshape(-1, 4),
            "ats": np.array([one.at for one in sent], np.float64),
            "items": np.array(items, np.int64).reshape(-1, 5),
            "features": np.concatenate([np.empty((0, width), np.float32), *(one.features for one in sent)]),
            "actors": actors,
            "actors.ends": actor_ends,
            "acts": np.array(
                [(act.number, act.item, act.topic, act.offset, act.level) for act in acts], np.int64
            ).reshape(-1, 5),
            "acts.at": np.array([(act.at, act.clock_s) for act in acts], np.float64).reshape(-1, 2),
        }

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """Go on where another was when it gave `training`; nothing at all: begin."""
        if not training:
            return
        self.opened, self.skipped, self.closed = training["counts"].tolist()
        self.fates = training["fates"].copy()
        self._clock_s = {int(number): clock_s for number, clock_s in training["clocks"].tolist()}
        ids, users = unpack(training["ids"], training["ids.ends"]), unpack(training["users"], training["users.ends"])
        rows, features, first = training["items"].tolist(), np.array(training["features"], np.float32), 0
        lists = zip(ids, users, training["lists"].tolist(), training["ats"].tolist(), strict=True)
        for suggestion_id, user_id, (number, topic, offset, n), at in lists:
            mine = rows[first : first + n]
            items, kinds, levels, dismissed, shown = (list(column) for column in zip(*mine, strict=True))
            sent = Sent(suggestion_id, user_id, at, TOPICS[topic], offset, items, kinds, features[first : first + n])
            said = None if -1 in shown else [bool(one) for one in shown]
            self._add(_Open(number, sent, topic, levels, [bool(one) for one in dismissed], said))
            first += n
        actors = unpack(training["actors"], training["actors.ends"])
        acts = zip(actors, training["acts"].tolist(), training["acts.at"].tolist(), strict=True)
        for user_id, (number, item, topic, offset, level), (at, clock_s) in acts:
            act = _Act(user_id, number, item, at, topic, offset, level, clock_s)
            self._acts.setdefault(number, deque()).append(act)
            self._acts_of_user.setdefault(user_id, []).append(act)
        for ends in self._ends.values():
            heapify(ends)
