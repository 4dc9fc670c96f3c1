"""The learnt order: features by hand, the kernel against the formula, river's own numbers, and a restart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("river", reason="install the extra `learning` to run this")

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.ranking.attribution import Closed
from models.ranking.features import FEATURES, FLOOR, SOURCES, WIDTH, Order, no_order
from models.ranking.ranker import CODE, MODEL, Ranker, RankerConfig, expanded, order_of
from models.serving.recommender import Learnt, SuggestedItem
from models.serving.state import TOP
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy
from models.snapshot import Snapshot
from tests.support.corner_shop import WIDE, CornerShop

BASE = FEATURES.index("base")
RIGHT, WRONG = FEATURES.index("bought_with share"), FEATURES.index("viewed_with share")


def shop() -> CornerShop:
    """A kettle whose neighbours are known."""
    corner = CornerShop(Policy(**WIDE))
    corner.offer("kettle", "Kettles", 100.0)
    corner.offer("better", "Kettles", 130.0)
    corner.offer("mug", "Mugs", 8.0)
    corner.offer("tea", "Teas", 4.0)
    corner.learn("kettle", {"mug": (3, 4, 2), "tea": (6, 1, 0), "better": (10, 1, 5)}, views=20.0, baskets=8.0)
    corner.learn("mug", {}, views=10.0, baskets=9.0)
    corner.neighbours.set_total(0, 40.0, 1_700_000_000.0)
    return corner


def told(corner: CornerShop, *anchors: str) -> dict[str, SuggestedItem]:
    return {one["item_id"]: one for one in corner.ask(*anchors)}


def lists(number: int, seed: int = 1, kind: int = CROSS_SELL, right: int = RIGHT) -> list[Closed]:
    """Lists of four in which the item with the greatest share of one source is taken, seven times of ten."""
    chance = np.random.default_rng(seed)
    found = []
    for count in range(number):
        features = np.zeros((4, WIDTH), np.float32)
        features[:, : len(SOURCES)] = chance.normal(-4.0, 1.0, (4, len(SOURCES)))
        features[:, FEATURES.index("evidence")] = features[:, WRONG]
        features[:, BASE] = math.log(FLOOR)  # nobody buys it anyhow
        rewards = np.zeros(4, np.float32)
        if chance.random() < 0.7:
            rewards[features[:, right].argmax()] = 1.0
        flags = np.ones(4, np.bool_)
        places = np.arange(4, dtype=np.int16)
        kinds, taken = np.full(4, kind, np.int8), rewards > 0
        found.append(Closed(float(count), kinds, places, features, rewards, flags, flags, taken, bool(taken.any())))
    return found


def drawn(chance: np.random.Generator) -> NDArray[np.float32]:
    """Features of four items that mean nothing, and that nobody buys anyhow."""
    features = chance.normal(0.0, 1.0, (4, WIDTH)).astype(np.float32)
    features[:, BASE] = math.log(FLOOR)
    return features


# -- features ----------------------------------------------------------------------------------------------------------


def test_a_suggestion_says_what_was_known_of_it() -> None:
    found = told(shop(), "kettle")
    mug = dict(zip(FEATURES, found["mug"]["features"], strict=True))
    assert mug["viewed_with share"] == pytest.approx(math.log(3 / 25 + FLOOR), abs=1e-4)
    assert mug["bought_with share"] == pytest.approx(math.log(4 / 10 + FLOOR), abs=1e-4)
    assert mug["viewed_then_bought share"] == pytest.approx(math.log(2 / 25 + FLOOR), abs=1e-4)
    assert mug["sequence share"] == pytest.approx(math.log(FLOOR), abs=1e-4)
    assert mug["viewed_with rank"] == pytest.approx(math.log(2), abs=1e-4)  # the tea is looked at more with it
    assert (mug["bought_with rank"], mug["sequence rank"]) == (0.0, 0.0)
    assert mug["evidence"] == pytest.approx(math.log(found["mug"]["score"]), abs=1e-4)
    assert mug["views"] == pytest.approx(math.log(11), abs=1e-4)
    assert mug["base"] == pytest.approx(math.log(9 / 40 + FLOOR), abs=1e-4)
    assert mug["step"] == pytest.approx(math.log(8 / 100), abs=1e-4)
    assert (mug["seen"], mug["cart"], mug["purchase"]) == (0.0, 0.0, 0.0)
    assert mug["looks"] == pytest.approx(math.log(2), abs=1e-4)  # the kettle
    better = dict(zip(FEATURES, found["better"]["features"], strict=True))
    assert better["step"] == pytest.approx(math.log(1.3), abs=1e-4)
    assert better["viewed_with rank"] == 0.0  # the only upsell


def test_what_is_suggested_without_evidence_is_not_described() -> None:
    corner = shop()
    corner.offer("drill", "Drills", 60.0)
    found = told(corner, "kettle")
    assert "features" not in found["drill"] and "features" in found["mug"]


# -- the learnt order --------------------------------------------------------------------------------------------------


def test_a_learnt_order_scores_as_the_formula_says_and_the_step_of_an_upsell_still_counts() -> None:
    corner = shop()
    chance = np.random.default_rng(4)
    order = Order(
        np.array([False, True, True]),
        chance.normal(0.0, 0.3, (3, WIDTH)),
        chance.normal(0.0, 0.1, (3, len(SOURCES))),
        chance.normal(0.0, 1.0, 3),
    )
    before = told(corner, "kettle")
    corner.recommender.learnt = Learnt(order, "v")
    after = told(corner, "kettle")
    for name, kind, step in [("mug", CROSS_SELL, 1.0), ("tea", CROSS_SELL, 1.0), ("better", UPSELL, 0.3)]:
        assert after[name]["features"] == before[name]["features"]
        row = np.array(after[name]["features"])
        total = order.bias[kind] + row @ order.weights[kind]
        total += (row[: len(SOURCES)] * row[FEATURES.index("looks")]) @ order.by_looks[kind]
        assert after[name]["score"] == pytest.approx(step / (1 + math.exp(-total)), rel=1e-3)
    scores = [one["score"] for one in corner.ask("kettle")]
    assert scores == sorted(scores, reverse=True)


def test_a_kind_without_a_learnt_order_keeps_its_own() -> None:
    corner = shop()
    before = told(corner, "kettle")
    order = no_order()
    order.learnt[CROSS_SELL] = True
    order.weights[CROSS_SELL, WRONG] = 1.0
    corner.recommender.learnt = Learnt(order, "v")
    after = told(corner, "kettle")
    assert after["better"]["score"] == before["better"]["score"]
    assert list(before).index("mug") < list(before).index("tea")
    assert list(after).index("tea") < list(after).index("mug")  # the order asks only what is looked at together


def test_only_leaders_are_put_in_order_and_the_rest_does_not_come_back() -> None:
    corner = CornerShop(Policy(**WIDE))
    corner.offer("kettle", "Kettles", 100.0)
    names = [f"thing-{number:02d}" for number in range(TOP + 5)]
    for number, name in enumerate(names):
        corner.offer(name, f"Category {number}", 5.0)
    corner.learn("kettle", {name: (0.0, 8.0 - 0.3 * number, 0.0) for number, name in enumerate(names)}, baskets=100.0)
    corner.neighbours.set_total(0, 1000.0, 1_700_000_000.0)
    assert [name for name in told(corner, "kettle") if name in names] == names
    order = no_order()
    order.learnt[CROSS_SELL] = True
    order.weights[CROSS_SELL, RIGHT] = -1.0
    corner.recommender.learnt = Learnt(order, "v")
    found = corner.ask("kettle")
    assert [one["item_id"] for one in found if "features" in one] == names[:TOP][::-1]


# -- learning ----------------------------------------------------------------------------------------------------------


def test_the_order_finds_the_source_that_is_right() -> None:
    ranker = Ranker(RankerConfig(prior_credits=0.0), seed=1)
    for one in lists(1_000):
        ranker.learn_one(one)
    order, metrics = ranker.order(), ranker.metrics()
    assert ranker.ready and order.learnt.tolist() == [False, True, False]
    assert order.weights[CROSS_SELL, RIGHT] > 1.0 > abs(order.weights[CROSS_SELL, WRONG]) * 3
    assert metrics["mrr.cross_sell.stacked"] > 0.9 > metrics["mrr.cross_sell.average"]
    assert metrics["mrr.cross_sell.weighted"] > metrics["mrr.cross_sell.average"] > metrics["mrr.cross_sell.evidence"]


def test_few_rewards_are_no_order_and_neither_is_one_worse_than_the_evidence() -> None:
    ranker = Ranker(RankerConfig(least_credits=200.0), seed=1)
    for one in lists(150):
        ranker.learn_one(one)
    assert not ranker.ready
    worse = Ranker(RankerConfig(blend="average", least_credits=10.0), seed=1)
    for one in lists(400, right=WRONG):  # the evidence alone is right
        worse.learn_one(one)
    assert not worse.ready


def test_what_is_learnt_serves_as_far_as_there_are_rewards_and_the_evidence_for_the_rest() -> None:
    ranker = Ranker(RankerConfig(prior_credits=400.0), seed=1)
    for one in lists(400):
        ranker.learn_one(one)
    sure = ranker.rewards[CROSS_SELL] / (ranker.rewards[CROSS_SELL] + 400.0)
    assert 0.3 < sure < 0.5
    learnt, order = ranker._kinds[CROSS_SELL].folded("stacked"), ranker.order()
    features = lists(1, seed=9)[0].features.astype(np.float64)
    evidence = features[:, FEATURES.index("evidence")]
    rest = order.bias[CROSS_SELL] + features @ order.weights[CROSS_SELL]
    rest = rest + (features[:, : len(SOURCES)] * features[:, [FEATURES.index("looks")]]) @ order.by_looks[CROSS_SELL]
    rest -= sure * (expanded(features, np.zeros(4, np.int64)) @ learnt.weights + learnt.bias)
    np.testing.assert_allclose(np.diff(rest), (1 - sure) * np.diff(evidence), atol=1e-9)
    untaught = Ranker(RankerConfig(prior_credits=1e12, least_credits=1.0), seed=1)
    for one in lists(400, right=WRONG):
        untaught.learn_one(one)
    weights = untaught.order().weights[CROSS_SELL]
    assert weights.round(6).tolist() == [float(name == "evidence") for name in FEATURES]


def test_the_regression_is_rivers_own() -> None:
    ranker = Ranker(RankerConfig(), seed=1)
    for one in lists(300):
        ranker.learn_one(one)
    kind = ranker._kinds[CROSS_SELL]
    rows = expanded(lists(1, seed=9)[0].features.astype(np.float64), np.zeros(4, np.int64))
    names = sorted(kind.regression.weights)
    theirs = [
        kind.regression.predict_proba_one(kind.scaler.transform_one(dict(zip(names, row.tolist(), strict=True))))[True]
        for row in rows
    ]
    np.testing.assert_allclose(kind.folded("stacked").predict(rows), theirs, atol=1e-9, rtol=0)


def test_a_place_far_down_is_no_fault_of_the_item() -> None:
    """Each item is as good as the others, and looked at half as often at each further place."""
    chance = np.random.default_rng(2)
    ranker = Ranker(RankerConfig(least_credits=1.0), seed=1)
    for one in lists(3_000):
        ranker.learn_one(
            one._replace(
                features=drawn(chance),
                rewards=(chance.random(4) < 0.5 ** (one.places + 1.0)).astype(np.float32),
            )
        )
    kind = ranker._kinds[CROSS_SELL]
    assert ranker.order().weights.shape == (3, WIDTH)
    assert kind.regression.weights[f"{WIDTH + len(SOURCES):02d}"] < -0.3
    assert kind._correction(0) == 1.0 and kind._correction(1) == pytest.approx(2.0, rel=0.2)


@pytest.mark.slow
def test_what_is_taken_anyhow_is_no_merit_of_its_place_in_the_list() -> None:
    """One item of four is in 30 % of all baskets and of those after its lists; one in 1 % of all, and 10 % of those."""
    chance = np.random.default_rng(3)
    ranker = Ranker(RankerConfig(), seed=1)
    for one in lists(4_000):
        features, rewards = drawn(chance), np.zeros(4, np.float32)
        staple, fitting = chance.permutation(4)[:2]
        features[:, RIGHT] = -6.0
        features[[staple, fitting], RIGHT] = math.log(0.3), math.log(0.1)
        features[:, BASE] = math.log(0.01)
        features[staple, BASE] = math.log(0.3)
        rewards[staple], rewards[fitting] = chance.random(2) < (0.3, 0.1)
        taken = rewards > 0
        ranker.learn_one(one._replace(features=features, rewards=rewards, taken=taken, shopped=True))
        left = one._replace(features=features, rewards=np.zeros(4, np.float32), taken=~(taken | ~taken), shopped=False)
        for _ in range(3):
            ranker.learn_one(left)  # most look and leave: of what sells anyhow that says nothing
    row = np.zeros((3, WIDTH))
    row[:, RIGHT] = math.log(0.3), math.log(0.1), -6.0
    row[:, BASE] = math.log(0.3), math.log(0.01), math.log(0.01)
    for name, first in [("regression", 1), ("taken", 0)]:
        kind = ranker._kinds[CROSS_SELL]
        names = sorted(kind.taken.weights)
        regression = getattr(kind, name)
        chances = [
            regression.predict_proba_one(kind.scaler.transform_one(dict(zip(names, one.tolist(), strict=True))))[True]
            for one in expanded(row, np.zeros(3, np.int64))
        ]
        assert int(np.argmax(chances)) == first, (name, chances)
    assert chances[0] == pytest.approx(0.3, abs=0.06)  # what is learnt of takings is how often they are
    assert ranker.ready and ranker.metrics()["credits.cross_sell"] < 0.4 * ranker.rewards[CROSS_SELL]


def test_what_is_only_taken_anyhow_makes_no_order() -> None:
    ranker = Ranker(RankerConfig(), seed=1)
    for one in lists(2_000):
        features = one.features.copy()
        features[:, BASE] = 0.0  # all buy all of it
        ranker.learn_one(one._replace(features=features))
    assert ranker.rewards[CROSS_SELL] > 1_000
    assert ranker.metrics()["credits.cross_sell"] < 1.0
    assert not ranker.ready
    assert Ranker(RankerConfig(least_credits=0.0), seed=1).ready is False


def test_what_other_code_has_learnt_is_not_gone_on_with() -> None:
    ranker = Ranker(RankerConfig(), seed=1)
    for one in lists(10):
        ranker.learn_one(one)
    state = ranker.training()
    other = Ranker(RankerConfig(), seed=1)
    other.restore(state | {"learnt by": np.frombuffer(b"ranker-1", np.uint8)})
    assert other.learnt == 0
    other.restore(state)
    assert other.learnt == 10


def test_what_was_not_shown_or_is_without_evidence_is_not_learnt() -> None:
    one = lists(1, seed=3)[0]._replace(rewards=np.array([1, 0, 0, 0], np.float32))
    ranker = Ranker(RankerConfig(), seed=1)
    ranker.learn_one(one._replace(examined=np.zeros(4, np.bool_)))
    ranker.learn_one(one._replace(learnable=np.zeros(4, np.bool_)))
    assert ranker.rewards.sum() == 0.0 and ranker.learnt == 2


def test_a_source_that_fails_raises_an_alarm_and_counts_less() -> None:
    ranker = Ranker(RankerConfig(), seed=1)
    for one in lists(1_500):
        ranker.learn_one(one)
    assert ranker.metrics()["drift.cross_sell.bought_with"] == 0.0
    kind = ranker._kinds[CROSS_SELL]
    for one in lists(1_500, seed=2, right=WRONG):
        ranker.learn_one(one)
        if kind.drift.alarms[1]:
            break
    assert ranker.metrics()["drift.cross_sell.bought_with"] == 1.0
    damped = kind.folded("average").weights[: len(SOURCES)]
    assert damped[1] == pytest.approx(damped[0] / 2)


def test_a_restored_ranker_learns_as_if_nothing_had_happened() -> None:
    whole, first = Ranker(RankerConfig(), seed=1), Ranker(RankerConfig(), seed=1)
    outcomes = lists(400) + lists(100, kind=UPSELL)
    for one in outcomes:
        whole.learn_one(one)
    for one in outcomes[:300]:
        first.learn_one(one)
    second = Ranker(RankerConfig(), seed=7)
    second.restore({name: array.copy() for name, array in first.training().items()})
    for one in outcomes[300:]:
        second.learn_one(one)
    assert second.learnt == whole.learnt == 500
    for name, array in whole.training().items():
        np.testing.assert_array_equal(second.training()[name], array, name)
    np.testing.assert_array_equal(second.arrays()["weights"], whole.arrays()["weights"])


# -- snapshots ---------------------------------------------------------------------------------------------------------


def snapshot(ranker: Ranker, code: str = CODE, **arrays: np.ndarray) -> Snapshot:
    return Snapshot(
        model=MODEL,
        code=code,
        arrays={**ranker.arrays(), **arrays},
        vocabulary=(),
        config=ranker.config_of(),
        positions={},
        learnt={"events": ranker.learnt},
        metrics=ranker.metrics(),
        at=1e9,
    )


def test_a_snapshot_gives_the_same_order() -> None:
    ranker = Ranker(RankerConfig(), seed=1)
    for one in lists(400):
        ranker.learn_one(one)
    found, order = order_of(snapshot(ranker)), ranker.order()
    for mine, other in zip(found, order, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_snapshot_of_other_code_or_shape_is_refused() -> None:
    ranker = Ranker(RankerConfig(), seed=1)
    with pytest.raises(SnapshotFormatError):
        order_of(snapshot(ranker, code="ranker-0"))
    with pytest.raises(SnapshotShapeError):
        order_of(snapshot(ranker, weights=np.zeros((3, WIDTH + 1))))
