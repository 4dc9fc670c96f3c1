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

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.boxes import Box, KeptBox
from models.hash_table import SMALLEST, empty_hashes, places_for
from models.name_hash import KEY
from models.name_table import ALL, NamedNumbers, NameTable, copy_kept, name_bytes
from models.sessions.baskets import Baskets
from models.sessions.carts import Cart
from models.sessions.click_columns import ADD_TO_CART, CLICK, CLICKED, VIEW
from models.sessions.click_kernel import (
    FORGOTTEN,
    OUTCOMES,
    REPEATED,
    SWEPT,
    TODO,
    UNKNOWN_ITEM,
    Work,
    collect,
    copy_event_ids,
    leave,
    no_event_ids,
    slot_of,
    sweep,
)
from models.sessions.consent import Consent
from models.sessions.look_kernel import NOBODY, Rules
from models.sessions.look_table import LookTable, PairSink
from models.sessions.pairs import Pair, basket_weights, viewed_then_bought_weights, viewed_with_weights
from models.sessions.repeats import Repeats
from models.shop.events import Action, Click, Line, Profile, Purchase
from models.shop.items import Items

ACTION_CODES = {Action.VIEW: VIEW, Action.CLICK: CLICKED, Action.ADD_TO_CART: ADD_TO_CART}
"""Codes of the actions that count as looks."""

CLICK_ACTIONS = (Action.VIEW, Action.CLICK, Action.ADD_TO_CART, Action.REMOVE_FROM_CART)
"""Actions of clicks by their codes."""

_codes = {action: code for code, action in enumerate(CLICK_ACTIONS)}

KEPT_WINDOWS = 3
"""How many windows of looks the window, and the looks before a purchase, are taken from. More than one, since a late
look has a place in the log and none in the window. As many again are kept for purchases that are applied late."""

PART_BYTES, CHANGE_BYTES, REPEAT_BYTES, LINE_BYTES, JOIN_BYTES = 280, 220, 220, 90, 300
"""Of a shopper's part in Python, of a change of the cart, of an `order_id`, of a line of a purchase (and of the
purchase itself), of a purchase that waits for its views."""

SAMPLE = 100
"""Shoppers that the memory of these parts is estimated from."""

SWEEP_EVERY = 64
"""Events between two looks for shoppers who have left memory."""

MOST_LOOKS = 1 << 62
"""More than there are."""

_NEVER = -inf
_pack_click = struct.Struct("=ddqqqqqqqqqq").pack_into  # as of `CLICK`


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


class _Part:
    """What is kept of a shopper in Python: cart and purchases, which most do not have."""

    __slots__ = ("baskets", "cart", "orders")

    def __init__(self) -> None:
        self.cart: Cart | None = None
        self.drop_purchases()

    def drop_purchases(self) -> None:
        self.baskets: Baskets | None = None
        self.orders: Repeats | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        baskets = 0 if self.baskets is None else self.baskets.lines + len(self.baskets)
        changes = 0 if self.cart is None else len(self.cart)
        return PART_BYTES + REPEAT_BYTES * len(self.orders or ()) + LINE_BYTES * baskets + CHANGE_BYTES * changes


class Asking(NamedTuple):
    """Which clicks ask for suggestions."""

    triggers: int
    """Bits of the actions, by their codes."""
    oldest_ms: float
    """Append time before which none asks."""


NOBODY_ASKS = Asking(0, 0.0)


def asking(triggers: Sequence[str], oldest_ms: float) -> Asking:
    """Clicks with one of some actions ask, unless they were appended before a time."""
    return Asking(sum(1 << code for code, action in enumerate(CLICK_ACTIONS) if action in triggers), oldest_ms)


class Collected(NamedTuple):
    """How far clicks were collected."""

    next: int
    """Number of the click that comes next."""
    reason: int
    """Why it was not collected, as of `models.sessions.click_kernel`."""
    todo: NDArray[Any]
    """(n,) of `TODO`: what is left to do for those before it, by `finish`, in order; valid until the next call."""


