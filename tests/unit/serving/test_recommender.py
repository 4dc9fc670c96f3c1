"""From a visit to a list: the kettle shop, scores by hand, caps, fall-backs, reasons, chance, and order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from models.ranking.features import LEARNT, POPULARITY, no_order
from models.sequence.predictor import Expected, SequencePredictor
from models.serving.reason_text import ReasonText
from models.serving.recommender import Learnt, Query
from models.serving.sources import WORTH
from models.sessions.visits import Visit, Window
from models.shop.events import BOUGHT_WITH, Action
from models.shop.kinds import UPSELL
from models.shop.policy import FIXED, POPULAR, Policy
from tests.support.corner_shop import HALF_LIFE_S, NOW, WIDE, CornerShop, Street

KETTLE_SHOP_V1: tuple[tuple[list[str], list[str]], ...] = (
    (["kettle", "steel-kettle"], ["kettle", "mug"]),
    (["kettle", "mug"], ["kettle", "mug"]),
    (["kettle", "steel-kettle"], ["steel-kettle"]),
    (["drill"], ["drill"]),
    (["kettle"], ["kettle", "mug"]),
    (["mug", "drill"], []),
)
"""Six visits: what was looked at, and what was bought."""


@pytest.fixture
def kettle_shop() -> CornerShop:
    """Four products and what six visits have taught."""
    shop = CornerShop()
    shop.offer("kettle", "Kitchen/Kettles", 30.0)
    shop.offer("steel-kettle", "Kitchen/Kettles", 45.0)
    shop.offer("mug", "Kitchen/Mugs", 8.0)
    shop.offer("drill", "Tools/Drills", 60.0)
    street = Street(shop)
    for number, (looks, buys) in enumerate(KETTLE_SHOP_V1):
        street.visit(f"shopper-{number}", looks, buys)
    street.close()
    return shop


# -- the kettle shop ---------------------------------------------------------------------------------------------------


def test_the_kettle_gets_the_mug_that_completes_it_and_the_steel_kettle_that_betters_it(
    kettle_shop: CornerShop,
) -> None:
    mug, steel = kettle_shop.ask("kettle")[:2]
    assert (mug["item_id"], mug["kind"], mug["anchor"]) == ("mug", "cross-sell", "kettle")
    assert mug["reasons"][0] == {
        "source": "bought_with",
        "anchor": "kettle",
        "count": 3,
        "lift": pytest.approx(kettle_shop.neighbours.lift(0, 2), abs=1e-2),
        "text": "Bought together with Kettle in 3 baskets",
    }
    assert (steel["item_id"], steel["kind"], steel["anchor"]) == ("steel-kettle", "upsell", "kettle")
    assert {one["text"] for one in steel["reasons"]} == {
        "Bought once after Kettle was viewed or added to the cart",
        "Viewed or added to the cart together with Kettle 2 times",
    }
    assert (mug["price"], mug["category"], mug["title"], mug["propensity"]) == (8.0, "Kitchen/Mugs", "Mug", 1.0)


def test_the_drill_that_nobody_bought_with_a_kettle_comes_last_and_for_its_popularity(kettle_shop: CornerShop) -> None:
    drill = kettle_shop.ask("kettle")[-1]
    assert drill["item_id"] == "drill"
    assert drill["reasons"] == [{"source": "popularity", "count": 1, "text": "From Drills: bought once"}]


def test_who_bought_a_kettle_gets_the_mug_and_no_other_kettle(kettle_shop: CornerShop) -> None:
    kinds = kettle_shop.kinds("kettle", action=Action.PURCHASE, bought=["kettle"])
    assert list(kinds.items())[0] == ("mug", "cross-sell")
    assert "steel-kettle" not in kinds


def test_the_drill_gets_the_mug_for_the_kettle_looked_at_before_and_says_so(kettle_shop: CornerShop) -> None:
    mug = kettle_shop.ask("drill", visit=["kettle"])[0]
    assert (mug["item_id"], mug["anchor"]) == ("mug", "drill")
    assert mug["reasons"][0]["anchor"] == "kettle"
    assert mug["reasons"][0]["text"] == "Bought together with Kettle in 3 baskets"


# -- scores ------------------------------------------------------------------------------------------------------------


def _entropy_term(*cells: float) -> float:
    total = sum(cells)
    return sum(cell * math.log(cell / total) for cell in cells if cell)


def _ratio(both: float, one: float, other: float, all_: float) -> float:
    """Dunning's ratio by entropies of the table, its rows and its columns."""
    cells = (both, one - both, other - both, all_ - one - other + both)
    rows, columns = (one, all_ - one), (other, all_ - other)
    return 2 * (_entropy_term(*cells) - _entropy_term(*rows) - _entropy_term(*columns))


