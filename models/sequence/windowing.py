"""What the sequence model is taught: each look of a shopper once as a fresh one, told with what came before it.

Looks wait until their shopper's window is worth learning: until it is full, until the next look begins another, or
until somebody asks for all there is (`gather`). Which of the looks in a window are fresh is a number, counted from its
end; a late look that does not belong there is learnt as a window of its own. So every look is handed on in one window
as a fresh one, whatever the order of arrival, and what is counted is what the log holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.sequence.config import GateConfig, LearnerConfig
from models.sequence.features import FIRST_GAP, gap_classes
from models.sequence.gate import Gate
from models.sequence.window_buffer import LookWindow
from models.sessions.visits import ACTION_CODES, EventStatus, VisitConfig, Visits
from models.shop.events import Action, Click, Purchase
from models.shop.items import Items

LOOKS_A_WINDOW = 4
"""A chunk is due when looks for so many a window have gathered, too, although most windows are not full: more than most
visits have, so that a backlog is learnt in whole visits."""


class WindowSink(Protocol):
    """Whoever learns windows: [`Learner`][models.sequence.learner.Learner]."""

    def add(self, window: LookWindow) -> bool:
        """Take a window; returns whether a chunk is full."""


@dataclass(slots=True)
class _Fresh:
    """Looks of a shopper that are in no window yet: always the last ones of his window, by event time."""

    count: int
    since: float  # event time of the first
    newest: float  # ... and of the last


class WindowBuilder:
    """Shoppers' looks in, windows to learn out.

    Args:
        items: numbers the items.
        visits: what a visit is.
        learner: how windows are learnt.
        gate: which are held back first.
        every_s: append time after which a chunk is due, whatever has gathered.
        pupil: gets the windows.

    Attributes:
        gate: windows held back.
        events: looks handed to the pupil as fresh ones, since the first.
        held: looks that are held back.
        dropped: looks of shoppers who refused before they were handed on, since the first.
        at: event time of the newest look handed on or held back, epoch seconds.

    >>> class Pupil:
    ...     def add(self, window):
    ...         print(window.items, window.fresh)
    ...         return False
    >>> lessons = Curriculum(Items(), VisitConfig(), LearnerConfig(), GateConfig(share=0.0), 10.0, Pupil())
    >>> for offset, item in enumerate(["kettle", "mug"]):
    ...     verdict = lessons.click(0, Click("ann", item, Action.VIEW, 1e9 + offset), 1e9 + offset, offset)
    >>> lessons.gather()
    [0, 1] 2
    >>> verdict = lessons.click(0, Click("ann", "tea", Action.VIEW, 1e9 + 9), 1e9 + 9, 2)
    >>> lessons.gather()
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
    ) -> None:
        self._items = items
        self._config = replace(visits, items=learner.looks + 1)
        self._looks, self._chunk, self._every_s = learner.looks, learner.chunk, every_s
        self._sink = sink
        self._visits: dict[int, Visits] = {}
        self._fresh: dict[tuple[int, str], _Fresh] = {}
        self._appended_s = 0.0
        self.gate = Gate(gate, learner.looks + 1)
        self.events = self.held = self.dropped = 0
        self.at = 0.0
        self._since_s: float | None = None
        self.begin_chunk()

    # -- events ----------------------------------------------------------------------------------------------------

    def click(self, number: int, event: Click, appended_s: float, offset: int) -> EventStatus:
        """Apply a click. Called in the order of the log.

        Args:
            number: of the partition.
            event: the click.
            appended_s: append time, epoch seconds.
            offset: in its partition.
        """
        self._appended_s = max(self._appended_s, appended_s)
        if self._since_s is not None and self._appended_s - self._since_s > self._every_s:
            self.gather()
            self._due = True
        for window in self.gate.release(self._appended_s):
            self.held -= window.fresh
            self._hand_on(window)
        visits, key, at = self.visits(number), (number, event.user_id), event.at
        fresh = self._fresh.get(key)
        if fresh is not None and fresh.since < at - self._config.window_s:
            self._finish(key)  # the look begins another window, or would push a fresh one out of this
            fresh = None
        before = visits.window(event.user_id, at).ats
        verdict, _ = visits.apply_click(event, appended_s, offset, learn=False)
        if verdict is not EventStatus.APPLIED or event.action is Action.REMOVE_FROM_CART:
            return verdict
        self._waiting += 1
        if self._since_s is None:
            self._since_s = self._appended_s
        self.at = max(self.at, at)
        if before and at < before[-1] and (fresh is None or at < fresh.since):
            item = self._items.index(event.item_id)
            self._take(event.user_id, LookWindow([item], [ACTION_CODES[event.action]], [FIRST_GAP], 1, at))
        elif fresh is None:
            self._fresh[key] = fresh = _Fresh(1, at, at)
        else:
            fresh.count += 1
            fresh.newest = max(fresh.newest, at)
        if fresh is not None and fresh.count == self._looks:
            self._finish(key)
        return verdict

    def purchase(self, number: int, event: Purchase, appended_s: float, offset: int) -> EventStatus:
        """Apply a purchase. Called in the order of the log; arguments as of `click`."""
        return self.visits(number).apply_purchase(event, appended_s, offset, learn=False, join=False)[0]

    def visits(self, number: int) -> Visits:
        """State of the shoppers of a partition."""
        visits = self._visits.get(number)
        if visits is None:
            visits = self._visits[number] = Visits(self._items, self._config)
        return visits

    # -- shoppers who refuse ---------------------------------------------------------------------------------------

    def forget(self, user_id: str, before: float, numbers: Iterable[int]) -> None:
        """Use nothing of a shopper up to an event time any more; what was handed on already stays.

        Args:
            user_id: who.
            before: event time, epoch seconds.
            numbers: of all partitions.
        """
        for number in numbers:
            self.visits(number).forget(user_id, before)
            self._drop(number, user_id)

    def consent(self, number: int, user_id: str, given: bool) -> None:
        """Whether a shopper's events may be used at all."""
        self.visits(number).consent(user_id, given)
        self._drop(number, user_id)

    def refuses(self, number: int, user_id: str, at: float) -> bool:
        """Whether nothing of a shopper up to an event time may be used."""
        return self.visits(number).bars(user_id, at)

    def _drop(self, number: int, user_id: str) -> None:
        """Count as fresh only what is still there."""
        fresh = self._fresh.get((number, user_id))
        if fresh is None:
            return
        ats = self.visits(number).window(user_id, fresh.newest).ats
        left = min(fresh.count, len(ats))
        self.dropped += fresh.count - left
        if left:
            fresh.count, fresh.since = left, ats[-left]
        else:
            del self._fresh[number, user_id]

    # -- windows ---------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there is a look that came after the chunk began."""
        return self._waiting > 0

    @property
    def due(self) -> bool:
        """Whether enough has gathered to be learnt: windows, looks, or append time."""
        return self._due or self._windows >= self._chunk or self._waiting >= LOOKS_A_WINDOW * self._chunk

    def gather(self) -> None:
        """Hand on all fresh looks there are, each shopper's in one window, the one who has waited longest first."""
        for key in list(self._fresh):
            self._finish(key)

    def begin_chunk(self) -> None:
        """What was handed on is learnt: count anew towards the next chunk."""
        self._windows = self._waiting = 0
        self._since_s = None
        self._due = False

    def _finish(self, key: tuple[int, str]) -> None:
        """Hand on a shopper's fresh looks in one window."""
        fresh = self._fresh.pop(key)
        number, user_id = key
        window = self.visits(number).window(user_id, fresh.newest)
        self._take(
            user_id, LookWindow(window.items, window.actions, gap_classes(window.ats), fresh.count, fresh.newest)
        )

    def _take(self, user_id: str, window: LookWindow) -> None:
        if self.gate.holds(user_id):
            self.held += window.fresh
            self.gate.hold(window, self._appended_s)
        else:
            self._hand_on(window)

    def _hand_on(self, window: LookWindow) -> None:
        self.events += window.fresh
        self._windows += 1
        self._sink.add(window)

    # -- going on elsewhere ----------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """What another needs to go on, by name, once everything is gathered; visits come from the log."""
        found: dict[str, NDArray[Any]] = {
            "counts": np.array([self.events, self.held, self.dropped], np.int64),
            "times": np.array([self.at, self._appended_s], np.float64),
        }
        return found | {f"gate.{name}": array for name, array in self.gate.arrays().items()}

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """Go on where another was when it gave `training`."""
        self.events, self.held, self.dropped = training["counts"].tolist()
        self.at, self._appended_s = training["times"].tolist()
        self.gate.restore({n.removeprefix("gate."): a for n, a in training.items() if n.startswith("gate.")})
