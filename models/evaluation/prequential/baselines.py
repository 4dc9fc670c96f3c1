"""Lists that anybody could make: the most popular items, and items at random, within the same rules and caps.

Both walk a ranking of all that is offered and take what `models.serving.rules` lets through: cross-sells from the whole
shop, upsells from the categories of the anchors. So a baseline differs from the recommender in its order only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.lists import Place
from models.jit import cached_njit, inline_njit
from models.serving.recommender import Query
from models.serving.rules import ANCHORS, CompiledPolicy, QueryState, Rules, begin, classify
from models.shop.catalog import NONE, OFFERED, Catalog
from models.shop.events import Action
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy

LEAST_STALE, STALE_SHARE = 100, 0.01
"""A ranking is made anew after so many events, or after as many as this share of the items: it hardly moves between,
and sorting a large shop for each event would be most of the work."""


class _Ranking(NamedTuple):
    """All that is offered, best first."""

    items: NDArray[np.int32]  # (n,)
    by_group: NDArray[np.int32]  # (n,): the same, group by group of the categories
    group_start: NDArray[np.int64]  # (groups + 1,): where each begins in `by_group`
    rank: NDArray[np.int64]  # (items,): place in `items`


class _RankedLists:
    """See the module. Whoever inherits says what the keys of the ranking are.

    Args:
        items: what the indices mean.
        catalog: what is offered.
        policy: rules and caps.
    """

    def __init__(self, items: Items, catalog: Catalog, policy: Policy) -> None:
        self._items = items
        self._catalog = catalog
        self._policy = policy
        self._rulebook = CompiledPolicy(policy, catalog, items)
        self._serial = 0
        self._age: float = np.inf
        self._rules: Rules
        self._asked: QueryState
        self._ranking: _Ranking

    def _keys(self, offered: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each item that is offered: the smaller, the better; no two are equal."""
        raise NotImplementedError

    def _start(self) -> int:
        """Where in the ranking the next list begins."""
        return 0

    def update(self, items: Sequence[int]) -> None:
        """Somebody looked at these items, or bought them."""
        self._age += 1

    def suggest(self, query: Query) -> list[Place]:
        """A list, best first, for an event as the recommender is asked."""
        if self._age >= max(LEAST_STALE, STALE_SHARE * len(self._catalog)):
            self._rank()
        if len(self._asked.barred) < len(self._items):
            self._make_room()
        self._serial += 1
        policy, most = self._policy, self._policy.max_items
        anchors = len(query.trigger) + len(query.visit.cart)
        found = np.empty((policy.max_cross_sell + policy.max_upsell * anchors, 3), np.int32)
        size = _fill(
            self._serial,
            np.array(query.trigger, np.int32),
            np.array(query.visit.cart, np.int32),
            np.array(query.visit.bought, np.int32),
            query.action is not Action.PURCHASE,
            self._start(),
            self._ranking,
            policy.max_cross_sell,
            policy.max_upsell,
            policy.max_per_category,
            policy.max_per_brand,
            self._rules,
            self._asked,
            found,
        )
        return [Place(*row) for row in found[:size].tolist()][:most]

    def _make_room(self) -> None:
        self._rules, self._asked = self._rulebook.rules(), self._rulebook.query_state()
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
    """What was looked at or bought most often so far, ties by id.

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
        """(capacity,) events of each item so far; items beyond have none."""

    def update(self, items: Sequence[int]) -> None:
        """See `_RankedLists.update`."""
        super().update(items)
        for item in items:
            if item >= len(self.counts):
                self.counts = np.concatenate([self.counts, np.zeros(item + 1, np.int64)])
            self.counts[item] += 1

    def count(self, item: int) -> int:
        """Events of an item so far."""
        return int(self.counts[item]) if item < len(self.counts) else 0

    def _keys(self, offered: NDArray[np.int64]) -> NDArray[np.int64]:
        order = self._items.order[offered]
        by_id = np.empty(len(offered), np.int64)
        by_id[np.lexsort((order[:, 1], order[:, 0]))] = np.arange(len(offered))
        counts = np.zeros(len(self._items), np.int64)
        known = min(len(counts), len(self.counts))
        counts[:known] = self.counts[:known]
        keys: NDArray[np.int64] = by_id - counts[offered] * len(offered)
        return keys


class AtRandom(_RankedLists):
    """Any items, each as likely as the others.

    Args:
        items: what the indices mean.
        catalog: what is offered.
        policy: rules and caps.
        seed: of the draws.
    """

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
    """Whether those of a list from `first` on leave room for an item's category and brand."""
    fact = rules.facts[item]
    of_category, of_brand = 0, 0
    for place in range(first, size):
        other = rules.facts[found[place, 0]]
        of_category += rules.group[other.category] == rules.group[fact.category]
        of_brand += fact.brand != NONE and other.brand == fact.brand
    return not (per_category and of_category >= per_category) and not (per_brand and of_brand >= per_brand)


@cached_njit()
def _fill(
    serial: int,
    trigger: NDArray[np.int32],
    cart: NDArray[np.int32],
    bought: NDArray[np.int32],
    upsells: bool,
    start: int,
    ranking: _Ranking,
    max_cross_sell: int,
    max_upsell: int,
    per_category: int,
    per_brand: int,
    rules: Rules,
    query_state: QueryState,
    found: NDArray[np.int32],
) -> int:
    """Fill `found` (places, 3) with item, kind and anchor of a list, best first; returns its size."""
    begin(serial, trigger, cart, bought, upsells, rules, query_state)
    n = len(ranking.items)
    if query_state.now[ANCHORS] == 0:
        return 0
    size = 0
    for step in range(n):
        if size == max_cross_sell:
            break
        item = ranking.items[(start + step) % n]
        kind, place = classify(item, rules, query_state)
        if kind == CROSS_SELL and _fits(item, 0, size, per_category, per_brand, rules, found):
            found[size, 0], found[size, 1], found[size, 2] = item, kind, query_state.anchors[place]
            size += 1
    for number in range(query_state.now[ANCHORS]):
        group = rules.group[rules.facts[query_state.anchors[number]].category]
        again = False
        for before in range(number):
            again = again or rules.group[rules.facts[query_state.anchors[before]].category] == group
        if again:
            continue
        first, end, own = ranking.group_start[group], ranking.group_start[group + 1], size
        turn = first
        while turn < end and ranking.rank[ranking.by_group[turn]] < start:
            turn += 1
        for step in range(end - first):
            if size - own == max_upsell:
                break
            item = ranking.by_group[first + (turn - first + step) % (end - first)]
            kind, place = classify(item, rules, query_state)
            if kind == UPSELL and _fits(item, own, size, per_category, per_brand, rules, found):
                found[size, 0], found[size, 1], found[size, 2] = item, kind, query_state.anchors[place]
                size += 1
    for last in range(1, size):  # into one order, as ranked from `start` on
        for at in range(last, 0, -1):
            rank = (ranking.rank[found[at, 0]] - start) % n
            if rank >= (ranking.rank[found[at - 1, 0]] - start) % n:
                break
            for column in range(3):
                found[at, column], found[at - 1, column] = found[at - 1, column], found[at, column]
    kept = upsold = 0
    for at in range(size):
        upsell = found[at, 1] == UPSELL
        if (not upsell or upsold < max_upsell) and _fits(found[at, 0], 0, kept, 0, per_brand, rules, found):
            for column in range(3):
                found[kept, column] = found[at, column]
            kept += 1
            upsold += upsell
    return kept