def _known_shop(**policy: Any) -> CornerShop:
    shop = CornerShop(Policy(**{**WIDE, **policy}))
    shop.offer("kettle", "Kettles", 100.0)
    shop.offer("better", "Kettles", 130.0)
    shop.offer("mug", "Mugs", 8.0)
    shop.learn("kettle", {"mug": (3.0, 4.0, 2.0), "better": (10.0, 1.0, 5.0)}, views=20.0, baskets=8.0)
    shop.learn("mug", {"kettle": (3.0, 4.0, 0.0)}, views=10.0, baskets=10.0)
    shop.neighbours.set_total(0, 40.0, NOW)
    return shop


def test_a_cross_sell_scores_what_one_computes_by_hand() -> None:
    lift = (4 + 1) / (8 * 10 / 40 + 1)
    significance = 0.2 + 0.8 * (1 - 1 / lift) * math.erf(math.sqrt(_ratio(4, 8, 10, 40) / 2))
    base = 2 / (8 + 2) * 10 / 40
    odds = 0.1 * 3 / (20 + 5) + 1.0 * 2 / (20 + 5) + 1.0 * (4 / (8 + 2) * significance + 0.2 * base)
    mug = next(one for one in _known_shop().ask("kettle") if one["item_id"] == "mug")
    assert mug["score"] == pytest.approx(odds / (1 + odds), rel=1e-12)
    assert mug["reasons"][0]["lift"] == pytest.approx(lift, abs=1e-4)


def test_an_upsell_scores_its_acceptance_times_a_power_of_its_step_in_price() -> None:
    odds = 0.3 * 10 / (20 + 5) + 1.0 * 5 / (20 + 5)
    better = next(one for one in _known_shop().ask("kettle") if one["item_id"] == "better")
    assert better["score"] == pytest.approx(odds / (1 + odds) * 0.3**0.25, rel=1e-12)
    assert [one["source"] for one in better["reasons"]] == ["viewed_then_bought", "viewed_with"]


def test_evidence_of_further_back_counts_less_and_adds_up() -> None:
    shop = _known_shop()
    shop.offer("pot", "Pots", 20.0)
    shop.learn("pot", {"mug": (0.0, 0.0, 7.0)}, views=20.0, baskets=0.0)
    alone, both = (shop.ask("kettle", visit=visit) for visit in ([], ["pot"]))
    odds = {one["item_id"]: one["score"] / (1 - one["score"]) for one in alone}["mug"]
    more = math.exp(-0.7) * 0.5 ** (60 / 1800) * (7 / (20 + 5) + 0.2 * 2 / (0 + 2) * 10 / 40)
    assert next(one for one in both if one["item_id"] == "mug")["score"] == pytest.approx(
        (odds + more) / (1 + odds + more), rel=1e-12
    )


def test_weights_fade_to_the_time_of_the_query_but_the_shrinkage_does_not() -> None:
    shop = _known_shop()
    shop.learn("kettle", {"better": (10.0, 0.0, 5.0)}, views=20.0, at=NOW - HALF_LIFE_S)
    odds = 0.3 * 5 / (10 + 5) + 1.0 * 2.5 / (10 + 5)
    assert shop.ask("kettle")[0]["score"] == pytest.approx(odds / (1 + odds) * 0.3**0.25, rel=1e-12)


