"""Shoppers' state: what each has looked at, put into his cart and bought of late, as a function of the recent log.

[`Visits`][] belongs to one partition of shoppers. Events of a topic are applied in the order of its log; how the two
topics interleave makes no difference to what is counted:

* viewed-with pairs are made by clicks from the clicks before them;
* bought-with pairs are made by a purchase from its own lines;
* viewed-then-bought pairs are a join of both, made when every click is known that was appended up to
  `join_grace_s` after the purchase;
* carts are settled by event time.

What is remembered is the end of the log: it is left behind by append time, or by number in the order of the log, and
never because of what else happened to be in memory. So reading the log again from the memory's horizon gives the same
state as having run all along.

How much later than the clicks of its append time a purchase may be applied and still find the same looks before it:
`margin_s` (append time), and [`KEPT_WINDOWS`][] windows of later looks of the same shopper. It may be any time earlier.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import log2
from operator import itemgetter
from typing import NamedTuple

from models.sessions.baskets import Baskets
from models.sessions.carts import Cart
from models.sessions.looks import Look, Looks
from models.sessions.repeats import Repeats
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH, Action, Click, Purchase
from models.shop.items import Items

Pair = tuple[int, int, int, float]
"""(a, b, kind, weight): the row of item a gains weight for its neighbour b. a == b is the item's own count; b == TOTAL
is a basket's share of the total, counted where item a is."""

TOTAL = -1

ACTION_CODES = {Action.VIEW: 0, Action.CLICK: 1, Action.ADD_TO_CART: 2}
"""Actions that count as looking at an item, as numbers."""

KEPT_WINDOWS = 3
"""The last so many windows of looks are what a window, or the looks before a purchase, is made of: more than one, since
late looks take a place in the log and none in the window. As many again are kept for purchases applied late."""

_NEVER = float("-inf")

_at = itemgetter(0)


@dataclass(frozen=True)
class VisitConfig:
    """What a visit is, and what its pairs weigh."""

    items: int = 20
    """Longest window of looks. Longer ones add pairs that weigh little (20^-0.7 is 0.12) and cost linearly."""
    window_s: float = 3600.0
    """A look this much older (event time) than the newest has left the window: half an hour of silence ends a visit in
    web analytics; twice that, since a window slides."""
    pair_reach: int = 10
    """How many looks back a viewed-with pair reaches; bounds the pairs of one event to twice that, both ways."""
    max_pair_items: int = 50
    """A basket is cut to this many distinct items, the first in line order, so that an event's work is bounded."""
    click_memory_s: float = 2 * 86_400.0
    """Append time. A take-over reads that many seconds of clicks. A look or a change of the cart lives three quarters
    of it, an `event_id` the last quarter: what an old click meant depends on whether it was a repeat."""
    purchase_memory_s: float = 35 * 86_400.0
    """Append and event time. Has to exceed the policy's `bought_days`; a take-over reads that many seconds of them."""
    join_grace_s: float = 2.0
    """A look appended up to this long after a purchase, but with an event time before it, was before it: the two
    topics' producers and fetches differ by less."""
    distance_exponent: float = 0.7
    """A pair d looks apart weighs d to the minus this; measured best among 0.5 to 1.0 on public next-item data."""
    backward_weight: float = 0.7
    """What the pair against the order of looking weighs, relative to the one along it."""

    @property
    def margin_s(self) -> float:
        """Append time that event ids are remembered, and that a purchase may be applied late: half a day of two."""
        return self.click_memory_s / 4

    @property
    def look_memory_s(self) -> float:
        """Append time that looks and carts are remembered; within it, the log read again says which were repeats."""
        return self.click_memory_s - self.margin_s

    @property
    def join_memory_s(self) -> float:
        """Append time that a join reaches back from its purchase: less, so that a purchase may be late."""
        return self.look_memory_s - self.margin_s

    @property
    def order_memory_s(self) -> float:
        """Append time that order ids are remembered: less than purchases, since one read again may still be waiting."""
        return self.purchase_memory_s - min(self.margin_s, self.purchase_memory_s / 4)

    @property
    def emptying_s(self) -> float:
        """Append time that a purchase goes on emptying the cart of what was put there before, but comes late.

        As long as the log read again holds the purchase of anything that it holds of the cart.
        """
        return max(self.margin_s, self.purchase_memory_s - self.click_memory_s)


