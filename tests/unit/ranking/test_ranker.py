"""The learnt order: features by hand, the kernel against the formula, learning from pools, and a restart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("river", reason="install the extra `learning` to run this")

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.ranking.attribution import Closed
from models.ranking.candidate_pool import MOST
from models.ranking.features import (
    BASE_UNIT,
    FEATURES,
    FIRST_WEIGHTS,
    LEARNT,
    ORDERS,
    OWN_UNIT,
    POPULAR_WEIGHTS,
    POPULARITY,
    SHARE_UNIT,
    SOURCES,
    UNSEEN_BASKETS,
    WIDTH,
    Order,
    no_order,
)
from models.ranking.ranker import CODE, MODEL, Ranker, RankerConfig, order_of
from models.serving.pooling import LEAST_BASKETS
from models.serving.recommender import Learnt, SuggestedItem
from models.serving.sources.most_bought import MOST_BOUGHT
from models.serving.state import TOP
from models.sessions.histories import DAY_S, Histories, History, HistoryConfig
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import DEFAULT, FIXED, POPULAR, Policy
from models.snapshot import Snapshot
from tests.support.corner_shop import NOW, WIDE, CornerShop

BASE, EVIDENCE, SCORE = map(FEATURES.index, ("base", "evidence", "learnt"))
HAD = FEATURES.index("had")
RIGHT, WRONG = FEATURES.index("bought_with share"), FEATURES.index("viewed_with share")


def shop(policy: Policy | None = None) -> CornerShop:
    """A kettle whose neighbours are known."""
    corner = CornerShop(policy or Policy(**WIDE))
    corner.offer("kettle", "Kitchen/Kettles", 100.0, brand="Acme")
    corner.offer("better", "Kitchen/Kettles", 130.0)
    corner.offer("mug", "Kitchen/Mugs", 8.0, brand="Acme")
    corner.offer("tea", "Teas", 4.0)
    corner.learn("kettle", {"mug": (3, 4, 2), "tea": (6, 1, 0), "better": (10, 1, 5)}, views=20.0, baskets=8.0)
    corner.learn("mug", {}, views=10.0, baskets=9.0)
    corner.neighbours.set_total(0, 40.0, 1_700_000_000.0)
    return corner


def told(corner: CornerShop, *anchors: str) -> dict[str, SuggestedItem]:
    return {one["item_id"]: one for one in corner.ask(*anchors)}


def pools(number: int, seed: int = 1, kind: int = CROSS_SELL, right: int = RIGHT) -> list[Closed]:
    """Pools of eight of which the item with the greatest share of one source is taken, seven times of ten."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        features = np.zeros((8, WIDTH), np.float32)
        features[:, : len(SOURCES)] = chance.normal(3.0, 1.0, (8, len(SOURCES)))
        features[:, EVIDENCE] = features[:, WRONG]
        features[:, SCORE] = 4 * features[:, right]  # of a worker that knows
        taken = np.zeros(8, np.bool_)
        taken[features[:, right].argmax()] = chance.random() < 0.7
        found.append(closed(features, taken, kind))
    return found


def closed(features: NDArray[np.float32], taken: NDArray[np.bool_], kind: int = CROSS_SELL) -> Closed:
    n = len(taken)
    items, kinds = np.arange(n, dtype=np.int32), np.full(n, kind, np.int8)
    return Closed(items, kinds, features, taken)


def taught(outcomes: list[Closed], policy: Policy | None = None, config: RankerConfig | None = None) -> Ranker:
    ranker = Ranker(config or RankerConfig(), policy or Policy())
    for outcome in outcomes:
        ranker.learn_one(outcome)
    return ranker


@pytest.mark.parametrize(
    "wrong", [{"prior_precision": 0.0}, {"prior": 0.0}, {"least_credits": 0.0}, {"uptake_fade": 1.5}, {"fade": 2.0}]
)
def test_a_configuration_that_would_stop_or_blow_up_learning_is_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must be "):
        RankerConfig(**wrong)  # type: ignore[arg-type]
    taught(pools(3), None, RankerConfig(prior_precision=1e-3, prior=1e-3, least_credits=1e-3)).order()


# -- features and the pool ---------------------------------------------------------------------------------------------


