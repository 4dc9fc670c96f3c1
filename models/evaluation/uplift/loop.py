"""The closed loop of protocol E: shoppers go through the shop, answer the lists of one arm, and buy.

The events of the shoppers' own accord are given and the same in every arm. Lists only add to them:

* A shopper goes through a list from the top. Whether he looks at a place, and whether he likes an item, is drawn from
  `Answers`. He accepts at most one item of a list: the first that he looks at and likes. Two seconds later he acts.
* An accepted **cross-sell** goes into his cart. His next own order takes it along, once. If the order has an item of
  that category anyway, the accepted one takes its place, and only the price difference counts.
* An accepted **upsell** takes the place of its anchor in his cart and in his next own order. If he does not buy the
  anchor, nothing is gained.
* What he buys anyway, now or later, is bought when and as he would have bought it; accepting it changes no order.

No acceptance makes an order: carts that he leaves without a suggestion he leaves with one, too.

What is drawn depends on the seed, the shopper, and the item (whether he likes it) or the moment and the place (whether
he looks), and on nothing else. So arms differ only by what they show.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import inf
from typing import Protocol

from models.evaluation.prequential.protocol import PROGRESS_EVERY
from models.evaluation.prequential.replay import Event
from models.evaluation.uplift.arms import Arm, Shown, Suggestions
from models.shop.events import Action, CatalogItem, Click, Line, Profile, Purchase
from models.shop.kinds import CROSS_SELL, KIND_NAMES, UPSELL

ANSWER_S = 2.0
"""Seconds of event time from a list to the answer; of the shopper's own events, some come before it."""


class Answers(Protocol):
    """How likely shoppers answer lists."""

    def examination(self, place: int) -> float:
        """Probability that a shopper looks at a place of a list, counted from 0."""

    def acceptance(self, kind: str, anchors: Sequence[str], item_id: str) -> float:
        """Probability that a shopper likes an item that he looks at.

        An upsell's only anchor is the one that it would replace; a cross-sell's are the items of trigger and cart.
        """


@dataclass(slots=True)
class _Shopper:
    cart: set[str] = field(default_factory=set)
    added: list[str] = field(default_factory=list)  # accepted cross-sells that the next order takes along
    instead: dict[str, str] = field(default_factory=dict)  # accepted upsell by the item whose place it takes
    accepted: set[str] = field(default_factory=set)

    def final(self, item_id: str) -> str:
        """The item that takes the place of this one, or the item itself."""
        while item_id in self.instead:
            item_id = self.instead[item_id]
        return item_id


