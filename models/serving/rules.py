"""The two promises and the policy: every candidate of every source passes `classify`, or is not suggested.

1. A cross-sell is of a category that no anchor has; an upsell is of its anchor's, more expensive by a bounded step, of
   the same currency, and rated no lower where both are rated.
2. Nothing that is out of stock, unknown, in the trigger or the cart, bought recently, or excluded.

Anchors are the items of the trigger and of the cart that the catalogue knows: the others have no category to compare.
The policy is compiled to arrays, so that a candidate is classified in a few dozen nanoseconds.
"""

from __future__ import annotations

from operator import is_not
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import forward_njit
from models.shop.catalog import KNOWN, OFFERED, Catalog
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, NEITHER, UPSELL
from models.shop.policy import Policy

SERIAL, ANCHORS, MAY_UPSELL, BARRED = 0, 1, 2, 3
"""Places of `QueryState.now`: serial of the query, number of its anchors, whether it may have upsells, number of items
that it bars."""

OF_GROUP, OF_CATEGORY, PRICED, LOG_PRICES, MEAN_LOG, GROUP_FEATURE, CATEGORY_FEATURE, OWN_SUMS = range(8)
"""Columns of `QueryState.own`: the shopper's baskets with items of a group and of a category; of a group those with a
price, and sum and mean of the logarithms of their prices; the features of the first two, 0 where not computed yet.
Number of the columns."""

MAX_COMPARED = 4
"""Anchors that a candidate's category is compared with: the trigger's first."""

_BY_POLICY, _BY_QUERY = 1, 2
"""Bits of `QueryState.barred`."""


class Rules(NamedTuple):
    """A policy over a catalogue, as arrays. Bits of the masks stand for the first categories of the policy's pairs."""

    facts: NDArray[Any]  # (items,) of `models.shop.catalog.FACT`
    group: NDArray[np.int32]  # (nodes,): nodes of one group are the same category to the policy
    category_barred: NDArray[np.bool_]  # (nodes,)
    brand_barred: NDArray[np.bool_]  # (brands,)
    deny_from: NDArray[np.uint64]  # (nodes, words): first categories of pairs, the node's or above it
    deny_to: NDArray[np.uint64]  # ... of pairs whose second category is the node's or above it
    allow_from: NDArray[np.uint64]
    allow_to: NDArray[np.uint64]
    allow_all: bool
    min_step: float
    max_step: float


class QueryState(NamedTuple):
    """What the rules have to know of the current query; the memory is used again for the next one."""

    now: NDArray[np.int64]  # (4,): SERIAL, ANCHORS, MAY_UPSELL, BARRED
    barred: NDArray[np.uint8]  # (items,): by policy, by this query; a byte, as each candidate's is looked up
    listed: NDArray[np.int32]  # (items,): items barred by this query
    anchors: NDArray[np.int32]  # (items,): items, those of the trigger first, then of the cart, latest first
    taken: NDArray[np.int64]  # (nodes,): serial of the last query that has an anchor of the group
    denied: NDArray[np.uint64]  # (words,): first categories of pairs, some anchor's or above it
    own: NDArray[np.float64]  # (nodes, OWN_SUMS): of what the shopper has bought; zero between queries
    own_brand: NDArray[
        np.float64
    ]  # (brands, 2): his baskets with items of the brand, and the feature of that; likewise
    compared: NDArray[np.int32]  # (MAX_COMPARED,): places of the anchors' categories among those with sums
    lifted: NDArray[np.int64]  # (nodes,): serial of the last query that has the group's lift
    lift: NDArray[np.float64]  # (nodes,): that