class _Pairs:
    """Pairs of single events, as tuples."""

    def __init__(self) -> None:
        self.found: list[tuple[int, float, list[Pair]]] = []

    def add_events(self, offsets: list[int], ats: list[float], ends: list[int], pairs: NDArray[Any]) -> None:
        for number, (offset, at) in enumerate(zip(offsets, ats, strict=True)):
            self.found.append((offset, at, pairs[ends[number] : ends[number + 1]].tolist()))


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
    visits = Visits(Items(), VisitConfig())
    visits.apply_click(Click("ann", "mug", Action.VIEW, 0.0, event_id="first"), 0.0, 0)
    visits.apply_purchase(Purchase("ann", "first", 0.0, (Line("mug"),)), 0.0, 0)
    visits.forget("ann", -1.0)
    visits.make_ready()
    visits.drop()


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
        self._order_memory_s, self._emptying_s = config.order_memory_s, config.emptying_s
        self._shoppers = NamedNumbers(empty_hashes(), np.zeros(SMALLEST, np.int64))  # slots by ids
        self._refused = NameTable(np.float64)  # what `consent` says, for compiled code
        self._event_ids = no_event_ids()
        self._work = Work(
            np.zeros(2, np.int64),
            np.zeros(1, np.int64),
            np.full(1, _NEVER),
            np.zeros(OUTCOMES, np.int64),
            np.zeros(5, np.int64),
        )
        self._todo = np.zeros(64, TODO)
        self._memory = config.click_memory_s, config.margin_s
        self._kept_box = KeptBox()
        self._parts: dict[int, _Part] = {}  # by slot
        self._unswept = 0  # events since the last sweep
        self._raw_click = bytearray(CLICK.itemsize)
        self._click = np.frombuffer(self._raw_click, CLICK)
        self._clicks_s = self._purchases_s = _NEVER
        self._joins: deque[_Join] = deque()

    def apply_profile(self, profile: Profile) -> float | None:
        """As `Consent.apply`; drops what may not be used any more."""
        forgotten = self.consent.apply(profile)
        if self.consent.refused_until(profile.user_id) > _NEVER:
            self._erase(profile.user_id)
        return forgotten

    def forget(self, user_id: str, before: float) -> None:
        """Drop a shopper's events up to an event time, and use none of that time again."""
        before = self.consent.forget(user_id, before)
        self._erase(user_id, before)

    def _erase(self, user_id: str, before: float | None = None) -> None:
        """Drop a shopper's events up to an event time: that of `consent` if none is given."""
        until = self.consent.refused_until(user_id)
        self._refused.put(user_id, until)
        before = until if before is None else before
        self._joins = deque(join for join in self._joins if join.user_id != user_id or join.at > before)
        slot = self._slot(user_id)
        if slot == NOBODY:
            return
        self.looks.forget(slot, before)
        kept = self.looks.slots[slot]
        if before == inf:
            kept["term"] += 1
        else:
            kept["forgotten_s"] = max(before, kept["forgotten_s"])
        part = self._parts.get(slot)
        if part is None:
            return
        if part.baskets is not None:
            part.baskets.forget(before)
        if part.cart is not None:
            part.cart.drop(before)
        if part.orders is not None:
            part.orders.forget(before)

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
        user, item = event.user_id.encode(errors="surrogatepass"), event.item_id.encode(errors="surrogatepass")
        event_id = b"" if event.event_id is None else event.event_id.encode(errors="surrogatepass")
        item_start, item_end = len(user), len(user) + len(item)
        event_start = event_end = 0
        if event.event_id is not None:
            event_start, event_end = item_end, item_end + len(event_id)
        _pack_click(
            self._raw_click, 0, event.at, appended_s, 0, offset, 0, item_start, item_start, item_end,
            event_start, event_end, 0, _codes[event.action],
        )  # fmt: skip
        buffer = np.frombuffer(user + item + event_id, np.uint8)
        collected = self.collect_clicks(buffer, self._click, 0, 1, sink, NOBODY_ASKS)
        if collected.reason == UNKNOWN_ITEM:
            self._items.index(event.item_id)
            collected = self.collect_clicks(buffer, self._click, 0, 1, sink, NOBODY_ASKS)
        self.finish(collected.todo)
        outcome = int(self._work.made[-1])
        self._work.outcomes[outcome] -= 1  # counted by the caller
        if outcome == REPEATED:
            return EventStatus.REPEATED
        return EventStatus.FORGOTTEN if outcome == FORGOTTEN else APPLIED

    def collect_clicks(
        self,
        buffer: NDArray[np.uint8],
        rows: NDArray[Any],
        first: int,
        end: int,
        sink: PairSink | None,
        asking: Asking,
        joins_due_s: float = inf,
        most_looks: int = MOST_LOOKS,
    ) -> Collected:
        """Apply clicks given as rows of `CLICK`, from `first` on, up to `end`, as `collect_click` does one by one.

        It stops before a click that is not plain, whose item has no index, or that was appended after `joins_due_s`; or
        when so many looks were made. The queries of those that ask are given to the looks' table. What is left to do
        is to be done before the next call.
        """
        count, work = end - first, self._work
        self._make_room(count)
        steps, waiting = self.looks.room_for(2 * count)
        marks = self._items.marks
        limits = (joins_due_s, most_looks, sink is not None, asking.triggers, asking.oldest_ms)
        done, reason = collect(buffer, rows, first, end, limits, steps, waiting, self._todo, self._box())
        made, queries, looks, doing, _ = work.made.tolist()
        self.looks.added(made, queries, looks, sink)
        self._clicks_s = work.clicks_s.item()
        if marks is not self._items.marks:  # another thread has just replaced them
            self._items.mark(steps["item"][waiting : waiting + made])
        self._unswept += done - first
        if self._unswept >= SWEEP_EVERY:
            self._sweep()
        return Collected(done, reason, self._todo[:doing])

    def outcomes(self) -> list[int]:
        """How many clicks of `collect_clicks` came to each outcome of `click_kernel` since the last call."""
        counts: list[int] = self._work.outcomes.tolist()
        self._work.outcomes[:] = 0
        return counts

    def finish(self, todo: NDArray[Any], ask: Callable[[int, int, int, int, float], None] | None = None) -> None:
        """Do what collected clicks left to do: change carts, and ask.

        `ask` is called with number, slot, item, action and event time of each click that asks, while
        `cart_and_bought_of` is as of this click.
        """
        if not len(todo):
            return
        latest_s = self._clicks_s
        for at, clicks_s, offset, number, slot, item, action, asks in todo.tolist():
            self._clicks_s = clicks_s
            if action >= ADD_TO_CART:
                self._change_cart(slot, item, at, offset, action == ADD_TO_CART)
            if asks and ask is not None:
                ask(number, slot, item, action, at)
        self._clicks_s = latest_s

    @property
    def clicks_s(self) -> float:
        """Greatest append time of the clicks so far."""
        return self._clicks_s

    @property
    def joins_due_s(self) -> float:
        """Append time such that `collect_ripe` has to come before a click that was appended after it."""
        return self._joins[0].appended_s + self._config.join_grace_s if self._joins else inf

    def _change_cart(self, slot: int, item: int, at: float, offset: int, added: bool) -> None:
        """Add or remove an item, unless a later purchase has emptied the cart."""
        config, clicks_s, part = self._config, self._clicks_s, self._parts.get(slot)
        emptied_at = _NEVER
        if part is not None and part.baskets is not None:
            part.baskets.expire(self._purchases_s - config.purchase_memory_s)
            emptied_at = part.baskets.newest(clicks_s - self._emptying_s)
        if at > emptied_at:
            if part is None:
                part = self._new_part(slot)
            if part.cart is None:
                part.cart = Cart()
            part.cart.expire(self._cart_horizon_s())
            part.cart.set(item, added, at, offset, clicks_s)

    def _new_part(self, slot: int) -> _Part:
        part = self._parts[slot] = _Part()
        self.looks.slots["has_part"][slot] = 1
        return part

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
        self._make_room(1)
        slot = slot_of(name_bytes(user_id), self._box(), True)
        self.looks.slots["bought_s"][slot] = purchases_s
        part = self._parts.get(slot) or self._new_part(slot)
        self._unswept += 1
        if self._unswept >= SWEEP_EVERY:
            self._sweep()
        if part.baskets is None or part.orders is None:
            part.baskets, part.orders = Baskets(), Repeats()
        baskets, memory_s = part.baskets, config.purchase_memory_s
        bought = tuple(map(self._items.index, event.item_ids))
        baskets.expire(purchases_s - memory_s)
        repeated = part.orders.again(event.order_id, at, purchases_s, purchases_s - self._order_memory_s)
        note = baskets.repeat if repeated else baskets.add
        at = note(at, event.order_id, bought, purchases_s, memory_s)
        if part.cart is not None:
            part.cart.drop(at)
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

    def collect_query(self, user_id: str, at: float) -> int:
        """Have the looks' table write a snapshot of a shopper at an event time, when it runs; returns his slot."""
        slot = self._slot(user_id)
        self.looks.add_query(slot, at, self._clicks_s)
        return slot

    def cart_and_bought(self, user_id: str, at: float, bought_s: float) -> tuple[list[int], list[int]]:
        """A shopper's cart, and what he bought within `bought_s` before an event time."""
        return self.cart_and_bought_of(self._slot(user_id), at, bought_s)

    def cart_and_bought_of(self, slot: int, at: float, bought_s: float) -> tuple[list[int], list[int]]:
        """As `cart_and_bought`, by the shopper's slot. The cart must not be changed."""
        part = self._parts.get(slot)
        if part is None:
            return [], []
        cart, baskets = part.cart, part.baskets
        in_cart: list[int] = []
        bought: list[int] = []
        if cart is not None:
            cart.expire(self._cart_horizon_s())
            in_cart = cart.items()
        if baskets is not None:
            memory_s = self._config.purchase_memory_s
            baskets.expire(self._purchases_s - memory_s)
            bought = baskets.since(at - min(bought_s, memory_s))
        return in_cart, bought

    def _slot(self, user_id: str) -> int:
        return int(slot_of(name_bytes(user_id), self._box(), False))

    def purchases(self, user_id: str) -> list[tuple[float, tuple[int, ...]]]:
        """Event time and items of a shopper's purchases within memory, by event time."""
        part = self._parts.get(self._slot(user_id))
        if part is None or part.baskets is None:
            return []
        part.baskets.expire(self._purchases_s - self._config.purchase_memory_s)
        return part.baskets.all()

    def window(self, user_id: str, at: float) -> Window:
        """A shopper's looks within the window before an event time."""
        return Window(*self.looks.window(self._slot(user_id), at, self._clicks_s))

    # -- what is kept ----------------------------------------------------------------------------------------------

    def shoppers(self) -> NDArray[np.int64]:
        """Slots of the shoppers that it remembers."""
        hashes, slots = self._shoppers
        return slots[hashes.any(1)]

    def held(self, slot: int) -> Iterator[int]:
        """Indices of the items that it remembers of a shopper, by the slot; perhaps those of the next one there."""
        yield from self.looks.held(slot).tolist()
        part = self._parts.get(slot)
        if part is not None and part.baskets is not None:
            yield from part.baskets.held()
        if part is not None and part.cart is not None:
            yield from part.cart.held()

    def joining(self) -> Iterator[int]:
        """Indices of the items whose viewed-then-bought pairs are still to be made."""
        return chain.from_iterable(join.bought for join in self._joins)

    def drop(self) -> None:
        """Give the slots of all shoppers back: the partition is another process's now. Not to be used any more."""
        self.looks.free_slots(self.shoppers())
        self._shoppers, self._parts = NamedNumbers(empty_hashes(), np.zeros(SMALLEST, np.int64)), {}
        self._work.counts[0] = 0

    @property
    def nbytes(self) -> int:
        """Memory that it takes besides the looks, about; of carts and purchases, that of some times their number."""
        arrays: list[Any] = [*self._shoppers, *self._event_ids, *self._work, self._todo]
        taken: int = self._refused.nbytes + sum(column.nbytes for column in arrays) + JOIN_BYTES * len(self._joins)
        if some := [part.nbytes for part in islice(self._parts.values(), SAMPLE)]:
            taken += sum(some) * len(self._parts) // len(some)
        return taken

    def _box(self) -> Box:
        """What compiled code works with."""
        items = self._items
        pool = self.looks.make_slots(0)
        table, marks = items.numbered.table, items.marks
        return self._kept_box.of(
            (table, marks, KEY, self._shoppers, self._refused.table, self._event_ids, pool, self._work, *self._memory)
        )

    def make_ready(self) -> None:
        """Do once what is done seldom: an event would wait for what has to be compiled for it."""
        self._make_room(SMALLEST)
        self._sweep()
        leave(NOBODY, self._box())

    def _make_room(self, events: int) -> None:
        """Make room for some clicks, or for a purchase."""
        shoppers, event_ids = self._work.counts.tolist()
        if 2 * (shoppers + events) > len(self._shoppers.hashes):
            grown = NamedNumbers(empty_hashes(places_for(shoppers + events)), np.empty(0, np.int64))
            grown = grown._replace(numbers=np.zeros(len(grown.hashes), np.int64))
            copy_kept(*self._shoppers, ALL, *grown)
            self._shoppers = grown
        if 2 * (event_ids + events) > len(self._event_ids.hashes):
            horizon_s = self._clicks_s - self._margin_s
            left = int(np.count_nonzero(self._event_ids.appended_s >= horizon_s))
            moved = no_event_ids(max(left + events, left + left // 2))
            self._work.counts[1] = copy_event_ids(*self._event_ids, horizon_s, *moved)
            self._event_ids = moved
        if events > len(self._todo):
            self._todo = np.zeros(2 * events, TODO)
        self.looks.make_slots(events)

    def _sweep(self) -> None:
        """Drop shoppers who have left memory: few are held beyond those within it."""
        events, self._unswept = self._unswept, 0
        most = min(SWEPT * events, len(self._shoppers.hashes))
        steps, waiting = self.looks.room_for(most)
        left = np.empty(most, np.int64)
        purchases_s = self._purchases_s - self._config.purchase_memory_s
        leaving = sweep(events, purchases_s, steps, waiting, left, self._box())
        self.looks.added(int(self._work.made[0]), 0, 0, None)
        for slot in left[:leaving].tolist():
            self._drop_old(slot)

    def _drop_old(self, slot: int) -> None:
        """Drop what has left memory of a shopper with a cart or purchases."""
        kept, part = self.looks.slots[slot], self._parts[slot]
        if _NEVER < kept["clicked_s"] < self._clicks_s - self._config.click_memory_s:
            kept["clicked_s"], part.cart = _NEVER, None
            self.looks.clear(slot)
        if _NEVER < kept["bought_s"] < self._purchases_s - self._config.purchase_memory_s:
            kept["bought_s"] = _NEVER
            part.drop_purchases()
        if part.cart is None and part.baskets is None:
            kept["has_part"] = 0
            del self._parts[slot]
            if kept["clicked_s"] == _NEVER:
                leave(slot, self._box())
                self.looks.free_slot(slot)
