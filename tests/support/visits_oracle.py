"""Visits in plain Python, a tuple a look: what the compiled ones have to equal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import log2
from operator import itemgetter

from models.sessions.baskets import Baskets
from models.sessions.carts import Cart
from models.sessions.consent import Consent
from models.sessions.pairs import TOTAL, Pair
from models.sessions.repeats import Repeats
from models.sessions.visits import ACTION_CODES, KEPT_WINDOWS, EventStatus, Visit, VisitConfig, Window
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH, Action, Click, Profile, Purchase
from models.shop.items import Items

_NEVER = float("-inf")

Look = tuple[float, int, int, int, float]
"""(event time, offset, item, action code, append time)."""

_appended_s = itemgetter(4)


class Looks:
    """The last looks of one shopper, in the order of the log and by event time.

    Looks leave by their place in the log, never by event time. So a replay of the end of the log gives the same state.

    Attributes:
        recent: the last `kept` looks of the log, by (event time, offset).
        trail: these and as many before them, in the order of the log.
    """

    __slots__ = ("recent", "trail")

    def __init__(self) -> None:
        self.recent: list[Look] = []
        self.trail: list[Look] = []

    def add(self, look: Look, place: int, kept: int) -> None:
        """Append a look with a greater offset and no smaller append time than any before, at a place in `recent`."""
        recent, trail = self.recent, self.trail
        recent.insert(place, look)
        trail.append(look)
        if len(trail) > kept:
            leaving = trail[-kept - 1]
            del recent[0 if recent[0] is leaving else bisect_left(recent, leaving)]
            if len(trail) > 2 * kept:
                del trail[0]

    def expire(self, horizon_s: float, kept: int) -> None:
        """Drop what was appended before a time."""
        if self.trail and self.trail[0][4] < horizon_s:
            del self.trail[: bisect_left(self.trail, horizon_s, key=_appended_s)]
            self.recent = sorted(self.trail[-kept:])

    def forget(self, before: float, kept: int) -> None:
        """Drop what happened at or before an event time."""
        self.trail = [look for look in self.trail if look[0] > before]
        self.recent = sorted(self.trail[-kept:])

    def appended_between(self, first_s: float, last_s: float, most: int) -> list[Look]:
        """The last `most` looks appended up to `last_s`, without those appended before `first_s`, by event time."""
        end = bisect_right(self.trail, last_s, key=_appended_s)
        start = bisect_left(self.trail, first_s, key=_appended_s)
        return sorted(self.trail[max(start, end - most, 0) : end])


_at = itemgetter(0)


class ViewedWith:
    """Makes viewed-with pairs; arguments as of `VisitConfig`."""

    def __init__(
        self, items: int, window_s: float, pair_reach: int, distance_exponent: float, backward_weight: float
    ) -> None:
        self._items, self._window_s, self._reach = items, window_s, pair_reach
        weights = [
            [distance**-distance_exponent / log2(2 + length) for distance in range(1, pair_reach + 1)]
            for length in range(items + 1)
        ]  # by length of the window and distance
        self._forward = [[round(weight, 4) for weight in row] for row in weights]
        self._backward = [[round(backward_weight * weight, 4) for weight in row] for row in weights]

    def pairs(self, recent: list[Look], place: int, look: Look) -> list[Pair]:
        """Own count of a look's item, and its pairs with the looks around it in the window, each other item once.

        `recent` has the shopper's looks without this one, by (event time, offset); it belongs at `place`.
        """
        at, item = look[0], look[2]
        pairs: list[Pair] = [(item, item, VIEWED_WITH, 1.0)]
        if not recent:
            return pairs
        size, newest = len(recent), recent[-1][0]
        oldest = (at if at > newest else newest) - self._window_s
        first = size - self._items if size > self._items else 0
        if recent[first][0] < oldest:
            first = bisect_left(recent, oldest, first, key=_at)
        if first == size or place < first or at < oldest:
            return pairs
        reach, forward, backward = self._reach, self._forward[size - first], self._backward[size - first]
        before = recent[max(first, place - reach) : place]
        before.reverse()
        seen = {item}
        if place == size:
            for other_look, ahead, back in zip(before, forward, backward):  # noqa: B905 - as far as the window reaches
                other = other_look[2]
                if other not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, ahead))
                    pairs.append((item, other, VIEWED_WITH, back))
            return pairs
        sides = ((before, forward, backward), (recent[place : place + reach], backward, forward))
        for step in range(reach):
            for side, to_item, from_item in sides:
                if step < len(side) and (other := side[step][2]) not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, to_item[step]))
                    pairs.append((item, other, VIEWED_WITH, from_item[step]))
        return pairs


def basket_weight(items: Sequence[int]) -> float:
    """Weight of each pair of a basket: a large basket says less about any two of its items."""
    return round(1 / log2(max(2, len(items))), 4)


def bought_with(items: Sequence[int]) -> list[Pair]:
    """The basket's share of the total, its items' own counts, and a pair of every two of them, both ways."""
    weight = basket_weight(items)
    pairs: list[Pair] = [(items[0], TOTAL, BOUGHT_WITH, weight)]
    pairs += [(a, b, BOUGHT_WITH, weight) for a in items for b in items]
    return pairs


def viewed_then_bought(viewed: Sequence[int], bought: Sequence[int], distance_exponent: float) -> list[Pair]:
    """Pairs of each item looked at, newest first, with each item bought after it."""
    weight = basket_weight(bought)
    return [
        (view, b, VIEWED_THEN_BOUGHT, round(rank**-distance_exponent * weight, 4))
        for rank, view in enumerate(viewed, 1)
        for b in bought
        if b != view
    ]


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

    def drop_purchases(self) -> None:
        self.bought_s = _NEVER  # append time of the last purchase
        self.baskets = Baskets()
        self.orders: Repeats | None = None


class PlainVisits:
    """Visits, carts and recent purchases of the shoppers of one partition."""

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