class EventStatus(Enum):
    """What became of an event."""

    APPLIED = "applied"
    REPEATED = "repeated"
    FORGOTTEN = "forgotten"


@dataclass(slots=True)
class Visit:
    """What a shopper is about, at one moment."""

    items: list[int]
    """Looked at within the window, newest first, each once."""
    ages_s: list[float]
    """How long ago."""
    actions: list[int]
    """0 view, 1 click, 2 add to cart."""
    cart: list[int]
    """By when they were added."""
    bought: list[int]
    """Within the time asked for, each once."""


class Window(NamedTuple):
    """Looks of a shopper one after the other, those at the same item again included."""

    items: list[int]
    actions: list[int]
    """0 view, 1 click, 2 add to cart."""
    ats: list[float]
    """Event times, ascending epoch seconds."""


@dataclass(slots=True)
class _Join:
    """A purchase whose looks may still be on their way."""

    offset: int
    at: float
    appended_s: float
    user_id: str
    bought: tuple[int, ...]
    weight: float


class _Shopper:
    __slots__ = ("baskets", "bought_s", "cart", "clicked_s", "events", "looks", "orders")

    def __init__(self) -> None:
        self.clicked_s = self.bought_s = _NEVER  # append times of the last of each
        self.looks = Looks()
        self.baskets = Baskets()
        self.cart: Cart | None = None
        self.events: Repeats | None = None
        self.orders: Repeats | None = None


