"""What the kernel is handed in boxes: as everything is now, whatever was replaced, and room that is used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numba import njit

from models.boxes import Box
from models.ranking.features import no_order
from models.serving import kernel
from models.serving.category_lifts import QUERIES
from models.serving.recommender import LEAST_QUERIES, MOST_POOLS_KEPT, Learnt, SuggestedItem
from models.shop.policy import Policy
from models.thread_team import ThreadTeam
from tests.support.corner_shop import NOW, WIDE, CornerShop


@njit
def held(box: Box) -> Any:
    return box.held


def leaves(parts: Any) -> Iterator[int | float]:
    """Addresses of all arrays of nested tuples, and their numbers."""
    for part in parts:
        if isinstance(part, tuple):
            yield from leaves(part)
        else:
            yield part.ctypes.data if isinstance(part, np.ndarray) else part


def corner() -> CornerShop:
    shop = CornerShop(Policy(**WIDE))
    for name, category, price in [("kettle", "A/B", 9.0), ("mug", "A/C", 5.0), ("pot", "A/B", 12.0), ("tea", "D", 3.0)]:
        shop.offer(name, category, price, brand="Acme")
    shop.learn("kettle", {"mug": (3.0, 2.0, 1.0), "pot": (2.0, 0.0, 1.0)})
    shop.learn("mug", {"kettle": (3.0, 2.0, 1.0)})
    shop.neighbours.set_total(0, 50.0, NOW)
    return shop


def many_items(shop: CornerShop) -> None:
    for number in range(3000):
        shop.items.index(f"item-{number}")


def many_rows(shop: CornerShop) -> None:
    many_items(shop)
    for number in range(200):
        shop.learn(f"item-{number}", {f"item-{other}": (1.0, 0.0, 0.0) for other in range(20)})


def many_categories_and_brands(shop: CornerShop) -> None:
    for number in range(100):
        shop.offer(f"item-{number}", f"Category {number}", 5.0, brand=f"Brand {number}")


def next_lifts(shop: CornerShop) -> None:
    shop.recommender.suggest_many([shop.query("kettle")] * QUERIES)


CHANGES: dict[str, tuple[Callable[[CornerShop], None], set[str]]] = {
    "items": (many_items, {"rules", "id_order", "query", "pool"}),
    "rows": (many_rows, {"rows", "id_order"}),
    "baskets": (lambda shop: shop.neighbours.set_total(1, 5.0, NOW), {"rows"}),
    "words": (many_categories_and_brands, {"rules", "by_category", "by_brand", "parent", "query"}),
    "policy": (
        lambda shop: setattr(shop.recommender, "policy", Policy(step_power=0.5)),
        {"weights", "rules", "limits"},
    ),
    "order": (lambda shop: setattr(shop.recommender, "learnt", Learnt(no_order(), "v")), {"learnt"}),
    "lifts": (next_lifts, {"category_pairs"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_kernel_sees_what_was_replaced(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, seen = corner(), []

    def answer(batch: Any, shared: Box, memory: Box, output: Box) -> None:
        seen.append((shared, memory))
        kernel.answer(batch, shared, memory, output)

    monkeypatch.setattr("models.serving.recommender.answer", answer)
    shop.ask("kettle")
    shop.ask("kettle")
    assert seen[0] == seen[1]  # the same boxes
    before = {**held(seen[1][0])._asdict(), **held(seen[1][1])._asdict()}
    make, replaced = CHANGES[change]
    make(shop)
    shop.ask("kettle")
    now = {**held(seen[-1][0])._asdict(), **held(seen[-1][1])._asdict()}
    different = {name for name in now if list(leaves([now[name]])) != list(leaves([before[name]]))}
    assert replaced <= different
    recommender, in_force = shop.recommender, shop.recommender._in_force
    expected = {
        "rows": shop.neighbours.arrays(),
        "weights": in_force.weights,
        "rules": in_force.compiled.rules(),
        "limits": in_force.limits,
        "by_category": recommender.popularity.by_category,
        "by_brand": recommender.popularity.by_brand,
        "most_bought": recommender.popularity.most_bought,
        "category_pairs": recommender.category_lifts.sums,
        "parent": shop.catalog.categories.parent,
        "learnt": recommender.learnt.order,
        "id_order": shop.items.order,
        "query": in_force.query_states[0],
        "pool": recommender._pools[0],
    }
    for name, parts in expected.items():
        assert list(leaves([now[name]])) == list(leaves([parts])), name
    assert now.keys() == expected.keys()


def test_answers_that_are_not_taken_yet_are_not_written_over() -> None:
    shop = corner()
    wanted = {name: shop.ask(name) for name in ("kettle", "mug", "tea")}
    first = shop.recommender.suggest_each([shop.query("kettle"), shop.query("mug")])
    second = shop.recommender.suggest_each([shop.query("tea"), shop.query("kettle")])
    taken = [next(second)]
    third = shop.recommender.suggest_each([shop.query("mug"), shop.query("tea")])
    assert list(third) == [wanted["mug"], wanted["tea"]]
    assert taken + list(second) == [wanted["tea"], wanted["kettle"]]
    assert list(first) == [wanted["kettle"], wanted["mug"]]


def test_room_is_used_again_and_cleared() -> None:
    shop, fresh = corner(), corner()
    recommender = shop.recommender
    recommender.policy = Policy(max_items=1, explore=1.0)
    fresh.recommender.policy = Policy(max_items=1)

    def lists(of: CornerShop, *names: str) -> list[list[SuggestedItem]]:
        return of.recommender.suggest_many([of.query(*names)] * 2)

    explored = lists(shop, "kettle")
    assert any(one["propensity"] < 1.0 for answer in explored for one in answer)
    (room,) = recommender._spare
    recommender.policy = Policy(max_items=1)
    for names in (("tea",), ("kettle",), ("nobody",), ("mug", "tea")):
        assert lists(shop, *names) == lists(fresh, *names)
        assert recommender._spare == [room]
    pools = [
        answer.pool
        for answer in recommender.answer_each(
            [shop.query(name, logs_pool=True) for name in ("kettle", "nobody", "kettle")]
        )
    ]
    assert pools[0] is not None and pools[1] is None and pools[2] is not None
    assert [len(recommender._spare), recommender._spare[0] is room] == [1, False]  # it had no room for pools
    again = [
        answer.pool
        for answer in recommender.answer_each([shop.query(name, logs_pool=True) for name in ("nobody", "kettle")])
    ]
    assert again[0] is None and again[1] is not None
    assert np.array_equal(again[1].features, pools[0].features)


def test_memory_of_each_thread_is_told_and_grows_with_the_catalogue() -> None:
    shop, alone = corner(), corner()
    recommender, queries = shop.recommender, [shop.query("kettle"), shop.query("mug")] * (2 * LEAST_QUERIES)
    recommender.team = ThreadTeam(3, "test")
    assert recommender.suggest_many(queries[:1]) == alone.recommender.suggest_many(queries[:1])
    assert recommender.suggest_many(queries) == alone.recommender.suggest_many(queries)
    pools, states = recommender._pools, recommender._in_force.query_states
    assert len(pools) == len(states) == 3
    arrays: list[list[Any]] = []
    for state, pool in zip(states, pools, strict=True):
        arrays.append([*state, *(part for part in pool if part is not pool.queues), *pool.queues])
    assert len({array.ctypes.data for of_one in arrays for array in of_one}) == 3 * len(arrays[0])
    told = recommender.nbytes
    del pools[1:], states[1:]
    assert told - recommender.nbytes == sum(array.nbytes for of_one in arrays[1:] for array in of_one)
    for other in (shop, alone):
        many_items(other)
        many_categories_and_brands(other)
        other.recommender.policy = Policy(max_items=2, exclude_items=("mug",))
    assert recommender.suggest_many(queries) == alone.recommender.suggest_many(queries)
    assert len(pools) == 3
    assert len({len(pool.where) for pool in pools}) == 1


def test_room_for_many_pools_is_not_kept() -> None:
    shop = corner()
    queries = [shop.query("kettle", logs_pool=True)] * (MOST_POOLS_KEPT + 1)
    assert len(list(shop.recommender.answer_each(queries))) == len(queries)
    assert shop.recommender._spare == []
