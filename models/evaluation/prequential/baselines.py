"""Baselines of protocol D: the most popular items, those the household buys, and random ones, within rules and caps.

All walk a ranking of all offered items and take what `models.serving.rules` allows: cross-sells from the whole shop,
upsells from the categories of the anchors. They differ from the recommender in the ranking only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.lists import Place
from models.evaluation.purchases import Purchases
from models.jit import cached_njit, inline_njit
from models.serving.recommender import Query
from models.serving.rules import ANCHORS, CompiledPolicy, QueryState, Rules, begin, classify
from models.shop.catalog import NONE, OFFERED, Catalog
from models.shop.events import Action
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy

STALE_EVENTS, STALE_SHARE = 100, 0.01
"""Events after which a ranking is updated, and the same as a share of the items; the greater counts. It changes
little between, and sorting a large shop for each event would be most of the work."""


class _Ranking(NamedTuple):
    """All offered items, best first."""

    items: NDArray[np.int32]  # (n,)
    by_group: NDArray[np.int32]  # (n,): the same, by group of categories
    group_start: NDArray[np.int64]  # (groups + 1,): where each group begins in `by_group`
    rank: NDArray[np.int64]  # (items,): place in `items`


class _Query(NamedTuple):
    """A query for the kernel."""

    serial: int
    trigger: NDArray[np.int32]
    cart: NDArray[np.int32]
    bought: NDArray[np.int32]
    upsells: bool
    start: int  # place in the ranking at which the list begins; it goes on at the front
    own: NDArray[np.int32]  # items that precede the ranking, best first


class _Caps(NamedTuple):
    """The policy's limits; 0: no limit of a category or brand."""

    cross_sells: int
    upsells: int
    per_category: int
    per_brand: int


class _RankedLists:
    """Base class: lists from a ranking, within the policy's rules and caps."""

    def __init__(self, items: Items, catalog: Catalog, policy: Policy) -> None:
        self._items = items
        self._catalog = catalog
        self._policy = policy
        self._caps = _Caps(policy.max_cross_sell, policy.max_upsell, policy.max_per_category, policy.max_per_brand)
        self._compiled = CompiledPolicy(policy, catalog, items)
        self._serial = 0
        self._age: float = np.inf
        self._rules: Rules
        self._state: QueryState
        self._ranking: _Ranking

    def _keys(self, offered: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) distinct keys of the offered items, the best item's smallest."""
        raise NotImplementedError

    def _start(self) -> int:
        """Place in the ranking at which the next list begins."""
        return 0

    def _own(self, query: Query) -> NDArray[np.int32]:
        """(n,) items that precede the ranking for a query, best first."""
        return np.empty(0, np.int32)

    def update(self, items: Sequence[int]) -> None:
        """Count an event with these items."""
        self._age += 1

    def suggest(self, query: Query) -> list[Place]:
        """The list for a query, best first."""
        if self._age >= max(STALE_EVENTS, STALE_SHARE * len(self._catalog)):
            self._rank()
        if len(self._state.barred) < len(self._items):
            self._make_room()
        self._serial += 1
        anchors = len(query.trigger) + len(query.visit.cart)
        found = np.empty((self._caps.cross_sells + self._caps.upsells * anchors, 3), np.int32)
        asked = _Query(
            self._serial,
            np.array(query.trigger, np.int32),
            np.array(query.visit.cart, np.int32),
            np.array(query.visit.bought, np.int32),
            query.action is not Action.PURCHASE,
            self._start(),
            self._own(query),
        )
        size = _fill(asked, self._ranking, self._caps, self._rules, self._state, found)
        ranks = (self._ranking.rank[found[:size, 0]] - asked.start) % max(1, len(self._ranking.items))
        is_own, place = np.nonzero(found[:size, :1] == asked.own)
        ranks[is_own] = place - len(asked.own)
        found = found[np.argsort(ranks)]
        size = _cap(self._caps, self._rules, found)
        return [Place(*row) for row in found[:size].tolist()][: self._policy.max_items]

    def _make_room(self) -> None:
        self._rules, self._state = self._compiled.rules(), self._compiled.query_state()
        self._serial = 0

    def _rank(self) -> None:
        self._make_room()
        facts, rules = self._catalog.facts[: len(self._items)], self._rules
        offered = np.flatnonzero(facts["state"] == OFFERED)
        ranked = offered[np.argsort(self._keys(offered))].astype(np.int32)
        groups = rules.group[facts["category"][ranked]]
        counts = np.bincount(groups, minlength=len(rules.group))
        rank = np.full(len(facts), len(ranked), np.int64)
        rank[ranked] = np.arange(len(ranked))
        self._ranking = _Ranking(
            ranked, ranked[np.argsort(groups, kind="stable")], np.concatenate([[0], np.cumsum(counts)]), rank
        )
        self._age = 0