def test_bought_together_by_chance_counts_a_fifth() -> None:
    shop = _known_shop()
    shop.learn("kettle", {"mug": (0.0, 4.0, 0.0)}, baskets=8.0)
    shop.learn("mug", {}, baskets=20.0)
    shop.neighbours.set_total(0, 40.0, NOW)
    odds = 0.2 * (4 / (8 + 2) + 2 / (8 + 2) * 20 / 40)
    assert shop.ask("kettle")[0]["score"] == pytest.approx(odds / (1 + odds), rel=1e-12)


def test_of_items_that_share_one_basket_by_chance_the_one_that_is_bought_more_often_leads() -> None:
    shop = _known_shop()
    shop.offer("bread", "Bread", 2.0)
    shop.offer("milk", "Milk", 2.0)
    shop.learn("kettle", {"bread": (0.0, 1.0, 0.0), "milk": (0.0, 1.0, 0.0)}, baskets=1.0)
    shop.learn("bread", {}, baskets=36.0)
    shop.learn("milk", {}, baskets=38.0)
    assert [one["item_id"] for one in shop.ask("kettle") if one["kind"] == "cross-sell"][:2] == ["milk", "bread"]


def test_baskets_fade_before_they_say_how_often_an_item_is_bought_at_all() -> None:
    shop = _known_shop()
    shop.learn("kettle", {"mug": (0.0, 2.0, 0.0)}, baskets=8.0)
    shop.learn("mug", {}, baskets=20.0, at=NOW - HALF_LIFE_S)
    shop.neighbours.set_total(0, 160.0, NOW - 2 * HALF_LIFE_S)
    odds = 0.2 * (2 / (8 + 2) + 2 / (8 + 2) * 10 / 40)
    assert shop.ask("kettle")[0]["score"] == pytest.approx(odds / (1 + odds), rel=1e-12)


def test_evidence_below_the_support_does_not_count() -> None:
    shop = _known_shop(min_support=5)
    mug, better = sorted(shop.ask("kettle"), key=lambda one: one["item_id"], reverse=True)
    assert [one["source"] for one in mug["reasons"]] == ["popularity"]
    assert [one["source"] for one in better["reasons"]] == ["viewed_then_bought", "viewed_with"]


# -- order and caps ----------------------------------------------------------------------------------------------------


def _row_of_mugs(number: int, **policy: Any) -> CornerShop:
    """A kettle with so many mugs of two brands in three categories, the first the strongest."""
    shop = CornerShop(Policy(**{**WIDE, **policy}))
    shop.offer("kettle", "Kettles", 100.0)
    shop.offer("better", "Kettles", 130.0)
    row = {"better": (90.0, 0.0, 90.0)}
    for place in range(number):
        shop.offer(f"mug-{place}", f"Mugs/{place % 3}", 8.0, brand=("Acme", "Bolt")[place % 2])
        row[f"mug-{place}"] = (0.0, 9.0 - place, 0.0)
    shop.learn("kettle", row)
    return shop


def _mugs(shop: CornerShop, **more: Any) -> list[int]:
    return [int(one["item_id"][4:]) for one in shop.ask("kettle", **more) if one["kind"] == "cross-sell"]


def test_caps_let_the_best_in_first() -> None:
    assert _mugs(_row_of_mugs(9)) == list(range(9))
    assert _mugs(_row_of_mugs(9, max_cross_sell=4)) == [0, 1, 2, 3]
    assert _mugs(_row_of_mugs(9, max_per_brand=2)) == [0, 1, 2, 3]
    assert _mugs(_row_of_mugs(9, max_per_category=1)) == [0, 1, 2]
    assert _mugs(_row_of_mugs(9, max_per_category=2, max_per_brand=2)) == [0, 1, 2, 3]
    assert _mugs(_row_of_mugs(9, max_per_category=1, category_depth=1)) == [0]
    assert _mugs(_row_of_mugs(9, max_items=3, max_upsell=0)) == [0, 1, 2]
    assert _row_of_mugs(9, max_items=0).ask("kettle") == []
    assert len(_row_of_mugs(9, max_items=3).ask("kettle")) == 3


