"""The two promises and the policy, one rule a test, through the recommender."""

from __future__ import annotations

from typing import Any

import pytest

from models.shop.events import Action
from models.shop.policy import Policy
from tests.support.corner_shop import WIDE, CornerShop


def _shop(**policy: Any) -> CornerShop:
    """A kettle that costs 100, two more kettles, mugs, tea; nothing is known of any."""
    shop = CornerShop(Policy(**{**WIDE, **policy}))
    shop.offer("kettle", "Kitchen/Tea/Kettles", 100.0, brand="Acme")
    shop.offer("better", "Kitchen/Tea/Kettles", 150.0, brand="Bolt")
    shop.offer("best", "Kitchen/Tea/Kettles", 200.0, brand="Acme")
    shop.offer("mug", "Kitchen/Tea/Mugs", 8.0, brand="Acme")
    shop.offer("green", "Food/Tea", 5.0)
    return shop


def test_other_categories_are_cross_sold_and_dearer_ones_of_the_same_upsold() -> None:
    assert _shop().kinds("kettle") == {"better": "upsell", "best": "upsell", "mug": "cross-sell", "green": "cross-sell"}


def test_a_purchase_has_cross_sells_only() -> None:
    assert _shop().kinds("kettle", action=Action.PURCHASE) == {"mug": "cross-sell", "green": "cross-sell"}


@pytest.mark.parametrize(
    ("price", "fits"),
    [
        (99.0, False),
        (100.0 * (1 + 0.05), True),
        (104.99999999999999, False),
        (100.0 * (1 + 1.0), True),
        (200.00000000000003, False),
    ],
)
def test_borders_of_the_step_belong_to_it(price: float, fits: bool) -> None:
    shop = _shop()
    shop.offer("better", "Kitchen/Tea/Kettles", price)
    assert ("better" in shop.kinds("kettle")) is fits


@pytest.mark.parametrize("cents", range(1, 400, 7))
def test_borders_are_those_of_plain_python(cents: int) -> None:
    shop = _shop(min_step=0.1, max_step=0.3)
    price = cents / 100
    shop.offer("kettle", "Kitchen/Tea/Kettles", price)
    for candidate in (price * 1.1, price * (1 + 0.1), price * 1.3, price * (1 + 0.3), round(price * 1.1, 2)):
        shop.offer("better", "Kitchen/Tea/Kettles", candidate)
        fits = price * (1 + 0.1) <= candidate <= price * (1 + 0.3)
        assert ("better" in shop.kinds("kettle")) is fits


def test_an_upsell_is_rated_no_lower_where_both_are_rated() -> None:
    shop = _shop()
    for mine, other, fits in [(4.0, 3.9, False), (4.0, 4.0, True), (None, 1.0, True), (5.0, None, True)]:
        shop.offer("kettle", "Kitchen/Tea/Kettles", 100.0, rating=mine)
        shop.offer("better", "Kitchen/Tea/Kettles", 150.0, rating=other)
        assert ("better" in shop.kinds("kettle")) is fits


def test_no_upsell_between_currencies_or_from_nothing() -> None:
    shop = _shop()
    for mine, other, fits in [("EUR", "EUR", True), ("EUR", "USD", False), (None, "EUR", False), ("EUR", None, False)]:
        shop.offer("kettle", "Kitchen/Tea/Kettles", 100.0, currency=mine)
        shop.offer("better", "Kitchen/Tea/Kettles", 150.0, currency=other)
        assert ("better" in shop.kinds("kettle")) is fits
    shop.offer("kettle", "Kitchen/Tea/Kettles", 0.0)
    shop.offer("better", "Kitchen/Tea/Kettles", 0.0)
    assert "better" not in shop.kinds("kettle")


def test_an_upsell_may_be_of_an_item_in_the_cart() -> None:
    shop = _shop()
    upsell = next(one for one in shop.ask("green", cart=["kettle"]) if one["item_id"] == "better")
    assert (upsell["kind"], upsell["anchor"]) == ("upsell", "kettle")


def test_no_cross_sell_of_a_category_in_the_cart() -> None:
    assert "mug" in _shop().kinds("green")
    assert "mug" not in _shop().kinds("green", cart=["other-mug", "kettle", "mug"])
    shop = _shop()
    shop.offer("other-mug", "Kitchen/Tea/Mugs", 9.0)
    assert "mug" not in shop.kinds("green", cart=["other-mug"])


