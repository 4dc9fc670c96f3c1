"""Shoppers' state: what each has looked at, put into his cart and bought of late, as a function of the recent log.

[`Visits`][] belongs to one partition of shoppers. Events of a topic are applied in the order of its log; how the two
topics interleave makes no difference to what is counted:

* viewed-with pairs are made by clicks from the clicks before them;
* bought-with pairs are made by a purchase from its own lines;
* viewed-then-bought pairs are a join of both, made when every click is known that was appended up to
  `join_grace_s` after the purchase;
* carts are settled by event time.

State forgets by append time and event time, never by what happens to be in memory, so that reading the log again from
the memory's horizon gives the same state as having run all along.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import log2

from models.carts import FROM_CLICK, FROM_PURCHASE, Cart
from models.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH, Action, Click, Purchase
from models.items import Items

Pair = tuple[int, int, int, float]
"""(a, b, kind, weight): the row of item a gains weight for its neighbour b. a == b is the item's own count; b == TOTAL
is a basket's share of the total, counted where item a is."""

TOTAL = -1

_Look = tuple[float, int, int, int, float]
"""(event time, offset, item, action code, append time)."""

ACTION_CODES = {Action.VIEW: 0, Action.CLICK: 1, Action.ADD_TO_CART: 2}
"""Actions that count as looking at an item, as numbers."""

KEPT_WINDOWS = 3
"""Windows of looks kept for joins: a purchase that is applied when up to two windows of later looks have been applied
still finds the looks before it."""


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
    """Append time. A cart lives that long; a take-over reads that many seconds of clicks."""
    purchase_memory_s: float = 35 * 86_400.0
    """Append and event time. Has to exceed the policy's `bought_days`; a take-over reads that many seconds of them."""
    join_grace_s: float = 2.0
    """A look appended up to this long after a purchase, but with an event time before it, was before it: the two
    topics' producers and fetches differ by less."""
    distance_exponent: float = 0.7
    """A pair d looks apart weighs d to the minus this; measured best among 0.5 to 1.0 on public next-item data."""
    backward_weight: float = 0.7
    """What the pair against the order of looking weighs, relative to the one along it."""


class Verdict(Enum):
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


@dataclass(slots=True)
class _Join:
    """A purchase whose looks may still be on their way."""

    offset: int
    at: float
    appended_s: float
    user_id: str
    bought: list[int]
    weight: float