def test_one_list_best_first_whatever_the_kind() -> None:
    answers = _row_of_mugs(9, max_items=6, max_cross_sell=4, max_upsell=2).ask("kettle")
    assert sorted(answers, key=lambda one: (-one["score"], one["item_id"])) == answers
    assert Counter(one["kind"] for one in answers) == {"cross-sell": 4, "upsell": 1}


def test_equals_come_in_the_order_of_their_ids_whichever_was_seen_first() -> None:
    names = ["mug-b", "mug-a", "mug-aa", "mug", "a mug with a very long name, one", "a mug with a very long name, two"]
    orders = []
    for first in (names, sorted(names), names[::-1]):
        shop = CornerShop(Policy(**WIDE), first=first)
        shop.offer("kettle", "Kettles", 100.0)
        for place, name in enumerate(first):
            shop.offer(name, f"Mugs/{place}", 8.0)
        shop.learn("kettle", dict.fromkeys(first, (0.0, 2.0, 0.0)))
        orders.append([one["item_id"] for one in shop.ask("kettle")])
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][2:] == ["mug", "mug-a", "mug-aa", "mug-b"]


def test_hundreds_of_candidates_come_in_the_order_of_their_scores() -> None:
    shop = CornerShop(Policy(**WIDE))
    shop.offer("kettle", "Kettles", 100.0)
    strengths = {f"mug-{place}": float((place * 7919) % 499 + 1) for place in range(400)}
    for place, name in enumerate(strengths):
        shop.offer(name, f"Mugs/{place}", 8.0)
        shop.learn(name, {}, baskets=float(place % 17 + 1))
    shop.learn("kettle", {name: (0.0, strength, 0.0) for name, strength in strengths.items()}, baskets=2000.0)
    shop.neighbours.set_total(0, 9000.0, NOW)
    answers = shop.ask("kettle")
    scores = {}
    for name, strength in strengths.items():
        own = float(shop.neighbours.own[shop.items.find(name), 1])
        lift = (strength + 1) / (2000 * own / 9000 + 1)
        part = 0.2
        if lift > 1:
            ratio = _loose_ratio(strength, 2000.0, own, 9000.0)
            part += 0.8 * (1 - 1 / lift) * math.erf(math.sqrt(ratio / 2))
        odds = strength / (2000 + 2) * part + 0.2 * 2 / (2000 + 2) * own / 9000
        scores[name] = odds / (1 + odds)
    best = sorted(scores, key=lambda name: (-scores[name], name))[:100]
    assert [one["item_id"] for one in answers] == best
    assert [one["score"] for one in answers] == pytest.approx([scores[name] for name in best], rel=1e-9)


def _loose_ratio(both: float, one: float, other: float, all_: float) -> float:
    """The ratio where weights do not add up: negative cells are none."""
    a, b, c, d = (max(0.0, x) for x in (both, one - both, other - both, all_ - one - other + both))
    total = a + b + c + d
    cells = ((a, a + b, a + c), (b, a + b, b + d), (c, c + d, a + c), (d, c + d, b + d))
    return 2 * sum(x * math.log(x * total / row / column) for x, row, column in cells if x > 0)


# -- fall-backs --------------------------------------------------------------------------------------------------------


