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

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from typing import Any, NamedTuple

from numpy.typing import NDArray

from models.sessions.baskets import Baskets
from models.sessions.carts import Cart
from models.sessions.consent import Consent
from models.sessions.look_kernel import NOBODY, Rules
from models.sessions.look_table import LookTable, PairSink
from models.sessions.pairs import Pair, basket_weights, viewed_then_bought_weights, viewed_with_weights
from models.sessions.repeats import Repeats
from models.shop.events import Action, Click, Profile, Purchase
from models.shop.items import Items

ACTION_CODES = {Action.VIEW: 0, Action.CLICK: 1, Action.ADD_TO_CART: 2}
"""Codes of the actions that count as looks."""

_ADDED = ACTION_CODES[Action.ADD_TO_CART]
_codes = {**ACTION_CODES, Action.REMOVE_FROM_CART: _ADDED + 1}

KEPT_WINDOWS = 3
"""How many windows of looks the window, and the looks before a purchase, are taken from. More than one, since a late
look has a place in the log and none in the window. As many again are kept for purchases that are applied late."""

SHOPPER_BYTES, CHANGE_BYTES, REPEAT_BYTES, LINE_BYTES, JOIN_BYTES = 350, 220, 220, 90, 300
"""Of a shopper without looks, of a change of the cart, of an `event_id` or `order_id`, of a line of a purchase (and of
the purchase itself), of a purchase that waits for its views."""

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