class _Shopper:
    __slots__ = ("baskets", "cart", "events", "looks", "orders")

    def __init__(self) -> None:
        self.looks: list[_Look] = []  # by (event time, offset)
        self.cart = Cart()
        self.baskets: list[tuple[float, float, list[int]]] = []  # (event time, append time, items)
        self.events: dict[str, float] = {}  # event id: append time
        self.orders: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self.looks or self.cart or self.baskets or self.events or self.orders)


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
        self._shoppers: dict[str, _Shopper] = {}
        self._rota: deque[str] = deque()
        self._clicks_s = self._purchases_s = float("-inf")
        self._forgotten: dict[str, float] = {}
        self._refusing: set[str] = set()
        self._joins: deque[_Join] = deque()
        lengths, reach = range(config.items + 1), range(config.pair_reach + 1)
        weights = [
            [d**-config.distance_exponent / log2(2 + n) if d else 0.0 for d in reach] for n in lengths
        ]  # (length of the window, distance)
        self._along = [[round(w, 4) for w in row] for row in weights]
        self._against = [[round(config.backward_weight * w, 4) for w in row] for row in weights]

    # -- shoppers who refuse ---------------------------------------------------------------------------------------

    @property
    def forgotten(self) -> Mapping[str, float]:
        """Event time up to which nothing of a shopper is ever used, by shopper."""
        return self._forgotten

    def forget(self, user_id: str, before: float) -> None:
        """Drop everything of a shopper up to an event time, for ever; the latest such time counts."""
        before = max(before, self._forgotten.get(user_id, float("-inf")))
        self._forgotten[user_id] = before
        shopper = self._shoppers.get(user_id)
        if shopper is not None:
            shopper.looks = [look for look in shopper.looks if look[0] > before]
            shopper.baskets = [basket for basket in shopper.baskets if basket[0] > before]
            shopper.cart.forget(before, float("-inf"))
            shopper.events, shopper.orders = {}, {}
        self._joins = deque(j for j in self._joins if j.user_id != user_id or j.at > before)

    def consent(self, user_id: str, given: bool) -> None:
        """Whether a shopper's events may be used at all; they may until he says no."""
        if given:
            self._refusing.discard(user_id)
        else:
            self._refusing.add(user_id)

    def _refuses(self, user_id: str, at: float) -> bool:
        return user_id in self._refusing or at <= self._forgotten.get(user_id, float("-inf"))

    # -- events ----------------------------------------------------------------------------------------------------

    def apply_click(
        self, event: Click, appended_s: float, offset: int, learn: bool = True
    ) -> tuple[Verdict, list[Pair]]:
        """Apply a click; returns what it adds to the rows: its item's own count and viewed-with pairs.

        Called in the order of the log. A late event (older than the newest look, by event time) joins the window at
        its place; one older than the whole window counts for its item only.

        Args:
            event: the click.
            appended_s: append time, epoch seconds.
            offset: in the clicks partition.
            learn: whether pairs are wanted; the state is the same without.
        """
        user_id, at = event.user_id, event.at
        if (self._refusing or self._forgotten) and self._refuses(user_id, at):
            return Verdict.FORGOTTEN, []
        if appended_s > self._clicks_s:
            self._clicks_s = appended_s
        horizon_s = self._clicks_s - self._config.click_memory_s
        shopper = self._shopper(user_id)
        if event.event_id is not None and _repeated(shopper.events, event.event_id, self._clicks_s, horizon_s):
            return Verdict.REPEATED, []
        item = self._items.index(event.item_id)
        action = event.action
        if action is Action.ADD_TO_CART:
            shopper.cart.set(item, True, (at, FROM_CLICK, offset), self._clicks_s)
        elif action is Action.REMOVE_FROM_CART:
            shopper.cart.set(item, False, (at, FROM_CLICK, offset), self._clicks_s)
            return Verdict.APPLIED, []
        looks = shopper.looks
        if looks and looks[0][4] < horizon_s:
            looks = shopper.looks = [look for look in looks if look[4] >= horizon_s]
        pairs: list[Pair] = [(item, item, VIEWED_WITH, 1.0)]
        window_s = self._config.window_s
        if looks and at < looks[-1][0] - window_s:
            return Verdict.APPLIED, pairs
        look = (at, offset, item, ACTION_CODES[action], self._clicks_s)
        place = len(looks)
        if looks and look < looks[-1]:
            place = bisect_left(looks, look)
        if learn and looks:
            self._pair(looks, place, look, pairs)
        looks.insert(place, look)
        if len(looks) > KEPT_WINDOWS * self._config.items:
            del looks[0]
        oldest = looks[-1][0] - KEPT_WINDOWS * window_s
        while looks[0][0] <= oldest:
            del looks[0]
        return Verdict.APPLIED, pairs

    def _pair(self, looks: list[_Look], place: int, look: _Look, pairs: list[Pair]) -> None:
        """Viewed-with pairs of a look with those around its place in the window, each other item once."""
        config, item = self._config, look[2]
        oldest = max(look[0], looks[-1][0]) - config.window_s
        first = max(0, len(looks) - config.items)
        while first < len(looks) and looks[first][0] < oldest:
            first += 1
        length = len(looks) - first
        along, against = self._along[length], self._against[length]
        seen = {item}
        for distance in range(1, config.pair_reach + 1):
            before, after = place - distance, place + distance - 1
            if before >= first:
                other = looks[before][2]
                if other not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, along[distance]))
                    pairs.append((item, other, VIEWED_WITH, against[distance]))
            elif after >= len(looks):
                return
            if first <= after < len(looks):
                other = looks[after][2]
                if other not in seen:
                    seen.add(other)
                    pairs.append((item, other, VIEWED_WITH, along[distance]))
                    pairs.append((other, item, VIEWED_WITH, against[distance]))

    def apply_purchase(
        self, event: Purchase, appended_s: float, offset: int, learn: bool = True, join: bool = True
    ) -> tuple[Verdict, list[Pair]]:
        """Apply a purchase; returns what it adds to the rows: own counts, the total, bought-with pairs.

        Its viewed-then-bought pairs come from `ripen`.

        Args:
            event: the purchase.
            appended_s: append time, epoch seconds.
            offset: in the purchases partition.
            learn: whether pairs are wanted; the state is the same without.
            join: whether its viewed-then-bought pairs are still to be made.
        """
        user_id, at, config = event.user_id, event.at, self._config
        if (self._refusing or self._forgotten) and self._refuses(user_id, at):
            return Verdict.FORGOTTEN, []
        if appended_s > self._purchases_s:
            self._purchases_s = appended_s
        horizon_s = self._purchases_s - config.purchase_memory_s
        shopper = self._shopper(user_id)
        if _repeated(shopper.orders, event.order_id, self._purchases_s, horizon_s):
            return Verdict.REPEATED, []
        index = self._items.index
        bought = list(dict.fromkeys([index(line.item_id) for line in event.lines]))
        shopper.cart.empty((at, FROM_PURCHASE, offset))
        shopper.baskets.append((at, self._purchases_s, bought))
        oldest = max(basket[0] for basket in shopper.baskets) - config.purchase_memory_s
        if any(b[0] < oldest or b[1] < horizon_s for b in shopper.baskets):
            shopper.baskets = [b for b in shopper.baskets if b[0] >= oldest and b[1] >= horizon_s]
        counted = bought[: config.max_pair_items]
        weight = round(1 / log2(max(2, len(counted))), 4)
        if join:
            self._joins.append(_Join(offset, at, self._purchases_s, user_id, counted, weight))
        if not learn:
            return Verdict.APPLIED, []
        pairs: list[Pair] = [(counted[0], TOTAL, BOUGHT_WITH, weight)]
        pairs += [(a, b, BOUGHT_WITH, weight) for a in counted for b in counted]
        return Verdict.APPLIED, pairs

    # -- joins -----------------------------------------------------------------------------------------------------

    @property
    def first_pending(self) -> int | None:
        """Lowest offset of a purchase whose viewed-then-bought pairs are still to be made."""
        return self._joins[0].offset if self._joins else None

    def ripen(self, clicks_appended_s: float) -> list[tuple[int, float, list[Pair]]]:
        """Finish the joins of purchases that no click appended from now on can belong to.

        Called before a click appended at that time is applied, and when the clicks stand still.

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
        last_s, oldest = join.appended_s + config.join_grace_s, join.at - config.window_s
        seen: dict[int, None] = {}
        for at, _, item, _, appended_s in reversed(shopper.looks):
            if oldest < at <= join.at and appended_s <= last_s and len(seen) < config.items:
                seen.setdefault(item)
        return [
            (view, b, VIEWED_THEN_BOUGHT, round(rank**-config.distance_exponent * join.weight, 4))
            for rank, view in enumerate(seen, 1)
            for b in join.bought
            if b != view
        ]

    # -- what is there ---------------------------------------------------------------------------------------------

    def snapshot(self, user_id: str, at: float, bought_s: float) -> Visit:
        """What a shopper is about at an event time, with what he bought within `bought_s` before it."""
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            return Visit([], [], [], [], [])
        items: list[int] = []
        ages_s: list[float] = []
        actions: list[int] = []
        oldest = at - self._config.window_s
        for look in shopper.looks[: -self._config.items - 1 : -1]:
            if look[0] > oldest and look[2] not in items:
                items.append(look[2])
                ages_s.append(max(0.0, at - look[0]))
                actions.append(look[3])
        bought: list[int] = []
        if shopper.baskets:
            since = at - bought_s
            bought = list(dict.fromkeys(item for b in shopper.baskets if b[0] > since for item in b[2]))
        return Visit(items, ages_s, actions, shopper.cart.items() if shopper.cart else [], bought)

    def __len__(self) -> int:
        """Number of shoppers remembered."""
        return len(self._shoppers)

    def _shopper(self, user_id: str) -> _Shopper:
        """A shopper's state; looks at another one in turn, and drops him if nothing of him is inside memory."""
        shopper = self._shoppers.get(user_id)
        if shopper is None:
            shopper = self._shoppers[user_id] = _Shopper()
            self._rota.append(user_id)
        other_id = self._rota.popleft()
        other = self._shoppers[other_id]
        if other is shopper or self._remembered(other):
            self._rota.append(other_id)
        else:
            del self._shoppers[other_id]
        return shopper

    def _remembered(self, shopper: _Shopper) -> bool:
        """Drop what is outside memory; whether anything is left."""
        clicks_s = self._clicks_s - self._config.click_memory_s
        purchases_s = self._purchases_s - self._config.purchase_memory_s
        shopper.looks = [look for look in shopper.looks if look[4] >= clicks_s]
        shopper.cart.forget(float("-inf"), clicks_s)
        shopper.baskets = [basket for basket in shopper.baskets if basket[1] >= purchases_s]
        shopper.events = {name: s for name, s in shopper.events.items() if s >= clicks_s}
        shopper.orders = {name: s for name, s in shopper.orders.items() if s >= purchases_s}
        return bool(shopper)


def _repeated(known: dict[str, float], name: str, appended_s: float, horizon_s: float) -> bool:
    """Whether an id has been seen within memory; takes it down."""
    if known.get(name, float("-inf")) >= horizon_s:
        return True
    known[name] = appended_s
    return False
