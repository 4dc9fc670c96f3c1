"""Builds the windows that the sequence model learns: each look of a shopper is fresh in exactly one of them.

The fresh looks of a window, its last ones, are learnt; the looks before them are context. Looks wait until their window
is full, until the next look begins another one, or until `gather` is called. A late look that does not belong to the
fresh ones is learnt as a window of its own. So every look is fresh once, in whatever order looks arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.sequence.config import GateConfig, LearnerConfig
from models.sequence.features import FIRST_GAP, gap_classes
from models.sequence.gate import Gate
from models.sequence.window_buffer import LookWindow
from models.sessions.visits import ACTION_CODES, EventStatus, VisitConfig, Visits, look_table
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.items import Items
from models.stored_state import nest, nested

LOOKS_A_WINDOW = 4
"""A chunk is also due once this many looks per window of it wait, although most windows are not full. More than most
visits have, so that a backlog is learnt in whole visits."""


class WindowSink(Protocol):
    """Takes windows to learn, as [`Learner`][models.sequence.learner.Learner] does."""

    def add(self, window: LookWindow) -> bool:
        """Take a window; returns whether a chunk is full."""


@dataclass(slots=True)
class _Fresh:
    """Looks of a shopper that are in no window yet: always the last ones of his window, by event time."""

    count: int
    since: float  # event time of the first
    newest: float  # ... and of the last


class WindowBuilder:
    """Takes the looks of shoppers and gives windows.

    Args:
        items: numbers the items.
        visits: what a visit is.
        learner: how windows are learnt.
        gate: which are held back first.
        every_s: append time after which a chunk is due, however little waits.
        sink: gets the windows.
        partitions: how many partitions the shoppers have.

    Attributes:
        events: fresh looks given to the sink, since the first.
        held: fresh looks that are held back.
        dropped: looks of shoppers who refused before they were in a window, since the first.
        at: event time of the newest look, epoch seconds.

    >>> class Printer:
    ...     def add(self, window):
    ...         print(window.items, window.fresh)
    ...         return False
    >>> config = VisitConfig(), LearnerConfig(), GateConfig(share=0.0)
    >>> builder = WindowBuilder(Items(), *config, 10.0, Printer())
    >>> for offset, item in enumerate(["kettle", "mug"]):
    ...     status = builder.click(0, Click("ann", item, Action.VIEW, 1e9 + offset), 1e9 + offset, offset)
    >>> builder.gather()
    [0, 1] 2
    >>> status = builder.click(0, Click("ann", "tea", Action.VIEW, 1e9 + 9), 1e9 + 9, 2)
    >>> builder.gather()
    [0, 1, 2] 1
    """

    def __init__(
        self,
        items: Items,
        visits: VisitConfig,
        learner: LearnerConfig,
        gate: GateConfig,
        every_s: float,
        sink: WindowSink,
        partitions: int = 1,
    ) -> None:
        self._items = items
        config = replace(visits, items=learner.looks + 1)
        self._window_s = config.window_s
        self._looks, self._chunk, self._every_s = learner.looks, learner.chunk, every_s
        self._sink = sink
        self._fresh: dict[tuple[int, str], _Fresh] = {}
        self._appended_s = 0.0
        self.looks = look_table(config)
        self.visits = [Visits(items, config, self.looks) for _ in range(partitions)]
        self.gate = Gate(gate, learner.looks + 1)
        self.events = self.held = self.dropped = 0
        self.at = 0.0
        self._since_s: float | None = None
        self.begin_chunk()

    # -- events ----------------------------------------------------------------------------------------------------

    def click(self, number: int, event: Click, appended_s: float, offset: int) -> EventStatus:
        """Apply a click, appended at epoch seconds. Called in the order of its partition's log."""
        self._appended_s = max(self._appended_s, appended_s)
        if self._since_s is not None and self._appended_s - self._since_s > self._every_s:
            self.gather()
            self._due = True
        for window in self.gate.release(self._appended_s):
            self.held -= window.fresh
            self._give(window)
        visits, key, at = self.visits[number], (number, event.user_id), event.at
        fresh = self._fresh.get(key)
        if fresh is not None and fresh.since < at - self._window_s:
            self._finish(key)  # the look begins another window, or would push a fresh one out of this
        before = visits.window(event.user_id, at).ats
        status, _ = visits.apply_click(event, appended_s, offset, learn=False)
        if status is EventStatus.APPLIED and event.action is not Action.REMOVE_FROM_CART:
            self._add_look(key, event, late=bool(before) and at < before[-1])
        return status

    def _add_look(self, key: tuple[int, str], event: Click, late: bool) -> None:
        self._waiting += 1
        if self._since_s is None:
            self._since_s = self._appended_s
        fresh, at = self._fresh.get(key), event.at
        self.at = max(self.at, at)
        if late and (fresh is None or at < fresh.since):
            item = self._items.index(event.item_id)
            self._take(event.user_id, LookWindow([item], [ACTION_CODES[event.action]], [FIRST_GAP], 1, at))
        elif fresh is None:
            self._fresh[key] = fresh = _Fresh(1, at, at)
        else:
            fresh.count += 1
            fresh.newest = max(fresh.newest, at)
        if fresh is not None and fresh.count == self._looks:
            self._finish(key)

    def purchase(self, number: int, event: Purchase, appended_s: float, offset: int) -> EventStatus:
        """Apply a purchase. Called in the order of the log; arguments as of `click`."""
        return self.visits[number].apply_purchase(event, appended_s, offset, learn=False, join=False)[0]

    # -- consent ---------------------------------------------------------------------------------------------------

    def apply_profile(self, number: int, profile: Profile) -> float | None:
        """Apply a profile, in the order of its partition's log; see [`Visits.apply_profile`][].

        A forgotten shopper is forgotten in all partitions; consent counts in the profile's own.
        """
        before = self.visits[number].apply_profile(profile)
        self._recount(number, profile.user_id)
        if before is not None:
            self.forget(profile.user_id, before)
        return before

    def forget(self, user_id: str, before: float) -> None:
        """Use no event of a shopper up to an event time any more. What the sink has got stays learnt."""
        for number, visits in enumerate(self.visits):
            visits.forget(user_id, before)
            self._recount(number, user_id)

    def refuses(self, user_id: str, at: float) -> bool:
        """Whether an event of a shopper with this event time must not be used, by any partition's profiles."""
        return any(visits.consent.refuses(user_id, at) for visits in self.visits)

    def _recount(self, number: int, user_id: str) -> None:
        """Count as fresh only the looks that are left."""
        fresh = self._fresh.get((number, user_id))
        if fresh is None:
            return
        ats = self.visits[number].window(user_id, fresh.newest).ats
        left = min(fresh.count, len(ats))
        self.dropped += fresh.count - left
        if left:
            fresh.count, fresh.since = left, ats[-left]
        else:
            del self._fresh[number, user_id]

    # -- windows ---------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether any look has come since the chunk began."""
        return self._waiting > 0

    @property
    def due(self) -> bool:
        """Whether a chunk is due: by windows, by looks, or by append time."""
        return self._due or self._windows >= self._chunk or self._waiting >= LOOKS_A_WINDOW * self._chunk

    def gather(self) -> None:
        """Give all fresh looks, each shopper's in one window, the one who has waited longest first."""
        for key in list(self._fresh):
            self._finish(key)

    def begin_chunk(self) -> None:
        """What was given is learnt: count from zero towards the next chunk."""
        self._windows = self._waiting = 0
        self._since_s = None
        self._due = False

    def _finish(self, key: tuple[int, str]) -> None:
        """Put a shopper's fresh looks into one window."""
        fresh = self._fresh.pop(key)
        number, user_id = key
        items, actions, ats = self.visits[number].window(user_id, fresh.newest)
        self._take(user_id, LookWindow(items, actions, gap_classes(ats), fresh.count, fresh.newest))

    def _take(self, user_id: str, window: LookWindow) -> None:
        if self.gate.holds(user_id):
            self.held += window.fresh
            self.gate.hold(window, self._appended_s)
        else:
            self._give(window)

    def _give(self, window: LookWindow) -> None:
        self.events += window.fresh
        self._windows += 1
        self._sink.add(window)

    # -- state -----------------------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """State by name, once everything is gathered. Visits are not in it: they are read from the log again."""
        found: dict[str, NDArray[Any]] = {
            "counts": np.array([self.events, self.held, self.dropped], np.int64),
            "times": np.array([self.at, self._appended_s], np.float64),
        }
        return found | nest("gate", self.gate.arrays())

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the state that `training` gave."""
        self.events, self.held, self.dropped = training["counts"].tolist()
        self.at, self._appended_s = training["times"].tolist()
        self.gate.restore(nested("gate", training))