APPLIED = EventStatus.APPLIED
"""For who compares often: an attribute of an enum takes as long as a call."""


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
    __slots__ = ("baskets", "bought_s", "cart", "clicked_s", "events", "orders", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.drop_clicks()
        self.drop_purchases()

    def drop_clicks(self) -> None:
        self.clicked_s = _NEVER  # append time of the last click
        self.cart: Cart | None = None
        self.events: Repeats | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes besides the looks, about."""
        repeats = len(self.events or ()) + len(self.orders or ())
        baskets = 0 if self.baskets is None else self.baskets.lines + len(self.baskets)
        changes = 0 if self.cart is None else len(self.cart)
        return SHOPPER_BYTES + REPEAT_BYTES * repeats + LINE_BYTES * baskets + CHANGE_BYTES * changes

    def drop_purchases(self) -> None:
        self.bought_s = _NEVER  # append time of the last purchase
        self.baskets: Baskets | None = None
        self.orders: Repeats | None = None


class _Pairs:
    """Pairs of single events, as tuples."""

    def __init__(self) -> None:
        self.found: list[tuple[int, float, list[Pair]]] = []

    def add(self, offset: int, at: float, pairs: NDArray[Any]) -> None:
        self.found.append((offset, at, pairs.tolist()))


def look_table(config: VisitConfig) -> LookTable:
    """A table for the looks of all partitions of a process."""
    items, reach, exponent = config.items, config.pair_reach, config.distance_exponent
    viewed, basket = min(items, config.max_pair_items), config.max_pair_items
    return LookTable(
        Rules(
            items,
            KEPT_WINDOWS * items,
            reach,
            viewed,
            config.window_s,
            config.look_memory_s,
            config.join_memory_s,
            config.join_grace_s,
            viewed_with_weights(items, reach, exponent),
            viewed_with_weights(items, reach, exponent, config.backward_weight),
            basket_weights(basket),
            viewed_then_bought_weights(viewed, basket, exponent),
        )
    )


def warm() -> None:
    """Compile, or load what was compiled before: seconds the first time, to be spent before joining."""
    Visits(Items(), VisitConfig()).apply_click(Click("", "", Action.VIEW, 0.0), 0.0, 0)


class Visits:
    """Visits, carts and recent purchases of the shoppers of one partition.

    Events are applied one by one, or many together: `collect_click`, `collect_purchase` and `collect_ripe` only collect
    what has to be done to the looks, and the table's `run` does it, in the order of the calls.

    Args:
        looks: the table of the process, made by `look_table` of the same configuration; None: one of its own.

    >>> items, at = Items(), 1e9
    >>> visits = Visits(items, VisitConfig())
    >>> for offset, item in enumerate(["kettle", "mug"]):
    ...     status, pairs = visits.apply_click(Click("ann", item, Action.VIEW, at + offset), at + offset, offset)
    >>> pairs  # mug's own count; kettle -> mug, in the order of the looks, weighs more than mug -> kettle
    [(1, 1, 0, 1.0), (0, 1, 0, 0.6309), (1, 0, 0, 0.4417)]
    >>> visits.snapshot("ann", at + 5, 0.0).items
    [1, 0]
    """

    def __init__(self, items: Items, config: VisitConfig, looks: LookTable | None = None) -> None:
        self.consent = Consent()
        self.looks = looks or look_table(config)
        self._items = items
        self._config = config
        self._look_memory_s, self._margin_s = config.look_memory_s, config.margin_s
        self._shoppers: dict[str, _Shopper] = {}
        self._eviction_queue: deque[str] = deque()
        self._clicks_s = self._purchases_s = _NEVER
        self._joins: deque[_Join] = deque()

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
        self.looks.forget(shopper.slot, before)
        if shopper.baskets is not None:
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
        pairs = _Pairs()
        status = self.collect_click(event, appended_s, offset, pairs if learn else None)
        self.looks.run()
        return status, pairs.found[0][2] if pairs.found else []

    def collect_click(self, event: Click, appended_s: float, offset: int, sink: PairSink | None) -> EventStatus:
        """As `apply_click`; the pairs, if there is a sink, go there when the looks' table runs."""
        user_id, at = event.user_id, event.at
        clicks_s = self._clicks_s
        if appended_s > clicks_s:
            clicks_s = self._clicks_s = appended_s
        if self.consent.refuses(user_id, at):
            return EventStatus.FORGOTTEN
        shopper = self._shopper(user_id)
        shopper.clicked_s = clicks_s
        if event.event_id is not None:
            if shopper.events is None:
                shopper.events = Repeats()
            if shopper.events.again(event.event_id, at, clicks_s, clicks_s - self._margin_s):
                return EventStatus.REPEATED
        item = self._items.index(event.item_id)
        code = _codes[event.action]
        if code >= _ADDED:
            self._change_cart(shopper, item, at, offset, code == _ADDED)
            if code > _ADDED:
                return APPLIED
        self.looks.add_look(shopper.slot, item, code, at, clicks_s, sink, offset)
        return APPLIED

    def _change_cart(self, shopper: _Shopper, item: int, at: float, offset: int, added: bool) -> None:
        """Add or remove an item, unless a later purchase has emptied the cart."""
        config, clicks_s = self._config, self._clicks_s
        emptied_at = _NEVER
        if shopper.baskets is not None:
            shopper.baskets.expire(self._purchases_s - config.purchase_memory_s)
            emptied_at = shopper.baskets.newest(clicks_s - config.emptying_s)
        if at > emptied_at:
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
        pairs = _Pairs()
        status = self.collect_purchase(event, appended_s, offset, pairs if learn else None, join)
        self.looks.run()
        return status, pairs.found[0][2] if pairs.found else []

    def collect_purchase(
        self, event: Purchase, appended_s: float, offset: int, sink: PairSink | None, join: bool = True
    ) -> EventStatus:
        """As `apply_purchase`; the pairs, if there is a sink, go there when the looks' table runs."""
        user_id, at, config = event.user_id, event.at, self._config
        purchases_s = self._purchases_s
        if appended_s > purchases_s:
            purchases_s = self._purchases_s = appended_s
        if self.consent.refuses(user_id, at):
            return EventStatus.FORGOTTEN
        shopper = self._shopper(user_id)
        shopper.bought_s = purchases_s
        if shopper.baskets is None or shopper.orders is None:
            shopper.baskets, shopper.orders = Baskets(), Repeats()
        baskets, memory_s = shopper.baskets, config.purchase_memory_s
        bought = tuple(map(self._items.index, event.item_ids))
        baskets.expire(purchases_s - memory_s)
        repeated = shopper.orders.again(event.order_id, at, purchases_s, purchases_s - config.order_memory_s)
        note = baskets.repeat if repeated else baskets.add
        at = note(at, event.order_id, bought, purchases_s, memory_s)
        if shopper.cart is not None:
            shopper.cart.drop(at)
        if repeated:
            return EventStatus.REPEATED
        counted = bought[: config.max_pair_items]
        if join:
            self._joins.append(_Join(offset, at, purchases_s, user_id, counted))
        if sink is not None:
            self.looks.add_basket(counted, at, sink, offset)
        return EventStatus.APPLIED

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
        ripe = _Pairs()
        self.collect_ripe(clicks_appended_s, ripe)
        self.looks.run()
        return ripe.found

    def collect_ripe(self, clicks_appended_s: float, sink: PairSink) -> None:
        """As `ripen`; the pairs go to the sink when the looks' table runs."""
        while self._joins and self._joins[0].appended_s + self._config.join_grace_s < clicks_appended_s:
            join = self._joins.popleft()
            self.looks.add_join(self._slot(join.user_id), join.bought, join.at, join.appended_s, sink, join.offset)

    def snapshot(self, user_id: str, at: float, bought_s: float) -> Visit:
        """A shopper's state at an event time, with what he bought within `bought_s` before it."""
        looked_at = self.looks.visit(self._slot(user_id), at, self._clicks_s)
        return Visit(*looked_at, *self.cart_and_bought(user_id, at, bought_s))

    def collect_query(self, user_id: str, at: float) -> None:
        """Have the looks' table write a snapshot of a shopper at an event time, when it runs."""
        self.looks.add_query(self._slot(user_id), at, self._clicks_s)

    def cart_and_bought(self, user_id: str, at: float, bought_s: float) -> tuple[list[int], list[int]]:
        """A shopper's cart, and what he bought within `bought_s` before an event time."""
        shopper, memory_s = self._shoppers.get(user_id), self._config.purchase_memory_s
        cart: list[int] = []
        bought: list[int] = []
        if shopper is not None and shopper.cart is not None:
            shopper.cart.expire(self._cart_horizon_s())
            cart = shopper.cart.items()
        if shopper is not None and shopper.baskets is not None:
            shopper.baskets.expire(self._purchases_s - memory_s)
            bought = shopper.baskets.since(at - min(bought_s, memory_s))
        return cart, bought

    def _slot(self, user_id: str) -> int:
        shopper = self._shoppers.get(user_id)
        return NOBODY if shopper is None else shopper.slot

    def purchases(self, user_id: str) -> list[tuple[float, tuple[int, ...]]]:
        """Event time and items of a shopper's purchases within memory, by event time."""
        shopper = self._shoppers.get(user_id)
        if shopper is None or shopper.baskets is None:
            return []
        shopper.baskets.expire(self._purchases_s - self._config.purchase_memory_s)
        return shopper.baskets.all()

    def window(self, user_id: str, at: float) -> Window:
        """A shopper's looks within the window before an event time."""
        return Window(*self.looks.window(self._slot(user_id), at, self._clicks_s))

    # -- what is kept ----------------------------------------------------------------------------------------------

    def shoppers(self) -> list[str]:
        """Ids of the shoppers that it remembers."""
        return list(self._shoppers)

    def held(self, user_id: str) -> Iterator[int]:
        """Indices of the items that it remembers of a shopper."""
        if (shopper := self._shoppers.get(user_id)) is not None:
            yield from self.looks.held(shopper.slot).tolist()
            if shopper.baskets is not None:
                yield from shopper.baskets.held()
            if shopper.cart is not None:
                yield from shopper.cart.held()

    def joining(self) -> Iterator[int]:
        """Indices of the items whose viewed-then-bought pairs are still to be made."""
        return chain.from_iterable(join.bought for join in self._joins)

    def drop(self) -> None:
        """Give the slots of all shoppers back: the partition is another process's now. Not to be used any more."""
        self.looks.free_slots([shopper.slot for shopper in self._shoppers.values()])
        self._shoppers = {}

    @property
    def nbytes(self) -> int:
        """Memory that it takes besides the looks, about: that of some shoppers, times their number."""
        some = list(islice(self._eviction_queue, SAMPLE))
        if not some:
            return 0
        taken = sum(self._shoppers[user_id].nbytes for user_id in some)
        return taken * len(self._shoppers) // len(some) + JOIN_BYTES * len(self._joins)

    def _shopper(self, user_id: str) -> _Shopper:
        """A shopper's state. Each call also checks one other for eviction: few are held beyond those within memory."""
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            shopper = self._shoppers[user_id] = _Shopper(self.looks.new_slot())
            self._eviction_queue.append(user_id)
        other_id = self._eviction_queue.popleft()
        other = self._shoppers[other_id]
        if other is not shopper and self._evict(other):
            del self._shoppers[other_id]
            self.looks.free_slot(other.slot)
        else:
            self._eviction_queue.append(other_id)
        return shopper

    def _evict(self, shopper: _Shopper) -> bool:
        """Drop what has left memory; returns whether nothing of the shopper is left."""
        if _NEVER < shopper.clicked_s < self._clicks_s - self._config.click_memory_s:
            shopper.drop_clicks()
            self.looks.clear(shopper.slot)
        if _NEVER < shopper.bought_s < self._purchases_s - self._config.purchase_memory_s:
            shopper.drop_purchases()
        return shopper.clicked_s == _NEVER and shopper.bought_s == _NEVER
