"""What each source of candidates costs: the kernel with all of them, against the kernel without one.

A recommender learns from the events of the benchmark and is asked the last queries again. The sequence model's items
and the histories of the shoppers are drawn at random, and a learnt order serves. The cost of a source is what the
kernel takes less without it. Costs do not add up to the whole: a full list needs no fall-backs, for example. Likeness
and the walk read the rows of the neighbours, so without these they cost nothing, either. The cost of each alone is what
it takes to describe the pool of a query again and again: at least that, as its rows are in the caches then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

import models.serving.recommender
from models.boxes import Box, boxed
from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.prequential.replay import Engine, Ranking
from models.ranking.features import LEARNT, no_order
from models.sequence.predictor import ITEMS, Expected
from models.serving.batch import Batch, Output, empty_output
from models.serving.kernel import answer
from models.serving.pooling import clear_slots, give_slots
from models.serving.popularity import TopItems
from models.serving.recommender import Learnt, Query, Recommender
from models.serving.sources import likeness, walk
from models.serving.state import Memory, ServingState, Shared
from models.sessions.histories import DAY_S, NOTHING, Histories, History, HistoryConfig
from models.sessions.visits import VisitConfig
from models.shop.catalog import OFFERED
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy
from streams.bench.events import Event, decoded, item_of

EVENTS = 30_000
"""Events that the recommender learns from."""

QUERIES = 256
"""The last queries, which are asked again."""

REPEATS = 15
"""Of each timing; the median counts."""

TOGETHER = (1, 32)
"""Queries of a batch."""

FEW, MANY = 20, 200
"""Items of the shoppers' histories: some baskets, and the most that a worker keeps by default."""

FIRST_SERIAL = 10**9
"""Of the queries that are timed: serials must ascend."""


class Call(NamedTuple):
    """What the kernel is called with."""

    batch: Batch
    state: ServingState


class Cost(NamedTuple):
    """A source, with the names of the calls that have it and of those that do not."""

    source: str
    calls: str
    without: str


ALL, LOGGED, LONG = "all sources", "pools logged", "long histories"

COSTS = (
    Cost("neighbours of the visit, likeness and walk", ALL, "no neighbours"),
    Cost(f"sequence model, {ITEMS} items", ALL, "no sequence model"),
    Cost("most bought items", ALL, "no most bought items"),
    Cost("top items of categories and brands", ALL, "no top items"),
    Cost(f"history of {FEW} items", ALL, "no histories"),
    Cost(f"history of {MANY} items", LONG, "no histories"),
    Cost("pool and learnt order, with all that joins", ALL, "order of the evidence"),
    Cost("logging the pool", LOGGED, ALL),
)

AGAIN = 50
"""Times that a pool is described again."""


def _again(join: Callable[[int, Batch, ServingState], None]) -> Callable[[int, Batch, ServingState], None]:
    @njit
    def again(times: int, batch: Batch, state: ServingState) -> None:
        give_slots(state.pool)
        for _ in range(times):
            join(len(batch.at) - 1, batch, state)
        clear_slots(state.pool)

    return again  # type: ignore[no-any-return]


DESCRIBERS = {likeness.NAME: _again(likeness.join), walk.NAME: _again(walk.join)}
"""By source, what describes the pool that the kernel has left in the state, so many times."""


def costs(
    catalog: Iterable[Event], events: Iterable[Event], queries: int = QUERIES, repeats: int = REPEATS
) -> dict[str, Any]:
    """Microseconds a query by queries of a batch and source: median and quartiles of at least two repeats.

    `queries` must be a multiple of the largest batch. The first source is the kernel with all of them.
    """
    recommender, asked = taught(catalog, events, queries)
    alone = calls(recommender, asked, 1)[ALL]
    return {str(size): _costs(calls(recommender, asked, size), alone, repeats) for size in TOGETHER}


def taught(catalog: Iterable[Event], events: Iterable[Event], queries: int) -> tuple[Recommender, list[Query]]:
    """A recommender that has learnt from events, and the last of their queries."""
    engine = Engine(Policy(), VisitConfig(), CoOccurrenceConfig(), {ALL: Ranking()}, flush_interval_s=1.0)
    for event in catalog:
        engine.catalog.put(item_of(event))
    asked: deque[Query] = deque(maxlen=queries)
    for answered in engine.run(decoded(events)):
        if answered.query is not None:
            asked.append(answered.query)
    return engine.recommenders[ALL], list(asked)


def calls(recommender: Recommender, asked: Sequence[Query], size: int) -> dict[str, list[Call]]:
    """By name, the calls that answer the queries in batches of one size."""
    chance = np.random.default_rng(1)
    offered = np.flatnonzero(recommender.catalog.facts["state"] == OFFERED)
    expected = np.stack([chance.permutation(offered)[:ITEMS] for _ in asked]).astype(np.int32)
    shares = 0.1 * 0.9 ** np.arange(expected.shape[1])
    few, many = (_histories(recommender, chance.permutation(offered), items, asked) for items in (FEW, MANY))
    order = no_order()
    order.serves[[CROSS_SELL, UPSELL]] = LEARNT

    def called(
        histories: Sequence[History], *, predicts: bool = True, learnt: bool = True, logs_pool: bool = False
    ) -> list[Call]:
        found = []
        for first in range(0, len(asked), size):
            some = slice(first, first + size)
            queries = [
                replace(query, history=history, logs_pool=logs_pool)
                for query, history in zip(asked[some], histories[some], strict=True)
            ]
            ends = expected.shape[1] * np.arange(len(queries) + 1)
            predicted = Expected(expected[some].reshape(-1), np.tile(shares, len(queries)), ends) if predicts else None
            found.append(_call(recommender, queries, predicted, Learnt(order, "bench") if learnt else None))
        return found

    everything = called(few)
    return {
        ALL: everything,
        LOGGED: called(few, logs_pool=True),
        LONG: called(many),
        "no neighbours": _changed(everything, _without_neighbours),
        "no sequence model": called(few, predicts=False),
        "no most bought items": _changed(everything, _without_most_bought),
        "no top items": _changed(everything, _without_top_items),
        "no histories": called([NOTHING] * len(asked)),
        "order of the evidence": called(few, learnt=False),
    }