class CompiledPolicy:
    """Compiles a policy for a catalogue that may get more categories, brands and items.

    >>> from models.shop.events import CatalogItem
    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> for name, category, price in [("kettle", "Kettles", 30.0), ("big", "Kettles", 40.0), ("mug", "Mugs", 8.0)]:
    ...     catalog.put(CatalogItem(name, name, category, price))
    >>> compiled = CompiledPolicy(Policy(), catalog, items)
    >>> rules, query_state = compiled.rules(), compiled.query_state()
    >>> trigger, none = np.array([items.index("kettle")], np.int32), np.array([], np.int32)
    >>> begin(1, trigger, none, none, True, rules, query_state)
    >>> [classify(items.index(name), rules, query_state) for name in ("kettle", "big", "mug")]  # kind, place of anchor
    [(0, -1), (2, 0), (1, 0)]
    """

    def __init__(self, policy: Policy, catalog: Catalog, items: Items) -> None:
        self._policy = policy
        self._catalog, self._items = catalog, items
        self._added = -1  # categories of which the arrays say what the policy bars
        self._brands = self._reused = 0  # likewise of brands
        self._added_as = np.zeros(0, np.int64)
        self._group = np.zeros(0, np.int32)
        self._category_barred = np.zeros(0, np.bool_)
        self._brand_barred = np.zeros(0, np.bool_)
        self._deny = _Pairs(policy.deny_pairs)
        self._allow = _Pairs(policy.allow_pairs)
        self._barred_items = np.array([items.index(item_id) for item_id in policy.exclude_items], np.int64)
        self._excluded_brands = frozenset(policy.exclude_brands)
        self._excluded_categories = frozenset(policy.exclude_categories)
        self._rules: Rules | None = None
        self._rules_as = (0, 0, 0)  # categories and brands when they were made

    def held(self) -> NDArray[np.int64]:
        """Indices that it keeps: of the items that the policy excludes."""
        return self._barred_items

    def cover(self) -> None:
        """Compile for the categories and brands added since the last call.

        The first call takes a second for 100,000 categories. It may be made in a thread while the catalogue changes.
        """
        self._cover_categories()
        self._cover_brands()

    def _cover_categories(self) -> None:
        categories = self._catalog.categories
        added = categories.added
        if added == self._added:
            return
        # In this order, since they may change meanwhile: the arrays cover the nodes, and what changes is seen again.
        nodes, added_as, parents = len(categories), categories.added_as, categories.parent
        if nodes > len(self._group):
            more = len(parents) - len(self._group)
            self._group = np.concatenate([self._group, np.zeros(more, np.int32)])
            self._category_barred = np.concatenate([self._category_barred, np.zeros(more, np.bool_)])
            self._added_as = np.concatenate([self._added_as, np.zeros(more, np.int64)])
            self._deny.make_room(more)
            self._allow.make_room(more)
        added_as = added_as[:nodes].copy()
        new = np.flatnonzero(added_as != self._added_as[:nodes])
        for node in new[np.argsort(added_as[new])].tolist():  # a parent comes before its children
            path, parent = categories.path(node), int(parents[node])
            self._group[node] = categories.at_depth(node, self._policy.category_depth)
            self._category_barred[node] = self._category_barred[parent] or path in self._excluded_categories
            self._deny.add(node, parent, path)
            self._allow.add(node, parent, path)
        self._added_as[:nodes], self._added = added_as, added

    def _cover_brands(self) -> None:
        brands, reused = len(self._catalog.brands), self._catalog.brands.reused
        if brands > len(self._brand_barred):
            more = 2 * brands - len(self._brand_barred)
            self._brand_barred = np.concatenate([self._brand_barred, np.zeros(more, np.bool_)])
        first = self._brands if reused == self._reused else 0
        if self._excluded_brands and brands > first:
            for code, brand in enumerate(self._catalog.brands.words()[first:brands], first):
                self._brand_barred[code] = brand in self._excluded_brands
        self._brands, self._reused = brands, reused

    def rules(self) -> Rules:
        """The rules as arrays that cover the catalogue as it is now: the same object until one is replaced."""
        catalog = self._catalog
        catalog.make_room()
        known_as = catalog.categories.added, len(catalog.brands), catalog.brands.reused
        if self._rules is not None and known_as == self._rules_as and self._rules.facts is catalog.facts:
            return self._rules
        self.cover()
        self._rules_as = known_as
        rules = Rules(
            catalog.facts,
            self._group,
            self._category_barred,
            self._brand_barred,
            self._deny.first,
            self._deny.second,
            self._allow.first,
            self._allow.second,
            not self._policy.allow_pairs,
            self._policy.min_step,
            self._policy.max_step,
        )
        if self._rules is None or any(map(is_not, rules, self._rules)):
            self._rules = rules
        return self._rules

    def query_state(self, before: QueryState | None = None) -> QueryState:
        """Memory for queries by the rules as of the last `cover`: `before`, if it is long enough.

        The serials of its queries must grow, from 1 on.
        """
        items, nodes = max(len(self._catalog.facts), len(self._items)), len(self._group)
        brands = len(self._brand_barred)
        too_small = before is not None and (
            len(before.barred) < items or len(before.taken) < nodes or len(before.own_brand) < brands
        )
        if before is None or too_small:
            barred = np.zeros(items, np.uint8)
            barred[self._barred_items] = _BY_POLICY
            before = QueryState(
                np.zeros(4, np.int64),
                barred,
                np.zeros(items, np.int32),
                np.zeros(items, np.int32),
                np.zeros(nodes, np.int64),
                np.zeros(self._deny.first.shape[1], np.uint64),
                np.zeros((nodes, OWN_SUMS)),
                np.zeros((brands, 2)),
                np.full(MAX_COMPARED, -1, np.int32),
                np.zeros(nodes, np.int64),
                np.zeros(nodes),
            )
        return before


