"""Protocol D: the recommender driven over a stream of events as it happened: suggest, score, then learn.

Every event that the policy answers gets a list, from each recommender and each baseline, at that moment. A list is
scored by what its shopper does next, within a window of event time that begins behind the event:

* an item is **taken** if it is put into the cart or bought;
* it is **followed** if it is looked at or taken.

A list counts once its window has closed. Those whose windows are open when the stream ends are told apart and do not
count: of them nobody knows. Targets of a list are the items that its shopper took (or followed) and that the promises
would have let in: in the catalogue, not in the trigger, the cart or bought lately, and of another category than all
anchors (cross-sell), or dearer than one of its category by a step that is allowed, of its currency and rated no lower
(upsell). Figures are those of `models.evaluation.lists`; intervals draw whole shoppers.

Lists that running workers sent for the same events can stand beside the others: then only events between the earliest
and the latest of those get lists, of all methods, and the rest is learnt from. Where none was sent, shoppers saw none,
and it counts as an empty one.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.lists import (
    ALL,
    FIGURES,
    MEAN_OVER,
    WITH_ITEMS,
    WITH_TARGETS,
    Place,
    coverage,
    decile_shares,
    diversity,
    gains,
    gini,
)
from models.evaluation.prequential.baselines import AtRandom, MostPopular
from models.evaluation.prequential.replay import EVENTS, SEQUENCE, Answered, Engine, Event, Ranking
from models.evaluation.prequential.sent import SentLists
from models.evaluation.ranks import intervals_of_sums
from models.serving.recommender import RecommenderConfig, SuggestedItem
from models.shop.catalog import OFFERED
from models.shop.events import Action, Click, Purchase
from models.shop.kinds import CROSS_SELL, UPSELL

OURS, POPULARITY, RANDOM, SENT = "crosscurrent", "popularity", "random", "sent"

RANKINGS = {
    OURS: Ranking(uses_sequence=True, uses_ranker=True),
    "fixed-weights": Ranking(uses_sequence=True),
    "counting": Ranking(),
    "sequence": Ranking(
        RecommenderConfig(cross_viewed=0.0, cross_bought=0.0, cross_joined=0.0, upsell_viewed=0.0, upsell_joined=0.0),
        uses_sequence=True,
    ),
}
"""Ours: what a worker sends; the same without an order learnt from outcomes; without the sequence model as well; with
nothing of what is counted but its fall-backs."""

METHODS = (*RANKINGS, POPULARITY, RANDOM)
"""Those that need nothing but the log; SENT comes behind them where there are lists."""

OUTCOMES = ("taken", "followed")

LIST_KINDS = ("cross-sell", "upsell", "both")
_BOTH = 2

SLICES = (*LIST_KINDS, "cold item", "cold shopper")
"""What figures are told of: the places of a kind, or all places, also of those lists only whose trigger is cold (all
of its items are) or whose shopper is."""

_COLD_ITEM, _COLD_SHOPPER = 3, 4

SAID = 200
"""Events after which somebody is told: drawing a progress bar for each would cost as much as scoring it."""

SHOPPER_GROUPS = 10_000
"""Shoppers are drawn in so many groups at most: bounds memory, and changes no interval that one could see."""

STEPS_S = (600, 3_600, 86_400)
"""Steps of the curve along the stream, in seconds; lists are counted by the shortest."""

MOST_STEPS = 100
"""The curve has the shortest steps of which there are no more: more cannot be told apart in a plot."""

FALL_BACKS = ("content", "popularity")
"""Sources of reasons without evidence about the visit."""

_COLUMNS = len(FIGURES) + 3
"""Sums that are kept: of each figure, and the lists that each may be a mean over."""

_SUMS = len(SLICES) * len(OUTCOMES) * _COLUMNS
"""... of each slice, outcome by outcome."""


@dataclass(frozen=True)
class PrequentialConfig:
    """How lists are scored."""

    window_s: float = 86_400.0
    """Event time that a shopper has to take an item: a day, since many a basket is filled in the evening with what was
    looked at in the morning, and after a day it has other causes."""
    cold_item_events: int = 5
    """An item is cold before so many events of it: fewer say little about its neighbours."""
    cold_shopper_events: int = 3
    """A shopper is cold with fewer events before than this: a visit of one or two looks."""
    seed: int = 1
    """Of the baseline at random, and of the intervals."""


class _Traits(NamedTuple):
    """What is asked of an item of the catalogue again and again."""

    category: str
    """As far as the policy compares."""
    brand: Hashable
    """No brand is like no other."""
    price: float
    rating: float | None
    currency: str | None


Kinds = tuple[list[Place], list[Place], list[Place]]
"""A list by LIST_KINDS: its cross-sells, its upsells, all of it; each best first."""


@dataclass(slots=True)
class _List:
    """Lists of all methods for one event, while its window is open."""

    user_id: str
    at: float
    until: float
    barred: frozenset[int]
    anchors: list[int]
    may_upsell: bool
    cold_item: bool
    cold_shopper: bool
    shown: list[Kinds]  # by method
    looks: int  # number of the shopper's first event behind it
    takes: int
    cold: list[int]  # by method: shown items that were cold


class _Shopper:
    """What a shopper does, as far as windows are open on it."""

    __slots__ = ("looks", "looks_gone", "open", "takes", "takes_gone")

    def __init__(self) -> None:
        self.open = 0
        self.looks: list[int] = []
        self.takes: list[int] = []
        self.looks_gone = self.takes_gone = 0  # events that were before the lists

    def after(self, looks: int, takes: int) -> tuple[set[int], set[int]]:
        """Items followed and taken since an event; what was before it is not asked for again."""
        looks -= self.looks_gone
        takes -= self.takes_gone
        found = set(self.looks[looks:]), set(self.takes[takes:])
        if 2 * looks > len(self.looks) or 2 * takes > len(self.takes):
            del self.looks[:looks], self.takes[:takes]
            self.looks_gone += looks
            self.takes_gone += takes
        return found


class _Tally:
    """What the lists of one method add up to. Python's own numbers: lists come one by one."""

    def __init__(self) -> None:
        self.sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0] * _SUMS)  # by group of shoppers
        # by shortest step: of each kind the lists, those with an item taken, those with one followed
        self.curve: defaultdict[int, list[int]] = defaultdict(lambda: [0] * 3 * len(LIST_KINDS))
        self.exposure: tuple[Counter[int], Counter[int]] = (Counter(), Counter())  # of items, by kind
        self.items = [[0, 0, 0] for _ in LIST_KINDS]  # shown, of which fallen back, of which taken
        self.unlike = [
            [0.0, 0.0, 0.0] for _ in LIST_KINDS
        ]  # lists of two items or more, diversity by category, by brand
        self.steps = [[0.0, 0.0], [0.0, 0.0]]  # of upsells shown and taken: how many, sum of steps in price
        self.cold = 0  # cold items shown