def test_a_cold_item_gets_its_brand_then_what_is_near_then_what_is_popular() -> None:
    shop = CornerShop(Policy(**WIDE))
    shop.offer("kettle", "Kitchen/Kettles", 100.0, brand="Acme")
    shop.offer("toaster", "Kitchen/Toasters", 60.0, brand="Bolt")
    shop.offer("drill", "Tools/Drills", 60.0, brand="Acme")
    shop.offer("lamp", "Light/Lamps", 60.0)
    shop.offer("better", "Kitchen/Kettles", 150.0, brand="Acme")
    answers = {one["item_id"]: one for one in shop.ask("kettle")}
    texts = {name: one["reasons"][0]["text"] for name, one in answers.items()}
    assert list(texts) == ["drill", "better", "toaster", "lamp"]
    assert texts == {
        "drill": "From Acme, like Kettle",
        "toaster": "From Toasters, close to Kettle",
        "lamp": "New in Lamps",
        "better": "From Acme, like Kettle",
    }
    assert [one["reasons"][0]["source"] for one in answers.values()] == ["content", "content", "content", "popularity"]
    assert answers["drill"]["reasons"][0]["anchor"] == "kettle"
    assert "anchor" not in answers["lamp"]["reasons"][0]


def test_fall_backs_fill_what_is_left_and_stay_below_evidence() -> None:
    shop = CornerShop()
    shop.offer("kettle", "Kettles", 100.0)
    shop.offer("mug", "Mugs", 8.0)
    shop.learn("kettle", {"mug": (0.001, 0.0, 0.0)}, views=1000.0)
    for place in range(20):
        shop.offer(f"lamp-{place:02}", f"Lamps/{place}", 20.0)
        shop.learn(f"lamp-{place:02}", {}, views=100.0 * place, baskets=0.0)
    answers = shop.ask("kettle")
    assert [one["item_id"] for one in answers] == ["mug", "lamp-19", "lamp-18", "lamp-17"]
    scores = [one["score"] for one in answers]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[1] > 0
    assert answers[1]["reasons"] == [
        {"source": "popularity", "count": 1900, "text": "From 19: viewed or added to the cart 1900 times"}
    ]


def test_popularity_fades() -> None:
    shop = CornerShop(Policy(**WIDE))
    for name in ("kettle", "old", "new"):
        shop.offer(name, name, 10.0)
    shop.learn("old", {}, views=150.0, at=NOW - HALF_LIFE_S)
    shop.learn("new", {}, views=100.0)
    assert list(shop.kinds("kettle")) == ["new", "old"]
    shop.learn("old", {}, views=250.0, at=NOW - HALF_LIFE_S)
    assert list(shop.kinds("kettle")) == ["old", "new"]


def test_an_item_new_in_the_catalogue_can_be_suggested_by_the_next_event() -> None:
    shop = CornerShop()
    shop.offer("kettle", "Kettles", 100.0)
    assert shop.ask("kettle") == []
    shop.offer("better", "Kettles", 120.0)
    assert shop.kinds("kettle") == {"better": "upsell"}


def test_nothing_is_known_of_an_empty_shop() -> None:
    shop = CornerShop()
    assert shop.recommender.suggest_many([]) == []
    assert shop.ask("kettle") == []
    assert shop.ask("kettle", visit=["mug"], cart=["pot"], bought=["cup"]) == []
    assert shop.recommender.suggest_many([Query(Action.PURCHASE, [], Visit([], [], [], [], []), NOW, "")]) == [[]]


# -- reasons -----------------------------------------------------------------------------------------------------------


def test_reasons_prefer_an_anchor_to_stronger_evidence_of_the_visit() -> None:
    shop = CornerShop()
    for name in ("kettle", "pot", "mug"):
        shop.offer(name, name, 10.0)
    shop.learn("kettle", {"mug": (0.0, 1.0, 0.0)}, baskets=1000.0)
    shop.learn("pot", {"mug": (0.0, 900.0, 2.0)}, baskets=1000.0)
    reasons = shop.ask("kettle", visit=["pot"])[0]["reasons"]
    assert {one["source"]: (one["anchor"], one["count"]) for one in reasons} == {
        "bought_with": ("kettle", 1),
        "viewed_then_bought": ("pot", 2),
    }