def _call(recommender: Recommender, queries: Sequence[Query], expected: Expected | None, learnt: Learnt | None) -> Call:
    """What a recommender calls the kernel with."""
    module, found = vars(models.serving.recommender), list[Call]()
    kernel = module["answer"]
    module["answer"] = lambda batch, shared, memory, _: found.append(
        Call(batch, ServingState(*_held(shared), *_held(memory)))
    )
    try:
        recommender.answer_each(queries, expected, learnt)
    finally:
        module["answer"] = kernel
    return found[0]


@njit
def _held(box: Box) -> Any:
    """What a box holds."""
    return box.held


def answered(batch: Batch, state: ServingState, output: Output) -> float:
    """Let the kernel answer a batch; returns the seconds that it took."""
    parts: tuple[Any, ...] = state
    shared = len(Shared._fields)
    boxes = boxed(Shared(*parts[:shared])), boxed(Memory(*parts[shared:])), boxed(output)
    started = time.thread_time()
    answer(batch, *boxes)
    return time.thread_time() - started


def _changed(found: Iterable[Call], change: Callable[[ServingState], ServingState]) -> list[Call]:
    return [Call(call.batch, change(call.state)) for call in found]


def _without_neighbours(state: ServingState) -> ServingState:
    none = np.zeros((len(state.rows.length), 2), np.int32)[:, 0]  # a column of a table, as the kernel is compiled for
    return state._replace(rows=state.rows._replace(length=none))


def _without_most_bought(state: ServingState) -> ServingState:
    return state._replace(most_bought=_empty(state.most_bought))


def _without_top_items(state: ServingState) -> ServingState:
    return state._replace(by_category=_empty(state.by_category), by_brand=_empty(state.by_brand))


def _empty(top: TopItems) -> TopItems:
    return top._replace(length=np.zeros_like(top.length))


def _histories(
    recommender: Recommender, offered: NDArray[np.integer], items: int, asked: Sequence[Query]
) -> list[History]:
    """For each query the history of a shopper who has twice bought so many items."""
    histories = Histories(recommender.items, HistoryConfig())
    offsets = count()
    for shopper, query in enumerate(asked):
        bought = np.roll(offered, shopper)[:items].tolist()
        for days in (60, 30):
            histories.learn(str(shopper), bought, query.at - days * DAY_S, next(offsets))
    return [histories.of(str(shopper)) for shopper in range(len(asked))]


def _costs(found: Mapping[str, Sequence[Call]], alone: Sequence[Call], repeats: int) -> dict[str, Any]:
    """Time all calls in turn, once without counting; describers by calls of one query, `alone`."""
    serials = count(FIRST_SERIAL, max(TOGETHER))
    for each in found.values():
        _us(each, serials)
    _described_us(alone, serials)
    turns = [
        {name: _us(each, serials) for name, each in found.items()} | _described_us(alone, serials)
        for _ in range(repeats)
    ]
    return (
        {ALL: _spread([turn[ALL] for turn in turns])}
        | {cost.source: _spread([turn[cost.calls] - turn[cost.without] for turn in turns]) for cost in COSTS}
        | {source: _spread([turn[source] for turn in turns]) for source in DESCRIBERS}
    )


def _us(found: Sequence[Call], serials: Iterator[int]) -> float:
    """Microseconds a query of some calls."""
    seconds = sum(_seconds(call, serials) for call in found)
    return 1e6 * seconds / sum(len(call.batch.at) for call in found)


def _seconds(call: Call, serials: Iterator[int]) -> float:
    """Seconds that the kernel takes for a call."""
    size, places = len(call.batch.at), call.state.limits.items
    batch = call.batch._replace(serial=next(serials))
    return answered(batch, call.state, empty_output(size, places, int((batch.logged >= 0).sum())))


def _described_us(found: Sequence[Call], serials: Iterator[int]) -> dict[str, float]:
    """Microseconds a pool by source, over the pools that some calls leave, without what it costs to call."""
    us = dict.fromkeys(DESCRIBERS, 0.0)
    for call in found:
        _seconds(call, serials)
        for source, again in DESCRIBERS.items():
            started = time.thread_time()
            again(1, call.batch, call.state)
            called = time.thread_time()
            again(1 + AGAIN, call.batch, call.state)
            us[source] += 1e6 * (time.thread_time() - 2 * called + started) / AGAIN / len(found)
    return us


def _spread(us: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.quantile(us, [0.25, 0.5, 0.75]).round(2).tolist()
    return {"us": middle, "low": low, "high": high}
