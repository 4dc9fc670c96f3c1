"""Protocol D: the recommender over a stream of events as it happened: suggest, score, then learn.

Each recommender and each baseline suggests a list for every event that the policy answers. A list is scored by what its
shopper does within a window of event time after the event:

* an item is **taken** if it is put into the cart or bought;
* it is **followed** if it is viewed or taken.

A list counts once its window has closed; lists with open windows at the end of the stream are counted apart. Targets of
a list are the items that its shopper took (or followed) and that the rules allow: in the catalogue, not in the trigger,
the cart or bought recently, and either of another category than all anchors (cross-sell) or an upgrade of an anchor
(upsell, see `models.evaluation.upgrades`). Figures are those of `models.evaluation.lists`; intervals resample shoppers.

Lists that running workers sent for the same events can be scored beside the others. Then only events between the
earliest and the latest of them get lists, from all methods; other events are only learnt. An event without a sent list
counts as an empty list.

In a shop whose right answers are known, items of lists are also judged by these. What is right does not depend on what
the shopper does, so lists with open windows count, too.

Two more outcomes are of what is taken: what is **new to the household**, which the shopper has not bought before the
event, and what is **credited**, where an item counts 1 - base rate as of the event (`models.evaluation.purchases`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from models.evaluation.lists import Place
from models.evaluation.prequential.baselines import AtRandom, HouseholdPopular, MostPopular
from models.evaluation.prequential.figures import curve, exposure_by_decile, list_figures, slice_figures, truth_figures
from models.evaluation.prequential.replay import EVENTS, SEQUENCE, Answered, Engine, Event, Ranking
from models.evaluation.prequential.sent import SentLists
from models.evaluation.prequential.tallies import (
    BOTH,
    COLD_ITEM,
    COLD_SHOPPER,
    SHORTEST_STEP_S,
    Calibration,
    ListOutcome,
    ListParts,
    Tally,
    catalog_traits,
    parts_of,
    percent,
)
from models.evaluation.purchases import Purchases
from models.evaluation.upgrades import is_upgrade
from models.serving.recommender import RecommenderConfig, SuggestedItem
from models.serving.sources import WORTH
from models.serving.sources.source import Worth
from models.shop.catalog import OFFERED
from models.shop.events import PAIR_KIND_NAMES, Action, Click, Purchase
from models.shop.kinds import KIND_NAMES

OURS, POPULARITY, HOUSEHOLD, RANDOM, SENT = "crosscurrent", "popularity", "household", "random", "sent"

RANKINGS = {
    OURS: Ranking(uses_sequence=True, uses_ranker=True),
    "fixed-weights": Ranking(uses_sequence=True),
    "counting": Ranking(),
    "sequence": Ranking(
        RecommenderConfig(worth={**WORTH, **dict.fromkeys(PAIR_KIND_NAMES, Worth(0.0, 0.0))}),
        uses_sequence=True,
    ),
}
"""What a worker sends; the same without the learnt ranker; counting alone; the sequence model with fallbacks only."""

METHODS = (*RANKINGS, POPULARITY, HOUSEHOLD, RANDOM)
"""Methods that need nothing but the log; SENT follows them if there are sent lists."""

PROGRESS_EVERY = 200
"""Events between two calls of `progress`: drawing a bar costs as much as scoring an event."""

SHOPPER_GROUPS = 10_000
"""Most groups in which shoppers are resampled: bounds memory; intervals change little."""

STEPS_S = (SHORTEST_STEP_S, 3_600, 86_400)
"""Steps of the curve along the stream, in seconds."""

MOST_STEPS = 100
"""Most steps of the curve, which has the shortest that fit: a plot cannot show more."""

IsRight = Callable[[str, Sequence[str], str], bool]
"""Whether a suggestion is right for one of its anchors, from its kind, the ids of the anchors, and the item's id."""

FALL_BACKS = ("content", "popularity")
"""Sources of reasons without evidence about the visit or the shopper: `history`, what he has bought before, is none."""


@dataclass(frozen=True)
class PrequentialConfig:
    """How lists are scored."""

    window_s: float = 86_400.0
    """Event time in which an item can be taken: a day, since many baskets are filled in the evening with what was
    viewed in the morning; later purchases have other causes."""
    cold_item_events: int = 5
    """An item with fewer events is cold: they say little about its neighbours."""
    cold_shopper_events: int = 3
    """A shopper with fewer events is cold: a visit of one or two views."""
    seed: int = 1
    """Of the random baseline and of the intervals."""
    stretch_events: int = 1_500
    """Events of a stretch of a stream whose right answers are known."""