def test_an_upsells_first_reason_is_about_its_anchor_though_others_say_more() -> None:
    shop = CornerShop()
    for name, price in (("kettle", 20.0), ("steel", 24.0), ("glass", 30.0)):
        shop.offer(name, "Kettles", price)
    shop.learn("kettle", {"glass": (1.0, 0.0, 0.0)}, views=100.0)
    shop.learn("steel", {"glass": (0.0, 0.0, 90.0)}, views=100.0)
    shop.predictor = Foreseen(shop, {"glass": 0.9})
    glass = next(one for one in shop.ask("kettle", visit=["steel"]) if one["item_id"] == "glass")
    sources = [(one["source"], one.get("anchor")) for one in glass["reasons"]]
    assert glass["anchor"] == "kettle"
    assert sources == [("viewed_with", "kettle"), ("sequence", None), ("viewed_then_bought", "steel")]
    shop.learn("kettle", {}, views=100.0)
    first = next(one for one in shop.ask("kettle", visit=["steel"]) if one["item_id"] == "glass")["reasons"][0]
    assert (first["source"], first["anchor"]) == ("sequence", "kettle")
    assert first["text"].startswith("An alternative to Kettle, similar in category and price to what is expected")


def test_a_fall_back_upsell_is_related_to_the_anchor_that_it_is_for() -> None:
    """The first anchor, of its brand, costs more than it; it is the other one's upsell."""
    shop = CornerShop(Policy(**WIDE))
    shop.offer("dear", "Kettles", 90.0, brand="Acme")
    shop.offer("kettle", "Kettles", 20.0, brand="Bolt")
    shop.offer("glass", "Kettles", 30.0, brand="Acme")
    (glass,) = shop.ask("dear", cart=["kettle"])
    assert glass["anchor"] == "kettle"
    assert glass["reasons"] == [
        {
            "source": "popularity",
            "anchor": "kettle",
            "count": 0,
            "text": "New in Kettles, an alternative to Kettle",
        }
    ]


@pytest.mark.parametrize(
    ("source", "count", "text"),
    [
        (BOUGHT_WITH, 1, "Bought together with Kettle in 1 basket"),
        (BOUGHT_WITH, 2, "Bought together with Kettle in 2 baskets"),
    ],
)
def test_singular_and_plural(source: int, count: int, text: str) -> None:
    shop = CornerShop()
    shop.offer("kettle", "Kitchen/Kettles", 10.0)
    shop.offer("mug", "Kitchen/Mugs", 10.0, brand="Acme")
    mug = shop.catalog.get(1)
    assert mug is not None
    words = ReasonText(shop.items, shop.catalog)
    assert words.reason(mug, source, 0, count, True, math.nan)["text"] == text


def test_without_exploration_nothing_is_left_to_chance() -> None:
    shop = _row_of_mugs(9, max_cross_sell=3)
    answers = [shop.ask("kettle", seed=f"clicks-0-{number}") for number in range(20)]
    assert all(answer == answers[0] for answer in answers)
    assert {one["propensity"] for one in answers[0]} == {1.0}


@pytest.mark.slow
def test_the_last_place_goes_to_each_of_those_beyond_as_often_as_its_propensity_says() -> None:
    shop = _row_of_mugs(9, max_cross_sell=3, max_upsell=0, explore=0.4)
    queries = [shop.query("kettle", seed=f"clicks-0-{number}") for number in range(6000)]
    answers = shop.recommender.suggest_many(queries)
    assert all(one["propensity"] == 1.0 for answer in answers for one in answer[:-1])
    assert {tuple(one["item_id"] for one in answer[:-1]) for answer in answers} == {("mug-0", "mug-1")}
    said = {(answer[-1]["item_id"], round(answer[-1]["propensity"], 9)) for answer in answers}
    assert said == {("mug-2", 0.6)} | {(f"mug-{place}", round(0.4 / 6, 9)) for place in range(3, 9)}
    seen = Counter(answer[-1]["item_id"] for answer in answers)
    for name, propensity in said:
        spread = math.sqrt(propensity * (1 - propensity) / len(answers))
        assert abs(seen[name] / len(answers) - propensity) < 4 * spread
    assert shop.recommender.suggest_many(queries[:50]) == answers[:50]