class _Pairs:
    """Pairs of categories as bits, one for each first category.

    A node's bits in `first` are the first categories at or above it; in `second`, those that are paired with a category
    at or above it. Two nodes are a pair where they share a bit.
    """

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._bits: dict[str, int] = {}
        self._firsts: dict[str, set[int]] = {}  # by second category
        for first, second in pairs:
            self._firsts.setdefault(second, set()).add(self._bits.setdefault(first, len(self._bits)))
        words = max(1, (len(self._bits) + 63) // 64)
        self.first = np.zeros((0, words), np.uint64)
        self.second = np.zeros((0, words), np.uint64)

    def make_room(self, more: int) -> None:
        """Cover so many more nodes."""
        room = np.zeros((more, self.first.shape[1]), np.uint64)
        self.first, self.second = np.concatenate([self.first, room]), np.concatenate([self.second, room])

    def add(self, node: int, parent: int, path: str) -> None:
        """Add a node whose parent has been added."""
        self.first[node], self.second[node] = self.first[parent], self.second[parent]
        if (bit := self._bits.get(path)) is not None:
            self.first[node, bit // 64] |= np.uint64(1 << bit % 64)
        for bit in self._firsts.get(path, ()):
            self.second[node, bit // 64] |= np.uint64(1 << bit % 64)


@forward_njit
def begin(
    serial: int,
    trigger: NDArray[np.int32],
    cart: NDArray[np.int32],
    bought: NDArray[np.int32],
    upsells: bool,
    rules: Rules,
    query_state: QueryState,
) -> None:
    """Start a query, with a greater serial than all before; the cart's latest item is its last.

    There are no upsells where an item of the trigger is unknown.
    """
    for place in range(query_state.now[BARRED]):
        query_state.barred[query_state.listed[place]] &= _BY_POLICY
    query_state.now[SERIAL] = serial
    query_state.now[ANCHORS] = query_state.now[BARRED] = 0
    query_state.denied[:] = 0
    for item in trigger:
        if not rules.facts[item].state & KNOWN:
            upsells = False
        _add_anchor(item, rules, query_state)
    for place in range(len(cart) - 1, -1, -1):
        _add_anchor(cart[place], rules, query_state)
    for item in bought:
        _bar(item, query_state)
    query_state.now[MAY_UPSELL] = 1 if upsells else 0


@forward_njit
def _bar(item: int, query_state: QueryState) -> bool:
    """Bar an item from this query; returns whether that is new."""
    if query_state.barred[item] & _BY_QUERY:
        return False
    query_state.barred[item] |= _BY_QUERY
    query_state.listed[query_state.now[BARRED]] = item
    query_state.now[BARRED] += 1
    return True


@forward_njit
def _add_anchor(item: int, rules: Rules, query_state: QueryState) -> None:
    """Bar an item of the trigger or the cart, and compare candidates with it, if it is known."""
    fact = rules.facts[item]
    if _bar(item, query_state) and fact.state & KNOWN:
        query_state.anchors[query_state.now[ANCHORS]] = item
        query_state.now[ANCHORS] += 1
        query_state.taken[rules.group[fact.category]] = query_state.now[SERIAL]
        for word in range(len(query_state.denied)):
            query_state.denied[word] |= rules.deny_from[fact.category, word]


@forward_njit
def classify(item: int, rules: Rules, query_state: QueryState) -> tuple[int, int]:
    """What an item may be suggested as, and the place in `query_state.anchors` of the first anchor that it may be for.

    The place is -1 with NEITHER; `fits` answers for other anchors.
    """
    fact = rules.facts[item]
    barred = rules.category_barred[fact.category] | rules.brand_barred[fact.brand] | (query_state.barred[item] != 0)
    if barred | (fact.state != OFFERED):
        return NEITHER, -1
    if query_state.taken[rules.group[fact.category]] == query_state.now[SERIAL]:
        first = -1
        if query_state.now[MAY_UPSELL]:
            for place in range(query_state.now[ANCHORS] - 1, -1, -1):  # without a branch, as nothing tells which fit
                first = place if _steps_up(item, query_state.anchors[place], rules) else first
        return UPSELL if first >= 0 else NEITHER, first
    for word in range(len(query_state.denied)):
        if query_state.denied[word] & rules.deny_to[fact.category, word]:
            return NEITHER, -1
    for place in range(query_state.now[ANCHORS]):
        if _allowed(item, query_state.anchors[place], rules):
            return CROSS_SELL, place
    return NEITHER, -1


@forward_njit
def fits(item: int, kind: int, place: int, rules: Rules, query_state: QueryState) -> bool:
    """Whether an item of a kind may be suggested for the anchor at a place."""
    anchor = query_state.anchors[place]
    return bool(_steps_up(item, anchor, rules) if kind == UPSELL else _allowed(item, anchor, rules))


@forward_njit
def _allowed(item: int, anchor: int, rules: Rules) -> bool:
    """Whether `allow_pairs` allow an item with an anchor. `classify` checks the denials of all anchors at once."""
    if rules.allow_all:
        return True
    first, second = rules.facts[anchor].category, rules.facts[item].category
    for word in range(rules.allow_to.shape[1]):
        if rules.allow_from[first, word] & rules.allow_to[second, word]:
            return True
    return False


@forward_njit
def _steps_up(item: int, anchor: int, rules: Rules) -> bool:
    """Whether an item is the anchor's upsell."""
    more, less = rules.facts[item], rules.facts[anchor]
    alike = (rules.group[more.category] == rules.group[less.category]) & (more.currency == less.currency)
    worse = more.rating < less.rating  # False for NaN, a missing rating
    least, most = less.price * (1 + rules.min_step), less.price * (1 + rules.max_step)
    return bool(alike & (not worse) & (less.price > 0.0) & (least <= more.price) & (more.price <= most))
