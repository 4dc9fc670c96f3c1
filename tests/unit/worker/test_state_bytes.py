"""The memory that a process says it takes, against the memory that Python says it takes."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytest

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.ranking.attribution import Attribution, AttributionConfig, Impression
from models.ranking.features import WIDTH
from models.sessions.consent import Consent
from models.sessions.histories import Histories, HistoryConfig
from models.sessions.visits import VisitConfig, Visits
from models.shop.catalog import Catalog
from models.shop.events import Action, CatalogItem, Click, Line, Profile, Purchase
from models.shop.items import Items
from streams.settings import Settings
from tests.support.world import Process, Shop

T = TypeVar("T")

NOON = 1_750_000_000.0


def items_of_many_ids() -> Items:
    items = Items()
    for n in range(5_000):
        items.index(f"{n:032x}")
    return items


def catalog_of_many_items() -> Catalog:
    items = Items()
    catalog = Catalog(items)
    for n in range(3_000):
        attributes: dict[str, str | float | bool] = {f"size-{k}": f"some value {n} {k}" for k in range(4)}
        item = CatalogItem(f"item-{n}", f"The item {n} of many", f"Shop/{n % 50}", n + 0.5, attributes=attributes)
        catalog.put(item)
    return catalog


class VisitsWithLooks(NamedTuple):
    visits: Visits

    @property
    def nbytes(self) -> int:
        return self.visits.nbytes + self.visits.looks.nbytes


def visits_of_many_looks() -> VisitsWithLooks:
    items = Items()
    for n in range(100):
        items.index(f"item-{n}")
    visits = Visits(items, VisitConfig())
    for n in range(20_000):
        click = Click(f"user-{n % 500}", f"item-{n % 100}", Action.ADD_TO_CART if n % 5 == 0 else Action.VIEW, NOON + n)
        visits.apply_click(click, NOON + n, 2**31 + n, learn=False)
    return VisitsWithLooks(visits)


def visits_of_many_repeats_and_purchases() -> VisitsWithLooks:
    items = Items()
    visits = Visits(items, VisitConfig())
    for n in range(5_000):
        click = Click(f"user-{n % 200}", "item", Action.VIEW, NOON + n, event_id=f"event-{n:030d}")
        visits.apply_click(click, NOON + n, 2**31 + n, learn=False)
        lines = (Line(f"item-{n % 100}"), Line("mug"))
        purchase = Purchase(f"user-{n % 200}", f"order-{n:030d}", NOON + n, lines)
        visits.apply_purchase(purchase, NOON + n, 2**31 + n, learn=False, join=False)
    return VisitsWithLooks(visits)


def histories_of_many_purchases() -> Histories:
    items = Items()
    for n in range(300):
        items.index(f"item-{n}")
    histories = Histories(items, HistoryConfig())
    for n in range(4_000):
        histories.learn(f"user-{n % 500:020d}", [(n + k) % 300 for k in range(7)], NOON + n, 2**31 + n)
    return histories


def rows_of_many_neighbours() -> CoOccurrence:
    rows, n = CoOccurrence(Items(), CoOccurrenceConfig()), 1_500
    for index in range(n):
        rows._items.index(f"item-{index}")
    a = np.repeat(np.arange(n, dtype=np.int32), 40)
    b = (a + np.tile(np.arange(1, 41, dtype=np.int32), n)) % n
    rows.learn_many(a, b.astype(np.int32), np.zeros(len(a), np.int8), np.ones(len(a)), np.full(len(a), NOON), 0)
    return rows


def neighbours_of_many_rows() -> Neighbours:
    rows = rows_of_many_neighbours()
    neighbours = Neighbours(rows._items, 1e6)
    for index in range(len(rows)):
        neighbours.put_cut(index, 1, rows.cuts([index])[0])
    return neighbours


def consent_of_many() -> Consent:
    consent = Consent()
    for n in range(5_000):
        consent.apply(Profile(f"user-{n:020d}", NOON + n, forget=n % 2 == 0, consent=n % 2 == 0))
    return consent


def attribution_of_many_lists() -> Attribution:
    attribution = Attribution(AttributionConfig())
    for n in range(1_500):
        features = np.empty((6, 0), np.float16)
        sent = Impression(f"clicks-3-{n}", f"user-{n}", NOON, "clicks", n, list(range(6)), [0] * 6, features)
        attribution.record_impression(3, sent)
        attribution.record_action(3, f"user-{n}", n, NOON + n / 100, "clicks", n, taken=False)
    return attribution


def attribution_of_many_pools() -> Attribution:
    attribution = Attribution(AttributionConfig(), WIDTH)
    for n in range(500):
        items, features = array("i", range(1_000, 1_150)), np.zeros((150, WIDTH), np.float16)
        sent = Impression(f"clicks-3-{n}", f"user-{n}", NOON, "clicks", n, items, bytearray(b"\1" * 150), features)
        attribution.record_impression(3, sent)
    return attribution


def measured(make: Callable[[], T]) -> tuple[T, int]:
    make()  # what is made once for all is made now
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return made, taken


@pytest.mark.parametrize(
    "make",
    [
        items_of_many_ids,
        catalog_of_many_items,
        visits_of_many_looks,
        visits_of_many_repeats_and_purchases,
        histories_of_many_purchases,
        rows_of_many_neighbours,
        consent_of_many,
        attribution_of_many_lists,
        attribution_of_many_pools,
    ],
)
def test_what_a_state_says_it_takes_is_what_it_takes_within_a_factor_of_two(make: Callable[[], Any]) -> None:
    state, taken = measured(make)
    assert taken / 2 < state.nbytes < 2 * taken


def test_rows_of_the_index_take_what_they_say() -> None:
    index, taken = measured(neighbours_of_many_rows)
    assert taken / 4 < index.nbytes < taken  # the owner's rows are measured as well, and are dropped


def test_every_state_of_a_worker_is_in_the_gauge_and_none_grows_with_made_up_ids() -> None:
    async def scenario() -> None:
        shop = Shop()
        shop.offer("kettle", "Kitchen/Kettles", 10.0)
        counting = CoOccurrenceConfig(unknown_items=20)
        process = Process(shop, settings=Settings(cooccurrence=counting, visits=VisitConfig(items=3)))
        await process.take_over_all()
        sizes = []
        for turn in range(4):
            for n in range(200):
                shop.click(f"robot-{n % 4}", f"id-{turn}-{n}", 200 * turn + n)
            await process.complete()
            sizes.append(process.context.sizes())
        process.context.metrics.states(sizes[-1])
        for state, size in sizes[-1].items():
            value = process.context.metrics.registry.get_sample_value("crosscurrent_state_bytes", {"state": state})
            assert value == size
        for state in ("neighbours", "catalog", "forgotten", "waiting queries", "outbox"):
            assert sizes[-1][state] <= 1.3 * sizes[1][state]
        await process.die()

    asyncio.run(scenario())