class Prequential:
    """Scores an engine's recommenders and the baselines over a stream.

    Args:
        engine: with its catalogue filled.
        config: how lists are scored.
        baselines: which of POPULARITY and RANDOM there are.
        sent: what running workers sent for the same events.
        clock: the engine's.

    Attributes:
        methods: names of all there are, the engine's first.
    """

    def __init__(
        self,
        engine: Engine,
        config: PrequentialConfig,
        baselines: Collection[str] = (POPULARITY, RANDOM),
        sent: SentLists | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._engine = engine
        self._config = config
        self._sent, self._clock = sent, clock
        policy = engine.policy
        self._popular = MostPopular(engine.items, engine.catalog, policy)
        ranked = {
            POPULARITY: self._popular,
            RANDOM: AtRandom(engine.items, engine.catalog, policy, config.seed),
        }
        self._baselines = {name: baseline for name, baseline in ranked.items() if name in baselines}
        self.methods = (*engine.recommenders, *self._baselines, *([SENT] if sent is not None else []))
        self._k = (policy.max_cross_sell, policy.max_upsell, policy.max_items)
        self._min_step, self._max_step, self._depth = policy.min_step, policy.max_step, policy.category_depth
        self._now_s = -math.inf
        self._lists: deque[_List] = deque()
        self._shoppers: dict[str, _Shopper] = {}
        self._events_of: dict[str, list[int]] = {}  # shopper: group, events so far
        self._tallies = {name: _Tally() for name in self.methods}
        self._spent_s = dict.fromkeys(self._baselines, 0.0)
        self._scores: defaultdict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0] * 4)
        self._traits: dict[int, _Traits] = {}
        self._items_sent, self._same = 0, dict.fromkeys(engine.recommenders, 0)  # items sent; by name, shown as well
        self.events = self.triggers = self.counted = self.empty = 0
        self.first_at, self.last_at = math.inf, -math.inf

    @property
    def open(self) -> int:
        """Lists whose windows are open."""
        return len(self._lists)

    def run(self, events: Iterable[Event], say: Callable[[int], None] = lambda _: None) -> None:
        """Go through a stream once.

        Args:
            events: in time order.
            say: told now and then how many events have gone by.
        """
        for answered in self._engine.run(events):
            self._update(answered)
            if self.events % SAID == 0:
                say(self.events)

    # -- an event --------------------------------------------------------------------------------------------------

    def _update(self, answered: Answered) -> None:
        event = answered.event
        self.events += 1
        self.first_at, self.last_at = min(self.first_at, event.at), max(self.last_at, event.at)
        self._now_s = max(self._now_s, event.at)
        while self._lists and self._lists[0].until < self._now_s:
            self._close(self._lists.popleft())
        if not answered.applied or not isinstance(event, Click | Purchase):
            return
        index = self._engine.items.index
        if isinstance(event, Click):
            items, took = [index(event.item_id)], event.action is Action.ADD_TO_CART
        else:
            items, took = list(dict.fromkeys(index(line.item_id) for line in event.lines)), True
        looked = took or event.action is not Action.REMOVE_FROM_CART  # type: ignore[union-attr]
        shopper = self._shoppers.get(event.user_id)
        if shopper is not None and looked:
            shopper.looks += items
            if took:
                shopper.takes += items
        known = self._events_of.setdefault(event.user_id, [len(self._events_of) % SHOPPER_GROUPS, 0])
        if answered.query is not None and (self._sent is None or self._sent.covers(event.at)):
            self._ask(answered, known[1])
        if looked:
            known[1] += 1
            self._popular.update(items)
            if RANDOM in self._baselines:
                self._baselines[RANDOM].update(items)

    def _ask(self, answered: Answered, events_before: int) -> None:
        """Open the window of the lists for an event."""
        query, config = answered.query, self._config
        assert query is not None  # noqa: S101 - who calls has looked
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
        shopper = self._shoppers.get(answered.event.user_id)
        if shopper is None:
            shopper = self._shoppers[answered.event.user_id] = _Shopper()
        shopper.open += 1
        known = [item for item in query.trigger if get(item) is not None]
        self._lists.append(
            _List(
                user_id=answered.event.user_id,
                at=answered.event.at,
                until=self._now_s + config.window_s,
                barred=frozenset(chain(query.trigger, query.visit.cart, query.visit.bought)),
                anchors=[*known, *(item for item in query.visit.cart if get(item) is not None)],
                may_upsell=query.action is not Action.PURCHASE and len(known) == len(query.trigger),
                cold_item=all(count(item) < config.cold_item_events for item in query.trigger),
                cold_shopper=events_before < config.cold_shopper_events,
                shown=list(map(_by_kind, lists)),
                looks=shopper.looks_gone + len(shopper.looks),
                takes=shopper.takes_gone + len(shopper.takes),
                cold=[sum(count(one.item) < config.cold_item_events for one in places) for places in lists],
            )
        )

    def _compare(self, lists: Sequence[list[Place]]) -> None:
        """Note how much of what was sent, the last list, each recommender of the engine shows as well."""
        sent = {(one.kind, one.item) for one in lists[-1]}
        self._items_sent += len(sent)
        for name, places in zip(self._engine.recommenders, lists, strict=False):
            self._same[name] += len(sent.intersection([(one.kind, one.item) for one in places]))

    def _places(self, items: Sequence[SuggestedItem]) -> list[Place]:
        index = self._engine.items.index
        return [
            Place(
                index(item["item_id"]),
                UPSELL if item["kind"] == "upsell" else CROSS_SELL,
                index(item["anchor"]),
                item["score"],
                any(reason["source"] in FALL_BACKS for reason in item["reasons"][:1]),
            )
            for item in items
        ]

    # -- a window that closes --------------------------------------------------------------------------------------

    def _close(self, one: _List) -> None:
        self.counted += 1
        shopper = self._shoppers[one.user_id]
        found = shopper.after(one.looks, one.takes)
        shopper.open -= 1
        if not shopper.open:
            del self._shoppers[one.user_id]
        followed, taken = found[0] - one.barred, found[1] - one.barred
        outcomes = (taken, followed)
        of_taken = self._targets(one, taken)
        targets = (of_taken, of_taken if followed == taken else self._targets(one, followed))
        group = self._events_of[one.user_id][0]
        step = int(one.at // STEPS_S[0])
        for tally, shown, cold in zip(self._tallies.values(), one.shown, one.cold, strict=True):
            tally.cold += cold
            self._score(tally, shown, one, outcomes, targets, tally.sums[group], tally.curve[step])
            self._describe(tally, shown, taken)
        for place in one.shown[0][_BOTH] if self.methods[0] not in self._baselines else ():
            # scores are counted by powers of two, and by kind
            found_score = self._scores[place.kind - 1, math.frexp(place.score)[1]]
            found_score[0] += 1
            found_score[1] += place.score
            found_score[2] += place.item in taken
            found_score[3] += place.item in followed

    def _targets(self, one: _List, outcome: set[int]) -> tuple[int, int, int]:
        """How many of what was taken could have been in the list, by kind."""
        if not outcome or not one.anchors:
            return 0, 0, 0
        anchors = [self._traits_of(item) for item in one.anchors]
        categories = {anchor.category for anchor in anchors if anchor is not None}
        cross = up = 0
        for item in outcome:
            offer = self._traits_of(item)
            if offer is None:
                continue
            if offer.category not in categories:
                cross += 1
            elif one.may_upsell:
                up += any(self._steps_up(offer, anchor) for anchor in anchors if anchor is not None)
        return cross, up, cross + up

    def _steps_up(self, offer: _Traits, anchor: _Traits) -> bool:
        if offer.category != anchor.category or offer.currency != anchor.currency or not anchor.price > 0:
            return False
        if offer.rating is not None and anchor.rating is not None and offer.rating < anchor.rating:
            return False
        return anchor.price * (1 + self._min_step) <= offer.price <= anchor.price * (1 + self._max_step)

    def _score(
        self,
        tally: _Tally,
        shown: Kinds,
        one: _List,
        outcomes: tuple[set[int], set[int]],
        targets: tuple[tuple[int, int, int], tuple[int, int, int]],
        sums: list[float],
        step: list[int],
    ) -> None:
        """Add the hits of a list to what its method's lists add up to."""
        for kind, places in enumerate(shown):
            if kind == UPSELL - 1 and not one.may_upsell:
                continue
            slices = [kind]
            if kind == _BOTH:
                slices += [_COLD_ITEM] * one.cold_item + [_COLD_SHOPPER] * one.cold_shopper
            step[3 * kind] += 1
            for number, outcome in enumerate(outcomes):
                wanted = targets[number][kind]
                hits = [place.item in outcome for place in places] if wanted else ()
                gained = gains(hits, wanted, self._k[kind]) if any(hits) else ()
                for which in slices:
                    first = (which * len(OUTCOMES) + number) * _COLUMNS
                    sums[first + len(FIGURES) + ALL] += 1
                    if places:
                        sums[first + len(FIGURES) + WITH_ITEMS] += 1
                    if wanted:
                        sums[first + len(FIGURES) + WITH_TARGETS] += 1
                    for figure, gain in enumerate(gained, first):
                        sums[figure] += gain
                if gained:
                    step[3 * kind + 1 + number] += 1
                    if number == 0:
                        tally.items[kind][2] += sum(hits)

    def _describe(self, tally: _Tally, shown: Kinds, taken: set[int]) -> None:
        """Add what a list is like, whoever takes it."""
        traits_of = self._traits_of
        for kind, places in enumerate(shown):
            items, unlike = tally.items[kind], tally.unlike[kind]
            items[0] += len(places)
            items[1] += sum([place.falls_back for place in places])
            if len(places) > 1:
                traits = [found for place in places if (found := traits_of(place.item)) is not None]
                unlike[0] += 1
                unlike[1] += diversity([one.category for one in traits])
                unlike[2] += diversity([one.brand for one in traits])
            if kind != _BOTH:
                tally.exposure[kind].update([place.item for place in places])
        for place in shown[UPSELL - 1]:
            offer, anchor = traits_of(place.item), traits_of(place.anchor)
            if offer is not None and anchor is not None:
                for steps in tally.steps[: 1 + (place.item in taken)]:
                    steps[0] += 1
                    steps[1] += offer.price / anchor.price - 1

    def _traits_of(self, item: int) -> _Traits | None:
        """Of an item, None if the catalogue does not have it. The catalogue does not change within a stream."""
        found = self._traits.get(item)
        if found is None:
            offer = self._engine.catalog.get(item)
            if offer is None:
                return None
            category = "/".join(offer.category.split("/")[: self._depth]) if self._depth else offer.category
            brand = item if offer.brand is None else offer.brand
            found = self._traits[item] = _Traits(category, brand, offer.price, offer.rating, offer.currency)
        return found

    # -- figures ---------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """Figures as `evaluate prequential --json` writes them, shares in percent."""
        popularity, span_s = self._popularity(), self.last_at - self.first_at
        return {
            "events": self.events,
            "triggers": self.triggers,
            "nothing_to_suggest": self.empty,
            "lists": self.counted,
            "open": self.open,
            "shoppers": len(self._events_of),
            "window_s": self._config.window_s,
            "cold_item_events": self._config.cold_item_events,
            "cold_shopper_events": self._config.cold_shopper_events,
            "methods": {
                name: self._figures(tally) | {"lists": self._lists_figures(name, tally)} | self._seconds(name)
                for name, tally in self._tallies.items()
            },
            "curve": self._curve(next((step_s for step_s in STEPS_S if span_s <= MOST_STEPS * step_s), STEPS_S[-1])),
            "days": self._curve(STEPS_S[-1])["steps"],
            "exposure_by_decile": {
                "events": _percents(decile_shares(popularity, popularity)),
                **{
                    name: _percents(decile_shares(self._exposure(tally, _BOTH), popularity))
                    for name, tally in self._tallies.items()
                },
            },
            "calibration": self._calibration(),
        } | ({"sent": self._sent_figures(self._sent)} if self._sent is not None else {})

    def _sent_figures(self, sent: SentLists) -> dict[str, Any]:
        """How far what was sent agrees with the log, and with what the engine's recommenders show."""
        shares = {name: _percent(count, self._items_sent) for name, count in self._same.items()}
        return {**sent.as_json(), "items": self._items_sent, "same_items": shares}

    def _seconds(self, name: str) -> dict[str, float]:
        """What a method would take alone: its lists, and what has to be learnt for them."""
        if name == SENT:
            return {}
        spent_s = self._spent_s.get(name)
        if spent_s is None:
            engine = self._engine
            spent_s = engine.spent_s[EVENTS] + engine.spent_s[name]
            if engine.recommenders[name].predictor is not None:
                spent_s += engine.spent_s[SEQUENCE]
        return {"seconds": round(spent_s, 2)}

    def _figures(self, tally: _Tally) -> dict[str, Any]:
        """Figures and intervals of a method, by slice and outcome."""
        table = np.array(list(tally.sums.values()), np.float64).reshape(-1, len(SLICES), len(OUTCOMES), _COLUMNS)
        names = [(row, number) for row in range(len(SLICES)) for number in range(len(OUTCOMES))]
        tables = [table[:, row, number] for row, number in names]
        sums = np.concatenate([table[:, : len(FIGURES)] for table in tables], axis=1)
        sizes = np.concatenate([table[:, [len(FIGURES) + over for over in MEAN_OVER]] for table in tables], axis=1)
        found: dict[str, Any] = {}
        intervals = iter(
            intervals_of_sums(sums, sizes, self._config.seed) if self.counted else [_NOWHERE] * len(sums.T)
        )
        for (row, number), table in zip(names, tables, strict=True):
            total = table.sum(axis=0)
            k = self._k[min(row, _BOTH)]
            n = total[len(FIGURES) :]
            percents = {
                f"{figure}@{k}": _percent(total[place], n[over])
                for place, (figure, over) in enumerate(zip(FIGURES, MEAN_OVER, strict=True))
            }
            found[f"{SLICES[row]}, {OUTCOMES[number]}"] = (
                percents
                | {"n": int(n[ALL]), "with_items": int(n[WITH_ITEMS]), "with_targets": int(n[WITH_TARGETS])}
                | {"interval": {name: [_number(end) for end in next(intervals)] for name in percents}}
            )
        return found

    def _lists_figures(self, name: str, tally: _Tally) -> dict[str, Any]:
        """What a method's lists are like, by kind."""
        found: dict[str, Any] = {}
        for kind, title in enumerate(LIST_KINDS):
            exposure = self._exposure(tally, kind)
            items, fallen_back, hit = tally.items[kind]
            lists, by_category, by_brand = tally.unlike[kind]
            found[title] = {
                "items": items,
                "taken": hit,
                "coverage": _percent(coverage(exposure), 1),
                "gini": _number(round(gini(exposure), 4)) if len(exposure) else None,
                "diversity_category": _percent(by_category, lists),
                "diversity_brand": _percent(by_brand, lists),
            }
            if name not in self._baselines:
                found[title]["fall_backs"] = _percent(fallen_back, items)
        (shown, steps), (taken, steps_taken) = tally.steps
        found["upsell"] |= {"price_step": _percent(steps, shown), "price_step_taken": _percent(steps_taken, taken)}
        found["both"]["cold_items"] = _percent(tally.cold, tally.items[_BOTH][0])
        return found

    def _offered(self) -> list[int]:
        facts = self._engine.catalog.facts[: len(self._engine.items)]
        offered: list[int] = np.flatnonzero(facts["state"] == OFFERED).tolist()
        return offered

    def _exposure(self, tally: _Tally, kind: int) -> NDArray[np.int64]:
        """How often each offered item was shown."""
        kinds = tally.exposure if kind == _BOTH else tally.exposure[kind : kind + 1]
        return np.array([sum(shown[item] for shown in kinds) for item in self._offered()], np.int64)

    def _popularity(self) -> NDArray[np.int64]:
        """Events of each offered item."""
        return np.array(list(map(self._popular.count, self._offered())), np.int64)

    def _curve(self, step_s: int) -> dict[str, Any]:
        """Lists and hit rates by step, of each method and kind."""
        steps: dict[int, list[list[int]]] = {}
        for number, tally in enumerate(self._tallies.values()):
            for shortest, counts in tally.curve.items():
                step = shortest * STEPS_S[0] // step_s
                of_methods = steps.setdefault(step, [[0] * len(counts) for _ in self.methods])
                of_methods[number] = [a + b for a, b in zip(of_methods[number], counts, strict=True)]
        return {
            "step_s": step_s,
            "steps": [
                {
                    "at": step * step_s,
                    "methods": {
                        name: {
                            kind: {"n": found[3 * place]}
                            | {
                                f"hr {outcome}": _percent(found[3 * place + 1 + number], found[3 * place])
                                for number, outcome in enumerate(OUTCOMES)
                            }
                            for place, kind in enumerate(LIST_KINDS)
                        }
                        for name, found in zip(self.methods, of_methods, strict=True)
                    },
                }
                for step, of_methods in sorted(steps.items())
            ],
        }

    def _calibration(self) -> dict[str, list[dict[str, float | int | None]]]:
        """Scores of the first method against the shares that were taken and followed, by kind, lowest scores first.

        Empty where it has none.
        """
        found: dict[str, list[dict[str, float | int | None]]] = {kind: [] for kind in LIST_KINDS[:_BOTH]}
        for (kind, _), (n, scores, taken, followed) in sorted(self._scores.items()):
            found[LIST_KINDS[kind]].append(
                {"score": scores / n, "n": int(n), "taken": _percent(taken, n), "followed": _percent(followed, n)}
            )
        return found


_NOWHERE = (math.nan, math.nan)


def _by_kind(places: list[Place]) -> Kinds:
    cross_sells = [place for place in places if place.kind == CROSS_SELL]
    return cross_sells, [place for place in places if place.kind == UPSELL], places


def _percent(total: float, of: float) -> float | None:
    return _number(round(100.0 * float(total) / float(of), 3)) if of else None


def _percents(shares: list[float]) -> list[float | None]:
    return [_number(round(100.0 * share, 3)) for share in shares]


def _number(value: float) -> float | None:
    """A number as JSON has it."""
    return float(value) if math.isfinite(value) else None