def test_nothing_in_the_cart_bought_withdrawn_or_out_of_stock_and_from_the_next_event_on() -> None:
    shop = _shop()
    assert {"mug", "better", "best", "green"} == set(shop.kinds("kettle"))
    assert "mug" not in shop.kinds("kettle", cart=["mug"])
    assert "mug" not in shop.kinds("kettle", bought=["mug"])
    assert "mug" in shop.kinds("kettle")
    shop.offer("mug", "Kitchen/Tea/Mugs", 8.0, in_stock=False)
    shop.catalog.withdraw("green")
    shop.offer("best", "Kitchen/Tea/Kettles", 201.0)
    assert set(shop.kinds("kettle")) == {"better"}
    shop.offer("mug", "Kitchen/Tea/Mugs", 8.0)
    assert set(shop.kinds("kettle")) == {"better", "mug"}


def test_the_trigger_is_never_suggested() -> None:
    shop = _shop()
    assert set(shop.kinds("green", "mug", action=Action.PURCHASE)) == {"kettle", "better", "best"}
    shop.learn("mug", {"green": (1.0, 1.0, 1.0), "kettle": (1.0, 1.0, 1.0)})
    assert "green" not in shop.kinds("green", "mug", action=Action.PURCHASE)


def test_an_unknown_trigger_has_no_upsells_and_is_answered_only_for_the_cart() -> None:
    shop = _shop()
    shop.learn("never-seen", {"mug": (5.0, 5.0, 5.0), "better": (5.0, 5.0, 5.0)})
    assert shop.kinds("never-seen") == {}
    kinds = shop.kinds("never-seen", cart=["kettle"])
    assert kinds == {"mug": "cross-sell", "green": "cross-sell"}
    assert {one["anchor"] for one in shop.ask("never-seen", cart=["kettle"])} == {"kettle"}


def test_beginnings_of_paths_are_compared_to_the_depth_the_policy_says() -> None:
    assert _shop(category_depth=1).kinds("kettle") == {"better": "upsell", "best": "upsell", "green": "cross-sell"}
    shop = _shop(category_depth=2)
    shop.offer("samovar", "Kitchen/Tea", 150.0)
    shop.offer("grinder", "Kitchen/Coffee/Grinders", 150.0)
    assert shop.kinds("kettle")["samovar"] == "upsell"
    assert shop.kinds("kettle")["grinder"] == "cross-sell"


def test_what_the_policy_excludes_is_never_suggested() -> None:
    assert set(_shop(exclude_items=["better"]).kinds("kettle")) == {"best", "mug", "green"}
    assert set(_shop(exclude_brands=["Acme"]).kinds("kettle")) == {"better", "green"}
    assert set(_shop(exclude_categories=["Kitchen"]).kinds("kettle")) == {"green"}
    assert set(_shop(exclude_categories=["Kitchen/Te", "Tea"]).kinds("kettle")) == {"better", "best", "mug", "green"}


def test_what_the_policy_excludes_may_come_into_the_catalogue_later() -> None:
    shop = CornerShop(Policy(**WIDE, exclude_items=("late",), exclude_brands=("Late",), exclude_categories=("Late",)))
    shop.offer("kettle", "Kitchen/Kettles", 100.0)
    assert shop.kinds("kettle") == {}
    for number in range(3000):
        shop.items.index(f"seen-{number}")
    shop.offer("late", "Kitchen/Mugs", 8.0)
    shop.offer("branded", "Kitchen/Mugs", 8.0, brand="Late")
    shop.offer("placed", "Late/Mugs", 8.0)
    shop.offer("mug", "Kitchen/Mugs", 8.0)
    assert set(shop.kinds("kettle")) == {"mug"}


def test_a_denied_pair_is_not_cross_sold_whatever_else_is_in_the_cart() -> None:
    shop = _shop(deny_pairs=[["Food", "Kitchen/Tea"]])
    assert shop.kinds("green") == {}
    assert "mug" in shop.kinds("kettle")
    assert shop.kinds("kettle", cart=["green"]) == {"better": "upsell", "best": "upsell"}


