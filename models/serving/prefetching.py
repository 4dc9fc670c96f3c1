"""What queries are going to read, fetched from memory while those before them are answered.

Otherwise a query waits a hundred times for a line of the rows and of the catalogue that no query has touched lately. It
is fetched in steps, since where the one step's lines are is told by those of the step before.
"""

from __future__ import annotations

from models.cache_lines import LINE, prefetch
from models.cooccurrence.index import Rows
from models.jit import forward_njit
from models.serving.batch import Batch, Joined
from models.serving.popularity import MAX_ANCHORS, PLACES, TopItems
from models.serving.rules import ANCHORS
from models.serving.sources.walk import BETWEEN, ITEMS
from models.serving.state import ServingState
from models.shop.events import PAIR_KINDS, VIEWED_WITH

AHEAD = 3
"""Queries between the first step for a query and its answer."""

MOST_ITEMS = 8
"""Items of each of its lists whose rows are fetched: the cart's last, the visit's first."""

_WEIGHTS, _COUNTS = LINE // 8, LINE // 4
"""Weights of cells, and counts or ids, on a line."""


@forward_njit
def fetch_ahead(query: int, batch: Batch, state: ServingState) -> None:
    """Make one step for each of the queries that follow one; those before the first are made for, too."""
    last = len(batch.at) - 1
    if query + AHEAD <= last:
        _fetch_items(query + AHEAD, batch, state)
    if 0 <= query + 2 <= last:
        _fetch_rows(query + 2, batch, state)
    if 0 <= query + 1 <= last:
        _fetch_neighbours(query + 1, batch, state)


@forward_njit
def fetch_walk(state: ServingState) -> None:
    """Fetch the rows that a walk goes over, and the shelves of the anchors."""
    rows, pool, rules = state.rows, state.pool, state.rules
    for place in range(min(ITEMS, pool.size[1])):
        about = pool.context[place]
        if about < len(rows.at):
            for step in range(rows.start[about], rows.start[about] + min(BETWEEN, rows.length[about])):
                _fetch_cells(rows.ids[step], VIEWED_WITH, VIEWED_WITH + 1, rows)
    for anchor in range(min(state.query.now[ANCHORS], MAX_ANCHORS)):
        _fetch_list(rules.group[rules.facts[state.query.anchors[anchor]].category], state.by_category)


@forward_njit
def fetch_shelves(state: ServingState) -> None:
    """Fetch what is known of the items of the shelves."""
    rules, top = state.rules, state.by_category
    for anchor in range(min(state.query.now[ANCHORS], MAX_ANCHORS)):
        row = rules.group[rules.facts[state.query.anchors[anchor]].category]
        for place in range(top.length[row]):
            _fetch_item(top.items[row, place], state)


@forward_njit
def _fetch_items(query: int, batch: Batch, state: ServingState) -> None:
    """Fetch what is known of the items of a query, and of those that the sequence model expects."""
    for joined in (batch.trigger, batch.cart, batch.visit):
        for at in range(joined.ends[query], joined.ends[query + 1]):
            _fetch_item(joined.items[at], state)
    for at in range(batch.expected.ends[query], batch.expected.ends[query + 1]):
        _fetch_item(batch.expected.items[at], state)


@forward_njit
def _fetch_rows(query: int, batch: Batch, state: ServingState) -> None:
    """Fetch the rows of the items of a query."""
    _fetch_rows_of(batch.trigger, query, False, state.rows)
    _fetch_rows_of(batch.cart, query, True, state.rows)
    _fetch_rows_of(batch.visit, query, False, state.rows)


@forward_njit
def _fetch_rows_of(joined: Joined, query: int, last: bool, rows: Rows) -> None:
    first, end = _most(joined, query, last)
    for at in range(first, end):
        _fetch_cells(joined.items[at], 0, PAIR_KINDS, rows)


@forward_njit
def _fetch_neighbours(query: int, batch: Batch, state: ServingState) -> None:
    """Fetch what is known of the neighbours of the items of a query."""
    _fetch_neighbours_of(batch.trigger, query, False, state)
    _fetch_neighbours_of(batch.cart, query, True, state)
    _fetch_neighbours_of(batch.visit, query, False, state)


@forward_njit
def _fetch_neighbours_of(joined: Joined, query: int, last: bool, state: ServingState) -> None:
    first, end = _most(joined, query, last)
    rows = state.rows
    for at in range(first, end):
        item = joined.items[at]
        if item < len(rows.at):
            for cell in range(rows.start[item], rows.start[item] + rows.length[item]):
                _fetch_item(rows.ids[cell], state)


@forward_njit
def _most(joined: Joined, query: int, last: bool) -> tuple[int, int]:
    """Where the items of a list begin and end whose rows are fetched: the first ones, or the last."""
    first, end = joined.ends[query], joined.ends[query + 1]
    if last:
        return max(first, end - MOST_ITEMS), end
    return first, min(end, first + MOST_ITEMS)


@forward_njit
def _fetch_item(item: int, state: ServingState) -> None:
    """Fetch what is known of an item."""
    prefetch(state.rules.facts, item)
    prefetch(state.rows.at, item)
    prefetch(state.pool.where, item)
    prefetch(state.query.barred, item)


@forward_njit
def _fetch_cells(item: int, first_kind: int, end_kind: int, rows: Rows) -> None:
    """Fetch the row of an item: ids, and weights and counts of some kinds."""
    if item >= len(rows.at) or rows.length[item] == 0:
        return
    start, length = rows.start[item], rows.length[item]
    for cell in range(start, start + length, _COUNTS):
        prefetch(rows.ids, cell)
    for kind in range(first_kind, end_kind):
        weights, counts = rows.weights[:, kind], rows.counts[:, kind]
        for cell in range(start, start + length, _WEIGHTS):
            prefetch(weights, cell)
        for cell in range(start, start + length, _COUNTS):
            prefetch(counts, cell)
        prefetch(weights, start + length - 1)


@forward_njit
def _fetch_list(row: int, top: TopItems) -> None:
    prefetch(top.length, row)
    for place in range(0, PLACES, _COUNTS):
        prefetch(top.items[row], place)