class MostPopular(_RankedLists):
    """The items with the most views and purchases so far, ties by id.

    >>> from models.shop.events import CatalogItem
    >>> from models.sessions.visits import Visit
    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> for name, category, price in [("pot", "Pots", 9.0), ("mug", "Mugs", 8.0), ("cup", "Mugs", 9.0)]:
    ...     catalog.put(CatalogItem(name, name, category, price))
    >>> popular = MostPopular(items, catalog, Policy(max_items=2))
    >>> popular.update([items.index("cup")])
    >>> query = Query(Action.VIEW, [items.index("pot")], Visit([], [], [], [], []), 0.0, "")
    >>> [items.name(place.item) for place in popular.suggest(query)]
    ['cup', 'mug']
    """

    def __init__(self, items: Items, catalog: Catalog, policy: Policy) -> None:
        super().__init__(items, catalog, policy)
        self.counts: NDArray[np.int64] = np.zeros(1024, np.int64)
        """(capacity,) events of each item so far; further items have none."""

    def update(self, items: Sequence[int]) -> None:
        """Count an event with these items."""
        super().update(items)
        for item in items:
            if item >= len(self.counts):
                self.counts = np.concatenate([self.counts, np.zeros(item + 1, np.int64)])
            self.counts[item] += 1

    def count(self, item: int) -> int:
        """Events of an item so far."""
        return int(self.counts[item]) if item < len(self.counts) else 0

    def _keys(self, offered: NDArray[np.int64]) -> NDArray[np.int64]:
        id_order = self._items.order[offered]
        by_id = np.empty(len(offered), np.int64)
        by_id[np.lexsort((id_order[:, 1], id_order[:, 0]))] = np.arange(len(offered))
        counts = np.zeros(len(self._items), np.int64)
        known = min(len(counts), len(self.counts))
        counts[:known] = self.counts[:known]
        keys: NDArray[np.int64] = by_id - counts[offered] * len(offered)
        return keys


class HouseholdPopular(MostPopular):
    """What the household has in most of its baskets, ties by popularity, then the most popular items.

    The caller counts baskets in `bought`.
    """

    def __init__(self, items: Items, catalog: Catalog, policy: Policy) -> None:
        super().__init__(items, catalog, policy)
        self.bought = Purchases()

    def _own(self, query: Query) -> NDArray[np.int32]:
        own = self.bought.of(query.user_id)
        items, baskets = np.fromiter(own.keys(), np.int32, len(own)), np.fromiter(own.values(), np.int64, len(own))
        ranked = items < len(self._ranking.rank)  # items that came later are no part of the catalogue
        items, baskets = items[ranked], baskets[ranked]
        return items[np.lexsort((items, self._ranking.rank[items], -baskets))]


