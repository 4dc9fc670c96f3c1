"""Why an item is suggested: the strongest evidence of each kind, in figures and in a sentence a shopper could read.

A sentence says what its number counts, and no more. Looks and additions to the cart are counted together, so it names
both. Where nothing was counted it names what the catalogue says: brand, category, or likeness by them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Rows
from models.jit import inline_njit
from models.serving.candidates import bought_by_chance, share_factors, significance, supported
from models.serving.fallbacks import BRAND, NEAR
from models.serving.rules import QueryState
from models.serving.state import EVIDENCE, JOINED, Pool, ServingState, Weights
from models.shop.catalog import Catalog
from models.shop.events import BOUGHT_WITH, PAIR_KIND_NAMES, PAIR_KINDS, VIEWED_THEN_BOUGHT, VIEWED_WITH, CatalogItem
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL

MOST_REASONS = 4
"""Reasons an item at most: one of each kind of co-occurrence, one of the sequence model. A fallback has one."""

_NONE, _SEQUENCE, _BRAND, _NEAR, _POPULAR, _OWN = -1, 3, 4, 5, 6, 7
"""The other sources of reasons."""

_OF_VISIT, _OF_AN_ANCHOR, _OF_OWN_ANCHOR = 0, 1, 2
"""Whose evidence it is, the better last: of an item of the visit, of an anchor, of the one that the item is for."""

REASON_SOURCES = (*PAIR_KIND_NAMES, "sequence", "content", "content", "popularity", "history")
"""Names of the sources."""


class Reason(TypedDict):
    """Why an item is suggested."""

    source: str
    anchor: NotRequired[str]
    """Item that it is about: of the trigger, the cart or the visit."""
    count: int
    """Plain number of events behind it. Of the sequence model: how often the item was viewed or added to a cart. Of the
    history: in how many baskets the shopper bought it. Of a fallback: in how many baskets it was bought, or if in none,
    the same as of the sequence model."""
    lift: NotRequired[float]
    """How many times as often as by chance the two are bought together, where that can be said."""
    text: str


class Reasons(NamedTuple):
    """Reasons of the items of one list, (places, MOST_REASONS), or with a first axis more, of many."""

    source: NDArray[np.int8]  # index into REASON_SOURCES, strongest first, then -1
    anchor: NDArray[np.int32]  # item of the evidence, -1 for none
    events: NDArray[np.int64]  # behind the reason
    of_views: NDArray[np.bool_]  # those of a fallback are views
    whose: NDArray[np.int8]  # the evidence is: of the visit, an anchor, the item's own anchor
    lift: NDArray[np.float64]  # NaN where it is not defined
    strength: NDArray[np.float64]  # which they are ordered by


def empty_reasons(lists: int, places: int) -> Reasons:
    """Arrays for the reasons of many lists."""
    shape = (lists, places, MOST_REASONS)
    return Reasons(
        np.full(shape, _NONE, np.int8),
        np.full(shape, -1, np.int32),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.bool_),
        np.zeros(shape, np.int8),
        np.full(shape, math.nan),
        np.zeros(shape),
    )


@inline_njit
def explain(
    at: float, chosen: NDArray[np.int32], size: int, own: NDArray[Any], state: ServingState, found: Reasons
) -> None:
    """Find the reasons of a list by walking the rows of its sources again, for the few items that are in it.

    `own` is the shopper's history, (n,) of `models.sessions.histories.CELL`.
    Of each kind the strongest evidence is kept. That of the anchor which the item is for goes before that of other
    anchors, and theirs before that of other items of the visit.
    """
    pool = state.pool
    marks = np.uint64(0)  # of items with evidence: most neighbours are told from them by their last six bits
    for index in range(size):
        candidate = pool.candidates[chosen[index]]
        if candidate.tier == EVIDENCE:
            marks |= np.uint64(1) << np.uint64(candidate.item & 63)
        else:
            _explain_fall_back(candidate, index, own, state.rows, state.query, found)
    for place in range(pool.size[1] if marks else 0):
        _explain_source(place, at, marks, state.rows, state.weights, pool, found)
    for index in range(size):
        candidate = pool.candidates[chosen[index]]
        if candidate.tier == EVIDENCE:
            _explain_evidence(candidate, index, at, state.rows, state.weights, state.query, found)
        _order(index, candidate.kind == UPSELL, found)


@inline_njit
def _explain_source(
    place: int, at: float, marks: np.uint64, rows: Rows, weights: Weights, pool: Pool, found: Reasons
) -> None:
    """Keep what the row of a source says of the marked items, where it is the strongest so far."""
    source = pool.sources[place]
    if source >= len(rows.length) or rows.length[source] == 0:
        return
    per_view, per_basket = share_factors(source, pool.recency[place], at, rows, weights)
    anchor = pool.anchor_of[place]
    start = rows.start[source]
    for cell in range(start, start + rows.length[source]):
        item = rows.ids[cell]
        if not (marks >> np.uint64(item & 63)) & np.uint64(1):
            continue
        candidate = pool.candidates[pool.where[item]]  # all neighbours of all sources are candidates
        index = candidate.chosen
        if candidate.tier != EVIDENCE or index < 0:
            continue
        whose = _OF_VISIT if anchor < 0 else _OF_OWN_ANCHOR if anchor == candidate.anchor else _OF_AN_ANCHOR
        for kind in range(PAIR_KINDS):
            strength = _factor(candidate.kind, kind, per_view, per_basket, weights)
            strength *= supported(cell, kind, rows, weights)
            if not strength > 0.0 or whose < found.whose[index, kind]:
                continue
            if whose > found.whose[index, kind] or strength > found.strength[index, kind]:
                found.whose[index, kind] = whose
                found.strength[index, kind] = strength
                found.source[index, kind] = kind
                found.anchor[index, kind] = source
                found.events[index, kind] = rows.counts[cell, kind]


@inline_njit
def _factor(suggested: int, kind: int, per_view: float, per_basket: float, weights: Weights) -> float:
    """What a kind of co-occurrence counts for a kind of suggestion, for each unit of its weight."""
    if suggested == CROSS_SELL:
        if kind == BOUGHT_WITH:
            return weights.cross_bought * per_basket
        return (weights.cross_joined if kind == VIEWED_THEN_BOUGHT else weights.cross_viewed) * per_view
    if kind == BOUGHT_WITH:
        return 0.0
    return (weights.upsell_joined if kind == VIEWED_THEN_BOUGHT else weights.upsell_viewed) * per_view


@inline_njit
def _explain_evidence(
    candidate: Any, index: int, at: float, rows: Rows, weights: Weights, query: QueryState, found: Reasons
) -> None:
    """Complete an item's reasons: the lift of what was bought together, and the sequence model.

    Where nothing was counted about an upsell and its anchor, the sequence model's reason says whose upsell it is.
    """
    if found.source[index, BOUGHT_WITH] == BOUGHT_WITH:
        lift, log_likelihood = bought_by_chance(found.anchor[index, BOUGHT_WITH], candidate.item, at, rows)
        found.lift[index, BOUGHT_WITH] = lift
        found.strength[index, BOUGHT_WITH] *= significance(lift, log_likelihood, weights.chance)
    if candidate.expected > 0.0:
        found.source[index, _SEQUENCE] = _SEQUENCE
        factor = weights.cross_expected if candidate.kind == CROSS_SELL else weights.upsell_expected
        found.strength[index, _SEQUENCE] = factor * candidate.expected
        found.events[index, _SEQUENCE] = rows.own_count[candidate.item, 0] if candidate.item < len(rows.at) else 0
        found.of_views[index, _SEQUENCE] = True
        counted = max(found.whose[index, VIEWED_WITH], found.whose[index, VIEWED_THEN_BOUGHT])
        if candidate.kind == UPSELL and counted < _OF_OWN_ANCHOR:
            found.anchor[index, _SEQUENCE] = query.anchors[candidate.anchor]
            found.whose[index, _SEQUENCE] = _OF_OWN_ANCHOR


@inline_njit
def _explain_fall_back(
    candidate: Any, index: int, own: NDArray[Any], rows: Rows, query: QueryState, found: Reasons
) -> None:
    item, relation = candidate.item, candidate.relation
    found.source[index, 0] = _BRAND if relation == BRAND else _NEAR if relation == NEAR else _POPULAR
    if candidate.kin >= 0:
        found.anchor[index, 0] = query.anchors[candidate.kin]
    found.strength[index, 0] = 1.0
    if candidate.own >= 0 and candidate.tier == JOINED:  # otherwise it is a fallback like any other
        found.source[index, 0], found.events[index, 0] = _OWN, own[candidate.own].count
        return
    views = purchases = 0
    if item < len(rows.at):
        views, purchases = rows.own_count[item, 0], rows.own_count[item, 1]
    found.events[index, 0] = purchases if purchases else views
    found.of_views[index, 0] = purchases == 0


@inline_njit
def _order(index: int, own_first: bool, found: Reasons) -> None:
    """Put an item's reasons in order, strongest first; places without one last.

    With `own_first`, those about the anchor that the item is for go before all others.
    """
    for last in range(MOST_REASONS - 1, 0, -1):
        for kind in range(last):
            swap = found.strength[index, kind] < found.strength[index, kind + 1]
            if own_first:
                own = found.whose[index, kind] == _OF_OWN_ANCHOR
                if own != (found.whose[index, kind + 1] == _OF_OWN_ANCHOR):
                    swap = not own
            if swap:
                _swap(found.source[index], kind)
                _swap(found.anchor[index], kind)
                _swap(found.events[index], kind)
                _swap(found.of_views[index], kind)
                _swap(found.whose[index], kind)
                _swap(found.lift[index], kind)
                _swap(found.strength[index], kind)


@inline_njit
def _swap(row: NDArray[Any], kind: int) -> None:
    row[kind], row[kind + 1] = row[kind + 1], row[kind]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _seen(count: int) -> str:
    """What is counted as a view: of all events of the shopper with an item but taking it out of the cart."""
    return f"viewed or added to the cart {_times(count)}"


class ReasonText:
    """Puts reasons into words. The words for an anchor are kept until the catalogue changes.

    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> catalog.put(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0))
    >>> texts, mug = ReasonText(items, catalog), CatalogItem("mug", "Mug", "Kitchen/Mugs", 8.0)
    >>> texts.reason(mug, source=1, anchor=0, count=12, of_views=False, lift=3.5)["text"]
    'Bought together with Kettle in 12 baskets'
    >>> texts.reason(mug, source=6, anchor=-1, count=1, of_views=True, lift=math.nan)
    {'source': 'popularity', 'count': 1, 'text': 'From Mugs: viewed or added to the cart once'}
    """

    def __init__(self, items: Items, catalog: Catalog) -> None:
        self._items = items
        self._catalog = catalog
        self._version = catalog.version
        self._anchors: dict[int, tuple[str, str, str, str, str]] = {}

    def reason(self, item: CatalogItem, source: int, anchor: int, count: int, of_views: bool, lift: float) -> Reason:
        """A reason as it is sent; the arguments after the item are as in `Reasons`."""
        if source >= _SEQUENCE:
            known = "" if not count else _seen(count) if of_views else f"bought {_times(count)}"
            if anchor < 0:
                if source == _OWN:
                    text = f"Bought before, {_times(count)}"
                elif source == _SEQUENCE:
                    text = _expected(item, known).capitalize() + (f": {known}" if known else "")
                else:
                    text = _popular(item, known, "")
                return {"source": REASON_SOURCES[source], "count": count, "text": text}
            name, title, *_ = self._about(anchor)
            text = _related(item, source, title, known)
            return {"source": REASON_SOURCES[source], "anchor": name, "count": count, "text": text}
        name, title, bought, after, viewed = self._about(anchor)
        if source == BOUGHT_WITH:
            text = f"{bought}{count} baskets" if count != 1 else bought + "1 basket"
        else:
            text = viewed + _times(count) if source == VIEWED_WITH else f"Bought {_times(count)}{after}"
        if lift == lift:  # not NaN
            return {"source": REASON_SOURCES[source], "anchor": name, "count": count, "lift": lift, "text": text}
        return {"source": REASON_SOURCES[source], "anchor": name, "count": count, "text": text}

    def _about(self, anchor: int) -> tuple[str, str, str, str, str]:
        """Words for an anchor: its id, its title, and the beginnings or ends of sentences."""
        if self._version != self._catalog.version:
            self._version = self._catalog.version
            self._anchors.clear()
        about = self._anchors.get(anchor)
        if about is None:
            offer = self._catalog.get(anchor)
            title = offer.title if offer is not None else "another item of this visit"
            self._anchors[anchor] = about = (
                self._items.name(anchor),
                title,
                f"Bought together with {title} in ",
                f" after {title} was viewed or added to the cart",
                f"Viewed or added to the cart together with {title} ",
            )
        return about


def _related(item: CatalogItem, source: int, title: str, known: str) -> str:
    """Why an item is suggested that nothing was counted of together with the anchor of this title."""
    if source == _SEQUENCE:
        return f"An alternative to {title}, " + _expected(item, known)
    if source == _OWN:
        return f"An alternative to {title}, {known} before"
    if source == _POPULAR:
        return _popular(item, known, f", an alternative to {title}")
    text = f"From {item.brand}, like {title}" if source == _BRAND else f"From {_place(item)}, close to {title}"
    return f"{text}: {known}" if known else text


def _expected(item: CatalogItem, known: str) -> str:
    """Of an item that the sequence model expects; by its content alone where nothing is known of it."""
    if known:
        return "expected next in visits like this one"
    like = "category, brand and price" if item.brand else "category and price"
    return f"similar in {like} to what is expected next in visits like this one"


def _popular(item: CatalogItem, known: str, end: str) -> str:
    """Of an item that is suggested for its own numbers."""
    return f"From {_place(item)}{end}: {known}" if known else f"New in {_place(item)}{end}"


def _place(item: CatalogItem) -> str:
    return item.category.rpartition("/")[2]