def test_an_allowed_pair_is_needed_of_one_anchor_and_that_is_named() -> None:
    shop = _shop(allow_pairs=[["Kitchen/Tea/Kettles", "Kitchen/Tea/Mugs"], ["Nothing", "Food"]])
    assert shop.kinds("kettle") == {"better": "upsell", "best": "upsell", "mug": "cross-sell"}
    assert shop.kinds("green") == {}
    shop.learn("green", {"mug": (5.0, 5.0, 5.0)})
    answers = shop.ask("green", cart=["kettle"])
    mug = next(one for one in answers if one["item_id"] == "mug")
    assert mug["anchor"] == "kettle"
    assert mug["reasons"][0]["anchor"] == "green"


def test_more_pairs_than_a_word_has_bits() -> None:
    pairs = [[f"Nothing/{number}", "Food"] for number in range(150)]
    assert "green" in _shop(deny_pairs=pairs).kinds("kettle")
    assert "green" not in _shop(deny_pairs=[*pairs, ["Kitchen", "Food/Tea"]]).kinds("kettle")


def test_pairs_with_the_same_first_category_stand_for_their_own_second_one() -> None:
    pairs = (("Kitchen/Tea/Kettles", "Food"), ("Kitchen", "Toys"), ("Food", "Kitchen/Tea/Mugs"))
    assert _shop(deny_pairs=pairs).kinds("kettle") == {"better": "upsell", "best": "upsell", "mug": "cross-sell"}
    assert _shop(deny_pairs=pairs).kinds("green").keys() == {"kettle", "better", "best"}
    assert _shop(allow_pairs=pairs).kinds("mug") == {}
    assert _shop(allow_pairs=pairs).kinds("green") == {"mug": "cross-sell"}


def test_what_comes_after_the_policy_was_compiled_is_judged_like_what_came_before() -> None:
    """One at a time, and so many ids, brands and categories that all arrays grow."""
    late = ("late-1", "late-30", "late-59")
    shop = _shop(exclude_items=late, exclude_brands=("Late",), exclude_categories=("Late",))
    good = set(shop.kinds("kettle"))
    for number in range(60):
        category = f"{'Late' if number % 3 == 2 else 'New'}/{number}"
        shop.offer(f"late-{number}", category, 9.0, brand="Late" if number % 5 == 4 else f"B{number}")
        shop.learn("kettle", {f"late-{known}": (5.0, 5.0, 5.0) for known in range(number + 1)})
        if number % 3 != 2 and number % 5 != 4 and f"late-{number}" not in late:
            good.add(f"late-{number}")
        if number % 7 == 0:
            assert set(shop.kinds("kettle")) == good
        if number % 20 == 0:
            for other in range(1_000):
                shop.items.index(f"seen-{number}-{other}")
    assert set(shop.kinds("kettle")) == good
    shop.recommender.policy = Policy(**WIDE)
    assert {f"late-{number}" for number in range(60)} < set(shop.kinds("kettle"))


def test_a_new_policy_judges_the_next_query() -> None:
    shop = _shop()
    assert "mug" in shop.kinds("kettle", cart=["green"])
    shop.recommender.policy = Policy(**WIDE, exclude_items=("mug",))
    assert set(shop.kinds("kettle", cart=["green"])) == {"better", "best"}
    shop.recommender.policy = Policy(**WIDE)
    assert "mug" in shop.kinds("kettle", cart=["green"])


def test_a_category_or_brand_with_the_number_of_another_is_barred_by_its_own_name() -> None:
    policy: dict[str, Any] = {
        "exclude_categories": ["Kitchen/3"],
        "exclude_brands": ["brand 4"],
        "deny_pairs": [("Kitchen/Tea", "Kitchen/5")],
        "category_depth": 2,
    }
    shop, seen = _shop(**policy), []
    before = set(shop.kinds("kettle"))
    for number in range(9):
        shop.offer("new", f"Kitchen/{number}/{number}", 7.0, brand=f"brand {number}")
        seen.append(set(shop.kinds("kettle")) - before)
        shop.catalog.free_words(*shop.recommender.words_held())
    assert len(shop.catalog.categories) < 20
    assert seen == [set() if number in (3, 4, 5) else {"new"} for number in range(9)]
