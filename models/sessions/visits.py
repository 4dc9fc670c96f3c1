"""Shoppers' state: recent looks, cart and recent purchases of each, as a function of the recent log.

Events of a topic are applied in the order of its log. How the two topics interleave does not change what is counted:

* viewed-with pairs are made by a click, from the clicks before it;
* bought-with pairs are made by a purchase, from its own lines;
* viewed-then-bought pairs join both, once all clicks appended up to `join_grace_s` after the purchase are known;
* carts are ordered by event time.

State leaves memory by append time, or by its number in the order of the log, and for no other reason. So a replay of
the log from the memory's horizon gives the same state as an uninterrupted run.

A purchase may be applied any time before the clicks of its append time. It may be applied after them, and still finds
the same looks, by up to `margin_s` (append time) and [`KEPT_WINDOWS`][] windows of later looks of the same shopper.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from typing import NamedTuple

from models.sessions.baskets import Baskets
from models.sessions.carts import Cart
from models.sessions.consent import Consent
from models.sessions.looks import Look, Looks
from models.sessions.pairs import Pair, ViewedWith, bought_with, viewed_then_bought
from models.sessions.repeats import Repeats
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.items import Items

ACTION_CODES = {Action.VIEW: 0, Action.CLICK: 1, Action.ADD_TO_CART: 2}
"""Codes of the actions that count as looks."""

KEPT_WINDOWS = 3
"""How many windows of looks the window, and the looks before a purchase, are taken from. More than one, since a late
look has a place in the log and none in the window. As many again are kept for purchases that are applied late."""

SHOPPER_BYTES, LOOK_BYTES, REPEAT_BYTES, LINE_BYTES, JOIN_BYTES = 800, 220, 220, 90, 300
"""Of a shopper, of a look or a change of the cart, of an `event_id` or `order_id`, of a line of a purchase (and of the
purchase itself), of a purchase that waits for its views."""

SAMPLE = 100
"""Shoppers that memory is estimated from: those that wait longest for eviction."""

_NEVER = float("-inf")


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
        return self.purchase_memory_s - self.order_margin_s

    @property
    def order_margin_s(self) -> float:
        """Append time before the last purchase since which the log read again says which orders were repeats."""
        return min(self.margin_s, self.purchase_memory_s / 4)

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
    """A shopper's state at one moment."""

    items: list[int]  # looked at within the window, newest first, each once
    ages_s: list[float]  # of these looks
    actions: list[int]  # of these looks, by `ACTION_CODES`
    cart: list[int]  # in the order of addition
    bought: list[int]  # within the time asked for, each once


class Window(NamedTuple):
    """Looks of a shopper by event time, repeated looks at an item included."""

    items: list[int]
    actions: list[int]  # by `ACTION_CODES`
    ats: list[float]  # event times, ascending epoch seconds


@dataclass(slots=True)
class _Join:
    """A purchase that later records of looks may still belong to."""

    offset: int
    at: float
    appended_s: float
    user_id: str
    bought: tuple[int, ...]


class _Shopper:
    __slots__ = ("baskets", "bought_s", "cart", "clicked_s", "events", "looks", "orders")

    def __init__(self) -> None:
        self.drop_clicks()
        self.drop_purchases()

    def drop_clicks(self) -> None:
        self.clicked_s = _NEVER  # append time of the last click
        self.looks = Looks()
        self.cart: Cart | None = None
        self.events: Repeats | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        events, orders = len(self.events or ()), len(self.orders or ())
        repeats, baskets = events + orders, self.baskets.lines + len(self.baskets)
        looks, changes = len(self.looks.trail), 0 if self.cart is None else len(self.cart)
        return SHOPPER_BYTES + LOOK_BYTES * looks + REPEAT_BYTES * repeats + LINE_BYTES * baskets + LOOK_BYTES * changes

    def drop_purchases(self) -> None:
        self.bought_s = _NEVER  # append time of the last purchase
        self.baskets = Baskets()
        self.orders: Repeats | None = None