def test_a_pool_says_what_was_known_of_its_candidates() -> None:
    corner = shop()
    pool, found = corner.pool("kettle"), told(corner, "kettle")
    mug = pool["mug"]
    share = (9 + UNSEEN_BASKETS) / LEAST_BASKETS  # the shop has fewer
    bought = math.log(1 + 4 / 10 / SHARE_UNIT)
    base = math.log(1 + share / BASE_UNIT)
    evidence = math.log(1 + found["mug"]["score"] / BASE_UNIT)
    wanted = {
        "viewed_with share": math.log(1 + 3 / 25 / SHARE_UNIT),
        "bought_with share": bought,
        "viewed_then_bought share": math.log(1 + 2 / 25 / SHARE_UNIT),
        "sequence share": 0.0,
        "evidence": evidence,
        "views": math.log(11),
        "base": base,
        "lift": math.log((0.4 + BASE_UNIT) / (share + BASE_UNIT)),
        "seen": 0.0,
        "counted": 1.0,
        "step": 0.0,
        "step squared": 0.0,
        "price": math.log(8 / 100),
        "brand": 1.0,
        "near": 1.0,
        "learnt": 0.5 * evidence + 0.5 * math.log(11),
    }
    assert {name: mug[name] for name in wanted} == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    assert 0.2 < mug["significance"] < 1.0
    better = pool["better"]
    assert better["step"] == pytest.approx(math.log(0.3), rel=1e-5)
    assert better["step squared"] == pytest.approx(math.log(0.3) ** 2, rel=1e-5)
    assert (better["lift"], better["significance"], better["brand"]) == (0.0, 0.0, 0.0)
    assert pool["tea"]["near"] == 0.0


def test_the_most_bought_and_the_shelf_of_the_anchor_join_the_pool_without_evidence() -> None:
    corner = shop()
    corner.offer("drill", "Drills", 60.0)
    corner.offer("best", "Kitchen/Kettles", 180.0)
    corner.offer("gold", "Kitchen/Kettles", 500.0)  # too large a step
    corner.learn("drill", {}, views=3.0, baskets=5.0)
    pool = corner.pool("kettle")
    assert set(pool) == {"mug", "tea", "better", "drill", "best"}
    assert [pool[name]["counted"] for name in ("mug", "drill", "best")] == [1.0, 0.0, 0.0]
    assert pool["drill"]["evidence"] == pool["best"]["evidence"] == 0.0
    assert pool["drill"]["base"] == pytest.approx(
        math.log(1 + (5 + UNSEEN_BASKETS) / LEAST_BASKETS / BASE_UNIT), rel=1e-5
    )


def test_in_a_shop_without_orders_no_item_is_one_that_everybody_buys() -> None:
    corner = CornerShop(Policy(**WIDE))
    for name in ("kettle", "mug"):
        corner.offer(name, name, 8.0)
    corner.learn("kettle", {"mug": (3.0, 0.0, 0.0)}, baskets=0.0)
    base = corner.pool("kettle")["mug"]["base"]
    assert base == pytest.approx(math.log(1 + UNSEEN_BASKETS / LEAST_BASKETS / BASE_UNIT), rel=1e-5)
    row = np.zeros((2, WIDTH), np.float32)
    row[:, BASE] = base
    ranker = taught([closed(row, np.array([True, False]))])
    assert ranker.metrics()["credits.cross_sell"] > 0.99


def test_a_list_is_the_same_whether_its_pool_is_logged_or_not() -> None:
    corner = shop()
    corner.offer("drill", "Drills", 60.0)
    before = corner.ask("kettle")
    assert corner.pool("kettle")
    assert corner.ask("kettle") == before
    assert next(corner.recommender.answer_each([corner.query("kettle", logs_pool=True)])).items == before
    assert corner.pool("kettle", arm=POPULAR) == {}
    assert corner.pool("kettle", arm=FIXED).keys() == corner.pool("kettle").keys()