class Visits:
    """Visits, carts and recent purchases of the shoppers of one partition.

    Args:
        items: numbers the items.
        config: what a visit is.

    >>> items, at = Items(), 1e9
    >>> visits = Visits(items, VisitConfig())
    >>> for offset, item in enumerate(["kettle", "mug"]):
    ...     verdict, pairs = visits.apply_click(Click("ann", item, Action.VIEW, at + offset), at + offset, offset)
    >>> pairs  # mug's own count; kettle -> mug, along the order, weighs more than mug -> kettle
    [(1, 1, 0, 1.0), (0, 1, 0, 0.6309), (1, 0, 0, 0.4417)]
    >>> visits.snapshot("ann", at + 5, 0.0).items
    [1, 0]
    """

    def __init__(self, items: Items, config: VisitConfig) -> None:
        self._items = items
        self._config = config
        self._kept = KEPT_WINDOWS * config.items
        self._look_memory_s, self._margin_s = config.look_memory_s, config.margin_s
        self._shoppers: dict[str, _Shopper] = {}
        self._eviction_queue: deque[str] = deque()
        self._clicks_s = self._purchases_s = _NEVER
        self._forgotten: dict[str, float] = {}
        self._refusing: set[str] = set()
        self._joins: deque[_Join] = deque()
        weights = [
            [distance**-config.distance_exponent / log2(2 + length) for distance in range(1, config.pair_reach + 1)]
            for length in range(config.items + 1)
        ]
        self._along = [[round(weight, 4) for weight in row] for row in weights]
        self._against = [[round(config.backward_weight * weight, 4) for weight in row] for row in weights]

    # -- shoppers who refuse ---------------------------------------------------------------------------------------

    @property
    def forgotten(self) -> Mapping[str, float]:
        """Event time up to which nothing of a shopper is ever used, by shopper."""
        return self._forgotten

    def forget(self, user_id: str, before: float) -> None:
        """Drop everything of a shopper up to an event time, for ever; the latest such time counts."""
        before = max(before, self._forgotten.get(user_id, _NEVER))
        self._forgotten[user_id] = before
        self._erase(user_id, before)

    def consent(self, user_id: str, given: bool) -> None:
        """Whether a shopper's events may be used at all; they may until he says no, which drops what is in memory."""
        if given:
            self._refusing.discard(user_id)
        else:
            self._refusing.add(user_id)
            self._erase(user_id, float("inf"))

    def refuses(self, user_id: str) -> bool:
        """Whether a shopper has said that nothing of him may be used, and has not taken it back."""
        return user_id in self._refusing

    def bars(self, user_id: str, at: float) -> bool:
        """Whether nothing of a shopper up to an event time may be used: he refuses, or is forgotten."""
        return user_id in self._refusing or at <= self._forgotten.get(user_id, _NEVER)

    def _erase(self, user_id: str, before: float) -> None:
        self._joins = deque(join for join in self._joins if join.user_id != user_id or join.at > before)
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            return
        shopper.looks.forget(before, self._kept)
        shopper.baskets.forget(before)
        if shopper.cart is not None:
            shopper.cart.drop(before)
        for seen in (shopper.events, shopper.orders):
            if seen is not None:
                seen.forget(before)

    # -- events ----------------------------------------------------------------------------------------------------

    def apply_click(
        self, event: Click, appended_s: float, offset: int, learn: bool = True
    ) -> tuple[EventStatus, list[Pair]]:
        """Apply a click; returns what it adds to the rows: its item's own count and viewed-with pairs.

        Called in the order of the log. A late event (older than the newest look, by event time) joins the window at
        its place; one older than the whole window counts for its item only.

        Args:
            event: the click.
            appended_s: append time, epoch seconds. Where it falls behind that of a click before, that one counts.
            offset: in the clicks partition.
            learn: whether pairs are wanted; the state is the same without.
        """
        user_id, at = event.user_id, event.at
        clicks_s = self._clicks_s
        if appended_s > clicks_s:
            clicks_s = self._clicks_s = appended_s
        if (self._refusing or self._forgotten) and self.bars(user_id, at):
            return EventStatus.FORGOTTEN, []
        shopper = self._shopper(user_id)
        shopper.clicked_s = clicks_s
        if event.event_id is not None:
            if shopper.events is None:
                shopper.events = Repeats()
            if shopper.events.again(event.event_id, at, clicks_s, clicks_s - self._margin_s):
                return EventStatus.REPEATED, []
        item = self._items.index(event.item_id)
        action = event.action
        if action is Action.ADD_TO_CART or action is Action.REMOVE_FROM_CART:
            self._put(shopper, item, at, offset, action is Action.ADD_TO_CART)
            if action is Action.REMOVE_FROM_CART:
                return EventStatus.APPLIED, []
        looks, look = shopper.looks, (at, offset, item, ACTION_CODES[action], clicks_s)
        looks.expire(clicks_s - self._look_memory_s, self._kept)
        recent = looks.recent
        place = len(recent)
        if recent and look < recent[-1]:
            place = bisect_left(recent, look)
        pairs: list[Pair] = []
        if learn:
            pairs.append((item, item, VIEWED_WITH, 1.0))
            if recent:
                self._pair(recent, place, look, pairs)
        looks.add(look, place, self._kept)
        return EventStatus.APPLIED, pairs

    def _put(self, shopper: _Shopper, item: int, at: float, offset: int, added: bool) -> None:
        """An item is put into the cart or taken out of it, unless a later purchase has emptied it."""
        config, clicks_s = self._config, self._clicks_s
        shopper.baskets.expire(self._purchases_s - config.purchase_memory_s)
        if at > shopper.baskets.newest(clicks_s - config.emptying_s):
            if shopper.cart is None:
                shopper.cart = Cart()
            shopper.cart.expire(self._cart_horizon_s())
            shopper.cart.set(item, added, at, offset, clicks_s)

    def _cart_horizon_s(self) -> float:
        """Append time before which carts are not remembered; where no click comes, by the purchases' append times."""
        return max(self._clicks_s, self._purchases_s - self._margin_s) - self._look_memory_s

    def _pair(self, recent: list[Look], place: int, look: Look, pairs: list[Pair]) -> None:
        """Viewed-with pairs of a look with those around its place in the window, each other item once."""
        config, at, item = self._config, look[0], look[2]
        size, newest = len(recent), recent[-1][0]
        oldest = (at if at > newest else newest) - config.window_s
        first = size - config.items if size > config.items else 0
        if recent[first][0] < oldest:
            first = bisect_left(recent, oldest, first, key=_at)
        if first == size or place < first or at < oldest:
            return
        reach, along, against = config.pair_reach, self._along[size - first], self._against[size - first]
        before = recent[max(first, place - reach) : place]
        before.reverse()
        seen = {item}
        if place == size:
            for other_look, ahead, back in zip(before, along, against):  # noqa: B905 - as far as the window reaches
                other = other_look[2]
                if other not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, ahead))
                    pairs.append((item, other, VIEWED_WITH, back))
            return
        sides = ((before, along, against), (recent[place : place + reach], against, along))
        for step in range(reach):
            for side, to_item, from_item in sides:
                if step < len(side) and (other := side[step][2]) not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, to_item[step]))
                    pairs.append((item, other, VIEWED_WITH, from_item[step]))

    def apply_purchase(
        self, event: Purchase, appended_s: float, offset: int, learn: bool = True, join: bool = True
    ) -> tuple[EventStatus, list[Pair]]:
        """Apply a purchase; returns what it adds to the rows: own counts, the total, bought-with pairs.

        Called in the order of the log. Its viewed-then-bought pairs come from `ripen`.

        Args:
            event: the purchase.
            appended_s: append time, epoch seconds. Where it falls behind that of a purchase before, that one counts.
            offset: in the purchases partition.
            learn: whether pairs are wanted; the state is the same without.
            join: whether its viewed-then-bought pairs are still to be made.
        """
        user_id, at, config = event.user_id, event.at, self._config
        purchases_s = self._purchases_s
        if appended_s > purchases_s:
            purchases_s = self._purchases_s = appended_s
        if (self._refusing or self._forgotten) and self.bars(user_id, at):
            return EventStatus.FORGOTTEN, []
        shopper = self._shopper(user_id)
        shopper.bought_s = purchases_s
        index, baskets, memory_s = self._items.index, shopper.baskets, config.purchase_memory_s
        bought = tuple(dict.fromkeys([index(line.item_id) for line in event.lines]))
        baskets.expire(purchases_s - memory_s)
        if shopper.orders is None:
            shopper.orders = Repeats()
        repeated = shopper.orders.again(event.order_id, at, purchases_s, purchases_s - config.order_memory_s)
        note = baskets.repeat if repeated else baskets.add
        at = note(at, event.order_id, bought, purchases_s, memory_s)
        if shopper.cart is not None:
            shopper.cart.drop(at)
        if repeated:
            return EventStatus.REPEATED, []
        counted = bought[: config.max_pair_items]
        weight = round(1 / log2(max(2, len(counted))), 4)
        if join:
            self._joins.append(_Join(offset, at, purchases_s, user_id, counted, weight))
        if not learn:
            return EventStatus.APPLIED, []
        pairs: list[Pair] = [(counted[0], TOTAL, BOUGHT_WITH, weight)]
        pairs += [(a, b, BOUGHT_WITH, weight) for a in counted for b in counted]
        return EventStatus.APPLIED, pairs

    # -- joins -----------------------------------------------------------------------------------------------------

    @property
    def first_pending(self) -> int | None:
        """Lowest offset of a purchase whose viewed-then-bought pairs are still to be made."""
        return self._joins[0].offset if self._joins else None

    def ripen(self, clicks_appended_s: float) -> list[tuple[int, float, list[Pair]]]:
        """Finish the joins of purchases that no click appended from now on can belong to.

        Called before every click is applied, with its append time, so that no look beyond the grace comes between; and
        when the clicks stand still.

        Args:
            clicks_appended_s: greatest append time of the clicks, the one about to be applied included.

        Returns:
            (offset of the purchase, its event time, viewed-then-bought pairs), in the order of the log.
        """
        ripe = []
        while self._joins and self._joins[0].appended_s + self._config.join_grace_s < clicks_appended_s:
            join = self._joins.popleft()
            ripe.append((join.offset, join.at, self._joined(join)))
        return ripe

    def _joined(self, join: _Join) -> list[Pair]:
        shopper, config = self._shoppers.get(join.user_id), self._config
        if shopper is None:
            return []
        first_s, last_s = join.appended_s - config.join_memory_s, join.appended_s + config.join_grace_s
        oldest = join.at - config.window_s
        viewed: dict[int, None] = {}
        for look in reversed(shopper.looks.appended_between(first_s, last_s, self._kept)):
            if oldest < look[0] <= join.at:
                viewed.setdefault(look[2])
        return [
            (view, b, VIEWED_THEN_BOUGHT, round(rank**-config.distance_exponent * join.weight, 4))
            for rank, view in enumerate(list(viewed)[: min(config.items, config.max_pair_items)], 1)
            for b in join.bought
            if b != view
        ]

    # -- what is there ---------------------------------------------------------------------------------------------

    def snapshot(self, user_id: str, at: float, bought_s: float) -> Visit:
        """What a shopper is about at an event time, with what he bought within `bought_s` before it."""
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            return Visit([], [], [], [], [])
        config = self._config
        shopper.looks.expire(self._clicks_s - self._look_memory_s, self._kept)
        shopper.baskets.expire(self._purchases_s - config.purchase_memory_s)
        cart: list[int] = []
        if shopper.cart is not None:
            shopper.cart.expire(self._cart_horizon_s())
            cart = shopper.cart.items()
        oldest = at - config.window_s
        found: dict[int, Look] = {}
        for look in shopper.looks.recent[: -config.items - 1 : -1]:
            if look[0] < oldest:
                break
            found.setdefault(look[2], look)
        return Visit(
            list(found),
            [at - look[0] if look[0] < at else 0.0 for look in found.values()],
            [look[3] for look in found.values()],
            cart,
            shopper.baskets.since(at - min(bought_s, config.purchase_memory_s)) if shopper.baskets else [],
        )

    def window(self, user_id: str, at: float) -> Window:
        """What a shopper has looked at within the window before an event time, in the order of event times."""
        shopper, config = self._shoppers.get(user_id), self._config
        if shopper is None:
            return Window([], [], [])
        shopper.looks.expire(self._clicks_s - self._look_memory_s, self._kept)
        looks = [look for look in shopper.looks.recent[-config.items :] if look[0] >= at - config.window_s]
        return Window([look[2] for look in looks], [look[3] for look in looks], [look[0] for look in looks])

    def __len__(self) -> int:
        """Number of shoppers remembered."""
        return len(self._shoppers)

    def _shopper(self, user_id: str) -> _Shopper:
        """A shopper's state; looks at another one in turn, and drops of him what has left memory.

        So there are never many more shoppers than events within memory.
        """
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            shopper = self._shoppers[user_id] = _Shopper()
            self._eviction_queue.append(user_id)
        other_id = self._eviction_queue.popleft()
        other = self._shoppers[other_id]
        if other is not shopper:
            clicks_gone = other.clicked_s < self._clicks_s - self._config.click_memory_s
            purchases_gone = other.bought_s < self._purchases_s - self._config.purchase_memory_s
            if (clicks_gone or other.clicked_s == _NEVER) and (purchases_gone or other.bought_s == _NEVER):
                del self._shoppers[other_id]
                return shopper
            if clicks_gone and other.clicked_s != _NEVER:
                other.looks, other.cart, other.events, other.clicked_s = Looks(), None, None, _NEVER
            if purchases_gone and other.bought_s != _NEVER:
                other.baskets, other.orders, other.bought_s = Baskets(), None, _NEVER
        self._eviction_queue.append(other_id)
        return shopper