class Visits:
    """Visits, carts and recent purchases of the shoppers of one partition.

    >>> items, at = Items(), 1e9
    >>> visits = Visits(items, VisitConfig())
    >>> for offset, item in enumerate(["kettle", "mug"]):
    ...     status, pairs = visits.apply_click(Click("ann", item, Action.VIEW, at + offset), at + offset, offset)
    >>> pairs  # mug's own count; kettle -> mug, in the order of the looks, weighs more than mug -> kettle
    [(1, 1, 0, 1.0), (0, 1, 0, 0.6309), (1, 0, 0, 0.4417)]
    >>> visits.snapshot("ann", at + 5, 0.0).items
    [1, 0]
    """

    def __init__(self, items: Items, config: VisitConfig) -> None:
        self.consent = Consent()
        self._items = items
        self._config = config
        self._kept = KEPT_WINDOWS * config.items
        self._look_memory_s, self._margin_s = config.look_memory_s, config.margin_s
        self._shoppers: dict[str, _Shopper] = {}
        self._eviction_queue: deque[str] = deque()
        self._clicks_s = self._purchases_s = _NEVER
        self._joins: deque[_Join] = deque()
        self._viewed_with = ViewedWith(
            config.items, config.window_s, config.pair_reach, config.distance_exponent, config.backward_weight
        )

    def apply_profile(self, profile: Profile) -> float | None:
        """As `Consent.apply`; drops what may not be used any more."""
        forgotten = self.consent.apply(profile)
        if (until := self.consent.refused_until(profile.user_id)) > _NEVER:
            self._erase(profile.user_id, until)
        return forgotten

    def forget(self, user_id: str, before: float) -> None:
        """Drop a shopper's events up to an event time, and use none of that time again."""
        self._erase(user_id, self.consent.forget(user_id, before))

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

    def apply_click(
        self, event: Click, appended_s: float, offset: int, learn: bool = True
    ) -> tuple[EventStatus, list[Pair]]:
        """Apply a click; returns the pairs that it adds: its item's own count and viewed-with pairs.

        Called in the order of the log. A late look (older than the newest, by event time) takes its place in the
        window. One that is older than the whole window counts for its item only.

        Where `appended_s` (epoch seconds) falls behind that of an earlier click, that one counts. Without `learn` the
        state is the same, but no pairs are made.
        """
        user_id, at = event.user_id, event.at
        clicks_s = self._clicks_s
        if appended_s > clicks_s:
            clicks_s = self._clicks_s = appended_s
        if self.consent.refuses(user_id, at):
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
            self._change_cart(shopper, item, at, offset, action is Action.ADD_TO_CART)
            if action is Action.REMOVE_FROM_CART:
                return EventStatus.APPLIED, []
        looks, look = shopper.looks, (at, offset, item, ACTION_CODES[action], clicks_s)
        looks.expire(clicks_s - self._look_memory_s, self._kept)
        recent = looks.recent
        place = len(recent)
        if recent and look < recent[-1]:
            place = bisect_left(recent, look)
        pairs = self._viewed_with.pairs(recent, place, look) if learn else []
        looks.add(look, place, self._kept)
        return EventStatus.APPLIED, pairs

    def _change_cart(self, shopper: _Shopper, item: int, at: float, offset: int, added: bool) -> None:
        """Add or remove an item, unless a later purchase has emptied the cart."""
        config, clicks_s = self._config, self._clicks_s
        shopper.baskets.expire(self._purchases_s - config.purchase_memory_s)
        if at > shopper.baskets.newest(clicks_s - config.emptying_s):
            if shopper.cart is None:
                shopper.cart = Cart()
            shopper.cart.expire(self._cart_horizon_s())
            shopper.cart.set(item, added, at, offset, clicks_s)

    def _cart_horizon_s(self) -> float:
        """Append time before which carts are not remembered; without clicks, the purchases' append times count."""
        return max(self._clicks_s, self._purchases_s - self._margin_s) - self._look_memory_s

    def apply_purchase(
        self, event: Purchase, appended_s: float, offset: int, learn: bool = True, join: bool = True
    ) -> tuple[EventStatus, list[Pair]]:
        """Apply a purchase; returns the pairs that it adds: own counts, the total, bought-with pairs.

        Called in the order of the log. Its viewed-then-bought pairs come from `ripen` if `join`. `appended_s` and
        `learn` are as for a click.
        """
        user_id, at, config = event.user_id, event.at, self._config
        purchases_s = self._purchases_s
        if appended_s > purchases_s:
            purchases_s = self._purchases_s = appended_s
        if self.consent.refuses(user_id, at):
            return EventStatus.FORGOTTEN, []
        shopper = self._shopper(user_id)
        shopper.bought_s = purchases_s
        baskets, memory_s = shopper.baskets, config.purchase_memory_s
        bought = tuple(map(self._items.index, event.item_ids))
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
        if join:
            self._joins.append(_Join(offset, at, purchases_s, user_id, counted))
        return EventStatus.APPLIED, bought_with(counted) if learn else []

    @property
    def first_pending(self) -> int | None:
        """Lowest offset of a purchase whose viewed-then-bought pairs are still to be made."""
        return self._joins[0].offset if self._joins else None

    def ripen(self, clicks_appended_s: float) -> list[tuple[int, float, list[Pair]]]:
        """Finish the joins of purchases that no click appended from now on can belong to.

        Called before each click is applied, so that no look beyond the grace comes between, and when no clicks come.
        `clicks_appended_s` is the greatest append time of the clicks, including the one about to be applied.

        Returns:
            (offset of the purchase, its event time, viewed-then-bought pairs), in the order of the log.
        """
        ripe: list[tuple[int, float, list[Pair]]] = []
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
        looks = reversed(shopper.looks.appended_between(first_s, last_s, self._kept))
        viewed = list(dict.fromkeys(look[2] for look in looks if oldest < look[0] <= join.at))
        most = min(config.items, config.max_pair_items)
        return viewed_then_bought(viewed[:most], join.bought, config.distance_exponent)

    def snapshot(self, user_id: str, at: float, bought_s: float) -> Visit:
        """A shopper's state at an event time, with what he bought within `bought_s` before it."""
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

    def purchases(self, user_id: str) -> list[tuple[float, tuple[int, ...]]]:
        """Event time and items of a shopper's purchases within memory, by event time."""
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            return []
        shopper.baskets.expire(self._purchases_s - self._config.purchase_memory_s)
        return shopper.baskets.all()

    def window(self, user_id: str, at: float) -> Window:
        """A shopper's looks within the window before an event time."""
        shopper, config = self._shoppers.get(user_id), self._config
        if shopper is None:
            return Window([], [], [])
        shopper.looks.expire(self._clicks_s - self._look_memory_s, self._kept)
        looks = [look for look in shopper.looks.recent[-config.items :] if look[0] >= at - config.window_s]
        return Window([look[2] for look in looks], [look[3] for look in looks], [look[0] for look in looks])

    # -- what is kept ----------------------------------------------------------------------------------------------

    def shoppers(self) -> list[str]:
        """Ids of the shoppers that it remembers."""
        return list(self._shoppers)

    def held(self, user_id: str) -> Iterator[int]:
        """Indices of the items that it remembers of a shopper."""
        if (shopper := self._shoppers.get(user_id)) is not None:
            yield from (look[2] for look in shopper.looks.trail)
            yield from shopper.baskets.held()
            if shopper.cart is not None:
                yield from shopper.cart.held()

    def joining(self) -> Iterator[int]:
        """Indices of the items whose viewed-then-bought pairs are still to be made."""
        return chain.from_iterable(join.bought for join in self._joins)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about: that of some shoppers, times their number."""
        some = list(islice(self._eviction_queue, SAMPLE))
        if not some:
            return 0
        taken = sum(self._shoppers[user_id].nbytes for user_id in some)
        return taken * len(self._shoppers) // len(some) + JOIN_BYTES * len(self._joins)

    def _shopper(self, user_id: str) -> _Shopper:
        """A shopper's state. Each call also checks one other for eviction: few are held beyond those within memory."""
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            shopper = self._shoppers[user_id] = _Shopper()
            self._eviction_queue.append(user_id)
        other_id = self._eviction_queue.popleft()
        other = self._shoppers[other_id]
        if other is not shopper and self._evict(other):
            del self._shoppers[other_id]
        else:
            self._eviction_queue.append(other_id)
        return shopper

    def _evict(self, shopper: _Shopper) -> bool:
        """Drop what has left memory; returns whether nothing of the shopper is left."""
        if _NEVER < shopper.clicked_s < self._clicks_s - self._config.click_memory_s:
            shopper.drop_clicks()
        if _NEVER < shopper.bought_s < self._purchases_s - self._config.purchase_memory_s:
            shopper.drop_purchases()
        return shopper.clicked_s == _NEVER and shopper.bought_s == _NEVER