def test_a_bestseller_with_weak_evidence_joins_the_pool_as_one_without_any_does() -> None:
    corner = CornerShop(Policy(**WIDE))
    corner.offer("kettle", "Kettles", 100.0)
    names = [f"thing-{number:02d}" for number in range(TOP)]
    for name in [*names, "milk"]:
        corner.offer(name, f"Category {name}", 5.0)
    corner.learn("milk", {}, views=5.0, baskets=900.0)
    corner.learn("kettle", {name: (1.0, 8.0, 0.0) for name in names} | {"milk": (0.001, 0.0, 0.0)}, baskets=100.0)
    corner.neighbours.set_total(0, 1000.0, NOW)
    pool = corner.pool("kettle")
    assert set(pool) == {*names, "milk"}
    assert pool["milk"]["counted"] == 1.0 and 0.0 < pool["milk"]["evidence"] < pool[names[0]]["evidence"]
    before = corner.ask("kettle")
    assert [one["item_id"] for one in before][-1] == "milk"  # its place by evidence


def bought(corner: CornerShop, *baskets: tuple[float, str]) -> History:
    """The history of a shopper who has bought items, each so many days before now."""
    histories = Histories(corner.items, HistoryConfig(fast_s=10 * DAY_S, slow_s=40 * DAY_S))
    for offset, (days, item_id) in enumerate(baskets):
        histories.learn("ann", [corner.items.index(item_id)], NOW - days * DAY_S, offset)
    return histories.of("ann")


def test_what_the_shopper_has_bought_before_joins_the_pool_with_its_rhythm() -> None:
    corner = CornerShop(Policy(**WIDE), histories=HistoryConfig(fast_s=10 * DAY_S, slow_s=40 * DAY_S))
    for name, category, price in [("kettle", "Kettles", 100.0), ("best", "Kettles", 180.0), ("salt", "Salt", 1.0)]:
        corner.offer(name, category, price, brand="Acme")
    corner.offer("sea", "Salt", 2.0)
    corner.offer("mill", "Mills", 0.0, brand="Acme")
    history = bought(corner, (60.0, "salt"), (40.0, "best"), (20.0, "salt"), (20.0, "gone"))
    pool = corner.pool("kettle", history=history)
    assert set(pool) == {"best", "salt", "sea", "mill"}
    salt = pool["salt"]
    wanted = {
        "had": 1.0,
        "own count": math.log(1 + 2 / 9 / OWN_UNIT),
        "own fast": math.log(1 + (1 + 2**-4.0) * 2**-2.0 / OWN_UNIT),
        "own slow": math.log(1 + (1 + 2**-1.0) * 2**-0.5 / OWN_UNIT),
        "own age": math.log(21),
        "own due": math.log(21 / 41),
        "own group": math.log(1 + 2 / 9 / OWN_UNIT),
        "own category": math.log(1 + 2 / 9 / OWN_UNIT),
        "own brand": math.log(1 + 3 / 9 / OWN_UNIT),
        "own price": 0.0,
        "counted": 0.0,
    }
    assert {name: salt[name] for name in wanted} == pytest.approx(wanted, rel=1e-5)
    own = [name for name in FEATURES if name.startswith("own") or name == "had"]
    of_salt = [salt["own group"], salt["own category"]]
    assert [pool["sea"][name] for name in own] == [0.0] * 6 + [*of_salt, 0.0, pytest.approx(math.log(2.0))]
    assert [pool["mill"][name] for name in own] == [0.0] * 8 + [salt["own brand"], 0.0]
    assert pool["best"]["own due"] == 0.0  # one purchase has no rhythm
    assert corner.pool("kettle", bought=["salt"], history=history).keys() == {"best", "sea", "mill"}
    assert corner.pool("kettle", history=history) == pool  # nothing of one query is left for the next


def test_what_the_shopper_bought_counts_for_the_group_of_the_policy_and_for_the_whole_category() -> None:
    corner = CornerShop(Policy(**WIDE, category_depth=1))
    for name, category, price in [
        ("kettle", "Kettles", 100.0),
        ("salt", "Spices/Salt", 1.0),
        ("sea", "Spices/Sea", 4.0),
    ]:
        corner.offer(name, category, price)
    pool = corner.pool(
        "kettle", history=bought(corner, (60.0, "salt"), (50.0, "salt"), (40.0, "sea"), (40.0, "kettle"))
    )
    of_each = {name: [pool[name][column] for column in ("own group", "own category")] for name in ("salt", "sea")}
    shares = {"salt": (3 / 9, 2 / 9), "sea": (3 / 9, 1 / 9)}
    for name, wanted in shares.items():
        assert of_each[name] == pytest.approx([math.log(1 + share / OWN_UNIT) for share in wanted], rel=1e-5)
    mean = 2 * math.log(1.0) / 3 + math.log(4.0) / 3
    assert [pool[name]["own price"] for name in shares] == pytest.approx([-mean, math.log(4.0) - mean], rel=1e-5)


