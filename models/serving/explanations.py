"""Why an item is suggested: the strongest evidence of each kind, in figures and in a sentence a shopper could read."""

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
from models.serving.state import EVIDENCE, Pool, ServingState, Weights
from models.shop.catalog import Catalog
from models.shop.events import BOUGHT_WITH, PAIR_KIND_NAMES, PAIR_KINDS, VIEWED_THEN_BOUGHT, VIEWED_WITH, CatalogItem
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL

MOST_REASONS = 4
"""Reasons an item at most: one of each kind of co-occurrence, one of the sequence model. A fallback has one."""

_NONE, _SEQUENCE, _BRAND, _NEAR, _POPULAR = -1, 3, 4, 5, 6
"""The other sources of reasons."""

REASON_SOURCES = (*PAIR_KIND_NAMES, "sequence", "content", "content", "popularity")
"""Names of the sources."""


class Reason(TypedDict):
    """Why an item is suggested."""

    source: str
    anchor: NotRequired[str]
    """Item that the evidence is about: of the trigger, the cart or the visit."""
    count: int
    """Plain number of events behind it; of the sequence model, looks at the item; of a fallback, its own purchases, or
    its views if it has none."""
    lift: NotRequired[float]
    """How many times as often as by chance the two are bought together, where that can be said."""
    text: str


class Reasons(NamedTuple):
    """Reasons of the items of one list, (places, MOST_REASONS), or with a first axis more, of many."""

    source: NDArray[np.int8]  # index into REASON_SOURCES, strongest first, then -1
    anchor: NDArray[np.int32]  # item of the evidence, -1 for none
    events: NDArray[np.int64]  # behind the reason
    of_views: NDArray[np.bool_]  # those of a fallback are views
    of_anchor: NDArray[np.bool_]  # the evidence is an anchor's; by kind, before they are ordered
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
        np.zeros(shape, np.bool_),
        np.full(shape, math.nan),
        np.zeros(shape),
    )


@inline_njit
def explain(at: float, chosen: NDArray[np.int32], size: int, state: ServingState, found: Reasons) -> None:
    """Find the reasons of a list by walking the rows of its sources again, for the few items that are in it.

    Of each kind the strongest evidence is kept; evidence of an anchor goes before that of other items of the visit.
    """
    pool = state.pool
    marks = np.uint64(0)  # of items with evidence: most neighbours are told from them by their last six bits
    for index in range(size):
        candidate = pool.candidates[chosen[index]]
        if candidate.tier == EVIDENCE:
            marks |= np.uint64(1) << np.uint64(candidate.item & 63)
        else:
            _explain_fall_back(candidate, index, state.rows, state.query, found)
    for place in range(pool.size[1] if marks else 0):
        _explain_source(place, at, marks, state.rows, state.weights, pool, found)
    for index in range(size):
        candidate = pool.candidates[chosen[index]]
        if candidate.tier == EVIDENCE:
            _explain_evidence(candidate, index, at, state.rows, state.weights, found)
        _order(index, found)


@inline_njit
def _explain_source(
    place: int, at: float, marks: np.uint64, rows: Rows, weights: Weights, pool: Pool, found: Reasons
) -> None:
    """Keep what the row of a source says of the marked items, where it is the strongest so far."""
    source = pool.sources[place]
    if source >= len(rows.length) or rows.length[source] == 0:
        return
    per_view, per_basket = share_factors(source, pool.recency[place], at, rows, weights)
    of_anchor = pool.anchor_of[place] >= 0
    start = rows.start[source]
    for cell in range(start, start + rows.length[source]):
        item = rows.ids[cell]
        if not (marks >> np.uint64(item & 63)) & np.uint64(1):
            continue
        candidate = pool.candidates[pool.where[item]]  # all neighbours of all sources are candidates
        index = candidate.chosen
        if candidate.tier != EVIDENCE or index < 0:
            continue
        for kind in range(PAIR_KINDS):
            strength = _factor(candidate.kind, kind, per_view, per_basket, weights)
            strength *= supported(cell, kind, rows, weights)
            if not strength > 0.0 or of_anchor < found.of_anchor[index, kind]:
                continue
            if of_anchor > found.of_anchor[index, kind] or strength > found.strength[index, kind]:
                found.of_anchor[index, kind] = of_anchor
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
def _explain_evidence(candidate: Any, index: int, at: float, rows: Rows, weights: Weights, found: Reasons) -> None:
    """Complete an item's reasons: the lift of what was bought together, and the sequence model."""
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


