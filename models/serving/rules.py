"""The two promises and the policy: every candidate of every source passes `classify`, or is not suggested.

1. A cross-sell is of a category that no anchor has; an upsell is of its anchor's, more expensive by a bounded step, of
   the same currency, and rated no lower where both are rated.
2. Nothing that is out of stock, unknown, in the trigger or the cart, bought recently, or excluded.

Anchors are the items of the trigger and of the cart that the catalogue knows: the others have no category to compare.
The policy is compiled to arrays, so that a candidate is classified in a few dozen nanoseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import inline_njit
from models.shop.catalog import KNOWN, OFFERED, Catalog
from models.shop.categories import ROOT
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, NEITHER, UPSELL
from models.shop.policy import Policy

SERIAL, ANCHORS, MAY_UPSELL, BARRED = 0, 1, 2, 3
"""Places of `QueryState.now`: serial of the query, number of its anchors, whether it may have upsells, number of items
that it bars."""

_BY_POLICY, _BY_QUERY = 1, 2
"""Bits of `QueryState.barred`."""


class Rules(NamedTuple):
    """A policy over a catalogue, as arrays. Bits of the masks stand for the pairs of the policy."""

    facts: NDArray[Any]  # (items,) of `models.shop.catalog.FACT`
    group: NDArray[np.int32]  # (nodes,): nodes of one group are the same category to the policy
    category_barred: NDArray[np.bool_]  # (nodes,)
    brand_barred: NDArray[np.bool_]  # (brands,)
    deny_from: NDArray[np.uint64]  # (nodes, words): pairs whose first category is the node's or above it
    deny_to: NDArray[np.uint64]  # ... whose second
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
    denied: NDArray[np.uint64]  # (words,): pairs of the policy that some anchor is the first of


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
        self._catalog = catalog
        self._nodes = 0
        self._group = np.zeros(0, np.int32)
        self._category_barred = np.zeros(0, np.bool_)
        self._brand_barred = np.zeros(0, np.bool_)
        self._deny = _Pairs(policy.deny_pairs)
        self._allow = _Pairs(policy.allow_pairs)
        self._barred_items = np.array([items.index(item_id) for item_id in policy.exclude_items], np.int64)
        self._barred_brands = np.array([catalog.brands.code(brand) for brand in policy.exclude_brands], np.int64)
        self._barred_categories = frozenset(policy.exclude_categories)

    def held(self) -> NDArray[np.int64]:
        """Indices that it keeps: of the items that the policy excludes."""
        return self._barred_items

    def rules(self) -> Rules:
        """The rules as arrays that cover the catalogue as it is now."""
        catalog, categories = self._catalog, self._catalog.categories
        catalog.make_room()
        if len(self._brand_barred) < len(catalog.brands):
            self._brand_barred = np.zeros(2 * len(catalog.brands), np.bool_)
            self._brand_barred[self._barred_brands] = True
        if len(self._group) != len(categories.parent):
            more = len(categories.parent) - len(self._group)
            self._group = np.concatenate([self._group, np.zeros(more, np.int32)])
            self._category_barred = np.concatenate([self._category_barred, np.zeros(more, np.bool_)])
            self._deny.make_room(more)
            self._allow.make_room(more)
        for node in range(max(self._nodes, ROOT + 1), len(categories)):
            path, parent = categories.path(node), int(categories.parent[node])
            self._group[node] = categories.at_depth(node, self._policy.category_depth)
            self._category_barred[node] = self._category_barred[parent] or path in self._barred_categories
            self._deny.add(node, parent, path)
            self._allow.add(node, parent, path)
        self._nodes = len(categories)
        return Rules(
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

    def query_state(self) -> QueryState:
        """Memory for queries, as large as the rules are now. The serials of its queries must grow, from 1 on."""
        items, nodes = len(self._catalog.facts), len(self._group)
        barred = np.zeros(items, np.uint8)
        barred[self._barred_items] = _BY_POLICY
        return QueryState(
            np.zeros(4, np.int64),
            barred,
            np.zeros(items, np.int32),
            np.zeros(items, np.int32),
            np.zeros(nodes, np.int64),
            np.zeros(self._deny.first.shape[1], np.uint64),
        )


class _Pairs:
    """Pairs of categories as bits: which pairs a node, or one above it, is the first or the second of."""

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._words = max(1, (len(pairs) + 63) // 64)
        self._firsts = self._masks([first for first, _ in pairs])
        self._seconds = self._masks([second for _, second in pairs])
        self.first = np.zeros((0, self._words), np.uint64)
        self.second = np.zeros((0, self._words), np.uint64)

    def _masks(self, paths: list[str]) -> dict[str, NDArray[np.uint64]]:
        masks: dict[str, NDArray[np.uint64]] = {}
        for number, path in enumerate(paths):
            mask = masks.setdefault(path, np.zeros(self._words, np.uint64))
            mask[number // 64] |= np.uint64(1 << number % 64)
        return masks

    def make_room(self, more: int) -> None:
        """Cover so many more nodes."""
        self.first = np.concatenate([self.first, np.zeros((more, self._words), np.uint64)])
        self.second = np.concatenate([self.second, np.zeros((more, self._words), np.uint64)])

    def add(self, node: int, parent: int, path: str) -> None:
        """Add a node whose parent has been added."""
        for table, masks in ((self.first, self._firsts), (self.second, self._seconds)):
            table[node] = table[parent]
            if path in masks:
                table[node] |= masks[path]


@inline_njit
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


@inline_njit
def _bar(item: int, query_state: QueryState) -> bool:
    """Bar an item from this query; returns whether that is new."""
    if query_state.barred[item] & _BY_QUERY:
        return False
    query_state.barred[item] |= _BY_QUERY
    query_state.listed[query_state.now[BARRED]] = item
    query_state.now[BARRED] += 1
    return True


@inline_njit
def _add_anchor(item: int, rules: Rules, query_state: QueryState) -> None:
    """Bar an item of the trigger or the cart, and compare candidates with it, if it is known."""
    fact = rules.facts[item]
    if _bar(item, query_state) and fact.state & KNOWN:
        query_state.anchors[query_state.now[ANCHORS]] = item
        query_state.now[ANCHORS] += 1
        query_state.taken[rules.group[fact.category]] = query_state.now[SERIAL]
        for word in range(len(query_state.denied)):
            query_state.denied[word] |= rules.deny_from[fact.category, word]


@inline_njit
def classify(item: int, rules: Rules, query_state: QueryState) -> tuple[int, int]:
    """What an item may be suggested as, and the place in `query_state.anchors` of the first anchor that it may be for.

    The place is -1 with NEITHER; `fits` answers for other anchors.
    """
    fact = rules.facts[item]
    if fact.state != OFFERED or query_state.barred[item]:
        return NEITHER, -1
    if rules.category_barred[fact.category] or rules.brand_barred[fact.brand]:
        return NEITHER, -1
    if query_state.taken[rules.group[fact.category]] == query_state.now[SERIAL]:
        if query_state.now[MAY_UPSELL]:
            for place in range(query_state.now[ANCHORS]):
                if _steps_up(item, query_state.anchors[place], rules):
                    return UPSELL, place
        return NEITHER, -1
    for word in range(len(query_state.denied)):
        if query_state.denied[word] & rules.deny_to[fact.category, word]:
            return NEITHER, -1
    for place in range(query_state.now[ANCHORS]):
        if _allowed(item, query_state.anchors[place], rules):
            return CROSS_SELL, place
    return NEITHER, -1


@inline_njit
def fits(item: int, kind: int, place: int, rules: Rules, query_state: QueryState) -> bool:
    """Whether an item of a kind may be suggested for the anchor at a place."""
    anchor = query_state.anchors[place]
    return bool(_steps_up(item, anchor, rules) if kind == UPSELL else _allowed(item, anchor, rules))


@inline_njit
def _allowed(item: int, anchor: int, rules: Rules) -> bool:
    """Whether `allow_pairs` allow an item with an anchor. `classify` checks the denials of all anchors at once."""
    if rules.allow_all:
        return True
    first, second = rules.facts[anchor].category, rules.facts[item].category
    for word in range(rules.allow_to.shape[1]):
        if rules.allow_from[first, word] & rules.allow_to[second, word]:
            return True
    return False


@inline_njit
def _steps_up(item: int, anchor: int, rules: Rules) -> bool:
    """Whether an item is the anchor's upsell."""
    more, less = rules.facts[item], rules.facts[anchor]
    if rules.group[more.category] != rules.group[less.category] or more.currency != less.currency:
        return False
    if not less.price > 0.0 or more.rating < less.rating:  # False for NaN, a missing rating
        return False
    return bool(less.price * (1 + rules.min_step) <= more.price <= less.price * (1 + rules.max_step))