@dataclass(slots=True)
class _Window:
    """The lists of all methods for one event, until its window closes."""

    user_id: str
    at: float
    until: float
    barred: frozenset[int]
    anchors: list[int]
    may_upsell: bool
    cold: tuple[int, ...]
    shown: list[ListParts]  # by method
    cold_items: list[int]  # by method: shown items that were cold
    order: int  # number of events up to its own
    stretch: int
    views: int  # number of the shopper's first event after it
    takes: int


class _Shopper:
    """What a shopper does while windows are open on it."""

    __slots__ = ("dropped_takes", "dropped_views", "takes", "views", "windows")

    def __init__(self) -> None:
        self.windows = 0
        self.views: list[int] = []
        self.takes: list[int] = []
        self.dropped_views = self.dropped_takes = 0  # events before the kept ones

    def after(self, views: int, takes: int) -> tuple[set[int], set[int]]:
        """Items taken and followed since an event; earlier events are not asked for again."""
        views -= self.dropped_views
        takes -= self.dropped_takes
        found = set(self.takes[takes:]), set(self.views[views:])
        if 2 * views > len(self.views) or 2 * takes > len(self.takes):
            del self.views[:views], self.takes[:takes]
            self.dropped_views += views
            self.dropped_takes += takes
        return found


class Prequential:
    """Scores an engine's recommenders and the baselines over a stream.

    Args:
        engine: with its catalogue filled.
        baselines: any of POPULARITY, HOUSEHOLD and RANDOM.
        sent: what running workers sent for the same events.
        clock: the engine's.
        is_right: judges items, if right answers are known.

    Attributes:
        methods: their names, the engine's first.
    """

    def __init__(
        self,
        engine: Engine,
        config: PrequentialConfig,
        baselines: Collection[str] = (POPULARITY, HOUSEHOLD, RANDOM),
        sent: SentLists | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        is_right: IsRight | None = None,
    ) -> None:
        self._engine = engine
        self._config = config
        self._sent, self._clock, self._is_right = sent, clock, is_right
        policy = engine.policy
        self._popular = MostPopular(engine.items, engine.catalog, policy)
        self._household = HouseholdPopular(engine.items, engine.catalog, policy)
        ranked = {
            POPULARITY: self._popular,
            HOUSEHOLD: self._household,
            RANDOM: AtRandom(engine.items, engine.catalog, policy, config.seed),
        }
        self._baselines = {name: baseline for name, baseline in ranked.items() if name in baselines}
        self.methods = (*engine.recommenders, *self._baselines, *([SENT] if sent is not None else []))
        self._k = (policy.max_cross_sell, policy.max_upsell, policy.max_items)
        self._now_s = -math.inf
        self._windows: deque[_Window] = deque()
        self._shoppers: dict[str, _Shopper] = {}
        self._events_of: dict[str, list[int]] = {}  # shopper: group, events so far
        self._before = Purchases()  # those before the event of the oldest open window
        self._bought: deque[tuple[int, str, list[int]]] = deque()  # later ones: number of the event, shopper, items
        self._traits_of = catalog_traits(engine.catalog, policy.category_depth)
        self._tallies = {name: Tally(self._k, self._traits_of) for name in self.methods}
        self._calibration = Calibration()
        self._spent_s = dict.fromkeys(self._baselines, 0.0)
        self._items_sent, self._same = 0, dict.fromkeys(engine.recommenders, 0)  # items sent; by name, shown as well
        self.events = self.triggers = self.counted = self.empty = 0
        self.first_at, self.last_at = math.inf, -math.inf

    @property
    def open(self) -> int:
        """Lists whose windows are open."""
        return len(self._windows)

    def run(self, events: Iterable[Event], progress: Callable[[int], None] = lambda _: None) -> None:
        """Go through a stream in time order, once; `progress` gets the number of events done now and then."""
        for answered in self._engine.run(events):
            self._update(answered)
            if self.events % PROGRESS_EVERY == 0:
                progress(self.events)

    # -- an event --------------------------------------------------------------------------------------------------

    def _update(self, answered: Answered) -> None:
        event = answered.event
        self.events += 1
        self.first_at, self.last_at = min(self.first_at, event.at), max(self.last_at, event.at)
        self._now_s = max(self._now_s, event.at)
        while self._windows and self._windows[0].until < self._now_s:
            self._close(self._windows.popleft())
        if not answered.applied or not isinstance(event, Click | Purchase):
            return
        index = self._engine.items.index
        if isinstance(event, Click):
            items, takes = [index(event.item_id)], event.action is Action.ADD_TO_CART
            views = event.action is not Action.REMOVE_FROM_CART
        else:
            items, takes = list(map(index, event.item_ids)), True
            views = True
        shopper = self._shoppers.get(event.user_id)
        if shopper is not None:
            shopper.views += items if views else []
            shopper.takes += items if takes else []
        known = self._events_of.setdefault(event.user_id, [len(self._events_of) % SHOPPER_GROUPS, 0])
        if answered.query is not None and (self._sent is None or self._sent.covers(event.at)):
            self._ask(answered, known[1])
        if isinstance(event, Purchase):
            self._bought.append((self.events, event.user_id, items))
            self._household.bought.learn(event.user_id, items)
        if views:
            known[1] += 1
            for ranked in {self._popular, *self._baselines.values()}:
                ranked.update(items)

    def _ask(self, answered: Answered, events_before: int) -> None:
        """Open the window of the lists for an event."""
        query, config = answered.query, self._config
        assert query is not None  # noqa: S101 - checked by the caller
        self.triggers += 1
        get, count = self._engine.catalog.get, self._popular.count
        lists = [self._places(items) for items in answered.lists.values()]
        for name, baseline in self._baselines.items():
            started_s = self._clock()
            lists.append(baseline.suggest(query))
            self._spent_s[name] += self._clock() - started_s
        if self._sent is not None:
            lists.append(self._places(self._sent.take(answered.event) or ()))
            self._compare(lists)
        self.empty += not lists[0]
        shopper = self._shoppers.setdefault(answered.event.user_id, _Shopper())
        shopper.windows += 1
        known = [item for item in query.trigger if get(item) is not None]
        cold_item = all(count(item) < config.cold_item_events for item in query.trigger)
        cold_shopper = events_before < config.cold_shopper_events
        window = _Window(
            user_id=answered.event.user_id,
            at=answered.event.at,
            until=self._now_s + config.window_s,
            barred=frozenset(chain(query.trigger, query.visit.cart, query.visit.bought)),
            anchors=[*known, *(item for item in query.visit.cart if get(item) is not None)],
            may_upsell=query.action is not Action.PURCHASE and len(known) == len(query.trigger),
            cold=(COLD_ITEM,) * cold_item + (COLD_SHOPPER,) * cold_shopper,
            shown=list(map(parts_of, lists)),
            cold_items=[sum(count(place.item) < config.cold_item_events for place in places) for places in lists],
            order=self.events,
            stretch=(self.events - 1) // config.stretch_events,
            views=shopper.dropped_views + len(shopper.views),
            takes=shopper.dropped_takes + len(shopper.takes),
        )
        self._windows.append(window)
        if self._is_right is not None:
            self._judge(window, self._is_right)

    def _judge(self, window: _Window, is_right: IsRight) -> None:
        """Count the right items of all lists."""
        name = self._engine.items.name
        anchors = list(map(name, window.anchors))

        def judged(place: Place) -> bool:
            return is_right(KIND_NAMES[place.kind], anchors, name(place.item))

        group = self._events_of[window.user_id][0]
        for tally, shown in zip(self._tallies.values(), window.shown, strict=True):
            tally.judge(shown, judged, window.stretch, group)

    def _compare(self, lists: Sequence[list[Place]]) -> None:
        """Count how much of the sent list, the last one, each recommender shows as well."""
        sent = {(place.kind, place.item) for place in lists[-1]}
        self._items_sent += len(sent)
        for name, places in zip(self._engine.recommenders, lists, strict=False):
            self._same[name] += len(sent.intersection([(place.kind, place.item) for place in places]))

    def _places(self, items: Sequence[SuggestedItem]) -> list[Place]:
        index = self._engine.items.index
        return [
            Place(
                index(item["item_id"]),
                KIND_NAMES.index(item["kind"]),
                index(item["anchor"]),
                item["score"],
                any(reason["source"] in FALL_BACKS for reason in item["reasons"][:1]),
            )
            for item in items
        ]

    # -- a window that closes --------------------------------------------------------------------------------------

    def _close(self, window: _Window) -> None:
        self.counted += 1
        shopper = self._shoppers[window.user_id]
        taken, followed = (items - window.barred for items in shopper.after(window.views, window.takes))
        shopper.windows -= 1
        if not shopper.windows:
            del self._shoppers[window.user_id]
        while self._bought and self._bought[0][0] < window.order:
            self._before.learn(*self._bought.popleft()[1:])
        new, credits = self._before.new(window.user_id, taken), self._before.credits(window.user_id, taken)
        targets = self._targets(window, taken)
        outcome = ListOutcome(
            group=self._events_of[window.user_id][0],
            step=int(window.at // SHORTEST_STEP_S),
            stretch=window.stretch,
            may_upsell=window.may_upsell,
            cold=window.cold,
            items=(dict.fromkeys(taken, 1.0), dict.fromkeys(followed, 1.0), dict.fromkeys(new, 1.0), credits),
            targets=(
                targets,
                targets if followed == taken else self._targets(window, followed),
                targets if new == taken else self._targets(window, new),
                targets,
            ),
        )
        for tally, shown, cold_items in zip(self._tallies.values(), window.shown, window.cold_items, strict=True):
            tally.add(shown, cold_items, outcome)
        if self.methods[0] not in self._baselines:  # baselines have no scores
            self._calibration.add(window.shown[0][BOTH], outcome)

    def _targets(self, window: _Window, items: set[int]) -> tuple[int, int, int]:
        """How many of some items could have been in a list, by part."""
        if not items or not window.anchors:
            return 0, 0, 0
        anchors = [traits for item in window.anchors if (traits := self._traits_of(item)) is not None]
        categories = {anchor.category for anchor in anchors}
        cross_sells = upsells = 0
        for item in items:
            offer = self._traits_of(item)
            if offer is None:
                continue
            if offer.category not in categories:
                cross_sells += 1
            elif window.may_upsell:
                upsells += any(
                    offer.category == anchor.category
                    and offer.currency == anchor.currency
                    and anchor.price > 0
                    and is_upgrade(offer.price, offer.rating, anchor.price, anchor.rating, self._engine.policy)
                    for anchor in anchors
                )
        return cross_sells, upsells, cross_sells + upsells

    # -- figures ---------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """Figures as `evaluate prequential --json` writes them, shares in percent."""
        config, span_s = self._config, self.last_at - self.first_at
        step_s = next((step_s for step_s in STEPS_S if span_s <= MOST_STEPS * step_s), STEPS_S[-1])
        facts = self._engine.catalog.facts[: len(self._engine.items)]
        offered: list[int] = np.flatnonzero(facts["state"] == OFFERED).tolist()
        popularity = np.array(list(map(self._popular.count, offered)), np.int64)
        figures = {
            "events": self.events,
            "triggers": self.triggers,
            "nothing_to_suggest": self.empty,
            "lists": self.counted,
            "open": self.open,
            "shoppers": len(self._events_of),
            "window_s": config.window_s,
            "cold_item_events": config.cold_item_events,
            "cold_shopper_events": config.cold_shopper_events,
            "methods": {name: self._figures(name, tally, offered) for name, tally in self._tallies.items()},
            "curve": curve(self._tallies, step_s),
            "days": curve(self._tallies, STEPS_S[-1])["steps"],
            "exposure_by_decile": exposure_by_decile(self._tallies, offered, popularity),
            "calibration": self._calibration.as_json(),
        }
        if self._is_right is not None:
            figures["truth"] = truth_figures(self._tallies, config.stretch_events, self.events, config.seed)
        if self._sent is not None:
            shares = {name: percent(count, self._items_sent) for name, count in self._same.items()}
            figures["sent"] = {**self._sent.as_json(), "items": self._items_sent, "same_items": shares}
        return figures

    def _figures(self, name: str, tally: Tally, offered: list[int]) -> dict[str, Any]:
        """Figures of a method."""
        lists = list_figures(tally, offered, fall_backs=name not in self._baselines)
        revenue = {"revenue_per_1000_lists": lists["both"]["revenue_per_1000_lists"]}
        return slice_figures(tally, self._k, self._config.seed) | {"lists": lists} | revenue | self._seconds(name)

    def _seconds(self, name: str) -> dict[str, float]:
        """What a method would take alone: its lists, and what has to be learnt for them."""
        if name == SENT:
            return {}
        spent_s = self._spent_s.get(name)
        if spent_s is None:
            engine = self._engine
            spent_s = engine.spent_s[EVENTS] + engine.spent_s[name]
            if engine.predictor is not None and name in engine.predicting:
                spent_s += engine.spent_s[SEQUENCE]
        return {"seconds": round(spent_s, 2)}