@inline_njit
def _explain_fall_back(candidate: Any, index: int, rows: Rows, query: QueryState, found: Reasons) -> None:
    item, relation = candidate.item, candidate.relation
    found.source[index, 0] = _BRAND if relation == BRAND else _NEAR if relation == NEAR else _POPULAR
    if candidate.kin >= 0 and found.source[index, 0] != _POPULAR:
        found.anchor[index, 0] = query.anchors[candidate.kin]
    views = purchases = 0
    if item < len(rows.at):
        views, purchases = rows.own_count[item, 0], rows.own_count[item, 1]
    found.events[index, 0] = purchases if purchases else views
    found.of_views[index, 0] = purchases == 0
    found.strength[index, 0] = 1.0


@inline_njit
def _order(index: int, found: Reasons) -> None:
    """Put an item's reasons in order, strongest first; places without one last."""
    for last in range(MOST_REASONS - 1, 0, -1):
        for kind in range(last):
            if found.strength[index, kind] < found.strength[index, kind + 1]:
                _swap(found.source[index], kind)
                _swap(found.anchor[index], kind)
                _swap(found.events[index], kind)
                _swap(found.of_views[index], kind)
                _swap(found.lift[index], kind)
                _swap(found.strength[index], kind)


@inline_njit
def _swap(row: NDArray[Any], kind: int) -> None:
    row[kind], row[kind + 1] = row[kind + 1], row[kind]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


class ReasonText:
    """Puts reasons into words. The words for an anchor are kept until the catalogue changes.

    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> catalog.put(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0))
    >>> texts, mug = ReasonText(items, catalog), CatalogItem("mug", "Mug", "Kitchen/Mugs", 8.0)
    >>> texts.reason(mug, source=1, anchor=0, count=12, of_views=False, lift=3.5)["text"]
    'Bought together with Kettle in 12 baskets'
    >>> texts.reason(mug, source=6, anchor=-1, count=1, of_views=True, lift=math.nan)
    {'source': 'popularity', 'count': 1, 'text': 'Popular in Mugs: looked at once'}
    """

    def __init__(self, items: Items, catalog: Catalog) -> None:
        self._items = items
        self._catalog = catalog
        self._version = catalog.version
        self._anchors: dict[int, tuple[str, str, str, str, str]] = {}

    def reason(self, item: CatalogItem, source: int, anchor: int, count: int, of_views: bool, lift: float) -> Reason:
        """A reason as it is sent; the arguments after the item are as in `Reasons`."""
        if source == _SEQUENCE:
            text = "Often next in visits like this one" + (f": looked at {_times(count)}" if count else "")
            return {"source": REASON_SOURCES[source], "count": count, "text": text}
        if source > _SEQUENCE:
            return self._fall_back(item, source, anchor, count, of_views)
        about = self._anchors.get(anchor) if self._version == self._catalog.version else None
        if about is None:
            about = self._about(anchor)
        name, title, bought, after, looked = about
        if source == BOUGHT_WITH:
            text = f"{bought}{count} baskets" if count != 1 else bought + "1 basket"
        else:
            text = looked + _times(count) if source == VIEWED_WITH else f"Bought {_times(count)}{after}"
        if lift == lift:  # not NaN
            return {"source": REASON_SOURCES[source], "anchor": name, "count": count, "lift": lift, "text": text}
        return {"source": REASON_SOURCES[source], "anchor": name, "count": count, "text": text}

    def _about(self, anchor: int) -> tuple[str, str, str, str, str]:
        """Words for an anchor: its id, its title, and the beginnings or ends of sentences."""
        if self._version != self._catalog.version:
            self._version = self._catalog.version
            self._anchors.clear()
        offer = self._catalog.get(anchor)
        title = offer.title if offer is not None else "an item you looked at"
        self._anchors[anchor] = about = (
            self._items.name(anchor),
            title,
            f"Bought together with {title} in ",
            f" after a look at {title}",
            f"Looked at together with {title} ",
        )
        return about

    def _fall_back(self, item: CatalogItem, source: int, anchor: int, count: int, of_views: bool) -> Reason:
        known = f"{'looked at' if of_views else 'bought'} {_times(count)}" if count else ""
        place = item.category.rpartition("/")[2]
        if anchor < 0:
            text = f"Popular in {place}: {known}" if known else f"New in {place}"
            return {"source": REASON_SOURCES[source], "count": count, "text": text}
        name, title, *_ = self._about(anchor)
        text = f"From {item.brand}, like {title}" if source == _BRAND else f"From {place}, close to {title}"
        text = f"{text}: {known}" if known else text
        return {"source": REASON_SOURCES[source], "anchor": name, "count": count, "text": text}