def test_a_list_says_that_the_shopper_bought_it_before() -> None:
    corner = shop()
    for name, category, price in [("salt", "Salt", 1.0), ("best", "Kitchen/Kettles", 180.0)]:
        corner.offer(name, category, price)
    order = no_order()
    order.serves[:] = LEARNT
    order.weights[:, :, FEATURES.index("own count")] = 5.0
    corner.recommender.learnt = Learnt(order, "v")
    found = corner.ask("kettle", history=bought(corner, (60.0, "salt"), (40.0, "best"), (30.0, "salt")))
    reasons = {one["item_id"]: one["reasons"][0] for one in found}
    assert reasons["salt"] == {"source": "history", "count": 2, "text": "Bought before, 2 times"}
    assert reasons["best"] == {
        "source": "history",
        "anchor": "kettle",
        "count": 1,
        "text": "An alternative to Kettle, bought once before",
    }
    assert [one["item_id"] for one in found][:1] == ["salt"]


@pytest.mark.parametrize("arm", [DEFAULT, FIXED])
def test_who_bought_an_item_before_changes_no_list_that_nothing_learnt_ranks(arm: int) -> None:
    corner = CornerShop(Policy(**WIDE))
    corner.offer("kettle", "Kettles", 100.0, brand="Acme")
    corner.offer("mug", "Mugs", 8.0, brand="Acme")
    history = bought(corner, (60.0, "mug"), (40.0, "mug"))
    before = corner.ask("kettle", arm=arm)
    assert before[0]["reasons"][0]["text"] == "From Acme, like Kettle"
    assert corner.ask("kettle", arm=arm, history=history, logs_pool=True) == before


