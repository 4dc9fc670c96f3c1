"""Lifts of categories: recounted from the rows, bounded, and the same however many cells a batch adds up."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from models.ranking.features import FEATURES, LEARNT, no_order
from models.serving import category_lifts
from models.serving.category_lifts import STRENGTH, PairSums
from models.serving.recommender import Learnt
from models.serving.rules import MAX_COMPARED
from models.shop.events import BOUGHT_WITH
from models.shop.policy import Policy
from tests.support.corner_shop import HALF_LIFE_S, NOW, WIDE, CornerShop

LIFT = "category lift"


@pytest.fixture(autouse=True)
def every_query_pays_for_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category_lifts, "QUERIES", 1)


def market(seed: int, depth: int = 0, categories: int = 6) -> CornerShop:
    """Thirty items of a few categories, and the rows of most of them, of different times."""
    chance = random.Random(seed)
    shop = CornerShop(Policy(**WIDE, category_depth=depth))
    names = [f"item-{number:02d}" for number in range(30)]
    for number, name in enumerate(names):
        shop.offer(name, f"Shop/{number % 3}/{number % categories}", 5.0)
    for name in names[:25]:
        others = chance.sample([one for one in names if one != name], 12)
        cells = {one: (1.0, chance.choice([0.0, chance.uniform(1, 50)]), 0.0) for one in others}
        shop.learn(name, cells, baskets=chance.uniform(50, 90), at=NOW - chance.uniform(-1, 90) * 86400.0)
    shop.neighbours.set_total(0, 900.0, NOW - 86400.0)
    return shop


def compared(shop: CornerShop, item_id: str) -> str:
    """The category of an item as the policy compares it."""
    item = shop.catalog.get(shop.items.find(item_id))
    assert item is not None
    return "/".join(item.category.split("/")[: shop.recommender.policy.category_depth or None])


def recounted(shop: CornerShop, item_id: str, anchors: Sequence[str]) -> float:
    """Logarithm of the mean lift, from all rows at once."""
    at = shop.neighbours.totals[0].at
    together: dict[tuple[str, str], float] = {}
    of_one: dict[str, float] = {}
    for name in shop.neighbours:
        row = shop.neighbours.row(name)
        assert row is not None
        for other, weight in zip(row.neighbours, row.weights[:, BOUGHT_WITH].tolist(), strict=True):
            half = weight / 2 * 2 ** min(0.0, (row.at - at) / HALF_LIFE_S)
            for one, two in [(name, other), (other, name)]:
                pair = compared(shop, one), compared(shop, two)
                together[pair] = together.get(pair, 0.0) + half
                of_one[pair[0]] = of_one.get(pair[0], 0.0) + half
    lifts, category = [], compared(shop, item_id)
    for anchor in anchors[:MAX_COMPARED]:
        expected = of_one[category] * of_one[compared(shop, anchor)] / sum(of_one.values())
        lifts.append((together.get((category, compared(shop, anchor)), 0.0) + STRENGTH) / (expected + STRENGTH))
    return math.log(sum(lifts) / len(lifts))


def lifts(shop: CornerShop, *anchors: str, cart: Sequence[str] = ()) -> dict[str, float]:
    """By item of the pool."""
    return {name: features[LIFT] for name, features in shop.pool(*anchors, cart=cart).items()}


@pytest.mark.parametrize(("seed", "depth"), [(1, 0), (2, 0), (3, 2)])
def test_a_cross_sell_has_the_lift_of_its_category_with_those_of_the_anchors(seed: int, depth: int) -> None:
    shop = market(seed, depth)
    cart = ["item-07", "item-10", "item-13", "item-19", "item-22"]
    for anchors, found in [
        (["item-01"], lifts(shop, "item-01")),
        (["item-01", *reversed(cart)], lifts(shop, "item-01", cart=cart)),
    ]:
        assert len(found) > 5
        assert found == pytest.approx({name: recounted(shop, name, anchors) for name in found}, rel=1e-5, abs=1e-6)
        assert len(set(found.values())) > 1


def test_little_support_says_next_to_nothing_and_much_says_a_lot() -> None:
    shop = CornerShop(Policy(**WIDE))
    for name in ("kettle", "mug", "chair", "table"):
        shop.offer(name, name.capitalize(), 5.0)
    shop.learn("kettle", {"mug": (0.0, 1.0, 0.0)})
    shop.learn("mug", {"kettle": (0.0, 1.0, 0.0)})
    assert 0.0 < lifts(shop, "kettle")["mug"] < 0.1
    shop.learn("kettle", {"mug": (0.0, 100.0, 0.0)})
    shop.learn("mug", {"kettle": (0.0, 100.0, 0.0)})
    shop.learn("chair", {"table": (0.0, 100.0, 0.0)})
    shop.learn("table", {"chair": (0.0, 100.0, 0.0)})
    found = lifts(shop, "kettle")
    assert found["mug"] == pytest.approx(math.log((100 + STRENGTH) / (25 + STRENGTH)), rel=1e-6)
    assert found["chair"] == pytest.approx(math.log(STRENGTH / (25 + STRENGTH)), rel=1e-6)


def test_an_unknown_category_has_no_lift_and_no_upsell_has_any() -> None:
    shop = market(4)
    shop.offer("dear", "Shop/1/1", 9.0)
    shop.offer("new", "New", 5.0)
    found = lifts(shop, "item-01")
    assert found["dear"] == 0.0
    assert found["new"] == 0.0
    assert any(found.values())
    assert not any(lifts(shop, "new").values())


def test_an_item_that_is_withdrawn_counts_no_longer() -> None:
    shop = market(5)
    before = lifts(shop, "item-01")
    shop.catalog.withdraw("item-00")
    after = lifts(shop, "item-01")
    assert before["item-06"] != after["item-06"]


def test_lifts_are_the_same_alone_and_in_a_batch() -> None:
    shop = market(6)
    queries = [shop.query(f"item-{number:02d}", cart=["item-20"], logs_pool=True) for number in range(20)]
    together = [answer.pool for answer in shop.recommender.answer_each(queries)]
    for query, pool in zip(queries, together, strict=True):
        alone = next(shop.recommender.answer_each([query])).pool
        assert pool is not None and alone is not None
        assert np.array_equal(pool.items, alone.items) and np.array_equal(pool.features, alone.features)


def test_what_is_added_up_in_steps_is_what_one_pass_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stepwise = market(7), market(7)
    whole.ask("item-01")
    monkeypatch.setattr(category_lifts, "CELLS", 20)
    assert not any(lifts(stepwise, "item-01").values())  # nothing counts before all has been added up
    for _ in range(20):
        stepwise.ask("item-01")
    found, wanted = (shop.recommender.category_lifts.sums for shop in (stepwise, whole))
    for place in range(len(wanted)):
        np.testing.assert_array_equal(found[place], wanted[place])
    assert lifts(stepwise, "item-01") == lifts(whole, "item-01")


def test_what_changes_counts_after_the_next_pass() -> None:
    shop = market(8)
    before = lifts(shop, "item-01")
    shop.learn("item-02", {"item-01": (0.0, 500.0, 0.0)})
    after = lifts(shop, "item-01")
    assert after["item-02"] > before["item-02"] + 0.1
    assert after["item-08"] == after["item-02"]  # of the same category


def test_of_more_categories_than_have_room_those_with_most_baskets_have_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category_lifts, "MOST", 3)
    shop = market(9, categories=9)
    for _ in range(3):
        shop.ask("item-01")
    sums = shop.recommender.category_lifts.sums
    assert sums.together.shape == (3, 3) and int(sums.used[0]) == 3
    assert sums.together.sum() == pytest.approx(sums.total[0])
    assert np.array_equal(sums.together, sums.together.T)
    strongest = np.argsort(-sums.baskets, kind="stable")[:3]
    assert sorted(np.flatnonzero(sums.slots >= 0).tolist()) == sorted(strongest.tolist())


def test_many_categories_of_few_rows_are_not_cleared_by_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category_lifts, "CELLS", 100)
    shop = CornerShop(Policy(**WIDE))
    for number in range(80):
        shop.offer(f"item-{number}", f"Category {number}", 5.0)
        shop.learn(f"item-{number}", {f"item-{number ^ 1}": (0.0, 9.0, 0.0)})
    seen: list[PairSums] = []
    for _ in range(100):
        shop.ask("item-1")
        if not seen or seen[-1] is not shop.recommender.category_lifts.sums:
            seen.append(shop.recommender.category_lifts.sums)
    assert int(seen[-1].used[0]) == 80
    assert len(seen) < 15  # a pass of two batches, and 80 * 80 sums are worth eight more


def test_categories_compared_to_another_depth_are_added_up_again() -> None:
    shop = market(10)
    shop.ask("item-01")
    shop.recommender.policy = Policy(**WIDE, category_depth=2)
    found = lifts(shop, "item-01")
    assert found == pytest.approx({name: recounted(shop, name, ["item-01"]) for name in found}, rel=1e-5, abs=1e-6)
    kept = shop.recommender.category_lifts
    shop.recommender.policy = Policy(**WIDE, category_depth=2, exclude_items=("item-02",))
    assert shop.recommender.category_lifts is kept


def test_the_number_of_a_category_with_sums_is_given_to_no_other() -> None:
    shop = market(11)
    shop.ask("item-01")
    for number in range(30):
        shop.catalog.withdraw(f"item-{number:02d}")
    shop.catalog.free_words(*shop.recommender.words_held())
    assert shop.catalog.categories.used > 6
    shop.offer("new", "Other", 5.0)
    assert not lifts(shop, "new")
    shop.catalog.free_words(*shop.recommender.words_held())
    assert shop.catalog.categories.used == 1


def test_a_learnt_order_may_rank_by_it() -> None:
    shop = market(12)
    order = no_order()
    order.serves[:] = LEARNT
    order.weights[:] = 0.0
    order.weights[:, :, FEATURES.index(LIFT)] = 1.0
    shop.recommender.learnt = Learnt(order, "v")
    found = lifts(shop, "item-01")
    assert [one["item_id"] for one in shop.ask("item-01")] == sorted(found, key=lambda name: (-found[name], name))


def test_queries_alone_pay_for_a_step_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category_lifts, "QUERIES", 4)
    shop, seen = market(13), []
    for size in (1, 1, 2, 1, 3, 4, 9):
        shop.recommender.suggest_many([shop.query("item-01")] * size)
        seen.append(shop.recommender.category_lifts.sums)
    assert [new is not old for old, new in pairwise(seen)] == [False, False, True, False, True, True]