class Loop:
    """One pass of the shoppers through the shop.

    Args:
        events: of the shoppers' own accord, in time order.

    Attributes:
        revenue: by shopper, of all orders.
        gained: (kind, shopper) -> revenue that accepted items of the kind added.
        lists: number of lists with items.
        shown: number of items shown, by kind.
        accepted: number of items accepted, by kind.
    """

    def __init__(self, catalog: Iterable[CatalogItem], events: Sequence[Event], answers: Answers, seed: int) -> None:
        self._items = {item.item_id: item for item in catalog}
        self._events, self._answers, self._seed = events, answers, seed
        self._shoppers = defaultdict[str, _Shopper](_Shopper)
        self._last_bought: dict[tuple[str, str], float] = {}  # (shopper, item): time of the last own order of it
        for event in events:
            if isinstance(event, Purchase):
                self._last_bought.update(((event.user_id, item_id), event.at) for item_id in event.item_ids)
        self._waiting: list[tuple[float, int, str, Shown]] = []  # answers, a heap: time, number, shopper, item
        self.revenue: defaultdict[str, float] = defaultdict(float)
        self.gained: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.lists = 0
        self.shown: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    def run(self, arm: Arm, progress: Callable[[int], None] = lambda _: None) -> None:
        """Go through all events with the lists of an arm, once; `progress` gets the number of own events done."""
        for number, event in enumerate(self._events):
            while self._waiting and self._waiting[0][0] <= event.at:
                at, _, user_id, item = heapq.heappop(self._waiting)
                for click in self._clicks(at, user_id, item):
                    self._happen(arm, click)
            self._happen(arm, self._changed(event))
            if number % PROGRESS_EVERY == 0:
                progress(number)

    @property
    def shoppers(self) -> list[str]:
        """Shoppers with events so far, in order."""
        return sorted(self._shoppers)

    # -- events ----------------------------------------------------------------------------------------------------

    def _happen(self, arm: Arm, event: Event) -> None:
        """Let an event take effect, and show its shopper a list."""
        shopper = self._shoppers[event.user_id]
        if isinstance(event, Purchase):
            self.revenue[event.user_id] += sum(line.quantity * self._price(line) for line in event.lines)
            shopper.cart.clear()
        elif isinstance(event, Click) and event.action is Action.ADD_TO_CART:
            shopper.cart.add(event.item_id)
        elif isinstance(event, Click) and event.action is Action.REMOVE_FROM_CART:
            shopper.cart.discard(event.item_id)
        suggestions = arm.suggest(event)
        if suggestions.items:
            self._show(event, suggestions)

    def _changed(self, event: Event) -> Event:
        """An event of the shopper's own accord, after what he has accepted."""
        if isinstance(event, Profile):
            return event
        shopper = self._shoppers[event.user_id]
        if isinstance(event, Purchase):
            return self._order(event, shopper)
        if event.action in (Action.ADD_TO_CART, Action.REMOVE_FROM_CART):
            return replace(event, item_id=shopper.final(event.item_id))
        return event

    def _order(self, order: Purchase, shopper: _Shopper) -> Purchase:
        """An own order with what was accepted before it."""
        added = list(shopper.added)
        lines = []
        for line in order.lines:
            taking = next(
                (item_id for item_id in added if self._category(item_id) == self._category(line.item_id)), None
            )
            if taking is None:
                lines.append(self._upgraded(order.user_id, line))
            else:
                added.remove(taking)
                lines.append(self._taken_along(order.user_id, taking, line.quantity, self._price(line)))
        lines += [self._taken_along(order.user_id, item_id, 1.0, 0.0) for item_id in added]
        shopper.added.clear()
        shopper.instead.clear()
        return replace(order, lines=tuple(lines))

    def _taken_along(self, user_id: str, item_id: str, quantity: float, instead_of: float) -> Line:
        """A line with an accepted cross-sell; `instead_of`: the price of what it displaces."""
        price = self._items[item_id].price
        self.gained[KIND_NAMES[CROSS_SELL], user_id] += quantity * (price - instead_of)
        return self._upgraded(user_id, Line(item_id, quantity, price))

    def _upgraded(self, user_id: str, line: Line) -> Line:
        """A line, or one with the accepted upsell in its place."""
        final = self._shoppers[user_id].final(line.item_id)
        if final == line.item_id:
            return line
        upgraded = Line(final, line.quantity, self._items[final].price)
        self.gained[KIND_NAMES[UPSELL], user_id] += line.quantity * (self._price(upgraded) - self._price(line))
        return upgraded

    def _category(self, item_id: str) -> str | None:
        offer = self._items.get(item_id)
        return None if offer is None else offer.category

    def _price(self, line: Line) -> float:
        offer = self._items.get(line.item_id)
        return line.price if line.price is not None else offer.price if offer is not None else 0.0

    # -- answers ---------------------------------------------------------------------------------------------------

    def _show(self, event: Event, suggestions: Suggestions) -> None:
        """Show a list, and let its shopper choose."""
        shopper, user_id, answers = self._shoppers[event.user_id], event.user_id, self._answers
        self.lists += 1
        self.shown.update(item.kind for item in suggestions.items)
        for place, item in enumerate(suggestions.items):
            anchors = [item.anchor] if item.kind == KIND_NAMES[UPSELL] else suggestions.anchors
            if (
                item.item_id not in shopper.accepted
                and self._drawn("look", user_id, event.at, place) < answers.examination(place)
                and self._drawn("like", user_id, item.item_id) < answers.acceptance(item.kind, anchors, item.item_id)
            ):
                shopper.accepted.add(item.item_id)
                self.accepted[item.kind] += 1
                heapq.heappush(self._waiting, (event.at + ANSWER_S, self.lists, user_id, item))
                return

    def _clicks(self, at: float, user_id: str, item: Shown) -> list[Click]:
        """What a shopper does who has accepted an item, with its effect on the next order."""
        shopper = self._shoppers[user_id]
        buys_anyway = self._last_bought.get((user_id, item.item_id), -inf) >= at
        if item.kind == KIND_NAMES[CROSS_SELL]:
            if not buys_anyway:
                shopper.added.append(item.item_id)
            return [Click(user_id, item.item_id, Action.ADD_TO_CART, at)]
        replaced = shopper.final(item.anchor)
        if buys_anyway or self._items[item.item_id].price <= self._items[replaced].price:
            return [Click(user_id, item.item_id, Action.CLICK, at)]
        shopper.instead[replaced] = item.item_id
        if replaced not in shopper.cart:
            return [Click(user_id, item.item_id, Action.CLICK, at)]
        return [
            Click(user_id, item.item_id, Action.ADD_TO_CART, at),
            Click(user_id, replaced, Action.REMOVE_FROM_CART, at),
        ]

    def _drawn(self, *key: object) -> float:
        """A number of [0, 1) that is the same for the same key and seed."""
        digest = blake2b(repr((self._seed, *key)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