def test_of_a_long_history_the_most_useful_join_the_pool() -> None:
    corner = CornerShop(Policy(**WIDE), histories=HistoryConfig(fast_s=10 * DAY_S, slow_s=40 * DAY_S))
    corner.offer("kettle", "Kettles", 100.0)
    names = [f"thing-{number:03d}" for number in range(MOST // 2 + 20)]
    for name in names:
        corner.offer(name, f"Category {name}", 5.0)
    days = [(100.0 + len(names) - number, name) for number, name in enumerate(names)]
    pool = corner.pool("kettle", history=bought(corner, *days))
    had = {name for name, row in pool.items() if row["had"]}
    assert names[-1] in had and len(pool) == MOST // 2
    assert had <= {*names[20:], *names[:MOST_BOUGHT]}  # the first are among the most bought, of equal ones


# -- the learnt order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.25, 1.0])
def test_a_learnt_order_scores_as_the_formula_says_and_the_step_of_an_upsell_counts(power: float) -> None:
    corner = shop(Policy(**WIDE, step_power=power))
    corner.offer("drill", "Drills", 60.0)
    corner.learn("drill", {}, views=3.0, baskets=5.0)
    chance = np.random.default_rng(4)
    weights, bias = chance.normal(0.0, 0.1, (3, 2, WIDTH)), chance.normal(0.0, 1.0, (3, 3))
    weights[:, :, FEATURES.index("learnt")] = 0.0
    uptake = chance.normal(0.0, 1.0, (2, 2, 4)).astype(np.float32)  # the drill is beyond
    order = Order(np.array([0, LEARNT, LEARNT], np.int8), weights, bias, uptake)
    corner.recommender.learnt = Learnt(order, "v")
    pool, after = corner.pool("kettle"), told(corner, "kettle")
    for name, kind, step in [("mug", CROSS_SELL, 1.0), ("drill", CROSS_SELL, 1.0), ("better", UPSELL, 0.3)]:
        total = np.array(list(pool[name].values())) @ order.weights[kind, 0]
        if (item := corner.items.index(name)) < 4:
            total += uptake[kind - 1, 0, item]
        assert pool[name]["learnt"] == pytest.approx(total, rel=1e-4)
        total += order.bias[kind, LEARNT]
        assert after[name]["score"] == pytest.approx(step**power / (1 + math.exp(-total)), rel=1e-3)
    assert after["drill"]["reasons"][0]["source"] == "popularity"
    scores = [one["score"] for one in corner.ask("kettle")]
    assert scores == sorted(scores, reverse=True)


def test_a_kind_without_a_learnt_order_keeps_its_own() -> None:
    corner = shop()
    before = told(corner, "kettle")
    order = no_order()
    order.serves[CROSS_SELL] = LEARNT
    order.weights[CROSS_SELL] = 0.0
    order.weights[CROSS_SELL, :, WRONG] = 1.0
    corner.recommender.learnt = Learnt(order, "v")
    after = told(corner, "kettle")
    evidence = corner.pool("kettle")["better"]["evidence"]
    odds = math.exp(evidence + order.bias[UPSELL, 0])
    assert after["better"]["score"] == pytest.approx(0.3**0.25 * odds / (1 + odds))  # to compare with cross-sells
    assert {name for name in after if after[name]["kind"] == "upsell"} == {"better"}
    assert list(before).index("mug") < list(before).index("tea")
    assert list(after).index("tea") < list(after).index("mug")  # the order asks only what is looked at together
    fixed = {one["item_id"]: one["score"] for one in corner.ask("kettle", arm=FIXED)}
    assert fixed == {name: one["score"] for name, one in before.items()}


def test_only_the_pool_is_put_in_order_and_the_rest_does_not_come_back() -> None:
    corner = CornerShop(Policy(**WIDE))
    corner.offer("kettle", "Kettles", 100.0)
    names = [f"thing-{number:02d}" for number in range(TOP + 5)]
    for number, name in enumerate(names):
        corner.offer(name, f"Category {number}", 5.0)
    corner.learn("kettle", {name: (0.0, 8.0 - 0.1 * number, 0.0) for number, name in enumerate(names)}, baskets=100.0)
    corner.neighbours.set_total(0, 1000.0, 1_700_000_000.0)
    assert [name for name in told(corner, "kettle") if name in names] == names
    order = no_order()
    order.serves[CROSS_SELL] = LEARNT
    order.weights[CROSS_SELL] = 0.0
    order.weights[CROSS_SELL, :, RIGHT] = -1.0
    corner.recommender.learnt = Learnt(order, "v")
    assert [one["item_id"] for one in corner.ask("kettle")] == names[:TOP][::-1]


def test_where_popularity_serves_the_most_bought_come_first() -> None:
    corner = shop()
    corner.offer("drill", "Drills", 60.0)
    corner.learn("drill", {}, views=3.0, baskets=30.0)
    order = no_order()
    order.serves[CROSS_SELL] = POPULARITY
    corner.recommender.learnt = Learnt(order, "v")
    crosses = [one for one in corner.ask("kettle") if one["kind"] == "cross-sell"]
    assert [one["item_id"] for one in crosses] == ["drill", "mug", "tea"]
    row = np.array(list(corner.pool("kettle")["drill"].values()))
    assert crosses[0]["score"] == pytest.approx(1 / (1 + math.exp(-row @ POPULAR_WEIGHTS)), rel=1e-3)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_the_order_finds_the_source_that_is_right() -> None:
    ranker = taught(pools(1_500))
    order, metrics = ranker.order(), ranker.metrics()
    assert order.serves.tolist() == [0, LEARNT, 0]
    of_new = order.weights[CROSS_SELL, 0]
    assert of_new[RIGHT] > 1.0 > abs(of_new[WRONG]) * 3
    assert metrics["gain.cross_sell.learnt"] > 0.99 > metrics["gain.cross_sell.evidence"]
    assert [metrics[f"served.cross_sell.{name}"] for name in ORDERS] == [0.0, 1.0, 0.0]


def test_what_was_bought_before_is_ordered_by_weights_of_its_own() -> None:
    """Of what was bought before one source is right, of the rest the other; both are in the same pools."""
    chance = np.random.default_rng(8)
    outcomes = []
    for _ in range(3_000):
        features = np.zeros((16, WIDTH), np.float32)
        features[:, [RIGHT, WRONG]] = chance.normal(3.0, 1.0, (16, 2))
        features[8:, HAD] = 1.0
        taken = np.zeros(16, np.bool_)
        taken[features[:8, RIGHT].argmax()] = taken[8 + features[8:, WRONG].argmax()] = True
        outcomes.append(closed(features, taken))
    new, had = taught(outcomes).order().weights[CROSS_SELL]
    assert new[RIGHT] > 1.0 > abs(new[WRONG]) * 3
    assert had[WRONG] > 1.0 > abs(had[RIGHT]) * 3


def test_few_credits_are_no_order_and_neither_is_one_worse_than_the_evidence() -> None:
    assert not taught(pools(35)).order().serves.any()
    worse = [one._replace(features=one.features * (np.arange(WIDTH) != SCORE)) for one in pools(400, right=WRONG)]
    assert not taught(worse).order().serves.any()


def test_popularity_serves_where_it_is_better_than_what_was_learnt() -> None:
    found = []
    for number, one in enumerate(pools(400, right=WRONG)):
        features = one.features.copy()
        features[:, BASE] = np.random.default_rng(number).permutation(8)
        features[:, SCORE] = 0.0
        found.append(closed(features, features[:, BASE] == 7.0))
    assert taught(found).order().serves[CROSS_SELL] == POPULARITY


def test_upsells_are_learnt_from_what_was_taken_within_an_hour_until_enough_was_within_a_month() -> None:
    ranker, outcomes = taught(pools(20, kind=UPSELL), None, RankerConfig(least_credits=50.0)), pools(90, 2, UPSELL)
    within_hours = ranker.metrics()["takings.upsell"]
    assert within_hours > 5.0
    for outcome in outcomes:
        ranker.learn_one(outcome, month=True)
    month = sum(float(outcome.taken.sum()) for outcome in outcomes)
    assert ranker.metrics()["takings.upsell"] == within_hours + month > 50.0
    later = Ranker(RankerConfig(least_credits=50.0), Policy())
    assert later.restore(ranker.training())
    for one in (ranker, later):
        for kind in (CROSS_SELL, UPSELL):
            for outcome in pools(20, 3, kind):
                one.learn_one(outcome)
        assert one.metrics()["takings.upsell"] == within_hours + month
        assert one.metrics()["takings.cross_sell"] > 5.0


def test_what_is_learnt_counts_as_far_as_there_are_credits() -> None:
    outcomes = pools(200)
    whole, half = (taught(outcomes, None, RankerConfig(least_credits=credits)) for credits in (1.0, 300.0))
    sure = half.metrics()["credits.cross_sell"] / 300.0
    assert 0.3 < sure < 0.6
    wanted = sure * whole.order().weights[CROSS_SELL] + (1 - sure) * FIRST_WEIGHTS
    np.testing.assert_allclose(half.order().weights[CROSS_SELL], wanted)
    np.testing.assert_allclose(half.order().uptake, sure * whole.order().uptake, rtol=1e-5)


def test_acceptances_sum_to_takings() -> None:
    order = taught(pools(1_500)).order()
    scores = [one.features[:, SCORE] + order.bias[CROSS_SELL, LEARNT] for one in pools(300, seed=2)]
    assert np.mean([(1 / (1 + np.exp(-score))).sum() for score in scores]) == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize(("credit", "first"), [(1.0, "fitting"), (0.0, "staple")])
def test_what_is_taken_anyhow_is_no_merit_as_far_as_the_policy_says(credit: float, first: str) -> None:
    """Of eight items one is in 30 % of all baskets and as many of its pools, another in 1 % and in 20 %."""
    chance = np.random.default_rng(3)
    outcomes = []
    for _ in range(3_000):
        features, taken = np.zeros((8, WIDTH), np.float32), np.zeros(8, np.bool_)
        staple, fitting = chance.permutation(8)[:2]
        features[[staple, fitting], RIGHT] = 1.0, 4.0
        features[:, BASE] = math.log(1 + 0.01 / BASE_UNIT)
        features[staple, BASE] = math.log(1 + 0.3 / BASE_UNIT)
        taken[[staple, fitting]] = chance.random(2) < (0.3, 0.2)
        outcomes.append(closed(features, taken))
    ranker = taught(outcomes, Policy(credit=credit))
    rows = np.zeros((2, WIDTH))
    rows[:, RIGHT] = 1.0, 4.0
    rows[:, BASE] = math.log(1 + 0.3 / BASE_UNIT), math.log(1 + 0.01 / BASE_UNIT)
    assert ("staple", "fitting")[int(np.argmax(rows @ ranker.order().weights[CROSS_SELL, 0]))] == first
    earned = ranker.metrics()["credits.cross_sell"] / ranker.metrics()["takings.cross_sell"]
    assert earned < 0.75 if credit else earned == 1.0


def test_what_is_only_taken_anyhow_makes_no_order() -> None:
    found = []
    for one in pools(1_000):
        features = one.features.copy()
        features[:, BASE] = math.log(1 + 1 / BASE_UNIT)  # all buy all of it
        found.append(one._replace(features=features))
    ranker = taught(found, Policy(credit=1.0))
    assert ranker.metrics()["takings.cross_sell"] > 600
    assert ranker.metrics()["credits.cross_sell"] < 1.0
    assert not ranker.order().serves.any()


def test_an_item_that_is_taken_more_than_expected_gains() -> None:
    """Features say nothing: one item of eight is taken half of the time, another never, the rest alike."""
    chance = np.random.default_rng(5)
    outcomes = []
    for _ in range(1_000):
        taken = np.zeros(8, np.bool_)
        taken[0 if chance.random() < 0.5 else chance.integers(1, 7)] = True
        outcomes.append(closed(np.zeros((8, WIDTH), np.float32), taken))
    ranker = taught(outcomes, None, RankerConfig(prior=5.0, uptake_fade=1.0))
    uptake = ranker.order().uptake
    assert uptake[0, 0, 0] == pytest.approx(math.log((outcomes_of(outcomes, 0) + 5) / (1_000 / 8 + 5)), abs=0.01)
    assert uptake[0, 0, 7] == pytest.approx(math.log(5 / (1_000 / 8 + 5)), abs=0.01)
    assert not uptake[1].any() and not uptake[0, 1].any()


def test_an_item_gains_apart_among_those_who_have_bought_it_before() -> None:
    """Who has bought all of it takes the first item again, all others try the second."""
    outcomes = []
    for number in range(600):
        features, taken = np.zeros((8, WIDTH), np.float32), np.zeros(8, np.bool_)
        features[:, HAD] = number % 2
        taken[1 - number % 2] = True
        outcomes.append(closed(features, taken))
    ranker = taught(outcomes, None, RankerConfig(prior=5.0, uptake_fade=1.0))
    more, less = math.log((300 + 5) / (300 / 8 + 5)), math.log(5 / (300 / 8 + 5))
    np.testing.assert_allclose(ranker.order().uptake[0, :, :2], [[less, more], [more, less]], atol=0.01)
    corner = CornerShop(Policy(**WIDE))
    for name in ("again", "tried", "kettle"):
        corner.offer(name, f"Category {name}", 5.0)
    order = ranker.order()
    order.serves[:] = LEARNT
    corner.recommender.learnt = Learnt(order, "v")
    assert [one["item_id"] for one in corner.ask("kettle")] == ["tried", "again"]
    history = bought(corner, (40.0, "again"), (40.0, "tried"))
    assert [one["item_id"] for one in corner.ask("kettle", history=history)] == ["again", "tried"]


def outcomes_of(outcomes: list[Closed], item: int) -> int:
    return sum(bool(one.taken[item]) for one in outcomes)


def test_uptake_is_kept_of_as_many_items_as_are_allowed() -> None:
    outcomes = []
    for number in range(6):
        taken = np.zeros(8, np.bool_)
        taken[number % 2] = True
        items = np.arange(8, dtype=np.int32) + (8 if number > 3 else 0)
        outcomes.append(closed(np.zeros((8, WIDTH), np.float32), taken)._replace(items=items))
    ranker = taught(outcomes, None, RankerConfig(most_items=3))
    assert ranker.items().tolist() == [0, 1, 8]
    assert ranker.held().tolist() == [0, 1, 8] == ranker.items().tolist()
    kept, arrays = ranker.snapshot_arrays()
    assert kept.tolist() == [0, 1, 8] and arrays["uptake"].shape == (2, 2, 3)
    takings = next(array for name, array in ranker.training().items() if "cross" in name and "takings" in name)
    assert np.flatnonzero(takings.sum(axis=(0, 1))).tolist() == [0, 1, 8]


def test_uptake_fades_and_what_is_forgotten_makes_room() -> None:
    outcomes = []
    for number in range(4_000):
        taken = np.zeros(8, np.bool_)
        taken[number % 2] = True
        items = np.arange(8, dtype=np.int32) + (100 if number >= 2 else 0)
        outcomes.append(closed(np.zeros((8, WIDTH), np.float32), taken)._replace(items=items))
    ranker = taught(outcomes, None, RankerConfig(uptake_fade=0.1))
    assert ranker.items().tolist() == list(range(100, 108))


def test_a_pool_of_which_all_is_taken_anyhow_raises_no_alarm() -> None:
    outcomes = []
    for number, one in enumerate(pools(3_000)):
        features = one.features.copy()
        features[:, BASE] = math.log(1 + 1 / BASE_UNIT)
        features[0, WRONG] = 0.0 if number < 1_500 else 9.0  # of the first candidate, which nobody takes
        outcomes.append(one._replace(features=features))
    assert taught(outcomes, Policy(credit=1.0)).metrics()["drift.cross_sell.viewed_with"] == 0.0


def test_what_was_learnt_is_given_before_it_serves_as_workers_judge_it() -> None:
    order = taught(pools(20)).order()
    assert not order.serves.any() and order.weights[CROSS_SELL, 0, RIGHT] > 0.0


def test_a_source_that_fails_raises_an_alarm() -> None:
    ranker = taught(pools(1_500))
    assert ranker.metrics()["drift.cross_sell.bought_with"] == 0.0
    for one in pools(1_500, seed=2, right=WRONG):
        ranker.learn_one(one)
        if ranker.metrics()["drift.cross_sell.bought_with"]:
            break
    assert ranker.metrics()["drift.cross_sell.bought_with"] == 1.0


# -- going on elsewhere ------------------------------------------------------------------------------------------------


def test_a_restored_ranker_learns_as_if_nothing_had_happened() -> None:
    outcomes = pools(400) + pools(100, kind=UPSELL)
    whole, first = taught(outcomes), taught(outcomes[:300])
    second = Ranker(RankerConfig(), Policy())
    assert second.restore({name: array.copy() for name, array in first.training().items()})
    for one in outcomes[300:]:
        second.learn_one(one)
    assert second.learnt == whole.learnt == 500
    for name, array in whole.training().items():
        np.testing.assert_array_equal(second.training()[name], array, name)


def test_what_other_code_has_learnt_is_not_gone_on_with() -> None:
    state = taught(pools(10)).training()
    other = Ranker(RankerConfig(), Policy())
    assert not other.restore(state | {"learnt by": np.frombuffer(b"ranker-1", np.uint8)})
    assert other.learnt == 0
    assert other.restore(state) and other.learnt == 10


def snapshot(ranker: Ranker, code: str = CODE, **arrays: np.ndarray) -> Snapshot:
    return Snapshot(
        model=MODEL,
        code=code,
        arrays={**ranker.snapshot_arrays()[1], **arrays},
        vocabulary=tuple(f"thing-{item}" for item in ranker.items()),
        config=ranker.config_of(),
        positions={},
        learnt={"events": ranker.learnt},
        metrics=ranker.metrics(),
        at=1e9,
    )


def test_a_snapshot_gives_the_same_order() -> None:
    ranker = taught(pools(400))
    items = Items()
    items.index("another")
    found, order = order_of(snapshot(ranker), items), ranker.order()
    for mine, other in zip(found[:-1], order[:-1], strict=True):
        np.testing.assert_array_equal(mine, other)
    for item in ranker.items():
        there = items.index(f"thing-{item}")
        np.testing.assert_array_equal(found.uptake[:, :, there], order.uptake[:, :, item])


def test_a_snapshot_of_other_code_or_shape_is_refused() -> None:
    ranker = taught(pools(1))
    with pytest.raises(SnapshotFormatError):
        order_of(snapshot(ranker, code="ranker-0"), Items())
    with pytest.raises(SnapshotShapeError, match="serves"):
        order_of(snapshot(ranker, serves=np.array([0, 3, 0], np.int8)), Items())
    with pytest.raises(SnapshotShapeError):
        order_of(snapshot(ranker, weights=np.zeros((3, WIDTH + 1))), Items())