def test_chance_is_certain_where_the_policy_says_so_and_idle_where_nothing_is_beyond() -> None:
    shop = _row_of_mugs(4, max_cross_sell=3, max_upsell=0, explore=1.0)
    answer = shop.ask("kettle")
    assert [(one["item_id"], one["propensity"]) for one in answer[1:]] == [("mug-1", 1.0), ("mug-3", 1.0)]
    shop.recommender.policy = Policy(**WIDE, explore=1.0)
    assert {one["propensity"] for one in shop.ask("kettle")} == {1.0}


def test_chance_keeps_to_the_caps() -> None:
    shop = _row_of_mugs(9, max_cross_sell=3, max_per_brand=2, max_upsell=0, explore=1.0)
    last = Counter(shop.ask("kettle", seed=str(number))[-1]["item_id"] for number in range(300))
    assert set(last) == {f"mug-{place}" for place in range(3, 9)}  # Acme and Bolt before it: one more of each fits


# -- crowds ------------------------------------------------------------------------------------------------------------


def test_many_anchors_sources_and_duplicates_are_no_matter() -> None:
    shop = _row_of_mugs(9)
    crowd = [f"thing-{number}" for number in range(300)]
    for name in crowd:
        shop.offer(name, "Things", 1.0)
    answer = shop.ask(*crowd, *crowd, "kettle", action=Action.PURCHASE, cart=[*crowd, "mug-0"], bought=crowd)
    assert {one["kind"] for one in answer} == {"cross-sell"}
    assert not {"mug-0", "kettle", *crowd} & {one["item_id"] for one in answer}


# -- what the sequence model expects -----------------------------------------------------------------------------------


class Foreseen(SequencePredictor):
    """Expects the same of everybody."""

    def __init__(self, shop: CornerShop, shares: dict[str, float]) -> None:
        self.version = "foreseen"
        self._shares = {shop.items.index(name): share for name, share in shares.items()}

    def expect(self, shoppers: Sequence[tuple[str, Window]]) -> Expected:
        number = len(shoppers)
        items = np.array(list(self._shares) * number, np.int32)
        shares = np.array(list(self._shares.values()) * number)
        return Expected(items, shares, np.arange(number + 1) * len(self._shares))


def test_what_is_expected_is_suggested_as_the_rules_allow_and_says_so(kettle_shop: CornerShop) -> None:
    shop = kettle_shop
    before = shop.ask("kettle")
    shop.offer("teapot", "Kitchen/Teapots", 25.0)
    shop.offer("gold-kettle", "Kitchen/Kettles", 300.0)
    shop.predictor = Foreseen(
        shop, {"kettle": 0.5, "teapot": 0.3, "steel-kettle": 0.2, "gold-kettle": 0.1, "unknown": 0.1}
    )
    told = {one["item_id"]: one for one in shop.ask("kettle")}
    assert {"teapot", "steel-kettle"} <= set(told)
    assert not {"kettle", "gold-kettle", "unknown"} & set(told)  # looked at, too dear, not offered
    for item_id, one in told.items():
        sources = [reason["source"] for reason in one["reasons"]]
        assert ("sequence" in sources) == (item_id in ("teapot", "steel-kettle")), (item_id, sources)
    weight = WORTH["sequence"].cross_sell * 0.3
    assert told["teapot"]["score"] == pytest.approx(weight / (1 + weight))
    assert told["teapot"]["reasons"] == [
        {
            "source": "sequence",
            "count": 0,
            "text": "Similar in category and price to what is expected next in visits like this one",
        }
    ]
    assert [one["anchor"] for one in told["steel-kettle"]["reasons"][:-1]] == ["kettle"] * 2
    assert told["steel-kettle"]["reasons"][-1] == {
        "source": "sequence",
        "count": 2,
        "text": "Expected next in visits like this one: viewed or added to the cart 2 times",
    }
    shop.catalog.withdraw("teapot")
    shop.catalog.withdraw("gold-kettle")
    shop.predictor = None
    assert shop.ask("kettle") == before