class AtRandom(_RankedLists):
    """Random items, all equally likely."""

    def __init__(self, items: Items, catalog: Catalog, policy: Policy, seed: int) -> None:
        super().__init__(items, catalog, policy)
        self._chance = np.random.default_rng(seed)

    def _keys(self, offered: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._chance.permutation(len(offered))

    def _start(self) -> int:
        return int(self._chance.integers(0, max(1, len(self._ranking.items))))


@inline_njit
def _fits(
    item: int, first: int, size: int, per_category: int, per_brand: int, rules: Rules, found: NDArray[np.int32]
) -> bool:
    """Whether the places of a list from `first` on leave room for an item's category and brand; 0: no limit."""
    fact = rules.facts[item]
    of_category, of_brand = 0, 0
    for place in range(first, size):
        other = rules.facts[found[place, 0]]
        of_category += rules.group[other.category] == rules.group[fact.category]
        of_brand += fact.brand != NONE and other.brand == fact.brand
    return not (per_category and of_category >= per_category) and not (per_brand and of_brand >= per_brand)


@cached_njit()
def _fill(
    query: _Query, ranking: _Ranking, caps: _Caps, rules: Rules, state: QueryState, found: NDArray[np.int32]
) -> int:
    """Fill `found` (places, 3) with item, kind and anchor: the best of each kind; returns their number."""
    begin(query.serial, query.trigger, query.cart, query.bought, query.upsells, rules, state)
    if state.now[ANCHORS] == 0:
        return 0
    size, n, before = 0, len(ranking.items), len(query.own)
    for step in range(before + n):
        if size == caps.cross_sells:
            break
        item = query.own[step] if step < before else ranking.items[(query.start + step - before) % n]
        size = _take(item, CROSS_SELL, 0, size, caps, rules, state, found)
    for number in range(state.now[ANCHORS]):
        group = _new_group(number, rules, state)
        if group < 0:
            continue
        first, end, own = ranking.group_start[group], ranking.group_start[group + 1], size
        turn = first
        while turn < end and ranking.rank[ranking.by_group[turn]] < query.start:
            turn += 1
        for step in range(before + end - first):
            if size - own == caps.upsells:
                break
            if step < before:
                item = query.own[step]
                if rules.group[rules.facts[item].category] != group:
                    continue
            else:
                item = ranking.by_group[first + (turn - first + step - before) % (end - first)]
            size = _take(item, UPSELL, own, size, caps, rules, state, found)
    return size


@inline_njit
def _take(
    item: int,
    wanted: int,
    first: int,
    size: int,
    caps: _Caps,
    rules: Rules,
    state: QueryState,
    found: NDArray[np.int32],
) -> int:
    """Append an item to a list if the rules class it as wanted and the places from `first` on leave room for it.

    An item that is there already is passed over.
    """
    kind, place = classify(item, rules, state)
    for taken in range(first, size):
        if found[taken, 0] == item:
            return size
    if kind != wanted or not _fits(item, first, size, caps.per_category, caps.per_brand, rules, found):
        return size
    found[size, 0], found[size, 1], found[size, 2] = item, kind, state.anchors[place]
    return size + 1


@inline_njit
def _new_group(number: int, rules: Rules, state: QueryState) -> int:
    """Group of the category of an anchor; -1 if an earlier anchor has it."""
    group = rules.group[rules.facts[state.anchors[number]].category]
    for earlier in range(number):
        if rules.group[rules.facts[state.anchors[earlier]].category] == group:
            return -1
    return int(group)


@cached_njit()
def _cap(caps: _Caps, rules: Rules, found: NDArray[np.int32]) -> int:
    """Drop what exceeds the limits of upsells and brands over the whole list; returns the new size."""
    kept = upsells = 0
    for at in range(len(found)):
        is_upsell = found[at, 1] == UPSELL
        if (not is_upsell or upsells < caps.upsells) and _fits(found[at, 0], 0, kept, 0, caps.per_brand, rules, found):
            for column in range(3):
                found[kept, column] = found[at, column]
            kept += 1
            upsells += is_upsell
    return kept