# -- arms of an experiment ---------------------------------------------------------------------------------------------


def test_the_popular_arm_gets_the_most_popular_items_the_rules_allow_whatever_the_visit() -> None:
    shop = CornerShop(Policy(max_items=3, max_per_category=1, explore=1.0))
    shop.offer("kettle", "Kitchen/Kettles", 100.0)
    for name, category, price, views in [
        ("better", "Kitchen/Kettles", 130.0, 60.0),
        ("dear", "Kitchen/Kettles", 300.0, 900.0),
        ("mug", "Kitchen/Mugs", 8.0, 30.0),
        ("cup", "Kitchen/Mugs", 9.0, 25.0),
        ("drill", "Tools/Drills", 60.0, 90.0),
        ("saw", "Tools/Saws", 20.0, 10.0),
    ]:
        shop.offer(name, category, price)
        shop.learn(name, {}, views=views, baskets=0.0)
    shop.learn("kettle", {"saw": (9.0, 9.0, 9.0)})
    found = shop.ask("kettle", visit=["drill"], arm=POPULAR)
    assert [one["item_id"] for one in found] == ["drill", "better", "mug"]
    assert [
        (one["reasons"][0]["source"], one["reasons"][0].get("anchor"), one["reasons"][0]["count"]) for one in found
    ] == [
        ("popularity", None, 90),
        ("popularity", "kettle", 60),  # an upsell's first reason is about its anchor
        ("popularity", None, 30),
    ]
    assert {len(one["reasons"]) for one in found} == {1}
    assert all(one["propensity"] == 1.0 for one in found)
    assert next(iter(shop.kinds("kettle"))) == "saw"


def test_the_popular_arm_finds_enough_in_a_shop_of_one_branch() -> None:
    shop = CornerShop(Policy(max_items=30, max_cross_sell=30))
    shop.offer("kettle", "Shop/Kettles", 100.0)
    for number in range(30):
        shop.offer(f"thing-{number:02d}", f"Shop/Kind {number}", 5.0)
    assert len(shop.ask("kettle", arm=POPULAR)) == 30


def test_the_fixed_arm_is_ordered_by_the_evidence_whatever_was_learnt(kettle_shop: CornerShop) -> None:
    before = kettle_shop.ask("kettle")
    order = no_order()
    order.serves[:] = POPULARITY
    kettle_shop.recommender.learnt = Learnt(order, "v")
    assert kettle_shop.ask("kettle", arm=FIXED) == before != kettle_shop.ask("kettle")


def test_an_upsell_that_joins_from_the_shelf_gives_its_anchor_as_the_first_reason() -> None:
    shop = CornerShop()
    shop.offer("tea", "Food/Tea", 5.0)
    shop.offer("kettle", "Kitchen/Kettles", 100.0, brand="Acme")
    shop.offer("glass", "Kitchen/Kettles", 130.0)
    shop.offer("steel", "Kitchen/Kettles", 120.0, brand="Acme")
    shop.learn("glass", {}, views=9.0, baskets=3.0)
    order = no_order()
    order.serves[UPSELL] = LEARNT
    order.weights[UPSELL] = 0.0
    shop.recommender.learnt = Learnt(order, "v")
    found = {one["item_id"]: one for one in shop.ask("tea", cart=["kettle"]) if one["kind"] == "upsell"}
    for name, step in [("glass", 0.3), ("steel", 0.2)]:
        assert found[name]["score"] == pytest.approx(step**0.25 / 2)  # of the pool, and no fallback
        assert (found[name]["anchor"], found[name]["reasons"][0]["anchor"]) == ("kettle", "kettle")
    texts = [found[name]["reasons"][0]["text"] for name in ("glass", "steel")]
    assert texts == ["From Kettles, an alternative to Kettle: bought 3 times", "From Acme, like Kettle"]
